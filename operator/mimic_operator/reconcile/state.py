"""All that one pass of the reconciler knows of a backend, and what is remembered of it until the next. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mimic_operator.reconcile.rollout import Progress
from mimic_operator.reconcile.status import Condition
from mimic_operator.reconcile.store import Entry, ObservedChild, ObservedPod
from mimic_operator.reconcile.workload import Counts, Ref, Workload
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import Revision, StoredRevision
from mimic_operator.resource.selection import Candidate
from mimic_operator.runtime.kinds import Key

REFUSED_SECONDS = 60.0
"""After which what was refused is tried again: a policy may have changed."""
Name = tuple[str, str]
"""Kind and name of a child."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A write that the API server refused. target: of the write. at: monotonic seconds."""

    target: str | None
    sentence: str
    at: float

    def again(self, now: float) -> float:
        """Seconds until it is tried again."""
        return self.at + REFUSED_SECONDS - now


@dataclass(slots=True)
class Memory:
    """Of one backend; a new leader begins without."""

    uid: str = ""
    generation: int = 0
    progress: Mapping[str, Progress] = field(default_factory=dict)
    released: dict[Ref, str] = field(default_factory=dict)
    """Workloads whose fields were taken off and that have not settled yet, with their uid."""
    refusals: dict[str, Refusal] = field(default_factory=dict)
    """By the workload's uid."""
    refused_children: dict[Name, Refusal] = field(default_factory=dict)
    """Children that the API server refused; target: the hash of the manifest."""
    phase: str = ""
    """Of the rollout in the last pass."""
    stored: dict[str, tuple[str, StoredRevision | None]] = field(default_factory=dict)
    """Older revisions by name, each with the resourceVersion at which it was read; None where it cannot be read."""
    applied: dict[Name, tuple[str, str]] = field(default_factory=dict)
    """Of each child the hash of the manifest that was applied last, and the resourceVersion that it led to."""
    unused: Mapping[Name, float] = field(default_factory=dict)
    """Since when no one needs a revision, monotonic."""
    frozen: frozenset[str] = frozenset()
    """Revisions whose pods keep their configuration, which was logged of them."""
    skipped: frozenset[Ref] = frozenset()
    """Workloads whose pods cannot have the sidecar, that an Event reported."""
    elsewhere: str = ""
    """The other operator that has the backend, that an Event reported."""
    reported: Mapping[str, Any] | None = None
    """The status as it was written last."""
    reported_version: str = ""
    """The backend's resourceVersion that this led to."""
    reported_at: float = float("-inf")

    def at(self, generation: int) -> None:
        """With another spec, what was lost or refused before counts no more: it is tried again."""
        if self.generation != generation:
            self.generation = generation
            self.refusals = {}
            self.progress = {uid: replace(progress, wait_until=0.0) for uid, progress in self.progress.items()}

    def refused(self, target: str, now: float) -> dict[str, str]:
        """What is not to be tried again yet, with what was said of writing the target, or of a release."""
        found = self.refusals.items()
        return {uid: each.sentence for uid, each in found if each.target in (target, None) and each.again(now) > 0}

    def retry(self, now: float) -> float | None:
        """Seconds after which something that was refused is tried again."""
        refused = (*self.refusals.values(), *self.refused_children.values())
        waiting = [left for each in refused if (left := each.again(now)) > 0]
        return min(waiting, default=None)

    def intended(self, observed: Mapping[str, Any]) -> Mapping[str, Any]:
        """The status as the operator means it. observed: the one in the cluster, which is all that a new leader has."""
        return self.reported if self.reported is not None else observed

    def current(self, observed: Mapping[str, Any], version: str) -> Mapping[str, Any]:
        """The status in the cluster. observed: at `version`, which may be older than what was written last."""
        if self.reported is None or _later(version, self.reported_version):
            return observed
        return self.reported


def _later(version: str, other: str) -> bool:
    """Resource versions are numbers that grow (KEP-5504)."""
    return version.isdecimal() and other.isdecimal() and int(version) > int(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What `observe` found. now: monotonic seconds; wall: Unix time."""

    key: Key
    now: float
    wall: float
    memory: Memory
    defaults: ProxyDefaults
    on_upgrade: bool
    """Whether a change of the operator's own restarts workloads too."""
    entry: Entry | None
    """None: there is no such backend."""
    secret: Condition
    candidate: Candidate | None = None
    owners: Mapping[Ref, str | None] = field(default_factory=dict)
    """Of the workloads in `near`: the backend that writes to each, None for one that the operator leaves alone."""
    others: frozenset[str] = frozenset()
    """Names of the backends of the namespace."""
    near: Sequence[Workload] = ()
    """Workloads that the backend selects or that bear its fields."""
    released: Sequence[Workload] = ()
    """Workloads whose fields were taken off, as they are now."""
    pods: Sequence[ObservedPod] = ()
    children: Mapping[Name, ObservedChild] = field(default_factory=dict)
    deployments: Mapping[str, str] = field(default_factory=dict)
    """The Deployments that it owns, by name, with their resourceVersion."""
    refused: Mapping[Ref, str] = field(default_factory=dict)
    """What a quota or a limit range said of pods with the sidecar, by workload."""
    hindrances: Mapping[Ref, str] = field(default_factory=dict)
    """While the rollout is halted: why a pod of a workload that does not settle is not available."""
    shared: Counts | None = None
    """Pods of its Deployment."""
    newest: Revision | None = None
    """The revision that the spec asks for; None while the spec is invalid."""
    stored: Mapping[str, StoredRevision | None] = field(default_factory=dict)
    """The other revisions that pods, workloads or the status name; None where one cannot be read."""
    free: int = 0
    """So many more workloads may be written now, of all backends."""

    def needed(self, *names: str) -> set[str]:
        """Revisions that may still be asked for: those named, and those of pods and of pod templates."""
        found = {name for name in names if name}
        found |= {pod.revision for pod in self.pods if pod.revision is not None}
        mine = (workload.fields for workload in self.near if workload.fields.backend == self.key.name)
        return found | {fields.revision for fields in mine if fields.revision is not None}

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as the operator means it."""
        return self.memory.intended(self.entry.status) if self.entry is not None else {}

    @property
    def status_there(self) -> Mapping[str, Any]:
        """The status in the cluster, by whichever operator it was written."""
        return self.memory.current(self.entry.status, self.entry.version) if self.entry is not None else {}

    @property
    def names(self) -> tuple[str, str]:
        """The current revision, and the one that is being rolled out; empty where there is none."""
        status = self.status
        return str(status.get("currentRevision") or ""), str(status.get("updateRevision") or "")
