"""From the catalogue to what Prometheus reads: a process's registry, and the objects that count."""

import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mimic_operator.catalogue import BUILD, RESULTS, Metric

Reading = Callable[[], Mapping[tuple[str, ...], float]]
"""Values by the labels' values, as they are when asked for."""


def process_registry(process: Literal["webhook", "reconciler"], version: str) -> CollectorRegistry:
    """A registry with what every process shows: its build, memory, processor time, start."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    gauge(BUILD, registry).labels(process, version, platform.python_version()).set(1)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    """Where `result` is the only label, each of its values is there from the start."""
    made = Counter(metric.name, metric.help, metric.labels, registry=registry)
    if metric.labels == ("result",):
        for result in RESULTS[metric.name]:
            made.labels(result)
    return made


def gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def histogram(metric: Metric, registry: CollectorRegistry) -> Histogram:
    return Histogram(metric.name, metric.help, metric.labels, buckets=metric.bounds, registry=registry)


def asked(metric: Metric, reading: Reading, registry: CollectorRegistry) -> None:
    """A gauge whose values are asked for at each scrape."""
    registry.register(_Asked(metric, reading))


class _Asked(Collector):
    def __init__(self, metric: Metric, reading: Reading) -> None:
        self._metric, self._reading = metric, reading

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._metric.name, self._metric.help, labels=self._metric.labels)
        for values, number in self._reading().items():
            family.add_metric(values, number)
        return [family]
