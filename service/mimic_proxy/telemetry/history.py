"""The last minutes of this process, for the status page: what ended, how long it took, what went wrong.

Pure, without a clock of its own: moments come with the observations, seconds on the monotonic clock. Memory is bounded
whatever callers send: rings of the last exchanges and refreshes, and one bucket for each five seconds of a quarter of
an hour. It is fed by every exchange, so feeding it is a few additions; percentiles are worked out when somebody looks.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, get_args

import msgspec

from mimic_proxy.telemetry.observation import Operation, Outcome, RefreshObservation
from mimic_proxy.telemetry.record import Record

BUCKET_SECONDS = 5
BUCKETS = 180
"""A quarter of an hour."""
EXCHANGES_KEPT = 50
REFRESHES_KEPT = 10
LONGEST_TEXT = 256
"""Of what a caller chose, such as a path or the name of a model: a body may be one long name."""
BOUNDS = tuple(0.0005 * 2 ** (step / 2) for step in range(42))
"""0.5 ms to 742 s, two to an octave: a percentile is off by less than one step."""
NOT_FAILED: frozenset[Outcome] = frozenset({"completed", "client_disconnect"})
"""All other outcomes are failures. That a caller leaves says nothing of us: chats have a button for it."""

Cause = Literal[
    "completed",
    "client_disconnect",
    "gave_up",
    "client_error",
    "refused_here",
    "throttled",
    "shutdown",
    "no_token",
    "token_refused",
    "upstream_5xx",
    "error_event",
    "unreachable",
    "bad_response",
    "timeout",
    "idle_timeout",
    "overloaded",
    "circuit_open",
    "internal_error",
]
"""How an exchange ended: outcomes, told apart further where the cure is another one.

gave_up: the caller left after PATIENCE_SECONDS or more in which the backend had not answered at all.
"""
PATIENCE_SECONDS = 5.0
"""A person who changes their mind is quicker; a caller's timeout is not."""
NEVER_ASKED: frozenset[Cause] = frozenset({"refused_here", "no_token", "overloaded", "circuit_open", "shutdown"})
"""Causes that say nothing of the backend, since it was not asked."""


class EndedExchange(msgspec.Struct, frozen=True, gc=False):
    """What is kept of one exchange. Durations are seconds; `ended` is a moment on the monotonic clock."""

    number: int
    """Counts up from 1: tells exchanges apart that came with the same request id."""
    ended: float
    duration_seconds: float
    outcome: Outcome
    status: int
    operation: Operation
    method: str
    path: str
    model: str | None
    stream: bool
    error_code: str | None
    upstream_status: int | None
    first_chunk_seconds: float | None
    token_wait_seconds: float
    queue_seconds: float
    retried: str | None
    input_tokens: int | None
    output_tokens: int | None
    request_id: str
    trace_id: str | None


class Point(msgspec.Struct, frozen=True, gc=False):
    """One bucket as a plot shows it; percentiles in seconds, None where nothing was measured."""

    calls: int
    failures: int
    p50: float | None
    p95: float | None
    first_p50: float | None
    first_p95: float | None


NO_CALLS = Point(0, 0, None, None, None, None)


class _Bucket:
    """Five seconds of exchanges."""

    __slots__ = ("_point", "causes", "durations", "firsts", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.causes: dict[Cause, int] = dict.fromkeys(get_args(Cause), 0)
        self.durations = [0] * (len(BOUNDS) + 1)
        self.firsts = [0] * (len(BOUNDS) + 1)
        self._point: Point | None = None

    def point(self, *, over: bool) -> Point:
        """As a plot shows it; worked out once when the bucket is `over`."""
        if self._point is not None:
            return self._point
        calls = sum(self.causes.values())
        point = Point(
            calls,
            calls - self.causes["completed"] - self.causes["client_disconnect"],
            percentile(self.durations, 0.5),
            percentile(self.durations, 0.95),
            percentile(self.firsts, 0.5),
            percentile(self.firsts, 0.95),
        )
        if over:
            self._point = point
        return point


class Tally(msgspec.Struct, frozen=True):
    """Exchanges of a span of time."""

    causes: dict[Cause, int]
    p50: float | None
    p95: float | None
    first_p50: float | None
    first_p95: float | None

    @property
    def calls(self) -> int:
        return sum(self.causes.values())

    @property
    def asked(self) -> int:
        """Those that the backend was asked about."""
        return sum(count for cause, count in self.causes.items() if cause not in NEVER_ASKED)

    @property
    def failed(self) -> int:
        """Those of them that failed."""
        return self.asked - self.causes["completed"] - self.causes["client_disconnect"]


class History:
    """See the module's text. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.exchanges: deque[EndedExchange] = deque(maxlen=EXCHANGES_KEPT)
        """The last ones, oldest first."""
        self.failures: deque[EndedExchange] = deque(maxlen=EXCHANGES_KEPT)
        """The last failed ones: where thousands succeed in a second, they would not be seen among all."""
        self.refreshes: deque[RefreshObservation] = deque(maxlen=REFRESHES_KEPT)
        self.failing_since: float | None = None
        """When the first of the failed refreshes since the last success began; None if the last one succeeded."""
        self.last: dict[Cause, float] = {}
        """The last end by each cause."""
        self._buckets: deque[_Bucket] = deque([_Bucket(-1)], maxlen=BUCKETS + 1)
        self._bucket = self._buckets[-1]
        self._number = 0

    def exchange(self, seen: Record) -> None:
        """One finished exchange."""
        duration, outcome, first = seen.duration_seconds, seen.outcome, seen.first_chunk_seconds
        model, path, trace, ended, usage = seen.model, seen.path, seen.trace, seen.ended, seen.shown.usage
        self._number += 1
        kept = EndedExchange(
            self._number,
            ended,
            duration,
            outcome,
            seen.status,
            seen.operation,
            seen.method,
            path if len(path) <= LONGEST_TEXT else _shortened(path),
            model if model is None or len(model) <= LONGEST_TEXT else _shortened(model),
            seen.stream,
            seen.error_code,
            seen.upstream_status,
            first,
            seen.token_wait_seconds,
            seen.queue_seconds,
            seen.retried,
            usage.input,
            usage.output,
            seen.request_id,
            None if trace is None else trace.trace_id,
        )
        self.exchanges.append(kept)
        bucket = self._bucket
        # Exchanges are told of in batches, not quite in order; what is late counts as now.
        if ended >= (bucket.slot + 1) * BUCKET_SECONDS:
            bucket = self._bucket = _Bucket(int(ended // BUCKET_SECONDS))
            self._buckets.append(bucket)
        bucket.durations[bisect_left(BOUNDS, duration)] += 1
        if first is not None:
            bucket.firsts[bisect_left(BOUNDS, first)] += 1
        if outcome == "completed":
            bucket.causes["completed"] += 1
            self.last["completed"] = ended
            return
        cause = cause_of(seen)
        bucket.causes[cause] += 1
        self.last[cause] = ended
        if outcome not in NOT_FAILED:
            self.failures.append(kept)

    def refresh(self, seen: RefreshObservation) -> None:
        """One call to the token service."""
        self.refreshes.append(seen)
        if seen.result == "success":
            self.failing_since = None
        elif self.failing_since is None:
            self.failing_since = seen.started

    def tally(self, now: float, seconds: float) -> Tally:
        """The exchanges of the last `seconds`, to a bucket's width."""
        first = int((now - seconds) // BUCKET_SECONDS) + 1
        found = [bucket for bucket in self._buckets if bucket.slot >= first]
        durations, firsts = _sums(bucket.durations for bucket in found), _sums(bucket.firsts for bucket in found)
        causes = dict.fromkeys(get_args(Cause), 0)
        for bucket in found:
            for cause, count in bucket.causes.items():
                causes[cause] += count
        return Tally(
            causes,
            percentile(durations, 0.5),
            percentile(durations, 0.95),
            percentile(firsts, 0.5),
            percentile(firsts, 0.95),
        )

    def points(self, now: float) -> list[Point]:
        """Each five seconds of the last quarter of an hour, oldest first; the last one is not over yet."""
        current = int(now // BUCKET_SECONDS)
        by_slot = {bucket.slot: bucket for bucket in self._buckets}
        return [
            by_slot[slot].point(over=by_slot[slot] is not self._bucket) if slot in by_slot else NO_CALLS
            for slot in range(current - BUCKETS + 1, current + 1)
        ]


def cause_of(seen: Record) -> Cause:
    """The cause for an outcome."""
    match seen.outcome:
        case "upstream_error":
            return _backends_fault(seen)
        case "token_error":
            refused = seen.upstream_status in (401, 403) or seen.error_code == "upstream_auth_failed"
            return "token_refused" if refused else "no_token"
        case "client_disconnect":
            silent = bool(seen.sent) and seen.upstream_status is None
            return "gave_up" if silent and seen.ended - seen.sent >= PATIENCE_SECONDS else "client_disconnect"
        case "client_error":
            if seen.upstream_status is None:
                return "refused_here"
            return "throttled" if seen.upstream_status == 429 else "client_error"
        case outcome:
            return outcome


def _backends_fault(seen: Record) -> Cause:
    if seen.error_code == "upstream_unreachable":
        return "unreachable"
    if seen.error_code is not None:
        return "bad_response"
    # An answer of the backend's own: by its status, or by an event inside of a stream that had begun well.
    return "upstream_5xx" if seen.status >= 500 else "error_event"


def percentile(counts: Sequence[int], share: float) -> float | None:
    """The value below which `share` of what was counted lies, from counts by BOUNDS; None where there is nothing."""
    total = sum(counts)
    if not total:
        return None
    wanted, seen = share * total, 0
    for (low, high), count in zip(pairwise((0.0, *BOUNDS, BOUNDS[-1])), counts, strict=True):
        if count and seen + count >= wanted:
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return BOUNDS[-1]


def _sums(columns: Iterable[list[int]]) -> list[int]:
    return [sum(counts) for counts in zip(*columns, strict=True)]


def _shortened(text: str) -> str:
    return f"{text[:LONGEST_TEXT]}..."
