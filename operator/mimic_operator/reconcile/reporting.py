"""What a turn tells: the status of its backend, written where it differs from what stands there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mimic_operator.cluster.client import Cluster
from mimic_operator.reconcile.looking import Looking
from mimic_operator.reconcile.memory import Memory
from mimic_operator.reconcile.queue import Key
from mimic_operator.reconcile.rollout import Plan
from mimic_operator.reconcile.status import Observed, Verdict, due, status_of
from mimic_operator.reconcile.store import Entry
from mimic_operator.reconcile.workload import Ref
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.naming import API_VERSION, KIND, MANAGER_STATUS, child_name, selector_of
from mimic_operator.resource.revision import Revision


@dataclass(frozen=True, slots=True)
class Named:
    """The revisions by name, as the status tells them."""

    name: str
    current: str
    waiting: str
    frozen: Sequence[str]


@dataclass(slots=True)
class Reporting:
    """clock: monotonic seconds. wall: Unix time. secret: its condition."""

    cluster: Cluster
    looking: Looking
    secret: Callable[[Entry], Verdict]
    clock: Callable[[], float]
    wall: Callable[[], float]

    def observed_invalid(self, key: Key, entry: Entry, memory: Memory) -> Observed:
        status = memory.told(entry.status)
        return Observed(
            generation=entry.generation,
            mode=entry.mode,
            backend=None,
            problems=entry.problems,
            url=str(status.get("url") or ""),
            target=str(status.get("updateRevision") or ""),
            current=str(status.get("currentRevision") or ""),
            injected=self.looking.injected(key, str(status.get("updateRevision") or "")),
            secret=self.secret(entry),
        )

    def observed(
        self, key: Key, entry: Entry, backend: Backend, planned: Plan, target: Named, revision: Revision
    ) -> Observed:
        shared = backend.mode == "Deployment"
        own = Ref(key.namespace, "Deployment", child_name(key.name))
        deployment = self.looking.store.details.get(own) if shared else None
        labels = ",".join(f"{name}={value}" for name, value in sorted(selector_of(key.name).items()))
        return Observed(
            generation=entry.generation,
            mode=backend.mode,
            backend=backend,
            url=revision.url,
            target=target.name,
            current=target.current,
            waiting=target.waiting,
            frozen=target.frozen,
            plan=planned,
            lost=self.looking.lost(key),
            refused=self.looking.refused(key),
            injected=self.looking.injected(key, target.name),
            secret=self.secret(entry),
            pods=deployment.counts if deployment is not None else None,
            selector=labels if shared else "",
        )

    async def report(self, key: Key, entry: Entry, observed: Observed, memory: Memory) -> float | None:
        """Writes the status if it differs; the seconds after which to write it if only counters do."""
        before = memory.standing(entry.status, entry.version)
        now = datetime.fromtimestamp(self.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        wanted = status_of(observed, before, now)
        wait = due(wanted, before, self.clock() - memory.reported_at)
        if wait is None or wait > 0:
            return wait
        metadata = {"name": key.name, "namespace": key.namespace, "uid": entry.uid}
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": wanted}
        made = await self.cluster.apply(manifest, manager=MANAGER_STATUS, force=True, status=True)
        memory.reported, memory.reported_at = wanted, self.clock()
        memory.reported_version = made["metadata"]["resourceVersion"]
        return None
