"""What may be shown of the token source: for readiness, metrics and the status page."""

from dataclasses import dataclass

from mimic_proxy.telemetry.observation import RefreshResult


@dataclass(frozen=True, slots=True)
class TokenState:
    """One moment of the source, without a secret. Times are Unix times, durations seconds."""

    required: bool
    """A token service is asked."""
    held: bool
    """A request that comes now gets a token at once."""
    generation: int
    """Counts up from 1 with each token; 0 is none yet."""
    issued: float | None
    expires: float | None
    """None: no token, or nobody said when it expires."""
    lifetime: float | None
    """None: no token, or one that needs no refresh."""
    refresh_margin: float | None
    """From the start of the next proactive refresh to the end of the lifetime."""
    last_result: RefreshResult | None
    """None: the token service was not called yet."""
    trouble: str | None
    """A sentence on why the last try failed; None if it did not."""
    consecutive_failures: int
    next_refresh: float | None
    """None: in flight, or none will come by itself."""
    in_flight: bool
    waiters: int
    coalesced: int
    """Requests so far that joined a refresh which another one had started."""
