"""The token service and the backend of a soak, and the script by which they break."""

import asyncio
import json
import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.soak.answers import answer_to

TOKEN_LIFETIME_SECONDS = 12.0
ROTATION_SECONDS = 5.0
REVOCATION_SECONDS = 30.0
KILL_SECONDS, DOWN_SECONDS = 60.0, 1.0
OUTAGE_SECONDS, AWAY_SECONDS = 120.0, 10.0
RESET_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which the script gives calls a cause to fail."""

    cause: str
    begin: float
    end: float


class Server(asyncio.Protocol):
    """One accepted connection: reads requests with a Content-Length, one at a time."""

    def __init__(self, listener: "Listener") -> None:
        self.listener = listener
        self.buffer = b""
        self.task: asyncio.Task[None] | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.listener.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.listener.connections.discard(self)
        self.writable.set()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        length = int(fields.get(b"content-length", b"0"))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        self.task = asyncio.create_task(self.listener.answer(self, lines[0], fields, rest[:length]))

    async def write(self, data: bytes) -> None:
        """Sends it, at the pace of the peer."""
        if self.transport.is_closing():
            raise ConnectionResetError
        self.transport.write(data)
        await self.writable.wait()

    def reset(self) -> None:
        """Ends the connection as a process does that is killed."""
        raw = self.transport.get_extra_info("socket")
        if raw is not None and not self.transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Listener:
    """A server on a port of its own, which can be away."""

    def __init__(self) -> None:
        self.port = 0
        self.connections: set[Server] = set()
        self.requests = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listens, on the same port as before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Server(self), "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Listens no more and resets every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self.connections):
            connection.reset()
        await asyncio.sleep(0)

    @property
    def up(self) -> bool:
        return self._server is not None

    async def answer(self, server: Server, line: bytes, fields: dict[bytes, bytes], body: bytes) -> None:
        """Answers one request."""
        raise NotImplementedError


class TokenService(Listener):
    """Buys tokens for the present secret and the one before it; anything else is a half-written secret."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[str] = []
        self.valid: dict[str, float] = {}
        self.refused: list[str] = []

    async def answer(self, server: Server, line: bytes, fields: dict[bytes, bytes], body: bytes) -> None:
        self.requests += 1
        code = json.loads(body)["code"]
        if code not in self.codes[-2:]:
            self.refused.append(f"{code} beside {self.codes[-1][:13]}")
            await server.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}")
            return
        token = f"soak-token-{self.requests}"
        self.valid[token] = time.monotonic() + TOKEN_LIFETIME_SECONDS
        granted = json.dumps({"access_token": token, "expires_in": TOKEN_LIFETIME_SECONDS}).encode()
        await server.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(granted), granted))


class Backend(Listener):
    """Answers what a request asks for, if its token is valid; a few answers are reset."""

    def __init__(self, chance: Callable[[], float], tokens: TokenService) -> None:
        super().__init__()
        self.chance = chance
        self.tokens = tokens
        self.reset: set[str] = set()
        """The calls whose answer was reset."""
        self.refused = self.expired = 0

    async def answer(self, server: Server, line: bytes, fields: dict[bytes, bytes], body: bytes) -> None:
        self.requests += 1
        token = fields[b"authorization"].decode().removeprefix("Bearer ")
        until = self.tokens.valid.get(token)
        if until is None or until < time.monotonic():
            self.refused += 1
            self.expired += until is not None
            refusal = b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}'
            await server.write(
                b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                % (len(refusal), refusal)
            )
            return
        request = json.loads(body)
        head, pieces, pause = answer_to(request)
        breaks = self.chance() < RESET_SHARE
        if breaks:
            self.reset.add(request["user"])
        try:
            await server.write(head)
            for number, piece in enumerate(pieces):
                if breaks and number >= len(pieces) // 2:
                    server.reset()
                    return
                await server.write(piece)
                if pause:
                    await asyncio.sleep(pause)
        except ConnectionError:
            return


class Surroundings:
    """Both servers, the file of the secret, and the script."""

    def __init__(self, chance: random.Random, code_file: Path) -> None:
        self.code_file = code_file
        self.tokens = TokenService()
        self.backend = Backend(chance.random, self.tokens)
        self.windows: list[Window] = []
        self.rotations = self.revocations = 0
        self.backs: list[float] = []
        """When the token service was there again."""

    @property
    def secrets(self) -> list[str]:
        """What no log line may hold."""
        return [*self.tokens.codes, *self.tokens.valid]

    async def __aenter__(self) -> Self:
        await self.tokens.open()
        await self.backend.open()
        await self._rotate()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.tokens.kill()
        await self.backend.kill()

    async def play(self) -> None:
        """Breaks what the script says, until it is cancelled."""
        await asyncio.gather(
            self._every(ROTATION_SECONDS, ROTATION_SECONDS, self._rotate),
            self._every(REVOCATION_SECONDS / 2, REVOCATION_SECONDS, self._revoke),
            self._every(KILL_SECONDS * 2 / 3, KILL_SECONDS, self._kill_backend),
            self._every(OUTAGE_SECONDS * 7 / 12, OUTAGE_SECONDS, self._token_service_away),
        )

    async def restore(self) -> None:
        """Ends what the script has begun."""
        for listener in (self.tokens, self.backend):
            if not listener.up:
                await listener.open()

    async def _every(self, first: float, seconds: float, act: Callable[[], object]) -> None:
        due = time.monotonic() + first
        while True:
            await asyncio.sleep(due - time.monotonic())
            await act()  # type: ignore[misc]
            due += seconds

    async def _rotate(self) -> None:
        code = f"soak-code-{len(self.tokens.codes)}-{'x' * 20}"
        self.tokens.codes.append(code)
        self.rotations += 1
        await asyncio.to_thread(self._write, code)

    def _write(self, code: str) -> None:
        """In place and in two pieces, as many a program writes."""
        with self.code_file.open("w") as file:
            file.write(code[:12])
            file.flush()
            time.sleep(0.1)
            file.write(code[12:])

    async def _revoke(self) -> None:
        self.revocations += 1
        self.tokens.valid.clear()

    async def _kill_backend(self) -> None:
        begin = time.monotonic()
        await self.backend.kill()
        await asyncio.sleep(DOWN_SECONDS)
        await self.backend.open()
        self.windows.append(Window("backend killed", begin, time.monotonic()))

    async def _token_service_away(self) -> None:
        begin = time.monotonic()
        await self.tokens.kill()
        await asyncio.sleep(AWAY_SECONDS)
        await self.tokens.open()
        self.backs.append(time.monotonic())
        self.windows.append(Window("token service away", begin, self.backs[-1]))
