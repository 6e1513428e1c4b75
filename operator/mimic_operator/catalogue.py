"""Every metric of the operator: name, kind, labels, buckets and meaning. Pure data, and the only place of the names.

The two processes count by it, dashboards and rules are built and checked against it. A counter's name carries its
`_total`; units stand in the names.

Labels whose values are a closed list are named in CLOSED and RESULTS; `reason` of admissions is a word of
docs/reference/injection.md, `kind` a kind of object.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from mimic_operator.errors import Reason

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. bounds: upper bounds of a histogram's buckets, ascending, without +Inf."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


REVIEW_SECONDS = tuple(0.001 * 2**power for power in range(13))
"""1 ms to 4 s: a review has 2 s, the API server waits for 5."""
RECONCILE_SECONDS = tuple(0.005 * 2**power for power in range(12))

BUILD = Metric("mimic_operator_build_info", "gauge", "What runs here.", ("process", "version", "python"))
SPANS = Metric("mimic_operator_spans_exported_total", "counter", "Spans handed to the collector.", ("result",))

ADMISSIONS = Metric(
    "mimic_operator_admissions_total",
    "counter",
    "Decisions on pods, by the reason's word, the response to the API server, and what brought the pod: "
    "their own label or their namespace's.",
    ("reason", "verdict", "source"),
)
NOTES = Metric("mimic_operator_admission_notes_total", "counter", "Notes on decisions, by word.", ("note",))
VALIDATIONS = Metric("mimic_operator_validations_total", "counter", "MimicBackends that were judged.", ("verdict",))
REVIEW_DURATION = Metric(
    "mimic_operator_admission_duration_seconds",
    "histogram",
    "Time of one review inside the webhook.",
    ("handler",),
    REVIEW_SECONDS,
)
MISSES = Metric("mimic_operator_index_misses_total", "counter", "Objects that had to be asked for.", ("kind",))
EVENTS = Metric(
    "mimic_operator_events_total", "counter", "Events about workloads: posted, failed or dropped.", ("result",)
)
SERVED_CERTIFICATE = Metric(
    "mimic_operator_webhook_certificate_expiry_timestamp_seconds",
    "gauge",
    "When the certificate that is served ends, Unix time.",
)
CERTIFICATE_RELOADS = Metric(
    "mimic_operator_webhook_certificate_reloads_total", "counter", "Certificates taken over.", ("result",)
)
INDEXED = Metric("mimic_operator_index_objects", "gauge", "Objects in the index.", ("kind",))

RECONCILES = Metric(
    "mimic_operator_reconciles_total",
    "counter",
    "Reconciles of MimicBackends by their result; reason is empty for those that succeeded.",
    ("result", "reason"),
)
RECONCILE_DURATION = Metric(
    "mimic_operator_reconcile_duration_seconds", "histogram", "Time of one reconcile.", (), RECONCILE_SECONDS
)
FAILING = Metric(
    "mimic_operator_failing", "gauge", "MimicBackends whose last reconcile failed, by its reason.", ("reason",)
)
ROLLOUTS = Metric("mimic_operator_rollouts_total", "counter", "Rollouts that ended, or halted.", ("result",))
QUEUE_AGE = Metric(
    "mimic_operator_queue_age_seconds",
    "gauge",
    "Time for which the MimicBackend that waits longest has waited for a worker.",
)
WATCH_AGE = Metric(
    "mimic_operator_watch_age_seconds",
    "gauge",
    "Time since a watch had its last sign of life from the API server: an event, a bookmark, or the end of a request.",
    ("kind",),
)
API_REQUESTS = Metric(
    "mimic_operator_api_requests_total",
    "counter",
    "Requests to the API server, by verb and by the status of the response; empty without one.",
    ("verb", "code"),
)
SKIPPED = Metric(
    "mimic_operator_namespaces_skipped",
    "gauge",
    "Watched namespaces that are skipped, since the API server refuses every kind in them.",
)
LEADER = Metric("mimic_operator_leader", "gauge", "1 while this process leads.")
CERTIFICATE = Metric(
    "mimic_operator_certificate_expiry_timestamp_seconds",
    "gauge",
    "When the certificate ends that the operator makes for the webhook, Unix time; 0 where it makes none.",
)
MANAGED = Metric("mimic_operator_managed", "gauge", "MimicBackends by mode and readiness.", ("mode", "ready"))
NOT_READY = Metric(
    "mimic_operator_not_ready", "gauge", "MimicBackends whose condition Ready is not True, by its reason.", ("reason",)
)
DEGRADED = Metric(
    "mimic_operator_degraded", "gauge", "MimicBackends with condition Degraded, by its reason.", ("reason",)
)
PODS = Metric("mimic_operator_pods", "gauge", "Pods that ask for the sidecar, by what they have.", ("state",))

BOTH = (BUILD, SPANS, API_REQUESTS, WATCH_AGE, SKIPPED)
WEBHOOK = (
    ADMISSIONS,
    NOTES,
    VALIDATIONS,
    REVIEW_DURATION,
    MISSES,
    EVENTS,
    SERVED_CERTIFICATE,
    CERTIFICATE_RELOADS,
    INDEXED,
)
RECONCILER = (
    RECONCILES,
    RECONCILE_DURATION,
    FAILING,
    ROLLOUTS,
    QUEUE_AGE,
    LEADER,
    CERTIFICATE,
    MANAGED,
    NOT_READY,
    DEGRADED,
    PODS,
)
CATALOGUE = {metric.name: metric for metric in (*BOTH, *WEBHOOK, *RECONCILER)}
"""All of them, by name."""

FAULTS: tuple[Reason, ...] = get_args(Reason)
DEGRADATIONS = ("ProgressTimeout", "ReplicaFailure", "Refused", "Contended", "SingleUseCredential")
UNREADY = (
    *("Invalid", "Suspended", "NoRevision", "Conflict", "QuotaOrLimits"),
    *("NoDeployment", "Unavailable", "SecretMissing", "SecretUnreadable"),
)
HALTED = ("ProgressTimeout", "ReplicaFailure")
"""Of these: the rollout stands still."""
CLOSED: dict[str, tuple[str, ...]] = {
    "verdict": ("admitted", "warned", "denied"),
    "source": ("label", "namespace"),
    "handler": ("pods", "namespace-pods", "backends"),
    "mode": ("Sidecar", "Deployment"),
    "ready": ("True", "False"),
    "state": ("current", "outdated", "missing"),
    "process": ("webhook", "reconciler"),
}
"""Values of labels by the label's name."""
REASONS: dict[str, tuple[str, ...]] = {
    RECONCILES.name: ("", *FAULTS),
    FAILING.name: FAULTS,
    NOT_READY.name: UNREADY,
    DEGRADED.name: DEGRADATIONS,
}
"""Values of `reason`, by the metric; those of admissions are the outcomes of injection."""
RESULTS: dict[str, tuple[str, ...]] = {
    RECONCILES.name: ("ok", "error"),
    ROLLOUTS.name: ("complete", "halted"),
    EVENTS.name: ("posted", "failed", "dropped"),
    CERTIFICATE_RELOADS.name: ("ok", "failed"),
    SPANS.name: ("success", "failure"),
}
"""Values of `result`, by the metric."""
