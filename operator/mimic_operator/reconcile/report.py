"""Reports what was done: the status of the backend where it differs from the current one, and Events."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mimic_operator.reconcile.observe import Looking, Memory
from mimic_operator.reconcile.rollout import Plan
from mimic_operator.reconcile.status import Observed, Verdict, due, status_of
from mimic_operator.reconcile.store import Entry
from mimic_operator.reconcile.workload import Ref
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.kinds import BACKEND
from mimic_operator.resource.naming import (
    API_VERSION,
    KIND,
    MANAGER,
    MANAGER_STATUS,
    child_name,
    selector_of,
    short_hash,
)
from mimic_operator.resource.revision import Revision
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import EVENT
from mimic_operator.runtime.queue import Key

logger = logging.getLogger("mimic.events")
LONGEST_NOTE = 1000
WARNINGS = ("Halted",)


@dataclass(slots=True)
class Announcer:
    """wall: Unix time. count: called with each rollout that ended, `complete` or `halted`."""

    cluster: Cluster
    wall: Callable[[], float]
    count: Callable[[str], None]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _running: set[Key] = field(default_factory=set)

    def rollout(self, key: Key, uid: str, planned: Plan, *, first: bool) -> None:
        """A rollout has come into another phase. first: the operator has just started; only a halt is news then."""
        if planned.phase == "Progressing":
            self._running.add(key)
        if planned.phase == "Halted":
            self.count("halted")
            self._post(key, uid, "Halted", "; ".join(stuck.sentence for stuck in planned.stuck))
        elif planned.ended and key in self._running:
            self._running.discard(key)
            self.count("complete")
            self._post(key, uid, "RolledOut", f"{planned.done} of {planned.total} workloads have the sidecar")
        elif not first and planned.phase in ("Progressing", "Suspended", "Manual"):
            self._post(key, uid, planned.phase, f"{planned.done} of {planned.total} workloads have the new sidecar")

    def forget(self, key: Key) -> None:
        self._running.discard(key)

    def _post(self, key: Key, uid: str, reason: str, note: str) -> None:
        task = asyncio.create_task(self._create(key, uid, reason, note[:LONGEST_NOTE]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _create(self, key: Key, uid: str, reason: str, note: str) -> None:
        now = datetime.fromtimestamp(self.wall(), UTC)
        name = f"{key.name[:200]}.{short_hash(str(key), reason, now.isoformat())}"
        manifest = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": key.namespace,
                "name": key.name,
                "uid": uid,
            },
            "type": "Warning" if reason in WARNINGS else "Normal",
            "reason": reason,
            "message": note,
            "source": {"component": MANAGER},
            "firstTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lastTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "count": 1,
        }
        try:
            await self.cluster.create(EVENT, manifest)
        except Fault as fault:
            logger.warning("An event about %s could not be posted: %s", key, fault, extra={"reason": fault.reason})


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
        made = await self.cluster.apply(BACKEND, manifest, manager=MANAGER_STATUS, force=True, status=True)
        memory.reported, memory.reported_at = wanted, self.clock()
        memory.reported_version = made["metadata"]["resourceVersion"]
        return None
