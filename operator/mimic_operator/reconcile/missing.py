"""Evicts pods that ask for the sidecar and lack it, where their backend and the operator's settings ask for it.

One pod of a backend a minute, through the eviction API, which heeds disruption budgets. An eviction that brought no
pod, or one without the sidecar again, is not repeated: then something else has to be fixed first.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mimic_operator.reconcile.store import Entry, ObservedPod, PodName, Store
from mimic_operator.resource.naming import ANNOTATION_TEMPLATE_HASH
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import POD, Key

logger = logging.getLogger("mimic.missing")

POLL_SECONDS = 60.0
FORGET_SECONDS = 3600.0
"""After which a workload is tried again."""
REPLACED = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
"""Kinds that make a new pod for one that is evicted. A Job may count it as a failure."""
Owner = tuple[str, str]


@dataclass(slots=True)
class Attempt:
    """At one workload. lacking, total: its pods when it began. at: monotonic seconds."""

    lacking: frozenset[PodName]
    total: int
    at: float
    evicted: set[PodName] = field(default_factory=set)


def next_one(
    pods: Iterable[tuple[PodName, ObservedPod]], attempts: Mapping[Owner, Attempt]
) -> tuple[PodName, Owner] | None:
    """The pod to evict, and its workload. pods: all that ask for the backend's sidecar, by name. Pure."""
    by_owner: dict[Owner, list[tuple[PodName, ObservedPod]]] = defaultdict(list)
    for name, pod in pods:
        if pod.workload[0] in REPLACED:
            by_owner[pod.workload].append((name, pod))
    for owner, some in sorted(by_owner.items()):
        attempt = attempts.get(owner)
        if attempt is not None and len(some) < attempt.total:
            continue  # the last one has not been replaced
        for name, pod in sorted(some):
            known = attempt is None or (name in attempt.lacking and name not in attempt.evicted)
            if not (pod.injected or pod.pointed) and known:
                return name, owner
    return None


def lacking(pods: Iterable[tuple[PodName, ObservedPod]], owner: Owner, at: float) -> Attempt:
    """An attempt that begins now."""
    some = [(name, pod) for name, pod in pods if pod.workload == owner]
    return Attempt(frozenset(name for name, pod in some if not (pod.injected or pod.pointed)), len(some), at)


def wanted(entry: Entry) -> bool:
    """Whether pods of the backend may be evicted: a new one would get the sidecar. Pure."""
    backend = entry.backend
    if backend is None or backend.mode != "Sidecar" or backend.suspend or not backend.rollout.restart_missing:
        return False
    conditions = entry.status.get("conditions") or ()
    return any(each.get("type") == "Injectable" and each.get("status") == "True" for each in conditions)


@dataclass(slots=True)
class Evictions:
    """granted: whether the operator may evict. own: its identity, as in `status.operator`. clock: monotonic seconds."""

    cluster: Cluster
    store: Store
    clock: Callable[[], float]
    granted: bool
    own: str
    _attempts: dict[Key, dict[Owner, Attempt]] = field(default_factory=lambda: defaultdict(dict))
    _reported: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Until cancelled. It begins with a pause: leaders that follow each other fast evict nothing."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.poll()

    async def poll(self) -> None:
        """At most one eviction for each backend."""
        now = self.clock()
        for key, attempts in list(self._attempts.items()):
            kept = {owner: attempt for owner, attempt in attempts.items() if now - attempt.at < FORGET_SECONDS}
            self._attempts[key] = kept
            if not kept:
                del self._attempts[key]
        for key, entry in list(self.store.entries.items()):
            if not wanted(entry) or entry.status.get("operator") not in (None, self.own):
                continue
            found = next_one(self.store.named_pods_of(key), self._attempts.get(key, {}))
            if found is None:
                continue
            if self.granted:
                await self._evict(key, *found)
            elif entry.uid not in self._reported:
                self._reported.add(entry.uid)
                logger.warning(
                    "Pods of %s lack the sidecar, and EVICT_MISSING does not let the operator evict them",
                    key,
                    extra={"key": str(key)},
                )

    async def _evict(self, key: Key, name: PodName, owner: Owner) -> None:
        attempts = self._attempts[key]
        if owner not in attempts:
            attempts[owner] = lacking(self.store.named_pods_of(key), owner, self.clock())
        extra = {"key": str(key), "workload": "/".join(owner)}
        try:
            pod = await self.cluster.get(POD, *name)
            if pod is None or ANNOTATION_TEMPLATE_HASH in (pod["metadata"].get("annotations") or {}):
                return  # another of the same name
            await self.cluster.evict(*name, pod["metadata"]["uid"])
        except Fault as fault:
            # Of a disruption budget, mostly: the next poll tries again.
            logger.info("Pod %s in %s is not evicted: %s", name.name, name.namespace, fault, extra=extra)
            return
        attempts[owner].evicted.add(name)
        logger.info("Pod %s in %s lacked the sidecar and is evicted", name.name, name.namespace, extra=extra)
