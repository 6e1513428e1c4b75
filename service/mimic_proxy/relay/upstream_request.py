"""What is sent to the backend: the request's body within its limits, what it asks for, and the head. Pure."""

from mimic_proxy.dialects.base import Dialect, Embedding, Stamp, StreamReader, Translated, Translation
from mimic_proxy.errors import BuffersFull, CallerError, MimicError, RequestTooLarge
from mimic_proxy.http.body import BodyFields, RequestParameters, ask_for_usage, read_fields, read_parameters
from mimic_proxy.http.framing import Buffer, Framing
from mimic_proxy.http.headers import head_end, head_start
from mimic_proxy.http.target import Base, operation_target
from mimic_proxy.relay.admission import Budget
from mimic_proxy.relay.ports import ConnectionPort, Request, Services
from mimic_proxy.relay.routes import Route
from mimic_proxy.telemetry.propagation import trace_lines
from mimic_proxy.telemetry.record import Record
from mimic_proxy.tokens.token import AccessToken

JSON_TYPES = (b"application/json", b"text/json")


class RequestBody:
    """What has come of a body, within the limits of one request and the budget of all.

    streamed: passed on as it comes, never kept. limit: bytes of one body, 0 for none. declared: its content-length.
    """

    __slots__ = ("_budget", "_kept", "_limit", "_reserved", "complete", "declared", "framing", "received", "streamed")

    def __init__(self, *, streamed: bool, declared: int | None, chunked: bool, limit: int, budget: Budget) -> None:
        self.streamed = streamed
        self.declared = declared
        self.framing = Framing.CHUNKED if chunked else Framing.LENGTH
        self._limit = limit
        self._budget = budget
        self._reserved = 0
        self._kept = Buffer()
        self.received = 0
        self.complete = False

    def announce(self) -> MimicError | None:
        """Judge the declared length before a byte is read. Room is taken for what has come, and for nothing else."""
        declared = self.declared
        if not declared:
            return None
        if self._limit and declared > self._limit:
            return self._too_large()
        return None if self.streamed or self._budget.has(declared) else _buffers_full()

    def count(self, size: int) -> MimicError | None:
        """A piece has come; kept bodies are stored by `keep`."""
        self.received += size
        if self._limit and self.received > self._limit:
            return self._too_large()
        if self.streamed:
            return None
        if not self._budget.take(size):
            return _buffers_full()
        self._reserved += size
        return None

    def _too_large(self) -> MimicError:
        setting = "MAX_UPLOAD_BYTES" if self.streamed else "MAX_BODY_BYTES"
        return RequestTooLarge(f"The request's body is larger than {self._limit} bytes. {setting} sets the limit.")

    def keep(self, piece: bytes) -> None:
        """Store a piece that has been counted."""
        self._kept.append(piece)

    def take(self) -> bytes:
        """All that is stored, in one piece."""
        return self._kept.take()

    def replace(self, translated: bytes) -> None:
        """What is sent in the place of what has come."""
        self._kept.clear()
        self._kept.append(translated)

    def forget(self) -> None:
        """It will not be sent any more: give its memory and its share of the budget back."""
        self._kept.clear()
        if self._reserved:
            self._budget.give(self._reserved)
            self._reserved = 0


def _buffers_full() -> MimicError:
    message = "Mimic holds as many bytes of requests as MAX_BUFFERED_BYTES allows. Try again shortly."
    return BuffersFull(message, retry_after=1)


NO_FIELDS = BodyFields()


class Understood:
    """A request as far as it has been read. Nothing of it is content, but what `translation` or `embedding` holds."""

    translation: Translation | None = None
    """One call to a backend of another dialect."""
    embedding: Embedding | None = None
    """Several calls to one."""
    parameters: RequestParameters | None = None

    def __init__(self, fields: BodyFields) -> None:
        self.fields = fields


NOTHING_ASKED = Understood(NO_FIELDS)


class OneCall:
    """Embeddings that are one call to the backend, as a Translation."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self.body = embedding.bodies[0]

    def stream(self, content_type: bytes) -> StreamReader | None:
        """Embeddings are not streamed."""
        return None

    def answer(self, status: int, body: bytes) -> Translated:
        """See Translation."""
        return self._embedding.take(0, status, body) or self._embedding.answer()

    def events(self, answer: Translated) -> bytes:
        """Embeddings are not streamed."""
        raise AssertionError("unreachable: embeddings are not streamed")


def understand(
    whole: bytes, route: Route, dialect: Dialect | None, stamp: Stamp | None, *, parameters: bool
) -> Understood | CallerError:
    """Read a whole JSON body; the error is what its caller has to mend.

    dialect, stamp: for a backend that does not speak as the caller does. parameters: they are wanted for a span.
    """
    try:
        understood = Understood(read_fields(whole))
        if dialect is not None and stamp is not None:
            _translate(understood, whole, route, dialect, stamp)
    except CallerError as refusal:
        # Of what is passed through, the backend judges.
        return refusal if route.first_class else Understood(NO_FIELDS)
    if parameters:
        understood.parameters = read_parameters(whole)
    return understood


def _translate(understood: Understood, whole: bytes, route: Route, dialect: Dialect, stamp: Stamp) -> None:
    if route.operation == "chat":
        understood.translation = dialect.translate(whole, understood.fields, stamp)
    elif route.operation == "embeddings":
        embedding = dialect.embed(whole, understood.fields)
        if embedding is not None and len(embedding.bodies) == 1:
            understood.translation = OneCall(embedding)
        else:
            understood.embedding = embedding


def wants_usage(route: Route, fields: BodyFields) -> bool:
    """A chat stream whose caller has not said whether it wants to be told of usage."""
    return fields.stream and not fields.stream_options and route.operation == "chat"


def upstream_head(
    request: Request,
    route: Route,
    base: Base,
    token: AccessToken,
    trace: bytes,
    *,
    length: int | None,
    identity: bool,
) -> bytes:
    """The backend's head, blank line included.

    trace: whole lines. length: bytes of the body where they are known. A body of none is declared only if the caller
    declared one.
    """
    chunked = request.fields.chunked
    if not length and not chunked and request.content_length is None:
        length = None
    start = _head_start(request, route, base, token, identity=identity)
    return start + head_end(trace, length=length, chunked=chunked)


def _head_start(request: Request, route: Route, base: Base, token: AccessToken, *, identity: bool) -> bytes:
    """Made once for a head that comes again, as long as the token stays."""
    fields = request.fields
    made = fields.prepared
    if made is not None and made[0] is token and made[1] is identity:
        return made[2]
    target = operation_target(base, route.suffix, request.query)
    start = head_start(request.method, target, base.host_field, fields, token.field, identity=identity)
    fields.prepared = (token, identity, start)
    return start


class UpstreamRequest:
    """A caller's request as it goes on: its body as far as it has come, what it asks for, and its head."""

    def __init__(self, services: Services, request: Request, route: Route, record: Record) -> None:
        fields = request.fields
        json = not fields.content_type or fields.content_type.startswith(JSON_TYPES)
        self._services = services
        self._request = request
        self._route = route
        self._record = record
        streamed = route.body == "stream" or not (json or route.first_class)
        limits = services.limits
        self.body = RequestBody(
            streamed=streamed,
            declared=request.content_length,
            chunked=fields.chunked,
            limit=limits.max_upload_bytes if streamed else limits.max_body_bytes,
            budget=services.budget,
        )
        self.asked = NOTHING_ASKED

    def parse(self, whole: bytes) -> Understood | CallerError:
        """Reads a whole JSON body. Touches nothing else, so that a worker thread may do it."""
        services, dialect, stamp, trace = self._services, None, None, self._record.trace
        if services.translates:
            dialect = services.dialect
            stamp = Stamp(services.new_trace()[:32], int(services.wall()))
        return understand(whole, self._route, dialect, stamp, parameters=trace is not None and trace.sampled)

    def parsed(self, asked: Understood) -> None:
        """What the body asks for is known; a translation is sent in its place."""
        self.asked = asked
        record, fields = self._record, asked.fields
        record.model = fields.model
        record.stream = fields.stream
        record.parameters = asked.parameters
        if asked.translation is not None:
            self.body.replace(asked.translation.body)
            asked.translation.body = b""

    @property
    def asks_for_usage(self) -> bool:
        """Usage is asked for on Mimic's own account, and not for the caller."""
        services = self._services
        return services.include_usage and not services.translates and wants_usage(self._route, self.asked.fields)

    def message(self, base: Base, token: AccessToken) -> tuple[bytes, bytes]:
        """Its head, and the body where that is sent whole."""
        request, record, body = self._request, self._record, self.body
        whole, length = b"", request.content_length
        if not body.streamed:
            whole = ask_for_usage(body.take()) if self.asks_for_usage else body.take()
            length = len(whole)
        fields, lines = request.fields, b""
        if self._services.trace_upstream and record.trace is not None:
            lines = trace_lines(record.trace, fields.traceparent, fields.tracestate, traced=record.traced)
        identity = self.asked.fields.stream or self.asked.translation is not None
        return upstream_head(request, self._route, base, token, lines, length=length, identity=identity), whole

    def begin_upload(self, connection: ConnectionPort) -> None:
        """Send what has come; the rest is passed on as it comes and kept nowhere."""
        body = self.body
        come = body.take()
        body.forget()
        if come:
            connection.send(body.framing.data(come))
        if body.complete:
            self.end_upload(connection)

    def end_upload(self, connection: ConnectionPort) -> None:
        """The body is complete."""
        last = self.body.framing.last
        if last:
            connection.send(last)
