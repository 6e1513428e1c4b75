"""The service level objectives: what counts, what of it is bad, and how fast a budget may burn.

    availability   99.9 %  of requests without a failure; what callers did wrong, left or lost to a restart counts not
    first_chunk    95 %    of streams with their first content within 5.12 s
    tokens         99.9 %  of requests without a token error: the part of availability that the token service has
    overhead       99 %    of requests with at most 50 ms of Mimic's own

All are over 30 days and over all pods of a namespace and job: a sidecar's few calls say nothing by themselves.
"""

from dataclasses import dataclass
from typing import Literal

from mimic_proxy.telemetry.catalogue import CLOSED, DURATIONS, OVERHEADS

Severity = Literal["critical", "warning", "info"]

NOT_COUNTED = ("client_error", "client_disconnect", "shutdown")
"""Outcomes that say nothing of the service: the caller's fault, the caller's choice, a restart that SDKs repeat."""
VALID = tuple(outcome for outcome in CLOSED["outcome"] if outcome not in NOT_COUNTED)
FAILED = tuple(outcome for outcome in VALID if outcome != "completed")
FIRST_CHUNK_SECONDS = 5.12
OVERHEAD_SECONDS = 0.05

INTERVAL_SECONDS = 30
"""Between two evaluations of the recorded rates; counts of long windows are made of their sums."""
LEAST_BAD = 10
"""So many bad ones in the long window before a budget may alert. Their number and not that of all requests: of fifty
requests, one failure would burn twenty budgets; a total outage of a quiet service still alerts with its tenth call."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective. target: share of the good, from 0 to 1.

    valid, bad: PromQL of what counts, and of the bad part, per second over the last 5 minutes, by namespace and job.
    counted, failing: middle parts of the recorded names of both.
    """

    target: float
    counted: str
    failing: str
    valid: str
    bad: str

    @property
    def budget(self) -> float:
        """Share that may be bad, free of binary noise: 0.001, not 0.0010000000000000009."""
        return round(1 - self.target, 9)

    def rate(self, part: Literal["valid", "bad"]) -> str:
        """Recorded name of one of the two rates."""
        return f"namespace_job:{self.counted if part == 'valid' else self.failing}:rate5m"

    def ratio(self, window: str) -> str:
        """Recorded name of the bad share over a window."""
        return f"namespace_job:{self.failing}:ratio_rate{window}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two windows that have to burn at the same time: the long one shows that it matters, the short one that it lasts.

    factor: how many times faster than allowed (Google's SRE workbook, chapter 5). hold: `for` of the alert.
    """

    factor: float
    long: str
    short: str
    hold: str
    urgent: bool


PAIRS = (
    Pair(14.4, "1h", "5m", "2m", urgent=True),
    Pair(6, "6h", "30m", "15m", urgent=True),
    Pair(3, "1d", "2h", "1h", urgent=False),
    Pair(1, "3d", "6h", "3h", urgent=False),
)
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
SLOW_WINDOWS = ("2h", "6h", "1d", "3d")
"""They hold thousands of samples and move slowly: they are evaluated less often."""


def _total(metric: str, matcher: str = "") -> str:
    selector = f"{metric}{{{matcher}}}" if matcher else metric
    return f"sum by (namespace, job) (rate({selector}[5m]))"


def _slow(metric: str, bound: float, bounds: tuple[float, ...]) -> str:
    assert bound in bounds, f"{bound} is no bucket of {metric}"
    within = _total(f"{metric}_bucket", f'le="{bound}"')
    return f"{_total(f'{metric}_count')} - {within}"


def _any_of(label: str, values: tuple[str, ...]) -> str:
    return f'{label}=~"{"|".join(values)}"'


_REQUESTS = _total("mimic_requests_total", _any_of("outcome", VALID))
AVAILABILITY = Objective(
    0.999,
    "mimic_requests_valid",
    "mimic_requests_errors",
    _REQUESTS,
    _total("mimic_requests_total", _any_of("outcome", FAILED)),
)
TOKENS = Objective(
    0.999,
    "mimic_requests_valid",
    "mimic_requests_token_errors",
    _REQUESTS,
    _total("mimic_requests_total", 'outcome="token_error"'),
)
FIRST_CHUNK = Objective(
    0.95,
    "mimic_streams_first_chunk",
    "mimic_streams_first_chunk_late",
    _total("mimic_stream_time_to_first_chunk_seconds_count"),
    _slow("mimic_stream_time_to_first_chunk_seconds", FIRST_CHUNK_SECONDS, DURATIONS),
)
OVERHEAD = Objective(
    0.99,
    "mimic_overhead",
    "mimic_overhead_slow",
    _total("mimic_overhead_seconds_count"),
    _slow("mimic_overhead_seconds", OVERHEAD_SECONDS, OVERHEADS),
)
OBJECTIVES = (AVAILABILITY, TOKENS, FIRST_CHUNK, OVERHEAD)
REFRESH_TARGET = 0.99
"""Of calls to the token service. A pod makes one an hour: a share to look at, not one to alert on."""
