"""What is counted as it happens: plain numbers on the hot path, rendered only when somebody scrapes; the counters and
histograms of the catalogue, by their names; and what one exchange adds to them. Pure.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import get_args

from mimic_proxy.telemetry.catalogue import CLOSED, PLAIN_RESULTS, REASONS, Metric
from mimic_proxy.telemetry.models import ModelLabels
from mimic_proxy.telemetry.observation import Operation, Outcome, Usage, UsageType
from mimic_proxy.telemetry.record import Record

Key = tuple[str, ...]
"""One value for each label, in the order of the labels."""


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1) -> None:
        self.value += amount


class Exemplar:
    """The last sampled observation of a bucket: where it can be looked at, its value, and its Unix time."""

    __slots__ = ("span_id", "time", "trace_id", "value")

    def __init__(self, trace_id: str, span_id: str, value: float, time: float) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.value = value
        self.time = time


class Distribution:
    """One series of a histogram; a bucket holds what is at most its bound (`le`)."""

    __slots__ = ("bounds", "buckets", "exemplars", "sum")

    def __init__(self, bounds: list[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def exemplify(self, exemplar: Exemplar) -> None:
        """Show this as an example of the bucket that its value belongs to; it has been observed."""
        self.exemplars[bisect_left(self.bounds, exemplar.value)] = exemplar


class Counter:
    """Series by label values."""

    __slots__ = ("labels", "series")

    def __init__(self, labels: Sequence[str], children: Iterable[Key] = ()) -> None:
        """`children` are there from the start, at 0: a rate does not see the event that a series begins with."""
        self.labels = tuple(labels)
        self.series: dict[Key, Count] = {key: Count() for key in children}

    def child(self, *key: str) -> Count:
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Count()
        return found

    def add(self, *key: str, amount: float = 1) -> None:
        self.child(*key).value += amount


class Histogram:
    """Distributions by label values. `bounds` ascend; the bucket above the last of them is implied."""

    __slots__ = ("bounds", "labels", "series")

    def __init__(self, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.labels = tuple(labels)
        self.bounds = list(bounds)
        self.series: dict[Key, Distribution] = {}

    def child(self, *key: str) -> Distribution:
        found = self.series.get(key)
        if found is None:
            found = self.series[key] = Distribution(self.bounds)
        return found

    def cumulated(self) -> Iterator[tuple[Key, list[tuple[str, int, Exemplar | None]], float]]:
        """Label values, cumulated buckets by the text of their bound, and the sum of every series."""
        bounds = [*(f"{bound:.12g}" for bound in self.bounds), "+Inf"]
        for key, child in self.series.items():
            total = 0
            buckets: list[tuple[str, int, Exemplar | None]] = []
            for position, (bound, count) in enumerate(zip(bounds, child.buckets, strict=True)):
                total += count
                buckets.append((bound, total, child.exemplars.get(position)))
            yield key, buckets, child.sum


USUAL_STATUSES: dict[Outcome, tuple[int, ...]] = {
    "completed": (200,),
    "client_error": (400,),
    "upstream_error": (500, 502, 503),
    "token_error": (502, 503),
    "timeout": (504,),
    "idle_timeout": (200,),
    "client_disconnect": (499,),
    "overloaded": (503,),
    "circuit_open": (503,),
    "internal_error": (500,),
    "shutdown": (503,),
}
"""The statuses that each outcome mostly has: with them children are there from the start."""
USUAL_CODES = frozenset(
    {
        *(200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 499),
        *(400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 422, 424, 429, 431),
        *(500, 501, 502, 503, 504, 529),
    }
)
"""Statuses that have a label of their own: those of Mimic, and those that backends of this kind are known to send."""
STREAMED: tuple[Operation, ...] = ("chat", "passthrough")
AT_THE_BACKEND: tuple[Operation, ...] = ("chat", "embeddings", "models", "passthrough")


class Counts:
    """The accumulators of some metrics. Gauges are not among them: they are read when somebody scrapes."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = tuple(metrics)
        self.counters = {
            metric.name: Counter(metric.labels, _from_the_start(metric))
            for metric in self.metrics
            if metric.kind == "counter"
        }
        self.histograms = {
            metric.name: Histogram(metric.labels, metric.bounds)
            for metric in self.metrics
            if metric.kind == "histogram"
        }


def boolean(value: bool) -> str:
    """As Prometheus's users write it."""
    return "true" if value else "false"


def code(status: int) -> str:
    """The label of a status. A backend may send any: those that are not usual are told by their class."""
    return str(status) if status in USUAL_CODES else code_class(status)


def code_class(status: int) -> str:
    """2xx, 3xx, 4xx or 5xx: for histograms, whose every series is twenty."""
    return f"{status // 100}xx"


def _from_the_start(metric: Metric) -> Iterator[Key]:
    """The series of a counter that are there before anything has happened, so that no rate misses their first event."""
    match metric.name:
        case "mimic_requests_total":
            yield from _usual_requests()
        case "mimic_upstream_attempts_total":
            yield from ((operation, "200", "") for operation in AT_THE_BACKEND)
        case "mimic_streams_total":
            yield from product(STREAMED, get_args(Outcome), ("native",))
        case name if name.startswith("mimic_stream_"):
            yield from product(STREAMED)
        case "mimic_retries_total":
            yield from product(AT_THE_BACKEND, REASONS[metric.name])
        case "mimic_admission_rejected_total":
            yield from product(REASONS[metric.name])
        case "mimic_breaker_transitions_total":
            yield from product(CLOSED["target"], CLOSED["state"])
        case "mimic_config_reloads_total" | "mimic_spans_exported_total":
            yield from product(PLAIN_RESULTS)
        case "mimic_tokens_total" | "mimic_model_requests_total" | "mimic_caller_requests_total":
            return
        case _:
            yield from product(*(CLOSED[label] for label in metric.labels))


def _usual_requests() -> Iterator[Key]:
    for operation in get_args(Operation):
        for stream in (False, True) if operation in STREAMED else (False,):
            for outcome, statuses in USUAL_STATUSES.items():
                yield from ((operation, boolean(stream), str(status), outcome) for status in statuses)


MOST_KINDS = 2048
POOL = "backend"
TOKEN_TROUBLE = ("token_unavailable", "token_rejected")

Kind = tuple[object, ...]


class _Series:
    """Where the exchanges of one kind are counted."""

    __slots__ = (
        "attempts",
        "durations",
        "first_chunks",
        "heads",
        "model_requests",
        "overheads",
        "request_bodies",
        "requests",
        "response_bodies",
        "tokens",
    )

    requests: Count
    durations: Distribution
    overheads: Distribution
    request_bodies: Distribution
    response_bodies: Distribution
    attempts: Count | None
    heads: Distribution | None
    model_requests: Count | None
    tokens: tuple[Count, ...] | None
    first_chunks: Distribution | None


class ExchangeCounts:
    """Counts exchanges. wall: Unix time in seconds."""

    def __init__(self, counts: Counts, models: ModelLabels, wall: Callable[[], float]) -> None:
        self._counters = counts.counters
        self._histograms = counts.histograms
        self._models = models
        self._wall = wall
        self._series: dict[Kind, _Series] = {}

    def gaps(self, operation: Operation, model: str | None) -> Callable[[float], None]:
        """What takes the seconds between the events of one stream, whatever the model."""
        return self._histograms["mimic_stream_chunk_gap_seconds"].child(operation).observe

    def count(self, seen: Record) -> None:
        """Counts one finished exchange."""
        series = self._series_of(seen)
        series.requests.value += 1
        series.durations.observe(seen.duration_seconds)
        series.request_bodies.observe(seen.request_bytes)
        series.response_bodies.observe(seen.response_bytes)
        if seen.overhead_seconds is not None:
            series.overheads.observe(seen.overhead_seconds)
        if series.attempts is not None:
            series.attempts.value += 1
        if series.heads is not None and seen.upstream_head_seconds is not None:
            series.heads.observe(seen.upstream_head_seconds)
        if series.model_requests is not None:
            series.model_requests.value += 1
        usage = seen.shown.usage
        if usage.input is not None or usage.output is not None:
            self._count_tokens(usage, series)
        if seen.stream:
            self._count_stream(seen, series)
        if seen.caller is not None:
            self._counters["mimic_caller_requests_total"].add(seen.caller)
        if seen.trace is not None and seen.trace.sampled:
            trace_id, span_id, now = seen.trace.trace_id, seen.trace.span_id, self._wall()
            series.durations.exemplify(Exemplar(trace_id, span_id, seen.duration_seconds, now))
            if series.first_chunks is not None and seen.first_chunk_seconds is not None:
                series.first_chunks.exemplify(Exemplar(trace_id, span_id, seen.first_chunk_seconds, now))
        if seen.earlier or seen.queue_seconds or seen.token_waits or seen.client_retry or seen.outcome != "completed":
            self._count_rarities(seen)

    def _series_of(self, seen: Record) -> _Series:
        kind: Kind = (
            seen.operation,
            seen.stream,
            seen.status,
            seen.outcome,
            seen.upstream_status,
            seen.error_type,
            seen.attempts > len(seen.earlier),
            seen.model,
        )
        found = self._series.get(kind)
        if found is None:
            if len(self._series) >= MOST_KINDS:
                # Callers choose the names of models: what is kept must not grow with them.
                self._series.clear()
            found = self._series[kind] = self._find(seen)
        return found

    def _find(self, seen: Record) -> _Series:
        counters, histograms, operation = self._counters, self._histograms, seen.operation
        found = _Series()
        found.requests = counters["mimic_requests_total"].child(
            operation, boolean(seen.stream), code(seen.status), seen.outcome
        )
        found.durations = histograms["mimic_request_duration_seconds"].child(operation, seen.outcome)
        found.overheads = histograms["mimic_overhead_seconds"].child(operation)
        found.request_bodies = histograms["mimic_request_body_bytes"].child(operation)
        found.response_bodies = histograms["mimic_response_body_bytes"].child(operation)
        found.attempts = found.heads = None
        # Whoever waits for another token in vain, or leaves meanwhile, has made no attempt after the refused one.
        if seen.attempts > len(seen.earlier):
            status = seen.upstream_status
            shown = "" if status is None else code(status)
            found.attempts = counters["mimic_upstream_attempts_total"].child(operation, shown, seen.error_type or "")
            if status is not None:
                found.heads = histograms["mimic_upstream_head_seconds"].child(operation, code_class(status))
        found.model_requests = found.tokens = found.first_chunks = None
        if operation in ("chat", "embeddings") or seen.model is not None:
            model = self._label(seen)
            found.model_requests = counters["mimic_model_requests_total"].child(operation, model, seen.outcome)
            found.tokens = tuple(counters["mimic_tokens_total"].child(operation, model, kind) for kind in USAGE)
            if seen.stream:
                found.first_chunks = histograms["mimic_stream_time_to_first_chunk_seconds"].child(operation, model)
        return found

    def _label(self, seen: Record) -> str:
        if seen.outcome != "completed":
            return self._models.label(seen.model)
        before = len(self._models)
        label = self._models.answered(seen.model)
        if len(self._models) != before:
            # A name has got its label: failures of its calls have been kept under `other`.
            self._series.clear()
        return label

    def _count_tokens(self, usage: Usage, series: _Series) -> None:
        if series.tokens is None:
            return
        counted = (usage.input, usage.output, usage.cached, usage.reasoning)
        for count, tokens in zip(series.tokens, counted, strict=True):
            if tokens:
                count.value += tokens

    def _count_stream(self, seen: Record, series: _Series) -> None:
        counters, histograms, operation = self._counters, self._histograms, seen.operation
        counters["mimic_streams_total"].add(operation, seen.outcome, seen.mode)
        histograms["mimic_stream_duration_seconds"].child(operation, seen.outcome).observe(seen.duration_seconds)
        if seen.first_chunk_seconds is not None:
            if series.first_chunks is None:
                series.first_chunks = histograms["mimic_stream_time_to_first_chunk_seconds"].child(operation, "other")
            series.first_chunks.observe(seen.first_chunk_seconds)
        if seen.events:
            counters["mimic_stream_events_total"].add(operation, amount=seen.events)
            counters["mimic_stream_bytes_total"].add(operation, amount=seen.response_bytes)
        if seen.events > 1 and seen.max_gap_seconds is not None:
            histograms["mimic_stream_max_gap_seconds"].child(operation).observe(seen.max_gap_seconds)
        if seen.send_blocked_seconds:
            counters["mimic_stream_send_blocked_seconds_total"].add(operation, amount=seen.send_blocked_seconds)
        if seen.heartbeats:
            counters["mimic_stream_heartbeats_total"].add(operation, amount=seen.heartbeats)

    def _count_rarities(self, seen: Record) -> None:
        counters, histograms, operation = self._counters, self._histograms, seen.operation
        for number, attempt in enumerate(seen.earlier, start=1):
            status = attempt.status
            shown = "" if status is None else code(status)
            counters["mimic_upstream_attempts_total"].add(operation, shown, attempt.error_type or "")
            if number < seen.attempts:
                counters["mimic_retries_total"].add(operation, attempt.retry)
            if attempt.head_seconds is not None and status is not None:
                head = histograms["mimic_upstream_head_seconds"].child(operation, code_class(status))
                head.observe(attempt.head_seconds)
            if attempt.error_type == "unauthorized":
                self._count_unauthorized(attempt.status)
        if seen.error_type == "unauthorized" and seen.upstream_status is not None:
            self._count_unauthorized(seen.upstream_status)
        if seen.client_retry:
            counters["mimic_client_retries_total"].add(operation)
        if seen.queue_seconds:
            histograms["mimic_upstream_slot_wait_seconds"].child(POOL).observe(seen.queue_seconds)
        if seen.token_waits:
            histograms["mimic_token_wait_seconds"].child().observe(seen.token_wait_seconds)
        if seen.refused is not None:
            counters["mimic_admission_rejected_total"].add(seen.refused)
        if seen.outcome == "circuit_open":
            counters["mimic_breaker_rejected_total"].add("backend")
        elif seen.error_code in TOKEN_TROUBLE and not seen.attempts and not seen.token_waits:
            # Turned away at once, since the token service is being left alone for a while.
            counters["mimic_breaker_rejected_total"].add("token")

    def _count_unauthorized(self, status: int | None) -> None:
        kind = "http" if status == 401 else "envelope"
        self._counters["mimic_token_upstream_unauthorized_total"].add(kind)


USAGE: tuple[UsageType, ...] = get_args(UsageType)
