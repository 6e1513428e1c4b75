"""Metrics of the reconciler process."""

from collections import Counter as Tally
from collections.abc import Hashable, Mapping

from prometheus_client import CollectorRegistry

from mimic_operator import catalogue
from mimic_operator.catalogue import FAULTS, Metric
from mimic_operator.runtime.metrics import Reading, asked, counter, gauge, histogram


class ReconcileMetrics:
    """Counted as it happens; what is a state is asked for at each scrape (see `read`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._failing: dict[Hashable, str] = {}
        self.reconciles = counter(catalogue.RECONCILES, registry)
        self.duration = histogram(catalogue.RECONCILE_DURATION, registry)
        self.rollouts = counter(catalogue.ROLLOUTS, registry)
        self.leader = gauge(catalogue.LEADER, registry)
        self.certificate = gauge(catalogue.CERTIFICATE, registry)
        self.read(catalogue.FAILING, self._failures)
        self.reconciles.labels("ok", "")
        for reason in FAULTS:
            self.reconciles.labels("error", reason)

    def turned(self, key: Hashable, seconds: float, reason: str) -> None:
        """One turn of a backend has ended; reason: empty, or the class of its fault."""
        self.reconciles.labels("error" if reason else "ok", reason).inc()
        self.duration.observe(seconds)
        if reason:
            self._failing[key] = reason
        else:
            self._failing.pop(key, None)

    def read(self, metric: Metric, reading: Reading) -> None:
        """Adds a gauge whose values are asked for at each scrape."""
        asked(metric, reading, self._registry)

    def _failures(self) -> Mapping[tuple[str, ...], float]:
        tally = Tally(self._failing.values())
        return {(reason,): float(tally[reason]) for reason in FAULTS}
