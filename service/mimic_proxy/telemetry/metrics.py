"""The metrics of the proxy as Prometheus reads them: what `catalogue` names, with what `counts` and `readings` hold.

An exchange and a refresh end in one observation each; they are counted by accumulators that are rendered when
Prometheus scrapes. What is a gauge is read at that moment.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as ShownExemplar

from mimic_proxy.telemetry import catalogue
from mimic_proxy.telemetry.counts import POOL, STREAMED, Counter, Counts, ExchangeCounts, Exemplar, Histogram
from mimic_proxy.telemetry.genai_counts import GenAICounts
from mimic_proxy.telemetry.models import ModelLabels
from mimic_proxy.telemetry.observation import Operation, RefreshObservation
from mimic_proxy.telemetry.port import BreakerState, Readings, TokenState
from mimic_proxy.telemetry.record import Record

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Build:
    """What runs here."""

    version: str
    revision: str
    python: str


class Metrics:
    """All that is counted, and the registry that shows it."""

    def __init__(
        self,
        *,
        build: Build,
        read: Callable[[], Readings],
        models: ModelLabels,
        wall: Callable[[], float],
        genai: GenAICounts | None = None,
    ) -> None:
        """read: the moment, whenever somebody scrapes. wall: Unix seconds. genai: also counts exchanges, if given."""
        self._build = build
        self._read = read
        self._counts = Counts(catalogue.CATALOGUE.values())
        self._exchanges = ExchangeCounts(self._counts, models, wall)
        self._genai = genai
        self.exchange: Callable[[Record], None] = self._exchanges.count
        """Counts one finished exchange."""
        self.gaps: Callable[[Operation, str | None], Callable[[float], None]] = self._exchanges.gaps
        """For a stream of an operation and a model: what is told of the seconds between its events."""
        if genai is not None:
            self.exchange, self.gaps = self._count_twice, functools.partial(self._twice_the_gaps, genai)
        self._token_failing = False
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Rendered(self._render))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def _count_twice(self, seen: Record) -> None:
        self._exchanges.count(seen)
        assert self._genai is not None
        self._genai.count(seen)

    def _twice_the_gaps(self, genai: GenAICounts, operation: Operation, model: str | None) -> Callable[[float], None]:
        return genai.gaps(operation, model, self._exchanges.gaps(operation, model))

    def refresh(self, seen: RefreshObservation) -> None:
        """Counts one call to the token service."""
        counters, histograms = self._counts.counters, self._counts.histograms
        counters["mimic_token_refresh_total"].add(seen.result, seen.trigger)
        histograms["mimic_token_refresh_duration_seconds"].child(seen.result).observe(seen.duration_seconds)
        transitions = counters["mimic_breaker_transitions_total"]
        failed = seen.result != "success"
        if self._token_failing:
            transitions.add("token", "half_open")
            transitions.add("token", "open" if failed else "closed")
        elif failed:
            transitions.add("token", "open")
        self._token_failing = failed

    def breaker_changed(self, state: BreakerState) -> None:
        """Counts a change of the backend's breaker."""
        self._counts.counters["mimic_breaker_transitions_total"].add("backend", state)

    def reloaded(self, succeeded: bool) -> None:
        """Counts changed files that were read again."""
        self._counts.counters["mimic_config_reloads_total"].add("success" if succeeded else "failure")

    def lag(self, seconds: float) -> None:
        """Counts how late the event loop was."""
        self._counts.histograms["mimic_event_loop_lag_seconds"].child().observe(seconds)

    def _render(self) -> Iterator[Metric]:
        now = self._read()
        self._refresh_totals(now)
        gauges = dict(_gauges(now, self._build))
        for metric in catalogue.CATALOGUE.values():
            if metric.kind == "counter":
                yield _counter(metric, self._counts.counters[metric.name])
            elif metric.kind == "histogram":
                yield _histogram(metric, self._counts.histograms[metric.name])
            else:
                yield _gauge(metric, gauges[metric.name])
        if self._genai is not None:
            for metric in self._genai.counts.metrics:
                yield _histogram(metric, self._genai.counts.histograms[metric.name])

    def _refresh_totals(self, now: Readings) -> None:
        """Counters whose count is kept where it arises."""
        counters, spans = self._counts.counters, now.spans
        counters["mimic_token_coalesced_total"].child().value = now.token.coalesced
        counters["mimic_spans_exported_total"].child("success").value = spans.exported
        counters["mimic_spans_exported_total"].child("failure").value = spans.failed
        counters["mimic_spans_dropped_total"].child().value = spans.dropped
        counters["mimic_log_lines_dropped_total"].child().value = now.lines_lost


class _Rendered(Collector):
    """prometheus_client's seam for metrics that come into being when they are asked for."""

    def __init__(self, render: Callable[[], Iterator[Metric]]) -> None:
        self._render = render

    def collect(self) -> Iterator[Metric]:
        return self._render()


def _counter(metric: catalogue.Metric, counter: Counter) -> Metric:
    family = CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
    for labels, count in counter.series.items():
        family.add_metric(labels, count.value)
    return family


def _histogram(metric: catalogue.Metric, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    if not metric.labels and not histogram.series:
        histogram.child()
    for labels, buckets, total in histogram.cumulated():
        shown = [
            (bound, count) if exemplar is None else (bound, count, _shown(exemplar))
            for bound, count, exemplar in buckets
        ]
        family.add_metric(labels, shown, total)
    return family


def _shown(exemplar: Exemplar) -> ShownExemplar:
    ids = {"trace_id": exemplar.trace_id, "span_id": exemplar.span_id}
    return ShownExemplar(ids, exemplar.value, exemplar.time)


def _gauge(metric: catalogue.Metric, samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _gauges(now: Readings, build: Build) -> Iterator[tuple[str, list[Sample]]]:
    """The samples of every gauge of the catalogue, by its name."""
    operations = get_args(Operation)
    yield "mimic_requests_in_flight", [((name,), now.requests_in_flight.get(name, 0)) for name in operations]
    yield "mimic_streams_in_flight", [((name,), now.streams_in_flight.get(name, 0)) for name in STREAMED]
    for name, value in _token_gauges(now.token):
        yield name, [((), value)]
    states = {"backend": now.breaker, "token": _token_breaker(now.token)}
    yield (
        "mimic_breaker_state",
        [
            ((target, state), float(state == present))
            for target, present in states.items()
            for state in catalogue.CLOSED["state"]
        ],
    )
    yield "mimic_upstream_slots_in_use", [((POOL,), now.slots_in_use)]
    yield "mimic_upstream_slots_limit", [((POOL,), now.slots_limit)]
    yield "mimic_config_last_reload_success", [((), float(now.reload_succeeded))]
    yield "mimic_config_last_reload_timestamp_seconds", [((), now.reloaded_at)]
    yield "mimic_config_info", [((now.config_hash,), 1)]
    yield "mimic_ready", [((name,), float(holds)) for name, holds in now.conditions]
    yield "mimic_draining", [((), float(now.draining))]
    yield "mimic_build_info", [((build.version, build.revision, build.python), 1)]


def _token_gauges(token: TokenState) -> Iterator[tuple[str, float]]:
    issued, lifetime = token.issued or 0.0, token.lifetime or 0.0
    yield "mimic_token_expiry_timestamp_seconds", issued + lifetime if lifetime else 0.0
    yield "mimic_token_issued_timestamp_seconds", issued
    yield "mimic_token_lifetime_seconds", lifetime
    yield "mimic_token_refresh_margin_seconds", token.refresh_margin or 0.0
    yield "mimic_token_required", float(token.required)
    yield "mimic_token_waiters", token.waiters
    yield "mimic_token_consecutive_failures", token.consecutive_failures


def _token_breaker(token: TokenState) -> BreakerState:
    """The token service is left alone for a while after a failure, as a breaker would do it."""
    if not token.consecutive_failures:
        return "closed"
    return "half_open" if token.in_flight else "open"
