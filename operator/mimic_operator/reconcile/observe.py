"""Observes what matters to one backend: its workloads and pods, and what is remembered of it since the last pass."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mimic_operator.reconcile.rollout import Before, Plan, Situation, Trail
from mimic_operator.reconcile.status import Injected, current_names
from mimic_operator.reconcile.store import Entry, Store
from mimic_operator.reconcile.workload import Ref, Workload, of_quota, owner_of, read, seconds_of
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.kinds import KIND_BY_NAME
from mimic_operator.resource.revision import Kept
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.queue import Key

REFUSED_SECONDS = 60.0
"""After which what was refused is tried again: somebody may have changed a policy."""


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
    """Of one backend."""

    trails: Mapping[str, Trail] = field(default_factory=dict)
    released: dict[Ref, str] = field(default_factory=dict)
    """Workloads whose fields were taken off and that have not settled yet, with their uid."""
    refusals: dict[str, Refusal] = field(default_factory=dict)
    """By the workload's uid."""
    uid: str = ""
    generation: int = 0
    reported: Mapping[str, Any] | None = None
    """The status as it was written last."""
    reported_version: str = ""
    """The backend's resourceVersion that this led to."""
    reported_at: float = float("-inf")
    plan: Plan | None = None
    """Of the last turn."""
    kept: dict[str, tuple[str, Kept | None]] = field(default_factory=dict)
    """Older revisions by name, each with the resourceVersion at which it was read; None where it cannot be read."""
    frozen: set[str] = field(default_factory=set)
    """Those that cannot have the newest configuration, which was said of them."""

    def at(self, generation: int) -> None:
        """With another spec, what was lost or refused before counts no more: it is tried again."""
        if self.generation != generation:
            self.generation = generation
            self.refusals = {}
            self.trails = {uid: replace(trail, losses=()) for uid, trail in self.trails.items()}

    def refused(self, target: str, now: float) -> dict[str, str]:
        """What is not to be tried again yet, with what was said of writing the target, or of a release."""
        found = self.refusals.items()
        return {uid: each.sentence for uid, each in found if each.target in (target, None) and each.again(now) > 0}

    def retry(self, now: float) -> float | None:
        """Seconds after which something that was refused is tried again."""
        waiting = [left for each in self.refusals.values() if (left := each.again(now)) > 0]
        return min(waiting, default=None)

    def told(self, seen: Mapping[str, Any]) -> Mapping[str, Any]:
        """The status as the operator means it. seen: what stands there, all that a new leader has."""
        return self.reported if self.reported is not None else seen

    def standing(self, seen: Mapping[str, Any], version: str) -> Mapping[str, Any]:
        """The status that stands there. seen: at `version`, which may be from before it was written last."""
        if self.reported is None or _later(version, self.reported_version):
            return seen
        return self.reported


def _later(version: str, other: str) -> bool:
    """Resource versions are numbers that grow (KEP-5504)."""
    return version.isdecimal() and other.isdecimal() and int(version) > int(other)


AT_ONCE = 8
"""So many are fetched together: a backend may have hundreds of workloads."""
NO_PLACE = "no backend"
"""Stands for the target where workloads are only released."""


@dataclass(slots=True)
class Looking:
    """clock: monotonic seconds. wall: Unix time."""

    cluster: Cluster
    store: Store
    clock: Callable[[], float]
    wall: Callable[[], float]

    async def refresh(self, key: Key, memory: Memory) -> None:
        """Fetches the workloads that matter and have changed."""
        wanted = [*self.store.unread(key), *memory.released]
        for ref, seen in self.store.workloads.get(key.namespace, {}).items():
            if seen.child_of == key.name and getattr(self.store.details.get(ref), "version", "") != seen.version:
                wanted.append(ref)
        for start in range(0, len(wanted), AT_ONCE):
            await asyncio.gather(*(self._fetch(ref) for ref in wanted[start : start + AT_ONCE]))

    async def _fetch(self, ref: Ref) -> None:
        manifest = await self.cluster.get(KIND_BY_NAME[ref.kind], ref.namespace, ref.name)
        if manifest is None:
            self.store.details.pop(ref, None)
        else:
            self.store.details[ref] = read(manifest)

    def near(self, key: Key) -> list[Workload]:
        """Workloads that the backend selects or that bear its fields, as they were fetched last."""
        details = self.store.details
        return [details[ref] for ref in self.store.near(key) if ref in details]

    def leaving(self, key: Key, memory: Memory) -> list[Workload]:
        """Workloads that bear this backend's fields and belong to nobody, and those that were released just now."""
        claims = self.store.claims.get(key.namespace, {}).values()
        found = [
            workload
            for workload in self.near(key)
            if workload.applied and (workload.fields.backend or "") == key.name and owner_of(workload, claims) is None
        ]
        for ref, uid in list(memory.released.items()):
            workload = self.store.details.get(ref)
            if workload is None or workload.uid != uid or workload.applied or workload.rolled or workload.standing:
                del memory.released[ref]
            else:
                found.append(workload)
        return found

    def situation(self, key: Key, entry: Entry, backend: Backend, target: str, memory: Memory, free: int) -> Situation:
        """All that a plan depends on. target: name of the revision that workloads are to carry."""
        claims = self.store.claims.get(key.namespace, {}).values()
        owned = [workload for workload in self.near(key) if owner_of(workload, claims) == key.name]
        rollout, status = backend.rollout, memory.told(entry.status)
        stored = self.store.children.get(key, {}).get(("ControllerRevision", target))
        return Situation(
            now=self.clock(),
            backend=key.name,
            target=target,
            revised=seconds_of(stored.created) if stored is not None else self.wall(),
            policy=rollout.policy,
            suspended=backend.suspend,
            max_unavailable=rollout.max_unavailable,
            progress_timeout=rollout.progress_timeout,
            free=free,
            owned=owned,
            leaving=self.leaving(key, memory),
            carrying=self._carrying(key, owned, target),
            trails=memory.trails,
            refused=memory.refused(target, self.clock()),
            before=Before(
                phase=str((status.get("rollout") or {}).get("phase") or ""),
                target=str(status.get("updateRevision") or ""),
                current=current_names(status),
            ),
        )

    def _carrying(self, key: Key, owned: Sequence[Workload], target: str) -> dict[str, int]:
        counts: dict[tuple[str, str], int] = {}
        for pod in self.store.pods_of(key):
            if pod.injected and pod.revision == target:
                counts[pod.workload] = counts.get(pod.workload, 0) + 1
        return {workload.uid: counts.get((workload.ref.kind, workload.ref.name), 0) for workload in owned}

    def refused(self, key: Key) -> str:
        """What a quota or a limit range said of the pods of a workload that was written (decided case 14)."""
        said = (w.failure for w in self.near(key) if w.applied and w.fields.backend == key.name)
        return next((failure for failure in said if of_quota(failure)), "")

    def lost(self, key: Key) -> list[tuple[Ref, str | None]]:
        """Workloads that the backend selects and another one has, with its name."""
        claims = self.store.claims.get(key.namespace, {})
        claim = claims.get(key.name)
        if claim is None or claim.selector is None:
            return []
        owners = [
            (workload.ref, owner_of(workload, claims.values()))
            for workload in self.near(key)
            if claim.selector.matches(workload.labels)
        ]
        return [(ref, owner) for ref, owner in owners if owner not in (None, key.name)]

    def injected(self, key: Key, target: str) -> Injected:
        """Its pods by the sidecar that they have."""
        pods = list(self.store.pods_of(key))
        entry = self.store.entries.get(key)
        current = sum(1 for pod in pods if pod.injected and pod.revision == target)
        injected = sum(1 for pod in pods if pod.injected)
        callers = len(pods) - injected
        # A backend in Deployment mode never misses a sidecar; its callers carry a mark since one of our versions only.
        shared = entry is not None and entry.mode == "Deployment"
        pointed = callers if shared else sum(1 for pod in pods if pod.pointed and not pod.injected)
        return Injected(current=current, outdated=injected - current, missing=callers - pointed, pointed=pointed)
