"""Metrics of the webhook process."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry

from mimic_operator import catalogue
from mimic_operator.runtime.metrics import counter, gauge, histogram


class AdmissionMetrics:
    """Counted as it happens; ages are asked for at each scrape."""

    def __init__(self, registry: CollectorRegistry, outcomes: Iterable[tuple[str, str, str]] = ()) -> None:
        """outcomes: reason, verdict and source of every possible decision, shown at 0 from the start."""
        self.decisions = counter(catalogue.ADMISSIONS, registry)
        self.notes = counter(catalogue.NOTES, registry)
        self.validations = counter(catalogue.VALIDATIONS, registry)
        self.duration = histogram(catalogue.REVIEW_DURATION, registry)
        self.misses = counter(catalogue.MISSES, registry)
        self.events = counter(catalogue.EVENTS, registry)
        self.certificate = gauge(catalogue.SERVED_CERTIFICATE, registry)
        self.reloads = counter(catalogue.CERTIFICATE_RELOADS, registry)
        self._watch_age = gauge(catalogue.INDEX_AGE, registry)
        self._indexed = gauge(catalogue.INDEXED, registry)
        for outcome in outcomes:
            self.decisions.labels(*outcome)
        for verdict in catalogue.CLOSED["verdict"]:
            self.validations.labels(verdict)

    def watch(self, kind: str, age: Callable[[], float], count: Callable[[], int]) -> None:
        """Shows a watch: seconds since its last event, and how many objects it has shown."""
        self._watch_age.labels(kind).set_function(age)
        self._indexed.labels(kind).set_function(count)
        self.misses.labels(kind)
