"""One exchange, sans I/O: what caller, backend, tokens and timers report comes in as method calls, what is to be done
goes out as calls on the ports. `relay.states` has the table of states and the events that each allows.

1. Only HEAD holds bytes back. What has gone to the caller is never replayed.
2. A replay needs the request's body, which is held until the backend's response is classified, and dropped then.
3. A caller who leaves ends the upstream in the same call, in whatever state.
4. Every way out passes `_close`, once: slot and buffers are given back, the record is complete.
"""

import logging

from mimic_proxy.dialects.base import Embedding
from mimic_proxy.errors import (
    MimicError,
    ShuttingDown,
    TokenUnavailable,
    UpstreamAuthFailed,
    UpstreamBadResponse,
    UpstreamError,
)
from mimic_proxy.http.framing import LARGE_BYTES
from mimic_proxy.http.headers import ResponseFields
from mimic_proxy.relay.admission import Admission, overloaded
from mimic_proxy.relay.attempt import Attempt
from mimic_proxy.relay.delivery import Delivery, Ending
from mimic_proxy.relay.ports import MOST_WORKED, CallerPort, Cancellable, Composed, ConnectionPort, Request, Services
from mimic_proxy.relay.response import Response
from mimic_proxy.relay.routes import Route
from mimic_proxy.relay.states import State
from mimic_proxy.relay.timers import NEVER, Timer, caller_gone, caller_stalls, next_deadline, stall_ends, timeout_error
from mimic_proxy.relay.upstream_request import Understood, UpstreamRequest
from mimic_proxy.telemetry.observation import NOTHING_SHOWN, Outcome, Shown
from mimic_proxy.telemetry.propagation import unsampled
from mimic_proxy.telemetry.record import Record, outcome_of_error, outcome_of_status
from mimic_proxy.tokens.token import AccessToken

OFFLOAD_BYTES = 1048576
REFUSED_LATE = "The access token was refused and is being replaced; the stream had begun already. Try again."
REFUSED_UPLOAD = "The access token was refused and is being replaced; an upload cannot be replayed. Try again."

logger = logging.getLogger("mimic.relay")


class Exchange:
    """See the module's text. Made by the caller's protocol for each request on a relay route."""

    # What most exchanges never change stands here: an instance is made for every request.
    _upstream: ResponseFields | None = None
    _composing: Cancellable | None = None
    _delivery: Delivery | None = None

    def __init__(self, services: Services, caller: CallerPort, request: Request, route: Route) -> None:
        # Set here, since a compiled class has only literals for defaults.
        self.state = State.RECEIVING
        self._services = services
        self._caller = caller
        self._request = request
        self._route = route
        digits = services.new_trace()
        self.record = record = _record_of(services, request, route, digits)
        """What is known of this call."""
        self.response = Response(caller, request, record, b"req_" + digits[:32].encode("ascii"))
        self._backend = services.backends[route.base]
        self._attempt = Attempt(services, self._backend.pool, record, self)
        self._upstream_request = UpstreamRequest(services, request, route, record)
        self._body = self._upstream_request.body
        self._attempt.once = self._body.streamed
        self._admission = Admission(services.slots, services.breaker)

    # ---- the request

    def start(self) -> None:
        """The head has been read; body events follow."""
        self._services.ticker.add(self)
        if self._services.debug is not None:
            self._debug(
                "%s %s begins, %s bytes declared", self._request.method, self._request.path, self._body.declared
            )
        refusal = self._body.announce()
        if refusal is not None:
            self._fail(refusal)
        elif self._request.fields.expect_continue and self._request.http11:
            self._invite()

    def _invite(self) -> None:
        """Ask for a body that its caller holds back. It gets no slot yet: slots belong to calls whose body is there."""
        if self._services.slots.full:
            self._fail(overloaded())
        elif self._holds_token(self._attempt.obtain()):
            self._caller.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def caller_data(self, data: bytes) -> None:
        """A piece of the request's body; after an early response nobody wants it."""
        if self.state is State.ENDED or self.response.committed:
            return
        body, state, connection = self._body, self.state, self._attempt.connection
        refusal = body.count(len(data))
        if refusal is not None:
            self._fail(refusal)
            return
        self.record.body = self._services.clock()
        if not body.streamed:
            body.keep(data)
        elif state is State.UPLOADING and connection is not None:
            connection.send(body.framing.data(data))
            if not connection.writable:
                self.upstream_writable(False)
        elif state not in (State.HEAD, State.GATHERING):
            body.keep(data)
            self._caller.pause(True)
            self.record.body = NEVER
            if state is State.RECEIVING:
                self._take_slot()

    def caller_end(self) -> None:
        """The request is complete."""
        body = self._body
        body.complete = True
        if self.state is State.ENDED:
            return
        if body.streamed:
            # From here on nothing holds the caller back: a paused transport does not see it leave.
            self._caller.pause(False)
            if self.state is State.UPLOADING and self._attempt.connection is not None:
                self.state = State.SENT
                self._upstream_request.end_upload(self._attempt.connection)
            elif self.state is State.RECEIVING:
                self._take_slot()
            return
        self.record.body_seconds = self.record.body - self.record.started
        if self._request.method != b"POST" or self._route.body != "json":
            self._take_slot()
        elif body.received > OFFLOAD_BYTES:
            whole = body.take()
            self.state = State.PARSING
            self._services.offload(lambda: self._upstream_request.parse(whole), self.request_parsed)
        else:
            self._parsed(self._upstream_request.parse(body.take()))

    def request_parsed(self, got: Understood | BaseException) -> None:
        """A worker thread has read the body."""
        if self.state is State.PARSING:
            self._parsed(got)

    def _parsed(self, got: Understood | BaseException) -> None:
        if isinstance(got, Understood):
            self._upstream_request.parsed(got)
            self._take_slot()
        else:
            self._fail(got if isinstance(got, MimicError) else MimicError("Mimic could not read the request's body."))

    # ---- slot, token, connection

    def _take_slot(self) -> None:
        got = self._services.slots.take(self.slot_granted)
        if got == "granted":
            self._begin()
        elif got == "queued":
            self.state = State.QUEUED
            self.record.queued = self._services.clock()
        else:
            self._fail(overloaded())

    def slot_granted(self) -> None:
        """A slot has become free for this exchange. A fault here is its own, not that of whoever gave the slot back."""
        self.record.queue_seconds = self._services.clock() - self.record.queued
        try:
            self._begin()
        except Exception:
            logger.exception("A fault in a call that got a slot; the call ends.")
            self._fail(MimicError("Mimic could not serve this request; its log says why."))

    def _begin(self) -> None:
        self.state = State.TOKEN
        refusal = self._admission.enter(self._services.clock())
        if refusal is not None:
            self._fail(refusal)
        # A token from before the body was invited is not used: that may be long ago.
        elif not self._attempt.waits and self._holds_token(self._attempt.obtain()):
            self._connect()

    def _holds_token(self, got: AccessToken | MimicError | None) -> bool:
        if isinstance(got, MimicError):
            self._fail(got)
        return isinstance(got, AccessToken)

    def token_ready(self, error: MimicError | None) -> None:
        """The token that this exchange waited for has come, or never will."""
        if error is not None:
            self._fail(error)
        elif self.state is State.TOKEN:
            self._connect()
        elif self.state is State.RECEIVING and not self._body.received:
            self._invite()

    def _connect(self) -> None:
        embedding = self._upstream_request.asked.embedding
        if embedding is not None:
            self._compose(embedding)
            return
        connection = self._attempt.connect()
        if connection is None:
            self.state = State.DIALLING
        else:
            self.connected(connection)

    def token_lapsed(self, error: MimicError | None) -> None:
        """The connection is there, and the token has expired meanwhile."""
        self.state = State.TOKEN
        if error is not None:
            self._fail(error)

    def not_connected(self, error: MimicError) -> None:
        """No connection could be opened."""
        self._backend_failed()
        self._fail(error)

    def connected(self, connection: ConnectionPort) -> None:
        """A connection is there: the request is sent on it."""
        connection.attach(self)
        body, record = self._body, self.record
        record.backend_stalled = record.caller_stalled = 0.0
        if not self._caller.writable:
            connection.pause(True)
            caller_stalls(record, self._caller.unsent(), self._services.clock())
        token = self._attempt.token
        assert token is not None
        head, whole = self._upstream_request.message(self._backend.base, token)
        self.state = State.SENT
        self._attempt.send(head, whole)
        if self._services.debug is not None:
            way = "a kept" if connection.reused else "a new"
            self._debug("attempt %d on %s connection: %d + %d bytes", record.attempts, way, len(head), len(whole))
        if body.streamed:
            record.body = record.sent
            self._upstream_request.begin_upload(connection)
            if not body.complete:
                self.state = State.UPLOADING
                self.upstream_writable(connection.writable)

    # ---- the backend's response

    def upstream_writable(self, writable: bool) -> None:
        """The backend's socket takes bytes again, or takes no more: an upload's caller is held back meanwhile."""
        if self.state not in (State.UPLOADING, State.SENT):
            return
        now = self._services.clock()
        self.record.backend_stalled = 0.0 if writable else now
        if self.state is State.UPLOADING:
            self._caller.pause(not writable)
            self.record.body = now

    def upstream_received(self, fields: ResponseFields | None, body: bytes, ended: bool) -> None:
        """One read of the backend: its head if that ended here, body bytes, whether the response ended."""
        self.record.upstream = self._services.clock()
        if fields is not None and not self._head_came(fields, ended):
            return
        delivery = self._delivery
        ending = delivery.feed(body, ended) if delivery is not None else None
        if ending is not None:
            self._end_as(ending)

    def _head_came(self, fields: ResponseFields, ended: bool) -> bool:
        """Decide what to do with the response. False: it is not relayed."""
        status, record = fields.status, self.record
        if status == 408 and fields.close and self._may_replay and self._attempt.replays_loss(timed_out=True):
            lost = self._attempt.connection
            assert lost is not None
            lost.release(reusable=False)
            self._replay_loss()
            return False
        record.head_came(record.upstream, status, fields.request_id)
        record.backend_stalled = 0.0
        self._upstream = fields
        if self._services.debug is not None:
            names = b", ".join(line.partition(b":")[0].lower() for line in fields.lines)
            self._debug("the backend answers %d after %.3f s: %s", status, record.head - record.sent, names)
        if status >= 500:
            self._backend_failed()
        else:
            self._admission.responded()
        if status == 401 or (status >= 400 and fields.invalid_token and not self._attempt.hopeless(self._subject)):
            self._token_refused(ended)
            return False
        if 300 <= status < 400 and fields.location:
            message = f"The backend answered with a redirect ({status}), which is not followed. Check its base URL."
            self._fail(UpstreamBadResponse(message, error_type="other"))
            return False
        if self.state is State.UPLOADING and self._attempt.connection is not None:
            # No more of the request is sent, and the connection is not kept.
            self._attempt.connection.keep_alive = False
            self._caller.pause(False)
        self._open_response(fields)
        return True

    def _open_response(self, fields: ResponseFields) -> None:
        self._delivery = delivery = Delivery(self._services, self._upstream_request, self._route, self.response)
        replayable = not self._body.streamed
        self.state = delivery.open(fields, self.record, self._begin_events, replayable=replayable)
        if self.state is State.STREAMING:
            self._begin_bytes(fields)

    def _begin_bytes(self, fields: ResponseFields) -> None:
        self.state = State.STREAMING
        self._attempt.accepted()
        self._body.forget()
        self.response.open(fields, self._keep_alive)

    @property
    def _keep_alive(self) -> bool:
        return self._request.keep_alive and self._body.complete and not self._services.draining

    def _begin_events(self) -> None:
        """The head goes out: nothing is replayed any more."""
        self.state = State.STREAMING
        self._attempt.accepted()
        self._body.forget()
        if not self.response.committed:
            self.response.open_events(self._upstream, self._keep_alive)

    # ---- responses that are composed of several calls

    def _compose(self, embedding: Embedding) -> None:
        """The calls are made elsewhere; here they look like one."""
        composer, record = self._services.composer, self.record
        assert composer is not None, "a dialect that translates comes with a composer"
        self.state = State.COMPOSING
        record.sent = record.upstream = self._services.clock()
        if not self._caller.writable:
            caller_stalls(record, self._caller.unsent(), self._services.clock())
        self._composing = composer.compose(embedding, self._request, record, self.composing_progressed, self.composed)

    def composing_progressed(self) -> None:
        """One of the calls was answered."""
        self.record.upstream = self._services.clock()

    def composed(self, got: Composed) -> None:
        """The calls have ended."""
        self._composing = None
        self.record.absorb(got.calls)
        self._upstream = got.upstream
        answer = got.answer
        if not isinstance(answer, MimicError):
            self._respond_whole(answer.status, answer.body, answer.shown, reusable=False)
            return
        if isinstance(answer, UpstreamError):
            self._backend_failed()
        self._fail(answer)

    # ---- ends of a response

    def _end_as(self, ending: Ending) -> None:
        """Act on an end that a delivery has found."""
        match ending.kind:
            case "passed":
                self._complete(outcome_of_status(self.record.status), reusable=True)
            case "done":
                self.state = State.AFTER_DONE
                self.record.after_done = self.record.upstream
            case "large":
                self._translate_elsewhere()
            case "refused" if not ending.body or not self._attempt.hopeless(self._subject):
                self._token_refused(ending.reusable)
            case "refused" | "pass":
                self._pass_error(ending)
            case "answer":
                self._respond_whole(ending.status, ending.body, ending.shown, reusable=ending.reusable)
            case "events":
                self.record.shown = ending.shown or NOTHING_SHOWN
                self.record.events_came(ending.body.count(b"\n\n") - 1, content=True)
                self._begin_events()
                self.response.write(ending.body, last=True)
                self._complete("completed", reusable=ending.reusable)
            case "complete":
                self._end_events(reusable=ending.reusable)
            case _:
                assert ending.error is not None
                if isinstance(ending.error, UpstreamError):
                    self._backend_failed()
                self._fail(ending.error)

    def _pass_error(self, ending: Ending) -> None:
        """It says nothing of the token, or another one would not help: it is relayed as it came."""
        delivery, fields = self._delivery, self._upstream
        assert delivery is not None
        assert fields is not None
        delivery.pass_on(self.record)
        self._begin_bytes(fields)
        passed = delivery.feed(ending.body, ending.reusable)
        if passed is not None:
            self._end_as(passed)

    def _translate_elsewhere(self) -> None:
        """All other streams would wait for it here."""
        delivery = self._delivery
        assert delivery is not None
        self.state = State.TRANSLATING
        self._attempt.release(reusable=self._body.complete)
        self._services.offload(delivery.translate, self.response_translated)

    def response_translated(self, got: Ending | BaseException) -> None:
        """A worker thread has translated a large response."""
        if self.state is not State.TRANSLATING:
            return
        if isinstance(got, Ending):
            self._end_as(got)
        else:
            self._fail(MimicError("Mimic could not translate the backend's response; its log says why."))

    def _end_events(self, *, reusable: bool) -> None:
        self.response.write(b"", last=True)
        self._complete("upstream_error" if self.record.error_frame else "completed", reusable=reusable)

    def _respond_whole(self, status: int, body: bytes, shown: Shown | None, *, reusable: bool) -> None:
        """One JSON object that is not the backend's own bytes."""
        if status >= 500:
            self._backend_failed()
        self.record.shown = shown or NOTHING_SHOWN
        if status < 300:
            self._attempt.accepted()
        self._body.forget()
        upstream = self._upstream
        lines = [] if upstream is None or not self._services.translates else upstream.lines_beside_body
        self.response.respond(status, body, upstream, lines, self._keep_alive)
        self._complete(outcome_of_status(status), reusable=reusable)

    # ---- losses, refusals

    @property
    def _may_replay(self) -> bool:
        return self.state is State.SENT and not self.response.committed and not self._body.streamed

    def upstream_lost(self, error: MimicError) -> None:
        """The connection to the backend has gone, or what came on it cannot be read."""
        self.record.upstream = self._services.clock()
        if self._may_replay and self._attempt.replays_loss():
            self._replay_loss()
            return
        self._attempt.connection = None
        if self._delivery is not None:
            self._end_as(self._delivery.lost(error))
        else:
            self._backend_failed()
            self._fail(error)

    def _replay_loss(self) -> None:
        self.state = State.DIALLING
        self._attempt.replay_loss()
        if self._services.debug is not None:
            self._debug("the kept connection was dead: once more on a new one")

    @property
    def _subject(self) -> str:
        """What refusals of the token are remembered for."""
        return self.record.model or self._route.template

    def _token_refused(self, ended: bool) -> None:
        """The backend does not take the token: replace it and replay, once."""
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.forget()
        instead = _instead_of_replay(begun=self.response.committed, upload=self._body.streamed)
        if self._services.debug is not None:
            self._debug("access token %d was refused", self._attempt.token.generation if self._attempt.token else 0)
        self.state = State.TOKEN
        got = self._attempt.refused(self._subject, reusable=ended and self._body.complete, instead=instead)
        if not isinstance(got, MimicError):
            self._upstream = None
        if self._holds_token(got):
            self._connect()

    def _backend_failed(self) -> None:
        self._admission.failed(self._services.clock())

    # ---- the caller

    def caller_writable(self, writable: bool) -> None:
        """The caller's socket takes bytes again, or takes no more."""
        connection = self._attempt.connection
        if connection is None and self.state is not State.COMPOSING:
            return
        now = self._services.clock()
        if connection is not None:
            connection.pause(not writable)
        if writable:
            stall_ends(self.record, now)
            self.record.upstream = now
        else:
            caller_stalls(self.record, self._caller.unsent(), now)

    def caller_lost(self) -> None:
        """The caller has left (or half-closed, which counts as leaving)."""
        if self.state is State.AFTER_DONE:
            # SDKs hang up at [DONE]: the upstream is read to its end, so that it can be kept.
            stall_ends(self.record, self._services.clock())
            if self._attempt.connection is not None:
                self._attempt.connection.pause(False)
        elif self.state is not State.ENDED:
            self._leave_all()
            self._close("client_disconnect")

    # ---- timers

    def tick(self) -> None:
        """The ticker: act on the deadline that has passed, if one has."""
        if self.state is State.ENDED:
            return
        when, name = self._deadline()
        if when <= self._services.clock():
            self._expired(name)

    def _deadline(self) -> tuple[float, Timer]:
        limits = self._services.limits
        may_beat = bool(limits.heartbeat_after) and self._may_beat()
        body_open = not self._body.complete and not self.response.committed
        return next_deadline(self.record, self.state, limits, body_open=body_open, may_beat=may_beat)

    def _may_beat(self) -> bool:
        if self._delivery is not None and not self._delivery.interruptible:
            return False
        silent = self.state in (State.SENT, State.GATHERING, State.TRANSLATING, State.COMPOSING)
        return self._upstream_request.asked.fields.stream if silent else self._delivery is not None

    def _expired(self, name: Timer) -> None:
        match name:
            case "after_done":
                self._end_events(reusable=False)
            case "unclassified":
                assert self._delivery is not None
                self._delivery.release()
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
        if self._delivery is not None:
            self._delivery.release()
        if not self.response.committed:
            self._body.forget()
            self.response.open_events(None, self._keep_alive)
        self.record.written = self._services.clock()
        self.record.heartbeats += 1
        self.response.ping()

    def _check_stall(self) -> None:
        """Nothing was taken for a whole send timer: that side counts as gone."""
        record = self.record
        if record.backend_stalled:
            self._fail(timeout_error("send", self._services.limits))
            return
        if not caller_gone(record, self._caller.unsent(), self._services.clock()):
            return
        record.timer = "send"
        self._leave_all()
        self._caller.drop()
        self._close("client_disconnect")

    def reject(self, error: MimicError) -> None:
        """The rest of the request cannot be read."""
        self._fail(error)

    def drain(self) -> None:
        """The process stops now: end what is still running in the way its caller understands."""
        self._fail(ShuttingDown("Mimic is shutting down. Try again shortly.", retry_after=1))

    # ---- ends

    def _fail(self, error: MimicError) -> None:
        """End with an error of ours, in the form that the state of the response allows."""
        if self.state is State.ENDED:
            return
        if self.state is State.AFTER_DONE:
            self._end_events(reusable=False)
            return
        self.record.failed(error)
        self._leave_all()
        facts = self._delivery.facts if self._delivery is not None else None
        if self.response.fail(error, self._keep_alive, facts):
            self._caller.finish(self.response.keep_alive)
        else:
            self._caller.cut()
        self._close(outcome_of_error(error))

    def _complete(self, outcome: Outcome, *, reusable: bool) -> None:
        if outcome != "upstream_error":
            self._admission.succeeded()
        self._attempt.release(reusable=reusable and self._body.complete)
        self._caller.finish(self.response.keep_alive)
        self._close(outcome, waited_until=self.record.upstream)

    def _leave_all(self) -> None:
        """Give up whatever this exchange waits for or holds open upstream."""
        self._attempt.leave()
        composing, self._composing = self._composing, None
        if composing is not None:
            composing.cancel()

    def _close(self, outcome: Outcome, *, waited_until: float = 0.0) -> None:
        """The one way out. waited_until: the moment from which the backend was not waited for any more; 0.0: now."""
        services, record, body = self._services, self.record, self._body
        now = services.clock()
        if self.state is State.QUEUED:
            services.slots.leave(self.slot_granted)
            record.queue_seconds = now - record.queued
        if record.caller_stalled:
            stall_ends(record, now)
        if self.state is State.AFTER_DONE:
            waited_until = now
        self.state = State.ENDED
        record.request_bytes = body.received
        if not (body.streamed or body.complete):
            record.body_seconds = now - record.started
        record.end(outcome, now)
        record.settle_overhead(waited_until or now)
        services.ticker.discard(self)
        if services.debug is not None:
            self._debug("ends as %s, %d bytes answered", outcome, record.response_bytes)
        body.forget()
        if self._delivery is not None:
            self._delivery.forget()
        self._attempt.end()
        self._admission.leave()
        services.defer(self._report, outcome != "completed" or record.response_bytes > LARGE_BYTES)

    def _report(self) -> None:
        """What the response says of itself is read when nobody waits for it."""
        record, worked = self.record, self._services.worked
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            # It leads back here, and a circle stays in memory until a full collection.
            delivery.say(record)
        if record.outcome == "completed" and record.model is not None and len(worked) < MOST_WORKED:
            worked[record.model] = None
        self._services.observe(record)

    def _debug(self, message: str, *values: object) -> None:
        debug = self._services.debug
        if debug is not None:
            shown = (value.decode("ascii", "replace") if isinstance(value, bytes) else value for value in values)
            debug(f"%s: {message}", self.record.request_id, *shown)


def _instead_of_replay(*, begun: bool, upload: bool) -> MimicError | None:
    """The error where a request whose token was refused cannot be sent again."""
    if begun:
        return UpstreamAuthFailed(REFUSED_LATE, error_type="unauthorized")
    if upload:
        return TokenUnavailable(REFUSED_UPLOAD, retry_after=1, should_retry=True, error_type="unauthorized")
    return None


def _record_of(services: Services, request: Request, route: Route, digits: str) -> Record:
    """What is known of a call when its head has been read. digits: new random ones, of which its ids are made."""
    fields = request.fields
    record = Record(
        request.started, route.operation, request.method.decode("ascii"), request.path.decode("ascii", "replace")
    )
    if services.begin_trace is None:
        record.trace = unsampled(fields.traceparent, digits)
    else:
        record.trace = services.begin_trace(fields.traceparent or None, fields.tracestate, digits)
        record.traced = True
    record.route = route.template
    record.caller = fields.caller
    record.client_retry = fields.client_retry
    if services.translates:
        record.mode = "buffered"
    return record
