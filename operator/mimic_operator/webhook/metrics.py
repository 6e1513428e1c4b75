"""Metrics of the webhook process."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry

from mimic_operator import catalogue
from mimic_operator.runtime.informer import Informers
from mimic_operator.runtime.metrics import asked, counter, gauge, histogram


class AdmissionMetrics:
    """Counted as it happens; ages are asked for at each scrape."""

    def __init__(self, registry: CollectorRegistry, outcomes: Iterable[tuple[str, str, str]] = ()) -> None:
        """outcomes: reason, verdict and source of every possible decision, shown at 0 from the start."""
        self._registry = registry
        self.decisions = counter(catalogue.ADMISSIONS, registry)
        self.notes = counter(catalogue.NOTES, registry)
        self.validations = counter(catalogue.VALIDATIONS, registry)
        self.duration = histogram(catalogue.REVIEW_DURATION, registry)
        self.misses = counter(catalogue.MISSES, registry)
        self.events = counter(catalogue.EVENTS, registry)
        self.certificate = gauge(catalogue.SERVED_CERTIFICATE, registry)
        self.reloads = counter(catalogue.CERTIFICATE_RELOADS, registry)
        self._indexed = gauge(catalogue.INDEXED, registry)
        for outcome in outcomes:
            self.decisions.labels(*outcome)
        for verdict in catalogue.CLOSED["verdict"]:
            self.validations.labels(verdict)

    def watches(self, informers: Informers) -> None:
        """Shows how old the watches are."""
        asked(catalogue.WATCH_AGE, informers.ages, self._registry)
        asked(catalogue.SKIPPED, lambda: {(): float(len(informers.away))}, self._registry)

    def indexed(self, kind: str, count: Callable[[], int]) -> None:
        """Shows how many objects of a kind are in the index."""
        self._indexed.labels(kind).set_function(count)
        self.misses.labels(kind)
