"""One exchange, sans I/O: what caller, upstream, tokens and timers tell comes in as method calls,
what is to be done goes out as calls on the ports.

    state      waits for                        left by
    NEW        the request (JSON is read whole) caller_data, caller_end
    QUEUED     a slot                           slot_granted
    TOKEN      an access token                  token_ready
    DIALLING   a connection                     connected, dial_failed
    SENT       the backend's head               upstream_received
    HEAD       the first event of a stream      upstream_received, the unclassified timer
    STREAMING  the end of the answer            upstream_received, upstream_lost
    DONE       (completed)  FAILED (an error was answered)  ABANDONED (the caller left)

1. Only HEAD holds bytes back. What has gone to the caller is never replayed.
2. A refused token is replaced and the request replayed once; so is a request that a kept connection lost before any
   answer. Both need the request's body, which is held until the backend's answer is classified, and dropped then.
3. A caller who leaves ends the upstream in the same call, in whatever state.
4. Every way out passes `_close`, once: slot and buffers are given back, one observation is made.
"""

from enum import Enum
from typing import Literal

from mimic_proxy.dialects.base import Embedding, Stamp, StreamReader
from mimic_proxy.errors import (
    CircuitOpen,
    MimicError,
    Overloaded,
    ShuttingDown,
    TokenUnavailable,
    UpstreamAuthFailed,
    UpstreamBadResponse,
    UpstreamError,
)
from mimic_proxy.http.body import ask_for_usage
from mimic_proxy.http.framing import LARGE_BYTES
from mimic_proxy.http.headers import ResponseFields
from mimic_proxy.relay.answer import JSON_LINE, Answer
from mimic_proxy.relay.deadlines import NEVER, Phase, Timer, next_deadline, timeout_error
from mimic_proxy.relay.delivery import Ending, EventDelivery, WholeDelivery
from mimic_proxy.relay.inbound import RequestBody
from mimic_proxy.relay.outgoing import outgoing_head, wants_usage
from mimic_proxy.relay.ports import CallerPort, Cancellable, Composed, ConnectionPort, Request, Services
from mimic_proxy.relay.routes import Route
from mimic_proxy.relay.understanding import NO_FIELDS, Understood, understand
from mimic_proxy.telemetry.observation import NOTHING_SHOWN, Outcome, Shown
from mimic_proxy.telemetry.propagation import trace_lines, unsampled
from mimic_proxy.telemetry.record import Record, outcome_of_error, outcome_of_status
from mimic_proxy.tokens.token import AccessToken

REPLAY_WINDOW_SECONDS = 1.0
"""A later loss on a kept connection may be a prompt that kills the backend: it is not replayed."""
OFFLOAD_BYTES = 1048576
OBSERVED_BODY_BYTES = 1048576
JSON_TYPES = (b"application/json", b"text/json")
NOTHING_ASKED = Understood(NO_FIELDS)
REFUSED_LATE = "The access token was refused and is being replaced; the stream had begun already. Try again."


class State(Enum):
    NEW = Phase.REQUEST
    QUEUED = Phase.QUEUE
    TOKEN = Phase.TOKEN
    DIALLING = Phase.DIAL
    SENT = Phase.FIRST_BYTE
    HEAD = Phase.FIRST_EVENT
    STREAMING = Phase.ANSWER
    DONE = "done"
    FAILED = "failed"
    ABANDONED = "abandoned"


ENDED = frozenset({State.DONE, State.FAILED, State.ABANDONED})


class Exchange:
    """See the module's text. Made by the caller's protocol for each request on a relay route."""

    # What most exchanges never change stands here: an instance is made for every request.
    _parsing = False
    _slot = False
    _breaker_asked = False
    _token: AccessToken | None = None
    _waits_for_token = 0.0
    _dial: Cancellable | None = None
    _connection: ConnectionPort | None = None
    _upstream: ResponseFields | None = None
    _composing: Cancellable | None = None
    _composed: Composed | None = None
    _events: EventDelivery | None = None
    _whole: WholeDelivery | None = None
    _copy: list[bytes] | None = None
    _refused: tuple[int, ...] = ()
    """Generations of the tokens that the backend has refused for this call."""
    _progress = 0

    def __init__(self, services: Services, caller: CallerPort, request: Request, route: Route) -> None:
        fields = request.fields
        # These two are set here, since a compiled class has only literals for defaults.
        self.state = State.NEW
        self._asked = NOTHING_ASKED
        self._services = services
        self._caller = caller
        self._request = request
        self._route = route
        digits = services.new_trace()
        path = request.path.decode("ascii", "replace")
        record = Record(request.started, route.operation, request.method.decode("ascii"), path)
        if services.begin_trace is None:
            self.trace = unsampled(fields.traceparent, digits)
        else:
            self.trace = services.begin_trace(fields.traceparent or None, fields.tracestate, digits)
            record.traced = True
        record.trace = self.trace
        record.route = route.template
        record.caller = fields.caller
        record.client_retry = fields.client_retry
        if services.translates:
            record.mode = "buffered"
        self.record = record
        """What is known of this call."""
        self.answer = Answer(caller, request, record, b"req_" + digits[:32].encode("ascii"))
        json = not fields.content_type or fields.content_type.startswith(JSON_TYPES)
        self._body = RequestBody(
            streamed=route.body == "stream" or not (json or route.first_class),
            declared=request.content_length,
            chunked=fields.chunked,
            limit=services.limits.max_body_bytes,
            budget=services.budget,
        )

    # ---- the caller

    def start(self) -> None:
        """The head has been read; body events follow."""
        self._services.pulse.add(self)
        if self._services.debug is not None:
            self._debug(
                "%s %s begins, %s bytes declared", self._request.method, self._request.path, self._body.declared
            )
        refusal = self._body.announce()
        if refusal is not None:
            self._fail(refusal)
        elif self._request.fields.expect_continue and self._request.http11:
            self._invite()

    def caller_data(self, data: bytes) -> None:
        """A piece of the request's body; after an early answer nobody wants it."""
        if self.state in ENDED or self.answer.committed:
            return
        body = self._body
        refusal = body.count(len(data))
        if refusal is not None:
            self._fail(refusal)
            return
        self.record.body = self._services.clock()
        if not body.streamed:
            body.keep(data)
        elif self.state is State.SENT and self._connection is not None:
            self._upload(data)
        elif self.state not in (State.HEAD, State.STREAMING):
            body.keep(data)
            self._caller.pause(True)
            self.record.body = NEVER
            if self.state is State.NEW:
                self._advance()

    def caller_end(self) -> None:
        """The request is complete."""
        self._body.complete = True
        if self.state in ENDED:
            return
        if not self._body.streamed:
            self.record.body_seconds = self.record.body - self.record.started
        if self._body.streamed:
            # From here on nothing holds the caller back: a paused transport does not see it leave.
            self._caller.pause(False)
            if self.state is State.SENT and self._connection is not None:
                self._connection.send(self._body.framing.last)
            elif self.state is State.NEW:
                self._advance()
        elif self._request.method != b"POST" or self._route.body != "json":
            self._advance()
        elif self._body.received > OFFLOAD_BYTES:
            whole = self._body.take()
            self._parsing = True
            self._services.offload(lambda: self._understand(whole), self._understood_whole)
        else:
            self._understood_whole(self._understand(self._body.take()))

    def _understand(self, whole: bytes) -> Understood | MimicError:
        services, dialect, stamp = self._services, None, None
        if services.translates:
            dialect = services.dialect
            stamp = Stamp(services.new_trace()[:32], int(services.wall()))
        return understand(whole, self._route, dialect, stamp, parameters=self.trace.sampled)

    def _understood_whole(self, got: Understood | BaseException) -> None:
        self._parsing = False
        if self.state in ENDED:
            return
        if isinstance(got, Understood):
            self._asked = got
            record, fields = self.record, got.fields
            record.model = fields.model
            record.stream = fields.stream
            record.parameters = got.parameters
            if got.translation is not None:
                self._body.replace(got.translation.body)
                got.translation.body = b""
        elif isinstance(got, MimicError):
            self._fail(got)
        else:
            self._fail(MimicError("Mimic could not read the request's body."))
        self._advance()

    def caller_writable(self, writable: bool) -> None:
        """The caller's socket takes bytes again, or takes no more."""
        if self.state not in (State.SENT, State.HEAD, State.STREAMING):
            return
        if self._connection is not None:
            self._connection.pause(not writable)
        if writable:
            self._stall_ends()
            self.record.upstream = self._services.clock()
        else:
            self._caller_stalls()

    def _caller_stalls(self) -> None:
        self.record.caller_stalled = self._services.clock()
        self._progress = self._caller.unsent()

    def _stall_ends(self) -> None:
        if self.record.caller_stalled:
            self.record.send_blocked_seconds += self._services.clock() - self.record.caller_stalled
            self.record.caller_stalled = 0.0

    def caller_lost(self) -> None:
        """The caller has left (or half-closed, which counts as leaving)."""
        if self.state in ENDED:
            return
        if self.record.after_done:
            # SDKs hang up at [DONE]: the upstream is read to its end, so that it can be kept.
            self._stall_ends()
            if self._connection is not None:
                self._connection.pause(False)
            return
        self._leave_all()
        self._close(State.ABANDONED, "client_disconnect")

    def _upload(self, data: bytes) -> None:
        connection = self._connection
        assert connection is not None
        connection.send(self._body.framing.data(data))
        if not connection.writable:
            self.upstream_writable(False)

    # ---- slot, token, connection

    def _advance(self) -> None:
        """Go as far as what is there allows."""
        body = self._body
        ready = (body.complete or body.received > 0) if body.streamed else (body.complete and not self._parsing)
        if self.state is State.NEW and not (ready and self._take_slot()):
            return
        if self.state is State.TOKEN and not self._waits_for_token:
            if self._token is None and not self._token_got(self._obtain()):
                return
            if self._asked.embedding is not None:
                self._compose(self._asked.embedding)
            else:
                self._connect()

    def _invite(self) -> None:
        """Ask for a body that its caller holds back. It gets no slot yet: slots belong to calls whose body is there."""
        if self._services.slots.full:
            self._fail_overloaded()
        elif self._token_got(self._obtain()):
            # When the body is there the token is asked for again: that may be long after.
            self._token = None
            self._caller.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take_slot(self) -> bool:
        got = self._services.slots.take(self.slot_granted)
        if got == "granted":
            return self._slot_taken()
        if got == "queued":
            self.state = State.QUEUED
            self.record.queued = self._services.clock()
        else:
            self._fail_overloaded()
        return False

    def _fail_overloaded(self) -> None:
        message = "Mimic is at MAX_CONCURRENCY and its queue is full. Try again shortly."
        self._fail(Overloaded(message, retry_after=0.5))

    def _slot_taken(self) -> bool:
        self._slot = True
        self._token = None
        self.state = State.TOKEN
        wait = self._services.breaker.allow(self._services.clock())
        if wait is not None:
            self._fail(CircuitOpen("The backend failed repeatedly and is given a pause.", retry_after=wait))
            return False
        self._breaker_asked = True
        return True

    def slot_granted(self) -> None:
        """A slot has become free for this exchange."""
        self.record.queue_seconds = self._services.clock() - self.record.queued
        if self._slot_taken():
            self._advance()

    def _token_got(self, got: AccessToken | MimicError | None) -> bool:
        if got is None:
            self._waits_for_token = self._services.clock()
            return False
        if isinstance(got, MimicError):
            self._fail(got)
            return False
        self._token = got
        return True

    def token_ready(self, got: AccessToken | MimicError) -> None:
        """The token that this exchange waited for, or why there is none."""
        if self.state in ENDED:
            return
        refresh = got.refresh if isinstance(got, AccessToken) else None
        self.record.token_waited(self._waits_for_token, self._services.clock(), refresh)
        self._waits_for_token = 0.0
        if not self._token_got(got):
            return
        if self.state is State.NEW and not self._body.received:
            self._invite()
        else:
            self._advance()

    def _obtain(self) -> AccessToken | MimicError | None:
        return self._services.tokens.obtain(self.token_ready, self.trace, self._body.streamed)

    def _connect(self, *, fresh: bool = False) -> None:
        pool = self._services.backends[self._route.base].pool
        kept = None if fresh else pool.take()
        if kept is not None:
            self._send(kept)
            return
        self.state = State.DIALLING
        self.record.dialled = self._services.clock()
        self._dial = pool.dial(self)

    def connected(self, connection: ConnectionPort) -> None:
        """The dialled connection is there. The token may have lapsed meanwhile: it is asked for again."""
        self._dial = None
        self.record.backend_seconds += self._services.clock() - self.record.dialled
        got = self._obtain()
        if isinstance(got, AccessToken):
            self._token = got
            self._send(connection)
            return
        connection.keep_alive = True
        connection.release(reusable=True)
        self._token = None
        self.state = State.TOKEN
        self._token_got(got)

    def dial_failed(self, error: MimicError) -> None:
        """No connection could be had."""
        self._dial = None
        self.record.no_connection(self._services.clock())
        self._backend_failed()
        self._fail(error)

    def _send(self, connection: ConnectionPort) -> None:
        self._connection = connection
        connection.attach(self)
        self.record.backend_stalled = self.record.caller_stalled = 0.0
        if not self._caller.writable:
            connection.pause(True)
            self._caller_stalls()
        body = self._body
        whole = b"" if body.streamed else body.take()
        if self._asks_for_usage:
            whole = ask_for_usage(whole)
        head = self._upstream_head(len(whole))
        self.record.attempt_sent(self._services.clock())
        self.state = State.SENT
        if self._services.debug is not None:
            way = "a kept" if connection.reused else "a new"
            self._debug("attempt %d on %s connection: %d + %d bytes", self.record.attempts, way, len(head), len(whole))
        if len(whole) < LARGE_BYTES:
            connection.send(head + whole)
        else:
            connection.send(head)
            connection.send(whole)
        if body.streamed:
            self._begin_upload(connection)

    def _begin_upload(self, connection: ConnectionPort) -> None:
        body = self._body
        self.record.body = self.record.sent
        come = body.take()
        body.forget()
        if come:
            connection.send(body.framing.data(come))
        if body.complete:
            connection.send(body.framing.last)
        else:
            self.upstream_writable(connection.writable)

    @property
    def _asks_for_usage(self) -> bool:
        services = self._services
        return services.include_usage and not services.translates and wants_usage(self._route, self._asked.fields)

    def _upstream_head(self, size: int) -> bytes:
        token = self._token
        assert token is not None
        base = self._services.backends[self._route.base].base
        services, fields = self._services, self._request.fields
        trace = b""
        if services.trace_upstream:
            traced = services.begin_trace is not None
            trace = trace_lines(self.trace, fields.traceparent, fields.tracestate, traced=traced)
        length = self._request.content_length if self._body.streamed else size
        identity = self._asked.fields.stream or self._asked.translation is not None
        return outgoing_head(self._request, self._route, base, token, trace, length=length, identity=identity)

    # ---- the upstream

    def upstream_writable(self, writable: bool) -> None:
        """The backend's socket takes bytes again, or takes no more: an upload's caller is held back meanwhile."""
        if self.state is not State.SENT:
            return
        now = self._services.clock()
        self.record.backend_stalled = 0.0 if writable else now
        if self._body.streamed and not self._body.complete:
            self._caller.pause(not writable)
            self.record.body = now

    def upstream_received(self, fields: ResponseFields | None, body: bytes, ended: bool) -> None:
        """One read of the backend: its head if that ended here, body bytes, whether the answer ended."""
        self.record.upstream = self._services.clock()
        if fields is not None and not self._head_received(fields, ended):
            return
        if self._events is not None:
            ending = self._events.feed(body, ended)
            if ending is not None:
                self._end_as(ending)
        elif self._whole is not None:
            ending = self._whole.feed(body, ended)
            if ending is not None:
                self._end_as(ending)
        elif self._upstream is not None:
            self._relay_bytes(self._upstream, body, ended)

    def _head_received(self, fields: ResponseFields, ended: bool) -> bool:
        """Decide what to do with the answer. False: it is not relayed."""
        now, status = self.record.upstream, fields.status
        if status == 408 and fields.close and self._replays_loss(self._connection):
            self._release(reusable=False)
            self._replay_loss()
            return False
        self.record.head_came(now, status, fields.request_id)
        self.record.backend_stalled = 0.0
        self._upstream = fields
        if self._services.debug is not None:
            names = b", ".join(line.partition(b":")[0].lower() for line in fields.lines)
            self._debug("the backend answers %d after %.3f s: %s", status, now - self.record.sent, names)
        self._note_health(status)
        if status == 401:
            self._token_refused(ended)
            return False
        if 300 <= status < 400 and fields.location:
            message = f"The backend answered with a redirect ({status}), which is not followed. Check its base URL."
            self._fail(UpstreamBadResponse(message, error_type="other"))
            return False
        self._stop_upload()
        self._open_answer(fields)
        return True

    def _token_accepted(self) -> None:
        """The backend has answered to the token: a stream only with its first event, since that may refuse it."""
        upstream, token = self._upstream, self._token
        if token is not None and upstream is not None and upstream.status < 300:
            self._services.tokens.accepted(token, self.record.sent)

    def _stop_upload(self) -> None:
        """An answer before the request was complete: no more of it is sent, and the connection is not kept."""
        if self._body.streamed and not self._body.complete and self._connection is not None:
            self._connection.keep_alive = False
            self._caller.pause(False)

    def _open_answer(self, fields: ResponseFields) -> None:
        reader = self._reader_for(fields)
        if reader is not None:
            reader.facts.framed = fields.chunked or fields.content_length is not None
            record = self.record
            record.stream = True
            record.max_gap_seconds = record.max_gap_seconds or 0.0
            if self._services.translates:
                record.mode = "translated"
            gap = self._services.gaps(record.operation, record.model)
            self._events = EventDelivery(self.answer, reader, record, gap, self._begin_events)
            self.state = State.HEAD
        elif self._asked.translation is not None or self.answer.committed:
            stream = self._asked.fields.stream
            self._whole = WholeDelivery(fields, self._asked.translation, self._services.budget, stream=stream)
        else:
            self.state = State.STREAMING
            self._token_accepted()
            self._body.forget()
            self.answer.open(fields, self._keep_alive)
            if self._route.first_class and not fields.encoded and fields.content_type.startswith(JSON_TYPES):
                self._copy = []

    def _reader_for(self, fields: ResponseFields) -> StreamReader | None:
        """Of the stream that the backend's answer is; None if it is none."""
        translation = self._asked.translation
        if translation is None:
            if not fields.event_stream:
                return None
            return self._services.dialect.stream(self._asked.fields, self._route.stream_end, self._asks_for_usage)
        if fields.status >= 300 or fields.encoded:
            return None
        return translation.stream(fields.content_type)

    @property
    def _keep_alive(self) -> bool:
        return self._request.keep_alive and self._body.complete and not self._services.draining

    def _relay_bytes(self, fields: ResponseFields, body: bytes, ended: bool) -> None:
        answer = self.answer
        self.record.written = self.record.upstream
        answer.write(body, last=ended)
        if self._copy is not None:
            self._copy.append(body)
            if self.record.response_bytes > OBSERVED_BODY_BYTES:
                self._copy = None
        if ended:
            self._complete(outcome_of_status(fields.status), reusable=True)

    # ---- answers that are composed of several calls

    def _compose(self, embedding: Embedding) -> None:
        """The calls are made elsewhere; here they look like one."""
        composer = self._services.composer
        assert composer is not None, "a dialect that translates comes with a composer"
        self.state = State.SENT
        self.record.sent = self.record.upstream = self._services.clock()
        if not self._caller.writable:
            self._caller_stalls()
        self._composing = composer.compose(
            embedding, self._request, self.record, self._composing_progressed, self._composed_whole
        )

    def _composing_progressed(self) -> None:
        self.record.upstream = self._services.clock()

    def _composed_whole(self, got: Composed) -> None:
        self._composing = None
        if self.state in ENDED:
            return
        answer = got.answer
        self.record.absorb(got.calls)
        self._upstream = got.upstream
        if isinstance(answer, MimicError):
            if isinstance(answer, UpstreamError):
                self._backend_failed()
            self._fail(answer)
            return
        self._note_health(answer.status)
        self._answer_whole(answer.status, answer.body, answer.shown, reusable=False)

    def _note_health(self, status: int) -> None:
        if status >= 500:
            self._backend_failed()
        else:
            self._breaker_asked = False
            self._services.breaker.succeeded()

    # ---- answers that do not pass as they are

    def _begin_events(self) -> None:
        """The head goes out: nothing is replayed any more."""
        self.state = State.STREAMING
        self._token_accepted()
        self._body.forget()
        if not self.answer.committed:
            self.answer.open_events(self._upstream, self._keep_alive)

    def _end_as(self, ending: Ending) -> None:
        """Act on an end that a delivery has found."""
        match ending.kind:
            case "refused":
                self._token_refused(ending.reusable)
            case "answer":
                self._note_health(ending.status)
                self._answer_whole(ending.status, ending.body, ending.shown, reusable=ending.reusable)
            case "events":
                self.record.shown = ending.shown or NOTHING_SHOWN
                self.record.events_came(ending.body.count(b"\n\n") - 1, content=True)
                self._begin_events()
                self.answer.write(ending.body, last=True)
                self._complete("completed", reusable=ending.reusable)
            case "complete":
                self._end_events(reusable=ending.reusable)
            case _:
                assert ending.error is not None
                if isinstance(ending.error, UpstreamError):
                    self._backend_failed()
                self._fail(ending.error)

    def _end_events(self, *, reusable: bool) -> None:
        assert self._events is not None
        self.answer.write(b"", last=True)
        self._complete("upstream_error" if self._events.facts.error_frame else "completed", reusable=reusable)

    def _answer_whole(self, status: int, body: bytes, shown: Shown | None, *, reusable: bool) -> None:
        """One JSON object that is not the backend's own bytes; an error, where a heartbeat has begun a stream."""
        self.record.shown = shown or NOTHING_SHOWN
        if status < 300:
            self._token_accepted()
        self._body.forget()
        if self.answer.committed:
            self.answer.frame(b" ".join(body.splitlines()))
            self.answer.write(b"", last=True)
        else:
            upstream = self._upstream
            backend_id = upstream.request_id if upstream is not None else None
            lines = [] if upstream is None or not self._services.translates else upstream.lines_beside_body
            self.answer.whole(status, [JSON_LINE, *lines], body, backend_id, self._keep_alive)
        self._complete(outcome_of_status(status), reusable=reusable)

    # ---- losses, refusals

    def upstream_lost(self, error: MimicError) -> None:
        """The connection to the backend has gone, or what came on it cannot be read."""
        connection, self._connection = self._connection, None
        if self.state in ENDED or connection is None:
            return
        self.record.upstream = self._services.clock()
        if not connection.answered and self._replays_loss(connection):
            self._replay_loss()
            return
        if self._events is not None:
            self._end_as(self._events.end(error, whole=False))
        else:
            self._backend_failed()
            self._fail(error)

    def _replays_loss(self, lost: ConnectionPort | None) -> bool:
        if lost is None or not lost.reused or self.answer.committed or self._body.streamed:
            return False
        in_time = self._services.clock() - self.record.sent <= REPLAY_WINDOW_SECONDS
        first = all(attempt.retry != "connect" for attempt in self.record.earlier)
        return self.state is State.SENT and in_time and first and self._services.retry_dead_connection

    def _replay_loss(self) -> None:
        self.record.repeat("connect", "reset")
        if self._services.debug is not None:
            self._debug("the kept connection was dead: once more on a new one")
        self._connect(fresh=True)

    def _token_refused(self, ended: bool) -> None:
        """The backend does not take the token: replace it and replay, once."""
        token, self._token = self._token, None
        assert token is not None
        self._release(reusable=ended)
        self._events = None
        self._forget_whole()
        subject = self._asked.fields.model or self._route.template
        got = self._services.tokens.replace(
            token, self.record.sent, self.token_ready, self.trace, subject, self._refused
        )
        self._refused += (token.generation,)
        if self._services.debug is not None:
            self._debug("access token %d was refused", token.generation)
        if self._body.streamed or self.answer.committed:
            self._ask_to_repeat(got)
            return
        if isinstance(got, MimicError):
            self._fail(got)
            return
        self.record.repeat("unauthorized", "unauthorized")
        self._upstream = None
        self.state = State.TOKEN
        if self._token_got(got):
            self._advance()

    def _ask_to_repeat(self, got: AccessToken | MimicError | None) -> None:
        """Neither a streamed body nor a begun answer can be replayed: the caller tries again, with the new token."""
        if got is None:
            self._services.tokens.leave(self.token_ready)
        if isinstance(got, MimicError):
            self._fail(got)
        elif self.answer.committed:
            self._fail(UpstreamAuthFailed(REFUSED_LATE, error_type="unauthorized"))
        else:
            message = "The access token was refused and is being replaced; an upload cannot be replayed. Try again."
            self._fail(TokenUnavailable(message, retry_after=1, should_retry=True, error_type="unauthorized"))

    def _backend_failed(self) -> None:
        self._breaker_asked = False
        self._services.breaker.failed(self._services.clock())

    # ---- timers

    def tick(self) -> None:
        """The pulse: act on the deadline that has passed, if one has."""
        if self.state in ENDED:
            return
        when, name = self._deadline()
        if when <= self._services.clock():
            self._expired(name)

    def _deadline(self) -> tuple[float, Timer]:
        limits = self._services.limits
        phase: Phase = self.state.value
        may_beat = bool(limits.heartbeat_after) and self._may_beat()
        body_open = not self._body.complete and not self.answer.committed
        return next_deadline(self.record, phase, limits, body_open=body_open, may_beat=may_beat)

    def _may_beat(self) -> bool:
        if self._events is not None:
            return self._events.interruptible
        return self.state is State.SENT and self._asked.fields.stream

    def _expired(self, name: Timer) -> None:
        match name:
            case "after_done":
                self._end_events(reusable=False)
            case "unclassified":
                assert self._events is not None
                self._events.release()
            case "heartbeat":
                self._beat()
            case "send":
                self._check_stall()
            case _:
                self.record.timer = name
                if name in ("first_byte", "idle"):
                    self._backend_failed()
                self._fail(timeout_error(name, self._services.limits))

    def _beat(self) -> None:
        if self._events is not None:
            self._events.release()
        elif not self.answer.committed:
            self._body.forget()
            self.answer.open_events(None, self._keep_alive)
        self.record.written = self._services.clock()
        self.record.heartbeats += 1
        self.answer.ping()

    def _check_stall(self) -> None:
        """Nothing was taken for a whole send timer: that side counts as gone."""
        if self.record.backend_stalled:
            self._fail(timeout_error("send", self._services.limits))
            return
        unsent = self._caller.unsent()
        if unsent != self._progress:
            self._progress, self.record.caller_stalled = unsent, self._services.clock()
            return
        self.record.timer = "send"
        self._leave_all()
        self._caller.drop()
        self._close(State.ABANDONED, "client_disconnect")

    def reject(self, error: MimicError) -> None:
        """The rest of the request cannot be read."""
        self._fail(error)

    def drain(self) -> None:
        """The process stops now: end what is still running in the way its caller understands."""
        self._fail(ShuttingDown("Mimic is shutting down. Try again shortly.", retry_after=1))

    # ---- ends

    def _fail(self, error: MimicError) -> None:
        """End with an error of ours, in the form that the state of the answer allows."""
        if self.state in ENDED:
            return
        if self.record.after_done:
            self._end_events(reusable=False)
            return
        self.record.failed(error)
        self._leave_all()
        answer, facts = self.answer, self._events.facts if self._events is not None else None
        if not answer.committed:
            answer.error(error, self._keep_alive)
            self._finish_caller()
        elif answer.stream and (facts is None or not facts.in_partial):
            if facts is None or not facts.error_frame:
                answer.frame(error.body())
            answer.write(b"", last=True)
            self._finish_caller()
        else:
            answer.write(b"")
            self._caller.cut()
        self._close(State.FAILED, outcome_of_error(error))

    def _complete(self, outcome: Outcome, *, reusable: bool) -> None:
        self._release(reusable=reusable)
        self._finish_caller()
        self._close(State.DONE, outcome)

    def _finish_caller(self) -> None:
        self._caller.finish(self.answer.keep_alive)

    def _release(self, *, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release(reusable and self._body.complete)

    def _leave_all(self) -> None:
        """Give up whatever this exchange waits for or holds open upstream."""
        if self._waits_for_token:
            self._services.tokens.leave(self.token_ready)
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.cancel()
        composing, self._composing = self._composing, None
        if composing is not None:
            composing.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _close(self, state: Literal[State.DONE, State.FAILED, State.ABANDONED], outcome: Outcome) -> None:
        """The one way out."""
        services = self._services
        now = services.clock()
        if self.state is State.QUEUED:
            services.slots.leave(self.slot_granted)
            self.record.queue_seconds = now - self.record.queued
        if self._waits_for_token:
            self.record.token_waited(self._waits_for_token, now, None)
        if self.state is State.DIALLING:
            self.record.backend_seconds += now - self.record.dialled
        if self.record.caller_stalled:
            self._stall_ends()
        record, body = self.record, self._body
        record.request_bytes = body.received
        if not (body.streamed or body.complete):
            record.body_seconds = now - record.started
        record.end(outcome, now)
        record.settle_overhead(record.upstream if state is State.DONE and not record.after_done else now)
        self.state = state
        services.pulse.discard(self)
        if services.debug is not None:
            self._debug("ends as %s, %d bytes answered", outcome, record.response_bytes)
        body.forget()
        self._forget_whole()
        if self._breaker_asked:
            services.breaker.abandoned()
        if self._slot:
            self._slot = False
            services.slots.give()
        services.defer(self._tell, outcome != "completed" or record.response_bytes > LARGE_BYTES)

    def _tell(self) -> None:
        """What the response says of itself is read when nobody waits for it."""
        record = self.record
        if self._events is not None:
            record.shown = self._events.facts.shown
        elif self._copy and record.status < 400:
            record.shown = self._services.dialect.shown(b"".join(self._copy)) or NOTHING_SHOWN
        self._services.observe(record)

    def _forget_whole(self) -> None:
        whole, self._whole = self._whole, None
        if whole is not None:
            whole.forget()

    def _debug(self, message: str, *values: object) -> None:
        debug = self._services.debug
        if debug is not None:
            shown = (value.decode("ascii", "replace") if isinstance(value, bytes) else value for value in values)
            debug(f"%s: {message}", self.answer.request_id.decode("ascii"), *shown)
