"""Reports one pass: the status of the backend where it differs from the current one, and Events."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mimic_operator.reconcile.plan import Plan
from mimic_operator.reconcile.state import State
from mimic_operator.reconcile.status import Observed, due, status_of
from mimic_operator.reconcile.store import Entry
from mimic_operator.reconcile.tenure import Identity
from mimic_operator.resource.kinds import BACKEND
from mimic_operator.resource.naming import (
    ANNOTATION_BACKEND,
    API_VERSION,
    KIND,
    MANAGER,
    MANAGER_STATUS,
    selector_of,
    short_hash,
)
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import EVENT, Key

logger = logging.getLogger("mimic.events")
LONGEST_NOTE = 1000


@dataclass(slots=True)
class Reporter:
    """own: this operator. clock: monotonic seconds. ended: called with how a rollout ended: `complete` or `halted`."""

    cluster: Cluster
    own: Identity
    clock: Callable[[], float]
    wall: Callable[[], float]
    ended: Callable[[str], None]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _running: set[Key] = field(default_factory=set)

    async def report(self, state: State, planned: Plan) -> float | None:
        """Writes the status if it differs; the seconds after which to write it if only counters do. Raises Fault."""
        entry, memory = state.entry, state.memory
        if entry is None:
            return None
        self._events(state, entry, planned)
        memory.elsewhere = ""
        before = state.status_there
        now = datetime.fromtimestamp(self.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        wanted = status_of(observed(state, entry, planned), before, now) | {"operator": str(self.own)}
        wait = due(wanted, before, self.clock() - memory.reported_at)
        if wait is None or wait > 0:
            return wait
        metadata = {"name": state.key.name, "namespace": state.key.namespace, "uid": entry.uid}
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": wanted}
        made = await self.cluster.apply(BACKEND, manifest, manager=MANAGER_STATUS, force=True, status=True)
        memory.reported, memory.reported_at = wanted, self.clock()
        memory.reported_version = made["metadata"]["resourceVersion"]
        return None

    def elsewhere(self, state: State, entry: Entry, other: Identity) -> None:
        """Another operator has the backend: this one leaves all of it alone, and says so once."""
        if state.memory.elsewhere == str(other):
            return
        state.memory.elsewhere, state.memory.reported = str(other), None
        note = f"The operator {self.own} leaves it to {other}, which watches the namespace too: one of both is enough."
        logger.warning("MimicBackend %s: %s", state.key, note, extra={"key": str(state.key)})
        self.backend_event(state.key, entry.uid, "ManagedElsewhere", note, "Warning")

    def forget(self, key: Key) -> None:
        self._running.discard(key)

    def _events(self, state: State, entry: Entry, planned: Plan) -> None:
        """Of workloads that are skipped, and the rollout's phases; of those a new leader posts only a halt."""
        found, key = planned.rollout, state.key
        unfit = {workload.ref: workload.unfit for workload in found.unfit} if found is not None else {}
        for ref in sorted(unfit.keys() - state.memory.skipped):
            self.backend_event(key, entry.uid, "Skipped", f"{ref} gets no sidecar: {unfit[ref]}.", "Warning")
        state.memory.skipped = frozenset(unfit)
        before, state.memory.phase = state.memory.phase, found.phase if found is not None else ""
        if found is None or found.phase == before:
            return
        if found.phase == "Progressing":
            self._running.add(key)
        carried = f"{found.done} of {found.total} workloads have the"
        if found.phase == "Halted":
            self.ended("halted")
            self.backend_event(key, entry.uid, "Halted", "; ".join(stuck.sentence for stuck in found.stuck), "Warning")
        elif found.ended and key in self._running:
            self._running.discard(key)
            self.ended("complete")
            self.backend_event(key, entry.uid, "RolledOut", f"{carried} sidecar")
        elif before and found.phase in ("Progressing", "Suspended", "Manual"):
            self.backend_event(key, entry.uid, found.phase, f"{carried} new sidecar")

    def backend_event(self, key: Key, uid: str, reason: str, note: str, level: str = "Normal") -> None:
        """Posts an Event about a MimicBackend after the work; no one waits for it."""
        about = {"apiVersion": API_VERSION, "kind": KIND, "namespace": key.namespace, "name": key.name, "uid": uid}
        self._post(about, reason, note, level)

    def misnamed(self, namespace: str, name: str) -> None:
        """Posts an Event about a pod whose annotation is no name; its text is not repeated."""
        note = f"The annotation {ANNOTATION_BACKEND} is not understood: it holds NAME or NAMESPACE/NAME of a {KIND}."
        about = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name}
        self._post(about, "BadAnnotation", note, "Warning")

    def _post(self, about: Mapping[str, str], reason: str, note: str, level: str) -> None:
        task = asyncio.create_task(self._create(about, reason, note[:LONGEST_NOTE], level))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _create(self, about: Mapping[str, str], reason: str, note: str, level: str) -> None:
        now = datetime.fromtimestamp(self.wall(), UTC)
        which = f"{about['kind']} {about['namespace']}/{about['name']}"
        manifest: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{about['name'][:200]}.{short_hash(which, reason, now.isoformat())}",
                "namespace": about["namespace"],
            },
            "involvedObject": dict(about),
            "type": level,
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
            logger.warning("An Event about %s could not be posted: %s", which, fault, extra={"reason": fault.reason})


def observed(state: State, entry: Entry, planned: Plan) -> Observed:
    """All that the status depends on."""
    shared = entry.mode == "Deployment"
    labels = ",".join(f"{name}={value}" for name, value in sorted(selector_of(state.key.name).items()))
    return Observed(
        generation=entry.generation,
        mode=entry.mode,
        backend=entry.backend,
        problems=entry.problems,
        url=planned.url,
        target=planned.target,
        current=planned.current,
        waiting=planned.waiting,
        frozen=planned.frozen,
        plan=planned.rollout,
        lost=planned.lost,
        refused_children=[
            (f"{kind}/{name}", refusal.sentence)
            for (kind, name), refusal in sorted(state.memory.refused_children.items())
        ],
        refused=planned.quota,
        injected=planned.injected,
        secret=state.secret,
        pods=state.shared,
        selector=labels if shared and entry.backend is not None else "",
    )
