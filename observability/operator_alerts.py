"""Alerts on the operator: its two processes, what the webhook answers, and backends that do not settle."""

from mimic_operator.catalogue import (
    ADMISSIONS,
    CLOSED,
    DEGRADED,
    FAILING,
    HALTED,
    LEADER,
    NOT_READY,
    PODS,
    QUEUE_AGE,
    REVIEW_DURATION,
    SERVED_CERTIFICATE,
    WATCH_AGE,
)
from observability.objectives import Severity
from observability.places import OPERATOR, OPERATOR_JOB
from observability.promql import one_of
from observability.rulefile import Alert, Group

UP = f'up{{job="{OPERATOR_JOB}"}}'
POD = "{{ $labels.namespace }}/{{ $labels.pod }}"
WHERE = "of namespace {{ $labels.namespace }}"
SLOW_SECONDS = 1.024
"""A bound of the buckets, about half of the two seconds after which the webhook gives up."""
DENIALS = 5
"""In half an hour, for one reason: a workload is denied more than a dozen times in its first minutes."""
DAY = 86_400
PROCESSES = CLOSED["process"]


def _alert(name: str, severity: Severity, expr: str, hold: str, summary: str, description: str) -> Alert:
    return Alert(name, severity, expr, hold, OPERATOR, summary, description)


def _down(*, all_of_them: bool) -> Alert:
    everyone = f"No {{{{ $labels.component }}}} {WHERE} answers Prometheus"
    said = everyone if all_of_them else f"{POD} does not answer Prometheus"
    return _alert(
        "MimicOperatorDown",
        "critical" if all_of_them else "warning",
        f"max by (namespace, job, component) ({UP}) == 0" if all_of_them else f"{UP} == 0",
        "5m",
        said,
        f"{said} for 5 minutes: it hangs, its start fails, or the network between is shut. Without a webhook labelled "
        "pods are refused; without a reconciler no MimicBackend is acted on.",
    )


def _leader() -> Alert:
    return _alert(
        "MimicOperatorNoLeader",
        "critical",
        f"max by (namespace, job) ({LEADER.name}) == 0",
        "2m",
        f"No reconciler {WHERE} leads",
        "The reconcilers run and none of them has held the Lease for 2 minutes. MimicBackends are not acted on, "
        "rollouts stand still, certificates are not renewed. Pods still get the sidecar.",
    )


def _denials() -> Alert:
    denied = f'increase({ADMISSIONS.name}{{verdict="denied",reason!~"Undecided|Failed"}}[30m])'
    return _alert(
        "MimicWebhookDenials",
        "warning",
        f"sum by (namespace, job, reason) ({denied}) > {DENIALS}",
        "10m",
        f"The webhook {WHERE} denies pods: {{{{ $labels.reason }}}}",
        "{{ $value | humanize }} times in 30 minutes a pod was denied for the reason {{ $labels.reason }}. Its "
        "workload does not get its pods until somebody mends it or its MimicBackend; Events on it say what to do.",
    )


def _undecided() -> Alert:
    words = f'increase({ADMISSIONS.name}{{reason=~"Undecided|Failed"}}[10m])'
    return _alert(
        "MimicWebhookUndecided",
        "warning",
        f"sum by (namespace, job, reason) ({words}) > 0",
        "5m",
        f"The webhook {WHERE} could not decide on pods: {{{{ $labels.reason }}}}",
        "{{ $value | humanize }} pods in 10 minutes were decided on by {{ $labels.reason }}: Undecided is an API "
        "server that did not answer in time, Failed a defect. Such pods were refused, and are tried again.",
    )


def _slow() -> Alert:
    buckets = f"sum by (namespace, job, le) (rate({REVIEW_DURATION.name}_bucket[5m]))"
    return _alert(
        "MimicWebhookSlow",
        "warning",
        f"histogram_quantile(0.99, {buckets}) > {SLOW_SECONDS}",
        "10m",
        f"Reviews of the webhook {WHERE} take up to {{{{ $value | humanizeDuration }}}}",
        "One in a hundred reviews takes {{ $value | humanizeDuration }} and longer. After 2 s the webhook gives up, "
        "and labelled pods are refused.",
    )


def _certificate(severity: Severity, days: int) -> Alert:
    left = f"min by (namespace, job) ({SERVED_CERTIFICATE.name}) - time()"
    return _alert(
        "MimicWebhookCertificateExpiring",
        severity,
        f"{left} < {days * DAY}",
        "15m",
        f"The webhook's certificate {WHERE} ends in {{{{ $value | humanizeDuration }}}}",
        "The certificate that a webhook serves ends in {{ $value | humanizeDuration }} and should have been replaced "
        "long ago. From then on the API server trusts it no more, and labelled pods are refused.",
    )


def _failing() -> Alert:
    return _alert(
        "MimicReconcileFailing",
        "warning",
        f"sum by (namespace, job) ({FAILING.name}) > 0",
        "20m",
        f"{{{{ $value }}}} MimicBackends fail to be reconciled, says the operator {WHERE}",
        "Turns of {{ $value }} MimicBackends fail, and for 20 minutes some have at any time. Changes of them are not "
        "carried out; what runs goes on. The log of the leader says which, and the reason.",
    )


def _queue() -> Alert:
    return _alert(
        "MimicOperatorQueueOld",
        "warning",
        f"max by (namespace, job) ({QUEUE_AGE.name}) > 60",
        "10m",
        f"A MimicBackend waits for the operator {WHERE} for {{{{ $value | humanizeDuration }}}}",
        "The MimicBackend that waits longest has waited {{ $value | humanizeDuration }} for a worker. Changes come "
        "late: the API server is slow or throttles, or the operator has too little CPU.",
    )


def _watch() -> Alert:
    return _alert(
        "MimicOperatorWatchOld",
        "warning",
        f"max by (namespace, job, pod, kind) ({WATCH_AGE.name}) > 300",
        "5m",
        f"The watch of {{{{ $labels.kind }}}} of {POD} is silent for {{{{ $value | humanizeDuration }}}}",
        f"{POD} watches {{{{ $labels.kind }}}} without a sign of life for {{{{ $value | humanizeDuration }}}}. The "
        "API server sends a bookmark each minute. The process acts on what it knew before.",
    )


def _halted() -> Alert:
    return _alert(
        "MimicRolloutHalted",
        "warning",
        f"sum by (namespace, job, reason) ({DEGRADED.name}{{{one_of('reason', HALTED)}}}) > 0",
        "5m",
        f"{{{{ $value }}}} rollouts stand still, says the operator {WHERE}: {{{{ $labels.reason }}}}",
        "A workload of {{ $value }} MimicBackends does not settle with its new sidecar ({{ $labels.reason }}). The "
        "other workloads keep the old one, and so do pods that scale up. Condition Degraded names the workload.",
    )


def _not_ready() -> Alert:
    return _alert(
        "MimicBackendNotReady",
        "warning",
        f'sum by (namespace, job, reason) ({NOT_READY.name}{{reason!="Suspended"}}) > 0',
        "15m",
        f"{{{{ $value }}}} MimicBackends are not ready, reports the operator {WHERE}: {{{{ $labels.reason }}}}",
        "{{ $value }} MimicBackends are not ready for 15 minutes ({{ $labels.reason }}). Their conditions name the "
        "Secret, the quota, the field or the pods that are the cause.",
    )


def _degraded() -> Alert:
    return _alert(
        "MimicBackendDegraded",
        "warning",
        f"sum by (namespace, job, reason) ({DEGRADED.name}{{{one_of('reason', ('Refused', 'Contended'))}}}) > 0",
        "15m",
        f"Workloads of {{{{ $value }}}} MimicBackends cannot be written, reports the operator {WHERE}: "
        "{{ $labels.reason }}",
        "The API server refuses to write workloads of {{ $value }} MimicBackends, or another writer takes the "
        "sidecar's fields off again ({{ $labels.reason }}). They keep what they have. Condition Degraded names them.",
    )


def _missing() -> Alert:
    return _alert(
        "MimicPodsWithoutSidecar",
        "warning",
        f'sum by (namespace, job) ({PODS.name}{{state="missing"}}) > 0',
        "15m",
        f"{{{{ $value }}}} pods ask for the sidecar and have none, says the operator {WHERE}",
        "{{ $value }} pods with the label mimic.dev/inject run without the sidecar for 15 minutes. Their applications "
        "reach no model, or reach it without Mimic.",
    )


def group() -> Group:
    """All but the one for no operator at all."""
    return Group(
        "mimic.operator",
        (
            _down(all_of_them=True),
            _down(all_of_them=False),
            _leader(),
            _denials(),
            _undecided(),
            _slow(),
            _certificate("critical", 1),
            _certificate("warning", 7),
            _failing(),
            _queue(),
            _watch(),
            _halted(),
            _not_ready(),
            _degraded(),
            _missing(),
        ),
    )


def absent() -> Group:
    """In a file of its own: only where the ServiceMonitor is there something to be missed."""
    gone = " or ".join(f'absent(up{{job="{OPERATOR_JOB}",component="{name}"}} == 1)' for name in PROCESSES)
    alert = _alert(
        "MimicOperatorAbsent",
        "critical",
        gone,
        "10m",
        "Prometheus sees no {{ $labels.component }} of the operator",
        f"No {{{{ $labels.component }}}} of the job {OPERATOR_JOB} has answered for 10 minutes: none runs, none is "
        "ready to be found, or Prometheus does not select the ServiceMonitor. Without a webhook labelled pods are "
        "refused; without a reconciler no MimicBackend is acted on.",
    )
    return Group("mimic.operator.absent", (alert,))
