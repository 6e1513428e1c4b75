"""A caller's connection without a socket: real parser and protocol, transport and timers in the test's hand."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from fakes.caller import Response
from fakes.ports import read_answers
from fakes.world import World
from mimic_proxy.relay.access import OriginPolicy
from mimic_proxy.relay.loop import CoalescedWrites
from mimic_proxy.relay.protocol import RelayProtocol

TURNS = 12
"""More turns of the loop than any chain of callbacks here needs."""


async def turn() -> None:
    """Let everything run that can run without time going on."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Transport(asyncio.Transport):
    """Keeps what is written. As strict as uvloop: writing to a lost one raises, to one that closes does nothing."""

    def __init__(self, protocol: asyncio.Protocol, *, tls: bool = False) -> None:
        super().__init__({"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 50000)})
        self.protocol = protocol
        self.tls = tls
        self.sent = b""
        self.unsent = 0
        """Bytes that the peer has not taken; with any left `close` does not come to its end."""
        self.paused = False
        self.closing = False
        self.aborted = False
        self.eof_written = False
        self.lost = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.lost:
            raise RuntimeError("the transport is closed")
        if self.closing:
            return
        assert not self.eof_written, f"written after the end: {data!r}"
        self.sent += data

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert not self.closing
        assert not self.paused, "paused twice: asyncio of 3.11 raises"
        self.paused = True

    def resume_reading(self) -> None:
        assert not self.closing
        assert self.paused, "resumed without a pause"
        self.paused = False

    def can_write_eof(self) -> bool:
        return not self.tls

    def write_eof(self) -> None:
        assert not self.tls
        self.eof_written = True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.unsent:
                asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.aborted = True
        if not self.lost:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.lose)

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost = self.closing = True
            self.protocol.connection_lost(error)


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """The running loop but for its timers: they fire when the test lets time go on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self.timers: list[Timer] = []

    def call_soon(self, callback: Callable[..., Any], *given: Any) -> asyncio.Handle:
        return self._loop.call_soon(callback, *given)

    def create_task(self, work: Any, **how: Any) -> "asyncio.Task[Any]":
        return self._loop.create_task(work, **how)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self._clock() + delay, callback)
        self.timers.append(timer)
        return timer

    def ring(self) -> None:
        """Let all timers fire that are due."""
        due = [timer for timer in self.timers if timer.when <= self._clock()]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            if timer.callback is not None:
                timer.callback()


class App:
    """The web application: answers 404 with the path it was asked for, once `gate` is open."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.disconnected = 0
        self.reads_body = True
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body, more = b"", self.reads_body
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected += 1
                return
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        await self.gate.wait()
        answer = scope["raw_path"]
        fields = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 404, "headers": fields})
        await send({"type": "http.response.body", "body": answer})


class Line:
    """One caller's connection to Mimic; exchanges on it use the ports of `world`."""

    def __init__(
        self,
        world: World,
        *,
        app: App | None = None,
        origins: OriginPolicy | None = None,
        head_timeout: float = 10.0,
        keep_alive_timeout: float = 75.0,
        tls: bool = False,
    ) -> None:
        self.world = world
        self.app = app or App()
        self.loop = Loop(world.clock)
        self.state = ServerState()
        world.services.writes = CoalescedWrites(self.loop.call_soon)
        world.services.observe = world.observations.append
        config = Config(self.app, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False)
        config.load()
        self.protocol = RelayProtocol(
            world.services,
            origins or OriginPolicy(),
            head_timeout,
            keep_alive_timeout,
            config=config,
            server_state=self.state,
            app_state={},
            _loop=self.loop,  # type: ignore[arg-type]
        )
        self.transport = Transport(self.protocol, tls=tls)
        self.protocol.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        """The caller's bytes come, in one read; a paused or closed transport would not read them."""
        if not (self.transport.closing or self.transport.paused):
            self.protocol.data_received(data)

    async def read(self, data: bytes) -> None:
        """The same, and all that follows from it without time going on."""
        self.send(data)
        await turn()

    def end(self) -> None:
        """The caller's FIN. asyncio then closes the transport, since `eof_received` returns nothing."""
        if not self.transport.closing:
            self.protocol.eof_received()
            self.transport.close()

    async def advance(self, seconds: float) -> None:
        """Time goes on: timers of connections and of exchanges."""
        self.world.clock.now += seconds
        self.loop.ring()
        for exchange in self.world.services.ticker.running():
            exchange.tick()
        await turn()

    def responses(self, *methods: bytes) -> list[Response]:
        """All answers so far, read by a foreign parser; `methods` of the requests, POST where none is given."""
        return read_answers(
            self.transport.sent, closed=self.transport.closing or self.transport.eof_written, methods=methods
        )

    @property
    def statuses(self) -> list[int]:
        return [response.status for response in self.responses()]
