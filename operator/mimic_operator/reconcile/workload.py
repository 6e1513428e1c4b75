"""What rollouts need of a workload: its template's Mimic fields, and how far it has come. Pure.

Read from the object as the API server gives it; nothing of its pod specification is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from mimic_operator.resource import selection
from mimic_operator.resource.naming import (
    ANNOTATION_BACKEND,
    ANNOTATION_RETRY_AT,
    ANNOTATION_REVISION,
    ANNOTATION_WRITTEN,
    LABEL_INJECT,
    LABEL_MANAGED,
    MANAGER_WORKLOADS,
)
from mimic_operator.resource.selection import Candidate

Inert = Literal["Paused", "OnDelete", "Partitioned", "Zero", "CronJob"]
"""Why a written template restarts nothing."""
MOST_LOSSES = 1000
LONGEST_HINDRANCE = 200
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
"""What `kubectl rollout restart` writes into the template."""


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Which workload."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Mimic's fields of a pod template, by whichever writer."""

    inject: str | None = None
    managed: bool = False
    backend: str | None = None
    revision: str | None = None


class Written(NamedTuple):
    """What the operator wrote last to a workload. losses: how often it was taken off before. at: Unix time."""

    revision: str
    losses: int
    at: float

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{self.revision} {self.losses} {when}"


def written_in(text: str) -> Written | None:
    """As the annotation has it; None where there is none that can be read."""
    parts = text.split(" ")
    if len(parts) != 3 or not parts[1].isdecimal():
        return None
    return Written(parts[0], min(int(parts[1]), MOST_LOSSES), seconds_of(parts[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Pods, as the workload's controller counts them."""

    desired: int = 0
    total: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload at one resourceVersion."""

    ref: Ref
    uid: str
    version: str
    labels: Mapping[str, str]
    fields: Fields
    applied: bool
    """Whether the operator holds fields of it through server-side apply."""
    controlled: bool
    """Whether another controller makes it, and would undo what is written here."""
    observed: bool
    """Whether its controller has observed the newest template."""
    counts: Counts
    inert: Inert | None = None
    failure: str = ""
    """Why its controller cannot make pods."""
    unfit: str = ""
    """Why its pods cannot have the sidecar."""
    restarted_at: str = ""
    chosen: str | None = None
    """The backend that its own annotation names."""
    retry_at: str = ""
    written: Written | None = None

    @property
    def rolled(self) -> bool:
        """Whether by its controller's count all pods are of the newest template and available."""
        counts = self.counts
        return self.observed and counts.total == counts.updated == counts.desired == counts.available

    @property
    def mark(self) -> tuple[int, ...]:
        """Changes whenever there is progress."""
        counts = self.counts
        return (int(self.observed), counts.updated, counts.ready, counts.available, -counts.total)


def read(manifest: Mapping[str, Any]) -> Workload:
    """A Deployment, StatefulSet, DaemonSet or CronJob."""
    kind, metadata = str(manifest["kind"]), manifest["metadata"]
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    outer = (spec.get("jobTemplate") or {}).get("spec") or {} if kind == "CronJob" else spec
    template = outer.get("template") or {}
    counts = _counts(kind, spec, status)
    managers = metadata.get("managedFields") or ()
    annotations = metadata.get("annotations") or {}
    return Workload(
        ref=Ref(metadata["namespace"], kind, metadata["name"]),
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        labels=metadata.get("labels") or {},
        fields=_fields(template.get("metadata") or {}),
        applied=any(
            entry.get("manager") == MANAGER_WORKLOADS and entry.get("operation") == "Apply" for entry in managers
        ),
        controlled=any(owner.get("controller") for owner in metadata.get("ownerReferences") or ()),
        observed=int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0),
        counts=counts,
        inert=_inert(kind, spec, counts),
        failure=_failure(status.get("conditions") or ()),
        unfit=_unfit(template.get("spec") or {}),
        restarted_at=str(((template.get("metadata") or {}).get("annotations") or {}).get(RESTARTED_AT) or ""),
        chosen=annotations.get(ANNOTATION_BACKEND),
        retry_at=str(annotations.get(ANNOTATION_RETRY_AT) or ""),
        written=written_in(str(annotations.get(ANNOTATION_WRITTEN) or "")),
    )


def _fields(metadata: Mapping[str, Any]) -> Fields:
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return Fields(
        inject=labels.get(LABEL_INJECT),
        managed=LABEL_MANAGED in labels,
        backend=annotations.get(ANNOTATION_BACKEND),
        revision=annotations.get(ANNOTATION_REVISION),
    )


def _counts(kind: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Counts:
    if kind == "DaemonSet":
        names = {
            "desired": "desiredNumberScheduled",
            "total": "currentNumberScheduled",
            "updated": "updatedNumberScheduled",
            "ready": "numberReady",
            "available": "numberAvailable",
        }
        return Counts(**{ours: int(status.get(theirs) or 0) for ours, theirs in names.items()})
    desired = spec.get("replicas")
    return Counts(
        desired=1 if desired is None else int(desired),
        total=int(status.get("replicas") or 0),
        updated=int(status.get("updatedReplicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        available=int(status.get("availableReplicas") or 0),
    )


def _inert(kind: str, spec: Mapping[str, Any], counts: Counts) -> Inert | None:
    if kind == "CronJob":
        return "CronJob"
    if spec.get("paused"):
        return "Paused"
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return "OnDelete"
    if (strategy.get("rollingUpdate") or {}).get("partition"):
        return "Partitioned"
    return "Zero" if counts.desired == 0 and counts.total == 0 else None


def _failure(conditions: Sequence[Mapping[str, Any]]) -> str:
    """Of a Deployment: the other kinds have no such condition."""
    for condition in conditions:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return str(condition.get("message") or "its pods are refused")
    return ""


def of_quota(failure: str) -> bool:
    """Whether a quota or a limit range refused the pods (Kubernetes, ResourceQuota and LimitRanger admission)."""
    return (
        "exceeded quota" in failure or "failed quota" in failure or ("usage per" in failure and "forbidden" in failure)
    )


def _unfit(pod: Mapping[str, Any]) -> str:
    if pod.get("hostNetwork"):
        return "it uses the network of its host"
    system = (pod.get("os") or {}).get("name") or (pod.get("nodeSelector") or {}).get("kubernetes.io/os")
    return "it runs on Windows" if system == "windows" else ""


def hindrance_of(pod: Mapping[str, Any]) -> str:
    """Why a pod is not available: the container that waits, and for what; empty where its status does not say."""
    status = pod.get("status") or {}
    containers = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    for each in containers:
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if "Image" in reason or reason == "ErrImagePull":
            return f"container {each.get('name')} waits for its image {each.get('image')} ({reason})"
        if reason not in ("", "PodInitializing", "ContainerCreating"):
            return f"container {each.get('name')} waits ({reason})"
    for each in status.get("conditions") or ():
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return f"no node takes its pod: {str(each.get('message') or each.get('reason'))[:LONGEST_HINDRANCE]}"
    for each in containers:
        if each.get("started") is False or each.get("ready") is False:
            return f"container {each.get('name')} is not ready"
    return ""


def seconds_of(timestamp: str) -> float:
    """Unix time of an RFC 3339 timestamp; 0 where there is none that can be read."""
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return 0.0


def fields_to_apply(workload: Workload, fields: Fields | None, losses: int = 0, now: float = 0.0) -> dict[str, Any]:
    """What is applied to a workload so that its template carries these fields and no other of the operator's.

    With its uid: a workload that has been deleted meanwhile is not made anew.
    """
    metadata: dict[str, Any] = {"name": workload.ref.name, "namespace": workload.ref.namespace, "uid": workload.uid}
    version = "batch/v1" if workload.ref.kind == "CronJob" else "apps/v1"
    manifest: dict[str, Any] = {"apiVersion": version, "kind": workload.ref.kind, "metadata": metadata}
    if fields is None:
        return manifest
    metadata["annotations"] = {ANNOTATION_WRITTEN: str(Written(str(fields.revision), losses, now))}
    template = {
        "metadata": {
            "labels": {LABEL_INJECT: "true", LABEL_MANAGED: "true"},
            "annotations": {ANNOTATION_BACKEND: fields.backend, ANNOTATION_REVISION: fields.revision},
        }
    }
    inner = {"template": template}
    return manifest | {"spec": {"jobTemplate": {"spec": inner}} if workload.ref.kind == "CronJob" else inner}


def owner_of(workload: Workload, candidates: Iterable[Candidate]) -> str | None:
    """The one backend that writes to a workload; None: the operator leaves it alone. candidates: of its namespace."""
    if workload.controlled:
        return None
    written = workload.fields.backend if workload.applied and workload.fields.managed else None
    named = workload.chosen if workload.chosen is not None or written is not None else workload.fields.backend
    return selection.owner_of(workload.labels, candidates, named=named, written=written)
