"""The ports of an exchange, played by hand: each keeps what was asked of it and complains of what is not allowed."""

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import h11

from fakes.caller import Response
from fakes.replies import JSON_FIELDS, SSE_FIELDS, Fields
from mimic_proxy.errors import MimicError, UpstreamAuthFailed, UpstreamBadResponse, UpstreamUnreachable
from mimic_proxy.http.headers import read_response, response_names
from mimic_proxy.relay.attempt import Attempt
from mimic_proxy.relay.ports import Composed
from mimic_proxy.relay.states import EVENTS, State
from mimic_proxy.telemetry.observation import Trace
from mimic_proxy.telemetry.record import Record
from mimic_proxy.tokens.token import FOREVER, AccessToken, Moment, credential_field, issue

_LARGEST_HEAD_BYTES = 1 << 20


def report(listener: Any, method: str, *what: Any, event: str = "") -> None:
    """Tell a listener something. What is told to an exchange, or to its attempt, has to be allowed by its state."""
    exchange = getattr(listener, "_caller", listener) if event else listener
    state, event = getattr(exchange, "state", None), event or method
    assert not isinstance(state, State) or event in EVENTS[state], f"{event} while {state}"
    getattr(listener, method)(*what)


class Clock:
    """Monotonic seconds that stand still until a test moves them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def access_token(value: str = "first-token", generation: int = 1) -> AccessToken:
    """A token that never expires, sent as bearer."""
    field = credential_field("Authorization", "Bearer {token}", value)
    return issue(value, generation, field=field, sent=Moment(0.0, 0.0), lifetime=FOREVER, jitter=0.0)


def read_answers(data: bytes, *, closed: bool, methods: Sequence[bytes] = ()) -> list[Response]:
    """What a foreign parser makes of the bytes that went to a caller. `closed`: and then the connection ended.

    methods: of the requests; POST where none is given. The last answer may be incomplete; its status is 0 where not
    even a head has come.
    """
    answers: list[Response] = []
    while data or not answers:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD_BYTES)
        method = methods[len(answers)] if len(answers) < len(methods) else b"POST"
        parser.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"localhost")]))
        parser.send(h11.EndOfMessage())
        if data:
            parser.receive_data(data)
        if closed:
            parser.receive_data(b"")
        answers.append(found := _next_answer(parser, closed))
        if not found.complete:
            break
        data = parser.trailing_data[0]
    return answers


def _next_answer(parser: h11.Connection, closed: bool) -> Response:
    found, interim = Response(0, b"", []), []
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError as error:
            if not closed:
                raise AssertionError("only the end of the connection may leave an answer incomplete") from error
            return found
        if isinstance(event, h11.InformationalResponse):
            interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            headers = [(bytes(name), bytes(value)) for name, value in event.headers]
            found = Response(event.status_code, bytes(event.http_version), headers, interim=interim)
        elif isinstance(event, h11.Data):
            found.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            found.complete = True
            return found
        else:
            found.interim = interim
            return found


class Caller:
    """The caller's side. Nothing may be written once the answer was finished or cut."""

    def __init__(self) -> None:
        self.writable = True
        self.written = b""
        self.buffered = 0
        self.paused = False
        self.finished: bool | None = None
        """None, or whether the connection is kept."""
        self.was_cut = False
        self.dropped = False
        self.left = False

    @property
    def over(self) -> bool:
        return self.finished is not None or self.was_cut or self.dropped

    def write(self, data: bytes) -> None:
        assert not self.over, f"written after the end: {data!r}"
        assert data, "an empty write"
        if not self.left:
            self.written += data

    def unsent(self) -> int:
        return self.buffered

    def pause(self, paused: bool) -> None:
        assert not self.over
        self.paused = paused

    def finish(self, keep_alive: bool) -> None:
        assert not self.over, "finished twice"
        self.finished = keep_alive

    def cut(self) -> None:
        assert not self.over, "cut after the end"
        self.was_cut = True

    def drop(self) -> None:
        assert not self.over, "dropped after the end"
        self.dropped = True


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """A request as the backend reads it."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    complete: bool

    def fields(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


class Connection:
    """A connection to the backend, and what the backend does on it."""

    def __init__(self, pool: "Pool", *, reused: bool = False) -> None:
        self.pool = pool
        self.reused = reused
        self.listener: Any = None
        self.sent = b""
        self.answered = False
        self.writable = True
        self.keep_alive = False
        self.paused = False
        self.gone = False
        """Aborted, lost, or closed because it could not be pooled."""
        pool.connections.append(self)

    # What an exchange asks for

    def attach(self, listener: Any) -> None:
        assert self.listener is None, "a connection carries one exchange at a time"
        assert not self.gone
        self.listener, self.answered, self.keep_alive, self.sent = listener, False, False, b""

    def send(self, data: bytes) -> None:
        assert self.listener is not None, "sent on a connection that is not held"
        self.sent += data

    def pause(self, paused: bool) -> None:
        assert self.listener is not None, "paused a connection that is not held"
        self.paused = paused

    def release(self, reusable: bool) -> None:
        self.listener = None
        if reusable and self.keep_alive and self.writable and not self.paused and not self.gone:
            self.pool.idle.append(self)
        else:
            self.gone = True

    def abort(self) -> None:
        self.listener = None
        self.gone = True

    # What the backend does

    @property
    def request(self) -> Sent:
        """What was sent so far, read by a foreign parser."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD_BYTES)
        parser.receive_data(self.sent)
        head, body = parser.next_event(), b""
        assert isinstance(head, h11.Request), head
        while isinstance(event := parser.next_event(), h11.Data):
            body += bytes(event.data)
        headers = [(bytes(name), bytes(value)) for name, value in head.headers]
        return Sent(head.method, head.target, headers, body, isinstance(event, h11.EndOfMessage))

    def head(self, status: int, fields: Fields = (), body: bytes = b"", *, ended: bool = False) -> None:
        """A final head, and what came behind it in the same read."""
        listener, self.answered = self.listener, True
        assert listener is not None, "nobody hears this"
        read = read_response(status, list(fields), response_names(own_cors=False))
        self.keep_alive = not read.close and (read.chunked or read.content_length is not None)
        report(listener, "upstream_received", read, body, ended)

    def answer(self, status: int, body: bytes, fields: Fields = JSON_FIELDS) -> None:
        """A whole answer in one read."""
        self.head(status, [*fields, (b"content-length", b"%d" % len(body))], body, ended=True)

    def stream(self, *events: bytes, fields: Fields = SSE_FIELDS, ended: bool = False) -> None:
        """The head of an event stream with the first events in the same read."""
        self.head(200, [*fields, (b"transfer-encoding", b"chunked")], b"".join(events), ended=ended)

    def receive(self, body: bytes, *, ended: bool = False) -> None:
        assert self.listener is not None, "nobody hears this"
        report(self.listener, "upstream_received", None, body, ended)

    def end(self) -> None:
        self.receive(b"", ended=True)

    def lose(self) -> None:
        """It closes before its answer was complete."""
        listener, self.listener, self.gone = self.listener, None, True
        assert listener is not None, "nobody hears this"
        message = "The backend closed the connection before its answer was complete."
        report(listener, "upstream_lost", UpstreamBadResponse(message, error_type="reset"))

    def take_no_more(self, stalled: bool = True) -> None:
        self.writable = not stalled
        report(self.listener, "upstream_writable", not stalled)


class Dial:
    def __init__(self, listener: Any) -> None:
        self.listener = listener

    def cancel(self) -> None:
        self.listener = None


class Pool:
    """Connections of one origin: `idle` ones are taken, else a dial waits until the test ends it."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.idle: list[Connection] = []
        self.dials: deque[Dial] = deque()

    @property
    def wanted(self) -> list[Dial]:
        """Dials that somebody still waits for."""
        return [dial for dial in self.dials if dial.listener is not None]

    def keep(self) -> Connection:
        """Put a kept connection into the pool."""
        connection = Connection(self)
        self.idle.append(connection)
        return connection

    def forget_all(self) -> None:
        """The kept connections have expired."""
        for connection in self.idle:
            connection.gone = True
        self.idle.clear()

    def take(self) -> Connection | None:
        if not self.idle:
            return None
        connection = self.idle.pop()
        connection.reused = True
        return connection

    def dial(self, listener: Any) -> Dial:
        dial = Dial(listener)
        self.dials.append(dial)
        return dial

    def connect(self) -> Connection:
        """The oldest dial succeeds."""
        dial, connection = self.dials.popleft(), Connection(self)
        if dial.listener is None:
            self.idle.append(connection)
        else:
            report(dial.listener, "connected", connection, event="connected")
        return connection

    def refuse(self, error: MimicError | None = None) -> None:
        """The oldest dial fails."""
        dial = self.dials.popleft()
        if dial.listener is not None:
            error = error or UpstreamUnreachable("The backend cannot be reached.", error_type="connect")
            report(dial.listener, "dial_failed", error, event="not_connected")


class Tokens:
    """The token source: hands out `held`; None parks whoever asks until `deliver`."""

    def __init__(self) -> None:
        self.held: AccessToken | MimicError | None = access_token()
        self.next: AccessToken | MimicError | None = access_token("second-token", 2)
        """What `replace` makes the held one."""
        self.waiting: list[Callable[[AccessToken | MimicError], None]] = []
        self.asked = 0
        self.refused: list[tuple[AccessToken, float]] = []
        self.accepted_at: list[tuple[AccessToken, float]] = []

    def obtain(
        self, waiter: Callable[[AccessToken | MimicError], None], trace: Trace | None = None, once: bool = False
    ) -> AccessToken | MimicError | None:
        self.asked += 1
        if self.held is None:
            assert waiter not in self.waiting, "the same waiter is parked twice"
            self.waiting.append(waiter)
        return self.held

    def replace(
        self,
        refused: AccessToken,
        sent_at: float,
        waiter: Callable[[AccessToken | MimicError], None],
        trace: Trace | None = None,
        subject: str = "",
        refused_before: tuple[int, ...] = (),
    ) -> AccessToken | MimicError | None:
        if len(refused_before) >= 3 or (refused_before and refused.generation > refused_before[0]):
            return UpstreamAuthFailed("A fresh token was refused too.", should_retry=False)
        self.refused.append((refused, sent_at))
        self.held = self.next
        return self.obtain(waiter)

    def hopeless(self, refused: AccessToken, subject: str, refused_before: tuple[int, ...]) -> bool:
        return bool(refused_before) and refused.generation > refused_before[0]

    def accepted(self, token: AccessToken, sent_at: float) -> None:
        self.accepted_at.append((token, sent_at))

    def leave(self, waiter: Callable[[AccessToken | MimicError], None]) -> None:
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    def deliver(self, got: AccessToken | MimicError | None = None) -> None:
        """Whoever waits is told; the next ones get the same."""
        self.held = got or access_token("late-token", 3)
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            attempt = getattr(waiter, "__self__", None)
            if isinstance(attempt, Attempt):
                report(attempt, "token_came", self.held, event="token_ready")
            else:
                waiter(self.held)


class Composer:
    """Answers of several calls, which end when the test says so."""

    def __init__(self) -> None:
        self.running: list[Composition] = []

    def compose(self, embedding: Any, request: Any, record: Any, progress: Any, done: Any) -> "Composition":
        composition = Composition(self, embedding, progress, done)
        self.running.append(composition)
        return composition


class Composition:
    """One of them."""

    def __init__(self, composer: Composer, embedding: Any, progress: Any, done: Any) -> None:
        self.composer = composer
        self.embedding = embedding
        self.progress = progress
        self.exchange = done.__self__

    def cancel(self) -> None:
        if self in self.composer.running:
            self.composer.running.remove(self)

    def end(self, answer: Any) -> None:
        """answer: a Translated or an error."""
        self.cancel()
        call = Record(1.0, "embeddings", "POST", "/v1/embeddings")
        call.attempt_sent(1.0)
        report(self.exchange, "composed", Composed(answer, [call], None))
