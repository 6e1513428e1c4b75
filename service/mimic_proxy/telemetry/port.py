"""What the running proxy tells of itself, and to whom. Nobody needs to listen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mimic_proxy.telemetry.observation import Operation, Outcome, RefreshObservation, SpanLink, Trace
from mimic_proxy.telemetry.propagation import Propagation
from mimic_proxy.telemetry.readings import BreakerState, SpanCounts
from mimic_proxy.telemetry.record import Record


class WebSpans(Protocol):
    """The span that an instrumentation has opened for the request that a web application answers now."""

    def current(self) -> Trace | None:
        """Where it stands; None where there is none."""
        ...

    def finish(self, outcome: Outcome, request_id: str, error_code: str | None) -> None:
        """Says how the request ended; before the last byte of the answer, with which the span is closed."""
        ...


class NoSpans:
    """Where nobody instruments."""

    def current(self) -> Trace | None:
        return None

    def finish(self, outcome: Outcome, request_id: str, error_code: str | None) -> None:
        """There is nothing to say it to."""


def _to_nobody(what: object) -> None:
    """Where nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The listeners of one process; all are called from the thread of its event loop."""

    exchange: Callable[[Record], None] = _to_nobody
    """A finished exchange."""
    refresh: Callable[[RefreshObservation], None] = _to_nobody
    """A call to the token service."""
    gaps: Callable[[Operation, str | None], Callable[[float], None]] = lambda operation, model: _to_nobody
    """For a stream of an operation and a model: what is told of the seconds between its events."""
    breaker_changed: Callable[[BreakerState], None] = _to_nobody
    reloaded: Callable[[bool], None] = _to_nobody
    """Changed files were read again: whether they could be used."""
    lag: Callable[[float], None] = _to_nobody
    """Seconds that the event loop was late."""
    begin_trace: Callable[[bytes | None, tuple[bytes, ...], str], Trace] | None = None
    """Gives an exchange its place in a trace, see `relay.ports.Services`; None: no spans are made."""
    begin_refresh: Callable[[SpanLink | None], SpanLink | None] = lambda trigger: None
    """Gives a refresh its span, by the sampled exchange that started it if one did."""
    spans: Callable[[], SpanCounts] = SpanCounts
    instrument: Callable[[Any], None] = _to_nobody
    """Gets each FastAPI application before it answers anything."""
    web_spans: WebSpans = field(default_factory=NoSpans)
    stopped: Callable[[float, int], None] = lambda began, running: None
    """A graceful stop has ended: the moment it began, and how many exchanges ran then."""
    propagation: Propagation = field(default_factory=Propagation)
