"""Metrics of the reconciler process."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

REASONS = (
    "conflict",
    "gone",
    "throttled",
    "forbidden",
    "absent",
    "invalid",
    "unavailable",
    "unreachable",
    "timeout",
    "internal",
)
BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24)
Reading = Callable[[], Mapping[tuple[str, ...], float]]
"""Values by the labels' values, as they are when asked for."""


class ReconcileMetrics:
    """Counted as it happens; what is a state is asked for at each scrape (see `read`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.reconciles = Counter(
            "mimic_operator_reconciles",
            "Turns of a MimicBackend by their end; reason is empty for those that went well.",
            ["result", "reason"],
            registry=registry,
        )
        self.duration = Histogram(
            "mimic_operator_reconcile_duration_seconds",
            "Time of one turn.",
            buckets=BUCKETS,
            registry=registry,
        )
        self.rollouts = Counter(
            "mimic_operator_rollouts", "Rollouts that ended, or halted.", ["result"], registry=registry
        )
        self.writes = Counter("mimic_operator_status_writes", "Statuses written.", registry=registry)
        self.leader = Gauge("mimic_operator_leader", "1 while this process leads.", registry=registry)
        self.certificate = Gauge(
            "mimic_operator_certificate_expiry_timestamp_seconds",
            "When the webhook's certificate ends, Unix time; 0 where the operator does not make it.",
            registry=registry,
        )
        self.reconciles.labels("ok", "")
        for reason in REASONS:
            self.reconciles.labels("error", reason)
        for result in ("complete", "halted"):
            self.rollouts.labels(result)

    def turned(self, seconds: float, reason: str) -> None:
        """One turn has ended; reason: empty, or the class of its fault."""
        self.reconciles.labels("error" if reason else "ok", reason).inc()
        self.duration.observe(seconds)

    def read(self, name: str, text: str, labels: tuple[str, ...], reading: Reading) -> None:
        """Adds a gauge whose values are asked for at each scrape."""
        self._registry.register(_Asked(name, text, labels, reading))


class _Asked(Collector):
    def __init__(self, name: str, text: str, labels: tuple[str, ...], reading: Reading) -> None:
        self._name, self._text, self._labels, self._reading = name, text, labels, reading

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._text, labels=self._labels)
        for values, number in self._reading().items():
            family.add_metric(values, number)
        return [family]
