"""Events on MimicBackends: what a person who describes one wants to read. Posted after the work, never waited for."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mimic_operator.cluster.client import Cluster
from mimic_operator.cluster.faults import Fault
from mimic_operator.cluster.kinds import EVENT
from mimic_operator.reconcile.queue import Key
from mimic_operator.reconcile.rollout import Plan
from mimic_operator.resource.naming import API_VERSION, KIND, MANAGER, short_hash

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
