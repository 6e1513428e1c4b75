"""What a turn looks at: the workloads that matter to one backend, fetched where they have changed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mimic_operator.cluster.client import Cluster
from mimic_operator.reconcile.children import KIND_BY_NAME
from mimic_operator.reconcile.memory import Memory
from mimic_operator.reconcile.ownership import owner_of
from mimic_operator.reconcile.queue import Key
from mimic_operator.reconcile.rollout import Before, Situation
from mimic_operator.reconcile.status import Injected, current_names
from mimic_operator.reconcile.store import Entry, Store
from mimic_operator.reconcile.workload import Ref, Workload, of_quota, read, seconds_of
from mimic_operator.resource.backend import Backend

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
        current = sum(1 for pod in pods if pod.injected and pod.revision == target)
        missing = sum(1 for pod in pods if not pod.injected)
        return Injected(current=current, outdated=len(pods) - current - missing, missing=missing)
