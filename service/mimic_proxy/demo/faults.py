"""Faults that a request asks for, to see what becomes of them.

They are named in the header `x-demo-fault`, or in a model name that starts with `fault-`, separated by commas:
`x-demo-fault: slow-chunks=200,cut-mid`, or the model `fault-status-429,retry-after-2`. A value follows a name after
`=` or `-`; in brackets what counts without one. A request without a valid access token is refused before any fault.

    name             value         effect                                                              on
    status           400-599 [500] answered with this status and an error object                       all
    retry-after      seconds [1]   with status: the answer has this retry-after                        all
    hang-head        seconds [600] silence before the head                                             all
    slow-chunks      ms [100]      a pause before each event, or before each eighth of a body          all
    hang-mid         seconds [600] silence in the middle: after two events with content, or half a body  all
    cut-mid          -             the connection is closed in the middle, without the end of the body  all
    html             -             200 with a page of text/html                                        all
    gzip             -             the body is gzip, whatever accept-encoding says                     all
    redirect         -             307 to /demo/redirected; GET /demo/stats counts who follows         all
    refuse-token     word [once]   401, and the token is revoked; once for each word, `always` always  all
    half-event       -             ends well in the middle of an event                                 streams
    no-done          -             ends well without a finish_reason and without [DONE]                streams
    error-frame      -             an error event after two events with content, then the end          streams
    error-first      400-599 [503] the first event is an error with this integer code, then the end    streams
    many-events      count [1000]  so many events with content                                         text answers
    big-events       bytes [65536] each event's content is filled up to so many bytes                  text answers

A name or value that is not known, or a fault for streams on a request without one, is refused with 400.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Final

from mimic_proxy.demo.refusals import Refusal

HEADER: Final = "x-demo-fault"
MODEL_PREFIX: Final = "fault-"

_LONGEST_SECONDS: Final = 3600.0
_MOST: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with one answer; seconds where a time is meant."""

    status: int | None = None
    retry_after: float | None = None
    hang_head: float | None = None
    slow_chunks: float | None = None
    hang_mid: float | None = None
    cut_mid: bool = False
    html: bool = False
    gzip: bool = False
    redirect: bool = False
    refuse_token: str | None = None
    half_event: bool = False
    no_done: bool = False
    error_frame: bool = False
    error_first: int | None = None
    many_events: int | None = None
    big_events: int | None = None


NONE: Final = Faults()

STREAM_ONLY: Final = ("half_event", "no_done", "error_frame", "error_first")


def parse(header: str | None, model: str | None = None) -> Faults:
    """The faults of one request. Raises Refusal (400) that names the known ones."""
    faults = NONE
    named = (model or "").removeprefix(MODEL_PREFIX) if (model or "").startswith(MODEL_PREFIX) else ""
    for item in f"{header or ''},{named}".split(","):
        if item.strip():
            name, value = _named(item.strip().lower())
            faults = replace(faults, **{name.replace("-", "_"): value})
    return faults


def for_streams_only(faults: Faults) -> list[str]:
    """Those of the faults that only a stream can have."""
    return [name.replace("_", "-") for name in STREAM_ONLY if getattr(faults, name) != getattr(NONE, name)]


def swollen(pieces: Iterable[str], faults: Faults) -> Iterator[str]:
    """The pieces of an answer as many and as big as the faults ask."""
    if faults.many_events is not None:
        pieces = islice(cycle(list(pieces) or ["demo "]), faults.many_events)
    size = faults.big_events
    for piece in pieces:
        yield piece if size is None else piece.ljust(size, "x")


def _named(item: str) -> tuple[str, Any]:
    for name in sorted(_VALUES, key=len, reverse=True):
        if item == name:
            return name, _VALUES[name]("")
        if item.startswith((f"{name}=", f"{name}-")):
            try:
                return name, _VALUES[name](item[len(name) + 1 :])
            except ValueError as error:
                raise Refusal(f"The fault '{name}' {error}.", param=HEADER, code="invalid_fault") from None
    known = ", ".join(_VALUES)
    raise Refusal(f"There is no fault '{item}'; known are: {known}.", param=HEADER, code="unknown_fault")


def _switch(text: str) -> bool:
    if text:
        raise ValueError("takes no value")
    return True


def _word(text: str) -> str:
    return text or "once"


def _seconds(default: float, scale: float = 1.0) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = (float(text) if text else default) * scale
        except ValueError:
            value = -1.0
        if not 0 <= value <= _LONGEST_SECONDS:
            raise ValueError(f"takes a number between 0 and {_LONGEST_SECONDS / scale:.0f}")
        return value

    return read


def _count(default: int, least: int = 0, most: int = _MOST) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text) if text else default
        except ValueError:
            value = -1
        if not least <= value <= most:
            raise ValueError(f"takes a whole number between {least} and {most}")
        return value

    return read


_VALUES: Final[dict[str, Callable[[str], Any]]] = {
    "status": _count(500, 400, 599),
    "retry-after": _seconds(1),
    "hang-head": _seconds(600),
    "slow-chunks": _seconds(100, scale=0.001),
    "hang-mid": _seconds(600),
    "cut-mid": _switch,
    "html": _switch,
    "gzip": _switch,
    "redirect": _switch,
    "refuse-token": _word,
    "half-event": _switch,
    "no-done": _switch,
    "error-frame": _switch,
    "error-first": _count(503, 400, 599),
    "many-events": _count(1000),
    "big-events": _count(65536),
}
