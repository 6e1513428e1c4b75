"""What the gauges show: one look at the running process, taken when somebody scrapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mimic_proxy.tokens.state import TokenState

BreakerState = Literal["closed", "open", "half_open"]


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
