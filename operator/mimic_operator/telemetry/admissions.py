"""Metrics of the webhook process."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096)


class AdmissionMetrics:
    """Counted as it happens; ages are asked for at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.decisions = Counter(
            "mimic_operator_admissions",
            "Pods that were decided on, by the reason's word, what the server was told, and what brought them: "
            "their own label or their namespace's.",
            ["reason", "verdict", "door"],
            registry=registry,
        )
        self.remarks = Counter(
            "mimic_operator_admission_remarks", "Remarks on decisions, by their word.", ["remark"], registry=registry
        )
        self.validations = Counter(
            "mimic_operator_validations", "MimicBackends that were judged.", ["verdict"], registry=registry
        )
        self.duration = Histogram(
            "mimic_operator_admission_duration_seconds",
            "Time of one review inside the webhook.",
            ["handler"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.misses = Counter(
            "mimic_operator_index_misses", "Objects that had to be asked for.", ["kind"], registry=registry
        )
        self.events = Counter(
            "mimic_operator_events", "Events about workloads: posted, failed or dropped.", ["result"], registry=registry
        )
        self.certificate = Gauge(
            "mimic_operator_webhook_certificate_expiry_timestamp_seconds",
            "When the certificate that is served ends, Unix time.",
            registry=registry,
        )
        self.reloads = Counter(
            "mimic_operator_webhook_certificate_reloads", "Certificates taken over.", ["result"], registry=registry
        )
        self._watch_age = Gauge(
            "mimic_operator_index_watch_age_seconds",
            "Time since the last event of a watch.",
            ["kind"],
            registry=registry,
        )
        self._indexed = Gauge("mimic_operator_index_objects", "Objects in the index.", ["kind"], registry=registry)
        for result in ("posted", "failed", "dropped"):
            self.events.labels(result)
        for result in ("ok", "failed"):
            self.reloads.labels(result)

    def watch(self, kind: str, age: Callable[[], float], count: Callable[[], int]) -> None:
        """Shows a watch: seconds since its last event, and how many objects it has shown."""
        self._watch_age.labels(kind).set_function(age)
        self._indexed.labels(kind).set_function(count)
