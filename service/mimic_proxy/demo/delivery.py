"""An answer as steps (bytes, pauses, a cut), and how faults change them. Pure."""

import asyncio
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mimic_proxy.demo.faults import Faults

Kind = Literal["open", "content", "finish", "usage", "done"]

_MIDDLE_AFTER: Final = 2
"""How many events with content come before what happens in the middle of a stream."""


class Frame(NamedTuple):
    """One SSE event: what it is for, and its bytes with the blank line."""

    kind: Kind
    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is closed without the end of the body."""


Step = bytes | Pause | Cut


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer in events; `error` makes the event of a failure from its code and message."""

    frames: Iterable[Frame]
    error: Callable[[int | None, str], bytes]
    media_type: str = "text/event-stream; charset=utf-8"


def stream_steps(stream: Stream, faults: Faults) -> Iterator[Step]:
    """The events one by one; what the faults say happens between, within or instead of them."""
    if faults.error_first is not None:
        yield stream.error(faults.error_first, "The demo backend fails before its first word, as it was asked to.")
        return
    content, middle_passed, started = 0, False, False
    for frame in stream.frames:
        if faults.no_done and frame.kind in ("finish", "usage", "done"):
            continue
        if faults.slow_chunks and started:
            yield Pause(faults.slow_chunks)
        started = True
        if not middle_passed and (content == _MIDDLE_AFTER or frame.kind in ("finish", "usage", "done")):
            middle_passed = True
            yield from _middle(stream, frame, faults)
            if faults.half_event or faults.error_frame or faults.cut_mid:
                return
        content += frame.kind == "content"
        yield frame.data


def body_steps(body: bytes, faults: Faults) -> Iterator[Step]:
    """A body that is not a stream: whole, or in parts with the faults between them."""
    parts = 8 if faults.slow_chunks else 2 if faults.cut_mid or faults.hang_mid else 1
    size = max(1, -(-len(body) // parts))
    starts = range(0, len(body), size)
    for place, start in enumerate(starts):
        if place and faults.slow_chunks:
            yield Pause(faults.slow_chunks)
        if place == len(starts) // 2:
            if faults.hang_mid:
                yield Pause(faults.hang_mid)
            if faults.cut_mid:
                yield Cut()
                return
        yield body[start : start + size]


def compressed(steps: Iterable[Step]) -> Iterator[Step]:
    """The same bytes as gzip (RFC 1952), flushed at every step so that each can be read when it comes."""
    squeeze = zlib.compressobj(wbits=31)
    for step in steps:
        if isinstance(step, bytes):
            yield squeeze.compress(step) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        else:
            yield step
    yield squeeze.flush()


def _middle(stream: Stream, frame: Frame, faults: Faults) -> Iterator[Step]:
    if faults.hang_mid:
        yield Pause(faults.hang_mid)
    if faults.error_frame:
        yield stream.error(None, "The demo backend fails in the middle of its answer, as it was asked to.")
    if faults.half_event:
        yield frame.data[: len(frame.data) // 2]
    if faults.cut_mid:
        yield Cut()


@dataclass(slots=True)
class Stats:
    """What has come to the backend since it started.

    open: answers on their way now. abandoned: those whose caller left before the end.
    redirected: requests that followed a scripted redirect.
    """

    requests: int = 0
    unauthorized: int = 0
    open: int = 0
    completed: int = 0
    abandoned: int = 0
    redirected: int = 0


class Delivery(Response):
    """A response whose body is a list of steps.

    The caller's leaving ends it at once, also in a pause. After a Cut the body is not ended, which makes the server
    close the connection.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        stats: Stats,
        *,
        status: int = 200,
        headers: Mapping[str, str],
        silence: float | None = None,
    ) -> None:
        self.status_code = status
        self.background = None
        self.init_headers(headers)
        self._steps = steps
        self._stats = stats
        self._silence = silence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._stats.open += 1
        left = asyncio.ensure_future(_leaving(receive))
        try:
            if await self._send(send, left):
                self._stats.completed += 1
            elif left.done():
                self._stats.abandoned += 1
        finally:
            self._stats.open -= 1
            left.cancel()

    async def _send(self, send: Send, left: asyncio.Future[None]) -> bool:
        """Whether the answer was sent to its end."""
        if self._silence:
            await asyncio.wait({left}, timeout=self._silence)
        if left.done():
            return False
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for step in self._steps:
            if isinstance(step, bytes):
                await send({"type": "http.response.body", "body": step, "more_body": True})
                # A write that need not wait does not yield: without this a long stream holds up everybody else.
                await asyncio.sleep(0)
            elif isinstance(step, Pause):
                await asyncio.wait({left}, timeout=step.seconds)
            else:
                assert isinstance(step, Cut)
                return False
            if left.done():
                return False
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


async def _leaving(receive: Receive) -> None:
    """Ends when the caller has closed its connection; the request's body has been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
