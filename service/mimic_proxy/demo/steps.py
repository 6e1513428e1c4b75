"""An answer as steps (bytes, pauses, a cut), and how faults change them. Pure."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

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
