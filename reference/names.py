"""docs/reference/names.md: labels, annotations, objects, conditions and reasons. Pure."""

from collections.abc import Sequence
from typing import get_args

from mimic_operator.reconcile.rollout import Phase
from mimic_operator.resource import naming
from mimic_operator.resource.container import ADMIN_PORT_NAME, API_PORT_NAME
from mimic_operator.resource.spec.injection import DEFAULT_ADMIN_PORT, DEFAULT_PORT
from mimic_operator.resource.warnings import REASONS
from mimic_operator.webhook.decide import CLIENT_KEY
from mimic_operator.webhook.outcomes import NOTES, OUTCOMES

HEAD = """\
# Names

What Mimic's operator reads and writes in a cluster. This page is written from its declarations (`make reference`). The
resource's fields are in [mimicbackend.md](mimicbackend.md).
"""
LABELS = (
    (naming.LABEL_INJECT, "pods", '`"true"`: this pod wants the proxy'),
    (
        naming.LABEL_INJECTED,
        "pods, by the webhook",
        "`sidecar`, or `pointed` at a shared proxy; the reconciler watches pods by it",
    ),
    (naming.LABEL_INJECTION, "namespaces", "`enabled`: all pods get the proxy where it can be had; nothing is denied"),
    (
        naming.LABEL_INJECTED,
        "pods",
        "`sidecar`, `pointed` (calls a shared proxy), or `none`: its namespace asks for the proxy, and it has none",
    ),
    (naming.LABEL_MANAGED, "pod templates", "the operator set labels and annotations there, and takes them off again"),
    (naming.LABEL_COMPONENT, "Mimic's own pods and objects", "`proxy`, `webhook` or `reconciler`"),
    (naming.LABEL_CLUSTER_BACKEND, "MimicBackends", "the ClusterMimicBackend that they were created for"),
    (naming.LABEL_BACKEND, "a backend's objects", "the backend they belong to; cut with a hash above 63 characters"),
)
ANNOTATIONS = (
    (naming.ANNOTATION_BACKEND, "pods", "you", "the backend: NAME, or NAMESPACE/NAME of one in Deployment mode"),
    (
        naming.ANNOTATION_CLIENT_KEY_SECRET,
        "pods",
        "you",
        f"Secret of the pod's namespace with the key for a shared proxy: NAME or NAME/KEY; KEY is else {CLIENT_KEY}",
    ),
    (naming.ANNOTATION_REVISION, "pod templates, pods", "Mimic", "the revision of the sidecar"),
    (naming.ANNOTATION_TEMPLATE_HASH, "pods, Deployments", "Mimic", "hash of what only a restart changes"),
    (
        naming.ANNOTATION_CONFIG_HASH,
        "pods, ConfigMaps",
        "Mimic",
        "hash of the configuration; on pods that of their start",
    ),
    (
        naming.ANNOTATION_URL,
        "pods without a sidecar",
        "Mimic",
        "base URL of the shared proxy that their containers call",
    ),
    *(
        (annotation, "pods", "you", f"{what} of the pod's sidecar; the backend has to allow it ({group})")
        for annotation, what, group in (
            (naming.ANNOTATION_CPU_REQUEST, "CPU request", "Resources"),
            (naming.ANNOTATION_CPU_LIMIT, "CPU limit", "Resources"),
            (naming.ANNOTATION_MEMORY_REQUEST, "memory request", "Resources"),
            (naming.ANNOTATION_MEMORY_LIMIT, "memory limit", "Resources"),
            (naming.ANNOTATION_LOG_LEVEL, "log level", "LogLevel"),
            (naming.ANNOTATION_ADMIN_PORT, "admin port", "Ports"),
        )
    ),
    (
        naming.ANNOTATION_PORT,
        "pods",
        "you, or Mimic",
        "API port of the pod's sidecar; Mimic writes it where the usual one was taken, you where the backend allows it "
        "(Ports)",
    ),
    (
        naming.ANNOTATION_APPLIED,
        "a backend's objects",
        "Mimic",
        "hash of what was applied: an equal wish is not written",
    ),
    (
        naming.ANNOTATION_DEFAULTS,
        "ControllerRevisions",
        "Mimic",
        "what the operator's settings said of proxies when it was made, as JSON",
    ),
    (
        naming.ANNOTATION_WRITTEN,
        "workloads",
        "the operator",
        "the revision that it wrote, how often that was taken off again, and when it was written last",
    ),
    (naming.ANNOTATION_RETRY_AT, "workloads", "Mimic", "touched so that their controller tries again"),
)
MANAGERS = (
    (naming.MANAGER, "a backend's objects"),
    (naming.MANAGER_WORKLOADS, "labels and annotations of pod templates"),
    (naming.MANAGER_STATUS, "status of MimicBackends"),
)
OBJECTS = (
    ("ConfigMap", "`mimic-NAME-HASH`", "`mimic-NAME`", "the proxy's configuration file"),
    ("ControllerRevision", "`mimic-NAME-HASH`", "", "what pods of this revision get"),
    *(
        (kind, "", "`mimic-NAME`", about)
        for kind, about in (
            ("ServiceAccount", "without rights, without a token"),
            ("Deployment", ""),
            ("Service", ""),
            ("PodDisruptionBudget", "maxUnavailable 1; `deployment.pdb`"),
            ("HorizontalPodAutoscaler", "`deployment.autoscaling`"),
            ("NetworkPolicy", "`deployment.networkPolicy`"),
            ("PodMonitor", "`deployment.podMonitor`"),
        )
    ),
)
CONDITIONS = (
    (
        "Ready",
        "ConfigValid, not suspended, no Secret that is missing, and Injectable (Sidecar) or Available (Deployment)",
        "Ready, Suspended, or that of the part which is not",
    ),
    ("ConfigValid", "the spec can be used", "Valid, Invalid"),
    (
        "SecretResolved",
        "proxies that were asked have their secret",
        "TokenHeld, SecretRead, SecretMissing, SecretUnreadable, NotReported, Unreachable, NotAsked",
    ),
    ("Injectable", "pods can get the sidecar", "Injectable, Conflict, QuotaOrLimits, NoRevision"),
    ("Available", "the Deployment serves", "Available, ScaledToZero, Unavailable, NoDeployment"),
    ("Progressing", "workloads take a change", ", ".join((*get_args(Phase), "NotPlanned"))),
    ("Insecure", "something is less safe than it could be", "Secure, PlainHttp, NotVerified, Open, Invalid"),
    (
        "Degraded",
        "somebody has to act",
        "AsExpected, ReplicaFailure, ProgressTimeout, Refused, Contended, SingleUseCredential",
    ),
)


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        _table("Labels", ("label", "on", "meaning"), [(f"`{key}`", on, about) for key, on, about in LABELS]),
        _table(
            "Annotations",
            ("annotation", "on", "set by", "meaning"),
            [(f"`{key}`", on, by, about) for key, on, by, about in ANNOTATIONS],
        ),
        _table("Field managers", ("manager", "applies"), [(f"`{name}`", about) for name, about in MANAGERS]),
        _table("Objects of a backend", ("kind", "Sidecar", "Deployment", ""), OBJECTS),
        "A name that is too long or holds dots is cut and ends in a hash. The backend owns them: they go with it.\n",
        _container(),
        _table("Conditions", ("type", "true if", "reasons"), CONDITIONS),
        _table(
            "What becomes of a pod",
            ("word", "the pod is", "sentence"),
            [(outcome.word, outcome.verdict.value, outcome.sentence) for outcome in OUTCOMES.values()],
        ),
        _table(
            "Notes on a pod",
            ("word", "a warning", "sentence"),
            [(note.word, "yes" if note.warns else "", note.sentence) for note in NOTES.values()],
        ),
        _table(
            "Warnings about a resource",
            ("reason", "about"),
            [(f"`{reason}`", about) for reason, about in REASONS.items()],
        ),
        "`mimic-operator render --explain` shows them.\n",
    ]
    return "\n".join(parts)


def _container() -> str:
    rows = [
        ("container", f"`{naming.CONTAINER}`"),
        (f"port `{API_PORT_NAME}`", f"the API: {DEFAULT_PORT} on loopback as a sidecar, 8000 in a Deployment"),
        (f"port `{ADMIN_PORT_NAME}`", f"`/livez`, `/readyz`, `/metrics`: {DEFAULT_ADMIN_PORT} as a sidecar, else 8001"),
    ]
    return _table("The proxy in a pod", ("", ""), rows)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"## {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
