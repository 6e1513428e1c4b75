"""The metrics of the proxy: every name, label and bucket stands here, and nowhere else.

An exchange and a refresh end in one observation each; they are counted by accumulators that are rendered when
Prometheus scrapes.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mimic_proxy.telemetry.accumulators import Counter, Histogram
from mimic_proxy.telemetry.observation import (
    ExchangeObservation,
    Operation,
    Outcome,
    RefreshObservation,
    RefreshResult,
    RefreshTrigger,
)

DURATION_BOUNDS = tuple(0.01 * 2**power for power in range(17))
"""10 ms to 655 s; every threshold of a service level is one of them."""
USUAL_STATUS: dict[Outcome, int] = {
    "completed": 200,
    "client_error": 400,
    "upstream_error": 502,
    "token_error": 503,
    "timeout": 504,
    "idle_timeout": 200,
    "client_disconnect": 499,
    "overloaded": 503,
    "circuit_open": 503,
    "internal_error": 500,
    "shutdown": 503,
}
"""The status that each outcome has most often: with it a child is there from the start."""
STREAMED: tuple[Operation, ...] = ("chat", "passthrough")

Readiness = Callable[[], Iterable[tuple[str, bool]]]


class Metrics:
    """All that is counted, and the registry that shows it."""

    def __init__(self, *, version: str, revision: str, python: str, ready: Readiness) -> None:
        """`ready` gives each condition of readiness by its name, whenever somebody scrapes."""
        self._build = (version, revision, python)
        self._ready = ready
        self._requests = Counter(("operation", "stream", "code", "outcome"), _usual_exchanges())
        self._durations = Histogram(("operation", "outcome"), DURATION_BOUNDS)
        self._refreshes = Counter(
            ("result", "trigger"),
            [(result, trigger) for result in get_args(RefreshResult) for trigger in get_args(RefreshTrigger)],
        )
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Rendered(self._render))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def exchange(self, seen: ExchangeObservation) -> None:
        """Counts one finished exchange."""
        self._requests.add((seen.operation, seen.stream, seen.status, seen.outcome))
        self._durations.observe((seen.operation, seen.outcome), seen.duration_seconds)

    def refresh(self, seen: RefreshObservation) -> None:
        """Counts one call to the token service."""
        self._refreshes.add((seen.result, seen.trigger))

    def _render(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "mimic_requests", "Finished requests; code is the status sent.", labels=self._requests.labels
        )
        for labels, count in self._requests.rendered():
            requests.add_metric(labels, count)
        yield requests
        durations = HistogramMetricFamily(
            "mimic_request_duration_seconds",
            "First byte of a request in to last byte of its response out.",
            labels=self._durations.labels,
        )
        for labels, buckets, total in self._durations.rendered():
            durations.add_metric(labels, buckets, total)
        yield durations
        refreshes = CounterMetricFamily(
            "mimic_token_refresh", "Calls to the token service.", labels=self._refreshes.labels
        )
        for labels, count in self._refreshes.rendered():
            refreshes.add_metric(labels, count)
        yield refreshes
        ready = GaugeMetricFamily("mimic_ready", "1 for each condition of readiness that holds.", labels=("condition",))
        for condition, holds in self._ready():
            ready.add_metric([condition], int(holds))
        yield ready
        build = GaugeMetricFamily("mimic_build_info", "What runs here.", labels=("version", "revision", "python"))
        build.add_metric(self._build, 1)
        yield build


class _Rendered(Collector):
    """prometheus_client's seam for metrics that come into being when they are asked for."""

    def __init__(self, render: Callable[[], Iterator[Metric]]) -> None:
        self._render = render

    def collect(self) -> Iterator[Metric]:
        return self._render()


def _usual_exchanges() -> Iterator[tuple[object, ...]]:
    for operation in get_args(Operation):
        for stream in (False, True) if operation in STREAMED else (False,):
            for outcome, status in USUAL_STATUS.items():
                yield operation, stream, status, outcome
