"""A token source with a clock, a wall and a token service made by hand; and a token service on a real socket."""

import asyncio
import heapq
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mimic_proxy.errors import MimicError
from mimic_proxy.settings.fields import SecretRef
from mimic_proxy.telemetry.observation import RefreshObservation
from mimic_proxy.tokens.recipe import Grant, Recipe, SecretPlace, TokenRequest
from mimic_proxy.tokens.refresh import TokenPolicy
from mimic_proxy.tokens.response import Failure, TokenResponse
from mimic_proxy.tokens.source import TokenSource
from mimic_proxy.tokens.token import AccessToken

URL = "https://tokens.corp.example/token?tenant=7"
TURNS = 12
"""More turns of the loop than any chain of callbacks in the source needs."""


@dataclass
class Alarm:
    when: float
    callback: Callable[[], None] | None

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """Both clocks, and the timers on the monotonic one."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.wall = 1_700_000_000.0
        self._order = itertools.count()
        self._alarms: list[tuple[float, int, Alarm]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(self.monotonic + delay, callback)
        heapq.heappush(self._alarms, (alarm.when, next(self._order), alarm))
        return alarm

    async def advance(self, seconds: float, *, timers: bool = True) -> None:
        """Both clocks go on, and everything that becomes due runs at its time; without `timers` they all hang."""
        end = self.monotonic + seconds
        while timers and self._alarms and self._alarms[0][0] <= end:
            when, _, alarm = heapq.heappop(self._alarms)
            self._go_to(when)
            if alarm.callback is not None:
                alarm.callback()
                await turn()
        self._go_to(end)
        await turn()

    def _go_to(self, when: float) -> None:
        self.wall += max(when - self.monotonic, 0.0)
        self.monotonic = max(when, self.monotonic)


async def turn() -> None:
    """Lets everything run that can run without time going on."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Service:
    """The port to the token service: grants token-1, token-2, ... until told otherwise."""

    def __init__(self) -> None:
        self.requests: list[TokenRequest] = []
        self.expires_in: object = 1000
        self.reply: Callable[[], TokenResponse | Failure] = self.grant
        self.open = asyncio.Event()
        self.open.set()

    @property
    def calls(self) -> int:
        return len(self.requests)

    @property
    def codes(self) -> list[str]:
        """The secrets that were sent."""
        return [json.loads(request.body)["code"] for request in self.requests]

    def grant(self) -> TokenResponse:
        return granted(f"token-{self.calls}", self.expires_in)

    def answer(self, status: int, retry_after: str | None = None) -> None:
        """From now on only this."""
        self.reply = lambda: TokenResponse(status, b"secret words of the service", retry_after)

    async def __call__(self, request: TokenRequest) -> TokenResponse | Failure:
        self.requests.append(request)
        await self.open.wait()
        return self.reply()


def granted(value: str, expires_in: object = None) -> TokenResponse:
    beside = {} if expires_in is None else {"expires_in": expires_in}
    return TokenResponse(200, json.dumps({"data": {"access_token": value, **beside}}).encode())


@dataclass
class Caller:
    """A waiter that keeps what it was told."""

    told: list[AccessToken | MimicError] = field(default_factory=list)

    def __call__(self, result: AccessToken | MimicError) -> None:
        self.told.append(result)

    __hash__ = object.__hash__

    __eq__ = object.__eq__


class Scene:
    """A source and all that is around it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.service = Service()
        self.jitter = 0.0
        self.observations: list[RefreshObservation] = []
        self.observe = self.observations.append
        self.sources: list[TokenSource] = []

    turn = staticmethod(turn)
    caller = Caller
    granted = staticmethod(granted)

    def auth_code(self, secret: SecretRef | None = None, *, single_use: bool = False, url: str = URL) -> Grant:
        recipe = Recipe(url=url, places=(SecretPlace("body", "code"),))
        return Grant("auth_code", recipe, (secret or SecretRef("AUTH_CODE", "first-code"),), single_use=single_use)

    def source(
        self, grant: Grant | None = None, *, default_lifetime: float = 300, floor: float = 5, **ports: Any
    ) -> TokenSource:
        made = TokenSource(
            self.auth_code() if grant is None else grant,
            TokenPolicy("Authorization", "Bearer {token}", default_lifetime, floor),
            post=self.service,
            clock=lambda: self.clock.monotonic,
            wall=lambda: self.clock.wall,
            jitter=lambda: self.jitter,
            observe=self.observe,
            call_later=self.clock.call_later,
            **ports,
        )
        self.sources.append(made)
        return made

    async def started(self, grant: Grant | None = None, *, floor: float = 5) -> TokenSource:
        """A source after its first refresh."""
        source = self.source(grant, floor=floor)
        source.start()
        await turn()
        return source

    async def ask(self, source: TokenSource) -> AccessToken | MimicError:
        """What a request gets, at once or after waiting."""
        caller = Caller()
        result = source.obtain(caller)
        await turn()
        if result is None:
            (result,) = caller.told
        return result

    @property
    def results(self) -> list[tuple[str, str]]:
        return [(seen.trigger, seen.result) for seen in self.observations]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    # A flight that still hangs would be reported to whatever test runs when it is collected.
    for source in made.sources:
        await source.close()


@dataclass
class Listener:
    """A token service on a socket: answers every request with `data`; keeps heads and bodies."""

    data: bytes = b""
    hangs: bool = False
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            self.heads.append(head)
            self.bodies.append(await reader.readexactly(length))
            if self.hangs:
                await reader.read()
            writer.write(self.data)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., object]]:
    """Starts listeners: `await listen(data, tls=context)`."""
    servers: list[asyncio.Server] = []

    async def start(data: bytes = b"", *, hangs: bool = False, tls: ssl.SSLContext | None = None) -> Listener:
        listener = Listener(data, hangs)
        server = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=tls)
        listener.port = server.sockets[0].getsockname()[1]
        servers.append(server)
        return listener

    yield start
    for server in servers:
        server.close()
