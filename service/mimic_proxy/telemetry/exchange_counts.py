"""What one exchange adds to the counts. Pure.

The series that an exchange belongs to are found once and kept by what tells exchanges apart: what is left to do for the
next one of its kind is to add.
"""

from collections.abc import Callable
from typing import get_args

from mimic_proxy.telemetry.accumulators import Count, Distribution, Exemplar
from mimic_proxy.telemetry.counts import Counts, boolean, code, code_class
from mimic_proxy.telemetry.models import ModelLabels
from mimic_proxy.telemetry.observation import Usage, UsageType
from mimic_proxy.telemetry.record import Record

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
