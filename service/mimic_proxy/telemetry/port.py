"""What the running proxy tells of itself, and to whom: its listeners, and the state that they may read at any moment.

No one needs to listen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mimic_proxy.telemetry.observation import Operation, Outcome, RefreshObservation, RefreshResult, SpanLink, Trace
from mimic_proxy.telemetry.propagation import Propagation
from mimic_proxy.telemetry.record import Record

BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class TokenState:
    """The state of the token source at one moment, without a secret. Times are Unix times, durations seconds."""

    required: bool
    """There is a token service."""
    held: bool
    """A call that comes now gets a token at once."""
    generation: int
    """Counts up from 1 with each token; 0 before the first one."""
    issued: float | None
    expires: float | None
    """None: no token, or its expiry is unknown."""
    lifetime: float | None
    """None: no token, or one that needs no refresh."""
    refresh_margin: float | None
    """From the start of the next proactive refresh to the end of the lifetime."""
    last_result: RefreshResult | None
    """None: the token service has not been called yet."""
    trouble: str | None
    """A sentence that says why the last attempt failed; None if it did not."""
    consecutive_failures: int
    next_refresh: float | None
    """None: one is in flight, or none is scheduled."""
    in_flight: bool
    waiters: int
    coalesced: int
    """Calls so far that joined a refresh which another call had started."""


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """What became of the spans so far."""

    exported: int = 0
    failed: int = 0
    """Handed to the exporter, which could not deliver them."""
    dropped: int = 0
    """Never handed to it: the queue was full, or the process ended."""


@dataclass(frozen=True, slots=True)
class Readings:
    """One moment. Times are Unix times in seconds."""

    token: TokenState
    requests_in_flight: Mapping[str, int] = field(default_factory=dict)
    """By operation; what is missing is 0."""
    streams_in_flight: Mapping[str, int] = field(default_factory=dict)
    breaker: BreakerState = "closed"
    slots_in_use: int = 0
    slots_limit: int = 0
    conditions: Sequence[tuple[str, bool]] = ()
    draining: bool = False
    config_hash: str = ""
    reloaded_at: float = 0.0
    reload_succeeded: bool = True
    spans: SpanCounts = SpanCounts()
    lines_lost: int = 0
    """Log lines that were dropped so far."""


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
