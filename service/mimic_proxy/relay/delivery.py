"""How the body of the backend's response reaches the caller. Sans I/O.

1. A stream of events is held back until its first event is classified: so long it can be replayed, or become a response
   with a status of its own. From then on whole events pass as they come.
2. What has to be read whole is gathered within the budget of all: a response that is translated, and one that comes
   where a heartbeat has begun a stream.
3. Everything else passes as the bytes it is.
4. An end that is found here is returned; the exchange acts on it.
"""

from collections.abc import Callable
from typing import Literal

from mimic_proxy.dialects.base import Dialect, StreamFacts, StreamReader, Translation, error_words
from mimic_proxy.errors import BuffersFull, InvalidRequest, MimicError, UpstreamBadResponse
from mimic_proxy.http.body import read_fields
from mimic_proxy.http.coding import decoded
from mimic_proxy.http.framing import Buffer
from mimic_proxy.http.headers import ResponseFields
from mimic_proxy.relay.admission import Budget
from mimic_proxy.relay.ports import Services
from mimic_proxy.relay.response import Response
from mimic_proxy.relay.routes import Route
from mimic_proxy.relay.states import State
from mimic_proxy.relay.upstream_request import JSON_TYPES, UpstreamRequest
from mimic_proxy.telemetry.observation import NOTHING_SHOWN, Shown
from mimic_proxy.telemetry.record import Record
from mimic_proxy.tokens.refusals import is_refusal

HELD_BYTES = 65536
"""Most that is held of a stream before its first event is classified."""
AFTER_DONE_BYTES = 65536
OFFLOAD_BYTES = 1048576
OBSERVED_BODY_BYTES = 1048576
LARGEST_ERROR_BYTES = 16384
"""Of an error that may say that the token was refused."""
LARGEST_WHOLE_BYTES = 33554432
"""Of an answer that has to be read whole."""
NO_FIRST_EVENT = "The backend ended its stream before the first event."
INCOMPLETE = "The backend ended its stream before it was complete."


class Ending:
    """How an answer ends.

    refused: the token was, by a response that may be passed on if it has a `body`. pass: the body goes to the caller
    as it came, and so does what follows it. failed: `error` says why. answer: with `status` and the JSON object `body`.
    events: with the events `body`, not begun yet. done: the last event has gone out, the body goes on. complete: all
    has been given out. large: what was gathered is to be translated in a worker thread. passed: the backend's own body
    has gone out.
    """

    error: MimicError | None = None
    status = 0
    body = b""
    shown: Shown | None = None

    def __init__(
        self,
        kind: Literal["refused", "pass", "failed", "answer", "events", "done", "complete", "large", "passed"],
        *,
        reusable: bool = False,
    ) -> None:
        self.kind = kind
        self.reusable = reusable
        """The connection may carry another request."""

    @classmethod
    def failed(cls, error: MimicError) -> "Ending":
        """The answer cannot be given, or not to its end."""
        ending = cls("failed")
        ending.error = error
        return ending

    @classmethod
    def with_body(
        cls, kind: Literal["answer", "events"], status: int, body: bytes, shown: Shown | None = None, *, reusable: bool
    ) -> "Ending":
        """The answer is there at once."""
        ending = cls(kind, reusable=reusable)
        ending.status = status
        ending.body = body
        ending.shown = shown
        return ending


class BytesDelivery:
    """A body that passes as the bytes it is. copied: what it says of itself is read afterwards."""

    def __init__(self, response: Response, record: Record, *, copied: bool) -> None:
        self._response = response
        self._record = record
        self._copy = Buffer() if copied else None

    def feed(self, body: bytes, ended: bool) -> Ending | None:
        """One read of the backend; ended: the body is complete by its framing."""
        record = self._record
        record.written = record.upstream
        self._response.write(body, last=ended)
        if self._copy is not None:
            self._copy.append(body)
            if record.response_bytes > OBSERVED_BODY_BYTES:
                self._copy = None
        return Ending("passed", reusable=True) if ended else None

    def shown(self, dialect: Dialect) -> Shown | None:
        """What the response says of itself, if that was copied."""
        return dialect.shown(self._copy.take()) if self._copy is not None and self._record.status < 400 else None


class EventDelivery:
    """A stream of events.

    gap: gets the seconds between its events. begin: writes the head of the answer, called once, before the first event.
    """

    def __init__(
        self,
        answer: Response,
        reader: StreamReader,
        record: Record,
        gap: Callable[[float], None],
        begin: Callable[[], None],
    ) -> None:
        self._answer = answer
        self._reader = reader
        self._record = record
        self._gap = gap
        self._begin = begin
        self._held = b""
        self._after_done_size = -1
        self.released = False
        """The first event is classified, or could not be held any longer."""

    @property
    def facts(self) -> StreamFacts:
        """What the stream has shown."""
        return self._reader.facts

    @property
    def interruptible(self) -> bool:
        """An event of ours may be written now."""
        facts = self._reader.facts
        return not (facts.in_partial or facts.error_frame)

    def feed(self, body: bytes, ended: bool) -> Ending | None:
        """One read of the backend; ended: the body is complete by its framing."""
        out = self._reader.feed(body)
        facts = self._reader.facts
        self._note(facts)
        if not self.released:
            error = self._first_error(ended)
            if error is not None:
                return error
            self._held += out
            enough = len(self._held) >= HELD_BYTES or facts.in_partial
            if facts.verdict is None and not facts.done and not enough:
                return self._end_unclassified() if ended else None
            out = self._take_held()
        self._write(out)
        if ended:
            return self.end(None)
        return self._after_done(len(body)) if facts.done else None

    def end(self, lost: MimicError | None) -> Ending:
        """No more comes. lost: the connection went before the body was complete by its framing."""
        tail, facts = self._reader.finish(lost is None), self._reader.facts
        if facts.complete and self._answer.committed:
            # Half an event is nobody's; `data: [DONE]` without its blank line is whole enough.
            self._write(tail if facts.held == "done" else b"")
            return Ending("complete", reusable=True)
        if lost is None or facts.lacking is not None:
            lost = UpstreamBadResponse(facts.lacking or INCOMPLETE, error_type="protocol")
        return Ending.failed(lost)

    def _first_error(self, ended: bool) -> Ending | None:
        """The first event was an error, which can still be the answer's status."""
        facts = self._reader.facts
        verdict = facts.verdict
        if not isinstance(verdict, int) or (verdict != 401 and self._answer.committed):
            return None
        if verdict == 401:
            return Ending("refused", reusable=ended)
        return Ending.with_body("answer", verdict, facts.error_body or b"{}", reusable=ended)

    def _end_unclassified(self) -> Ending:
        """The body is over. Its only event may have come without the end that events have."""
        tail, facts = self._reader.finish(True), self._reader.facts
        self._note(facts)
        error = self._first_error(True)
        if error is not None:
            return error
        if facts.verdict == "ok" and facts.complete and facts.held == "done":
            self._write(self._take_held() + tail)
            return Ending("complete", reusable=True)
        return Ending.failed(UpstreamBadResponse(facts.lacking or NO_FIRST_EVENT, error_type="protocol"))

    def _note(self, facts: StreamFacts) -> None:
        record = self._record
        if facts.error_frame:
            record.error_frame = True
        gap = record.events_came(facts.events, facts.first_content)
        if gap:
            self._gap(gap)

    def release(self) -> None:
        """Give out what is held, classified or not."""
        if not self.released:
            held = self._take_held()
            self._record.written = self._record.upstream
            self._answer.write(held)

    def _take_held(self) -> bytes:
        self.released = True
        held, self._held = self._held, b""
        self._begin()
        return held

    def _write(self, data: bytes) -> None:
        if data:
            self._record.written = self._record.upstream
            self._answer.write(data)

    def _after_done(self, size: int) -> Ending | None:
        """The answer is whole; its connection is read on for a moment, so that it can be kept."""
        if self._after_done_size < 0:
            self._after_done_size = 0
            return Ending("done")
        self._after_done_size += size
        return Ending("complete") if self._after_done_size > AFTER_DONE_BYTES else None


class ErrorDelivery:
    """An error of the backend, held until its body shows whether the token was refused."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._gathered = Buffer()

    def feed(self, piece: bytes, ended: bool) -> Ending | None:
        """One read of the backend; ended: the body is complete by its framing."""
        self._gathered.append(piece)
        if not ended and self._gathered.size <= LARGEST_ERROR_BYTES:
            return None
        body = self._gathered.take()
        code, kind = error_words(body) if ended else (None, None)
        ending = Ending("refused" if is_refusal(self._status, code=code, kind=kind) else "pass", reusable=ended)
        ending.body = body
        return ending


class WholeDelivery:
    """An answer that is read whole. stream: the caller asked for one. translation: None for OpenAI's own dialect,
    where only an error can be told: a heartbeat has begun the stream that this is not."""

    def __init__(
        self, fields: ResponseFields, translation: Translation | None, budget: Budget, *, stream: bool
    ) -> None:
        self._fields = fields
        self._translation = translation
        self._budget = budget
        self._stream = stream
        self._limit = HELD_BYTES if translation is None else LARGEST_WHOLE_BYTES
        self._gathered = Buffer()
        self._reserved = 0

    def feed(self, piece: bytes, ended: bool) -> Ending | None:
        """One read of the backend; ended: the body is complete by its framing."""
        if self._gathered.size + len(piece) > self._limit:
            return Ending.failed(self._too_long())
        if not self._budget.take(len(piece)):
            message = "Mimic holds as many bytes as MAX_BUFFERED_BYTES allows. Try again shortly."
            return Ending.failed(BuffersFull(message, retry_after=1))
        self._reserved += len(piece)
        self._gathered.append(piece)
        if not ended:
            return None
        return Ending("large") if self._gathered.size > OFFLOAD_BYTES else self.translate()

    def translate(self) -> Ending:
        """What the gathered bytes are. Touches nothing else, so that a worker thread may do it."""
        body = self._gathered.take()
        return self._late(body) if self._translation is None else self._translated(self._translation, body)

    def forget(self) -> None:
        """Give its memory and its share of the budget back."""
        self._gathered.clear()
        self._budget.give(self._reserved)
        self._reserved = 0

    def _translated(self, translation: Translation, body: bytes) -> Ending:
        status = self._fields.status
        try:
            got = translation.answer(status, decoded(body, self._fields.coding, LARGEST_WHOLE_BYTES))
            if got.status == 401:
                return Ending("refused", reusable=True)
            if self._stream and got.status < 300:
                return Ending.with_body("events", 200, translation.events(got), got.shown, reusable=True)
        except MimicError as error:
            return Ending.failed(error)
        except ValueError as wrong:
            return Ending.failed(UpstreamBadResponse(f"The backend answered {status} {wrong}.", error_type="other"))
        return Ending.with_body("answer", got.status, got.body, got.shown, reusable=True)

    def _late(self, body: bytes) -> Ending:
        if self._fields.status >= 400 and _is_error_object(body):
            return Ending.with_body("answer", self._fields.status, body, reusable=True)
        return Ending.failed(self._no_stream())

    def _too_long(self) -> MimicError:
        if self._translation is None:
            return self._no_stream()
        message = f"The backend's answer is longer than {self._limit} bytes, the most that is read whole."
        return UpstreamBadResponse(message, error_type="other")

    def _no_stream(self) -> MimicError:
        status = self._fields.status
        message = f"The backend answered with status {status}, not with a stream."
        return UpstreamBadResponse(message, error_type="protocol" if status < 400 else None)


def _is_error_object(body: bytes) -> bool:
    """A JSON object that begins as OpenAI's errors do, small enough for one event."""
    if len(body) > HELD_BYTES or not body.lstrip().startswith(b'{"error"'):
        return False
    try:
        read_fields(body)
    except InvalidRequest:
        return False
    return True


class Delivery:
    """The way that one response takes: events, a whole body, or bytes as they are."""

    _events: EventDelivery | None = None
    _whole: WholeDelivery | None = None
    _bytes: BytesDelivery | None = None
    _error: ErrorDelivery | None = None

    def __init__(self, services: Services, request: UpstreamRequest, route: Route, response: Response) -> None:
        self._services = services
        self._request = request
        self._route = route
        self._response = response

    def open(self, fields: ResponseFields, record: Record, begin: Callable[[], None], *, replayable: bool) -> State:
        """The state of an exchange that takes this response. begin: see EventDelivery."""
        services, asked, response = self._services, self._request.asked, self._response
        reader = self._reader_for(fields)
        if reader is not None:
            reader.facts.framed = fields.chunked or fields.content_length is not None
            record.stream = True
            record.max_gap_seconds = record.max_gap_seconds or 0.0
            if services.translates:
                record.mode = "translated"
            gap = services.gaps(record.operation, record.model)
            self._events = EventDelivery(response, reader, record, gap, begin)
            return State.HEAD
        if asked.translation is not None or response.committed:
            self._whole = WholeDelivery(fields, asked.translation, services.budget, stream=asked.fields.stream)
            return State.GATHERING
        plain = not fields.encoded and fields.content_type.startswith(JSON_TYPES)
        if fields.status >= 400 and plain and replayable:
            self._error = ErrorDelivery(fields.status)
            return State.GATHERING
        self._bytes = BytesDelivery(response, record, copied=self._route.first_class and plain)
        return State.STREAMING

    def pass_on(self, record: Record) -> None:
        """The error that was held goes to the caller as it came."""
        self._error = None
        self._bytes = BytesDelivery(self._response, record, copied=False)

    def _reader_for(self, fields: ResponseFields) -> StreamReader | None:
        """Of the stream that the backend's response is; None if it is none."""
        request = self._request
        translation = request.asked.translation
        if translation is None:
            if not fields.event_stream:
                return None
            return self._services.dialect.stream(request.asked.fields, self._route.stream_end, request.asks_for_usage)
        if fields.status >= 300 or fields.encoded:
            return None
        return translation.stream(fields.content_type)

    @property
    def facts(self) -> StreamFacts | None:
        """What the stream of events has shown; None where it is none."""
        return self._events.facts if self._events is not None else None

    @property
    def interruptible(self) -> bool:
        """An event of ours may be written now, if the caller wants a stream."""
        return self._events.interruptible if self._events is not None else self._whole is not None

    def feed(self, body: bytes, ended: bool) -> Ending | None:
        """One read of the backend; ended: the body is complete by its framing."""
        if self._events is not None:
            return self._events.feed(body, ended)
        if self._bytes is not None:
            return self._bytes.feed(body, ended)
        if self._error is not None:
            return self._error.feed(body, ended)
        return self._whole.feed(body, ended) if self._whole is not None else None

    def lost(self, error: MimicError) -> Ending:
        """The connection has gone before the body was complete."""
        return self._events.end(error) if self._events is not None else Ending.failed(error)

    def release(self) -> None:
        """Give out what is held, classified or not."""
        if self._events is not None:
            self._events.release()

    def translate(self) -> Ending:
        """What a large gathered body is; for a worker thread."""
        assert self._whole is not None
        return self._whole.translate()

    def forget(self) -> None:
        """Give memory and a share of the budget back."""
        if self._whole is not None:
            self._whole.forget()

    def say(self, record: Record) -> None:
        """Record what the response has said of itself."""
        if self._events is not None:
            record.shown = self._events.facts.shown
        elif self._bytes is not None:
            record.shown = self._bytes.shown(self._services.dialect) or NOTHING_SHOWN
