"""What the gauges show: one look at the running process, taken when somebody scrapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mimic_proxy.telemetry.observation import RefreshResult

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
