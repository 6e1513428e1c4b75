"""A hundred callers on kept connections: plain calls, streams, embeddings, aborts and slow readers."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from tests.soak.answers import body_of

PATIENCE_SECONDS = 60.0
SLOW_READ_BYTES, SLOW_READ_SECONDS = 8192, 0.05
Kind = Literal["plain", "large", "embeddings", "stream", "slow stream", "aborted stream"]
SHARES: dict[Kind, int] = {
    "plain": 40,
    "large": 4,
    "embeddings": 16,
    "stream": 25,
    "slow stream": 7,
    "aborted stream": 8,
}


@dataclass(frozen=True, slots=True)
class Failed:
    """A call that did not get its whole answer."""

    user: str
    kind: Kind
    begin: float
    end: float
    what: str
    """The error's code, or what was wrong with the bytes."""


class Callers:
    """All callers of one run."""

    def __init__(self, port: int, number: int, seed: int) -> None:
        self.port = port
        self.number = number
        self.seed = seed
        self.served: Counter[Kind] = Counter()
        self.failed: list[Failed] = []
        self.successes: list[float] = []
        """When a call ended well, for the recovery."""
        self.seconds: list[float] = []
        """Of plain calls."""

    async def run(self, seconds: float) -> None:
        """Calls for so many seconds."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(_Caller(self, number).run(until) for number in range(self.number)))


class _Caller:
    """One caller: one call after the other, on one connection as long as it lasts."""

    def __init__(self, all_: Callers, number: int) -> None:
        self.all = all_
        self.number = number
        self.chance = random.Random(all_.seed * 10_000 + number)
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def run(self, until: float) -> None:
        calls = 0
        while time.monotonic() < until:
            calls += 1
            kind = self.chance.choices(list(SHARES), list(SHARES.values()))[0]
            user, begin = f"caller-{self.number}-{calls}", time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    what = await self._call(kind, self._request(kind, user))
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                what = type(error).__name__
            end = time.monotonic()
            if what is None:
                self.all.served[kind] += 1
                self.all.successes.append(end)
                if kind == "plain":
                    self.all.seconds.append(end - begin)
            else:
                self.all.failed.append(Failed(user, kind, begin, end, what))
                await self._hang_up()
            await asyncio.sleep(self.chance.uniform(0.1, 0.5))
        await self._hang_up()

    def _request(self, kind: Kind, user: str) -> dict[str, Any]:
        words = {"plain": 20, "large": 40_000, "embeddings": 100}.get(kind, self.chance.randrange(20, 400))
        request: dict[str, Any] = {"model": "soak", "user": user, "words": words}
        if kind == "embeddings":
            return {**request, "input": "text"}
        pause = self.chance.choice((0.0, 0.01, 0.05))
        stream = kind.endswith("stream")
        if kind == "slow stream":
            request["words"], pause = 4000, 0.0
        return {**request, "messages": [], "stream": stream, "pause": pause}

    async def _call(self, kind: Kind, request: dict[str, Any]) -> str | None:
        """None if every byte was right, else what was wrong."""
        reader, writer = await self._connection()
        body = json.dumps(request).encode()
        path = "embeddings" if kind == "embeddings" else "chat/completions"
        head = f"POST /v1/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        fields = await reader.readuntil(b"\r\n\r\n")
        status, lower = int(fields[9:12]), fields.lower()
        if kind == "aborted stream" and status == 200:
            await reader.readexactly(1)
            await self._hang_up()
            return None
        if b"transfer-encoding: chunked" in lower:
            got = await self._chunks(reader, slowly=kind == "slow stream")
        else:
            length = next(line for line in lower.split(b"\r\n") if line.startswith(b"content-length:"))
            got = await reader.readexactly(int(length[15:]))
        if b"connection: close" in lower:
            await self._hang_up()
        if status != 200:
            return str(json.loads(got)["error"]["code"])
        if got == body_of(request):
            return None
        last = got.rpartition(b"data: ")[2]
        if kind.endswith("stream") and b'"error"' in last:
            return str(json.loads(last)["error"]["code"])
        return f"wrong bytes: {len(got)} of {len(body_of(request))}"

    async def _chunks(self, reader: asyncio.StreamReader, *, slowly: bool) -> bytes:
        got = b""
        while size := int(await reader.readline(), 16):
            left = size
            while left:
                piece = await reader.read(min(left, SLOW_READ_BYTES if slowly else 65536))
                if not piece:
                    raise EOFError
                got += piece
                left -= len(piece)
                if slowly:
                    await asyncio.sleep(SLOW_READ_SECONDS)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return got

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.reader is None or self.writer is None or self.reader.at_eof() or self.writer.is_closing():
            await self._hang_up()
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.all.port, limit=1 << 16)
        return self.reader, self.writer

    async def _hang_up(self) -> None:
        if self.writer is not None:
            self.writer.close()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
        self.reader = self.writer = None
