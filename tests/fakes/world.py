"""Exchanges with every port in the test's hand.

world = World()
call = world.call()                      # the request is read, sent on a kept connection
call.connection.answer(200, COMPLETION)  # the backend answers
call.ended("completed", 200)             # everything was given back, one observation was made
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

from fakes.caller import CHAT_BODY, STREAM_BODY, Response
from fakes.ports import Caller, Clock, Connection, Pool, Tokens, read_answers, report
from fakes.replies import JSON_FIELDS, Fields
from mimic_proxy.dialects.openai import OpenAI
from mimic_proxy.http.headers import read_request, request_names
from mimic_proxy.http.target import parse_base
from mimic_proxy.relay.admission import Breaker, Budget, Slots
from mimic_proxy.relay.exchange import Exchange
from mimic_proxy.relay.heads import Heads
from mimic_proxy.relay.loop import CoalescedWrites, Ticker
from mimic_proxy.relay.ports import Backend, Limits, Request, Services
from mimic_proxy.relay.routes import Route, Routes
from mimic_proxy.relay.states import State
from mimic_proxy.telemetry.record import Record

BASE = "http://backend.test/v1"
FORM = [(b"content-type", b"multipart/form-data; boundary=b")]
UPLOAD_PATH = b"/v1/audio/transcriptions"


class World:
    """Everything that exchanges share. `limits`, `slots` and the like replace the defaults."""

    def __init__(self, *, kept: int = 1, services: dict[str, Any] | None = None, **limits: Any) -> None:
        self.clock = Clock()
        self.pool = Pool()
        self.tokens = Tokens()
        self.pulses: list[Callable[[], None]] = []
        self.offloaded: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self.calls: list[Call] = []
        self.observations: list[Record] = []
        """Of exchanges that a protocol has begun; a Call keeps its own."""
        numbers = itertools.count(1)
        backend = Backend(parse_base(BASE), self.pool)
        self.services = Services(
            **{
                "backends": {"chat": backend, "embeddings": backend},
                "tokens": self.tokens,
                "dialect": OpenAI(),
                "limits": Limits(**limits),
                "slots": Slots(0, 0),
                "budget": Budget(0),
                "breaker": Breaker(0, 30.0),
                "translates": False,
                "clock": self.clock,
                "wall": lambda: 1_700_000_000.0,
                "ticker": Ticker(lambda delay, beat: self.pulses.append(beat)),
                "writes": CoalescedWrites(lambda flush: None),
                "offload": lambda work, done: self.offloaded.append((work, done)),
                "new_trace": lambda: f"{next(numbers):032x}" + "1" * 16 + "2" * 16,
                "observe": lambda seen: None,
                "heads": Heads(),
                "routes": Routes(),
                "request_names": request_names(b"authorization"),
                **(services or {}),
            }
        )
        for _ in range(kept):
            self.pool.keep()

    def arrive(
        self,
        path: bytes = b"/v1/chat/completions",
        *,
        method: bytes = b"POST",
        query: bytes = b"",
        length: int | None = None,
        fields: Fields = JSON_FIELDS,
        http11: bool = True,
        keep_alive: bool = True,
        writable: bool = True,
    ) -> "Call":
        """A head has come; of the body nothing yet.

        length: what content-length says. writable: False while the caller's socket is full of the answer before.
        """
        found = self.services.routes.match(method, path)
        assert isinstance(found, Route), f"{method!r} {path!r} is not relayed"
        headers = [(b"host", b"localhost"), *fields]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        read = read_request(headers, self.services.request_names)
        request = Request(
            method=method,
            path=path,
            query=query,
            fields=read,
            http11=http11,
            keep_alive=keep_alive,
            started=self.clock(),
            content_length=read.content_length,
        )
        call = Call(self, request, found)
        call.caller.writable = writable
        call.exchange.start()
        return call

    def call(self, body: bytes = CHAT_BODY, path: bytes = b"/v1/chat/completions", **how: Any) -> "Call":
        """A whole request has come; with a kept connection and a token it is sent."""
        call = self.arrive(path, length=len(body), **how)
        if not call.over:
            call.send(body)
            call.end()
        return call

    def streaming(self, *events: bytes, body: bytes = STREAM_BODY, **how: Any) -> "Call":
        """A request for a stream whose head and first events have come."""
        call = self.call(body, **how)
        call.connection.stream(*events)
        return call

    def upload(self, **how: Any) -> "Call":
        """A multipart request of unknown length; its head has come."""
        return self.arrive(UPLOAD_PATH, fields=[*FORM, (b"transfer-encoding", b"chunked")], **how)

    def advance(self, seconds: float) -> None:
        """Time goes on, then the ticker looks at what runs."""
        self.clock.now += seconds
        running = self.services.ticker.running()
        # In the order of arrival: the ticker itself keeps none, and a test has to find the same one each time.
        for call in [one for one in self.calls if one.exchange in running]:
            report(call.exchange, "tick")

    def run_offloaded(self) -> None:
        """What was given to a worker thread is done."""
        for work, done in self.offloaded:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - given on, as the event loop does
                result = error
            report(done.__self__, done.__name__, result)
        self.offloaded.clear()

    def assert_all_given_back(self) -> None:
        """No exchange runs, and none has left anything behind."""
        services = self.services
        assert (services.slots.in_use, services.slots.waiting) == (0, 0), "a slot was not given back"
        assert services.budget.held == 0, "a share of the budget was not given back"
        assert services.breaker.state != "half_open", "a probe was not given back"
        assert len(services.ticker) == 0, "an exchange is still looked at"
        assert self.tokens.waiting == [], "an exchange still waits for a token"
        assert self.pool.wanted == [], "an exchange still waits for a connection"
        assert [held for held in self.pool.connections if held.listener is not None] == []
        for connection in self.pool.idle:
            assert not connection.gone, "a closed connection was pooled"
            assert not connection.paused, "a paused connection was pooled"


class Call:
    """One exchange and its caller."""

    def __init__(self, world: World, request: Request, route: Route) -> None:
        self.world = world
        self.caller = Caller()
        self.complete = False
        """The request has come whole."""
        self.observations: list[Record] = []
        services = dataclasses.replace(world.services, observe=self.observations.append)
        self.exchange = Exchange(services, self.caller, request, route)
        world.calls.append(self)

    @property
    def state(self) -> State:
        return self.exchange.state

    @property
    def over(self) -> bool:
        return self.exchange.state is State.ENDED

    @property
    def connection(self) -> Connection:
        """The connection that this exchange holds."""
        held = [one for one in self.world.pool.connections if one.listener is self.exchange]
        assert len(held) == 1, "the exchange holds no connection"
        return held[0]

    @property
    def response(self) -> Response:
        """What the caller has got, read by a foreign parser."""
        closed = self.caller.was_cut or self.caller.dropped or self.caller.finished is False
        (answer,) = read_answers(self.caller.written, closed=closed)
        return answer

    @property
    def frames(self) -> list[bytes]:
        """The events that the caller has got whole."""
        return [frame + b"\n\n" for frame in self.response.body.split(b"\n\n")[:-1]]

    def send(self, data: bytes) -> None:
        report(self.exchange, "caller_data", data)

    def end(self) -> None:
        self.complete = True
        report(self.exchange, "caller_end")

    def leave(self) -> None:
        self.caller.left = True
        report(self.exchange, "caller_lost")

    def take_no_more(self, stalled: bool = True) -> None:
        """The caller's socket is full, or takes bytes again."""
        self.caller.writable = not stalled
        report(self.exchange, "caller_writable", not stalled)

    def ended(self, outcome: str, status: int, *, alone: bool = True) -> Record:
        """Assert the end: one observation, one answer, everything given back. `alone`: no other exchange runs."""
        assert self.over, f"still {self.state}"
        assert len(self.observations) == 1, "every exchange is observed once"
        seen = self.observations[0]
        assert (seen.outcome, seen.status) == (outcome, status)
        assert self.caller.over or self.caller.left, "the caller was left waiting"
        if self.caller.finished is not None and not self.caller.left:
            assert self.response.complete
            assert self.response.status == status
        if alone:
            self.world.assert_all_given_back()
        return seen
