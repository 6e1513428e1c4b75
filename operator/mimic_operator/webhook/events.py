"""Posts Events on the workloads of the pods: after the response, without delaying it, and not twice soon."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mimic_operator.resource.naming import MANAGER, short_hash
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import EVENT, JOB, REPLICA_SET
from mimic_operator.webhook import pods
from mimic_operator.webhook.decide import Decision
from mimic_operator.webhook.outcomes import Verdict

logger = logging.getLogger("mimic.events")
QUIET_SECONDS = 600.0
"""The same reason for the same workload is posted once in this time."""
MOST_WAITING = 1000
MOST_REMEMBERED = 10_000
LONGEST_NOTE = 1000
SILENT = ("NotOptedIn", "AlreadyInjected")
PARENTS = {"ReplicaSet": REPLICA_SET, "Job": JOB}
"""Owners that are owned by what the user wrote: a Deployment, a CronJob."""


class Owner(NamedTuple):
    """The object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class _Word:
    owner: Owner
    decision: Decision


class Announcer:
    """`add` at any time; `run` posts. clock: monotonic seconds; wall: Unix time; counted: gets the result of each."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Callable[[], float],
        wall: Callable[[], float],
        counted: Callable[[str], None],
    ) -> None:
        self._cluster, self._clock, self._wall, self._counted = cluster, clock, wall, counted
        self._waiting: asyncio.Queue[_Word] = asyncio.Queue(MOST_WAITING)
        self._said: dict[tuple[Owner, str], float] = {}
        self._parents: dict[Owner, Owner] = {}

    def add(self, pod: Mapping[str, Any], namespace: str, decision: Decision) -> None:
        """Adds a decision. A pod without a controller is passed over: no one would look for its Events later."""
        found = pods.controller(pod)
        if found is None or decision.reason in SILENT:
            return
        fields = (str(found.get(name) or "") for name in ("apiVersion", "kind", "name", "uid"))
        api_version, kind, name, uid = fields
        owner = Owner(api_version, kind, namespace, name, uid)
        now = self._clock()
        if now - self._said.get((owner, decision.reason), -QUIET_SECONDS) < QUIET_SECONDS:
            return
        if len(self._said) >= MOST_REMEMBERED:
            self._said.clear()
        self._said[owner, decision.reason] = now
        try:
            self._waiting.put_nowait(_Word(owner, decision))
        except asyncio.QueueFull:
            self._counted("dropped")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            word = await self._waiting.get()
            try:
                owner = await self._workload(word.owner)
                if owner == word.owner or self._is_new(owner, word.decision.reason):
                    await self._cluster.create(EVENT, self._event(owner, word.decision))
                    self._counted("posted")
            except Fault as fault:
                self._counted("failed")
                logger.warning("An Event was not posted: %s", fault, extra={"reason": fault.reason})

    def _is_new(self, owner: Owner, reason: str) -> bool:
        now = self._clock()
        fresh = now - self._said.get((owner, reason), -QUIET_SECONDS) >= QUIET_SECONDS
        if fresh:
            self._said[owner, reason] = now
        return fresh

    async def _workload(self, owner: Owner) -> Owner:
        """What the user wrote: the Deployment of a ReplicaSet, the CronJob of a Job, else the owner itself."""
        kind = PARENTS.get(owner.kind)
        if kind is None:
            return owner
        if owner not in self._parents:
            found = await self._cluster.get(kind, owner.namespace, owner.name)
            above = pods.controller(found) if found is not None else None
            parent = owner
            if above is not None:
                parent = Owner(above["apiVersion"], above["kind"], owner.namespace, above["name"], above["uid"])
            if len(self._parents) >= MOST_REMEMBERED:
                self._parents.clear()
            self._parents[owner] = parent
        return self._parents[owner]

    def _event(self, owner: Owner, decision: Decision) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._wall(), UTC)
        sentences = [decision.sentence, *(each.sentence for each in decision.notes if each.warns)]
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{owner.name[:200]}.{short_hash(owner.uid, decision.reason, now.isoformat())}",
                "namespace": owner.namespace,
            },
            "involvedObject": {
                "apiVersion": owner.api_version,
                "kind": owner.kind,
                "namespace": owner.namespace,
                "name": owner.name,
                "uid": owner.uid,
            },
            "type": "Normal" if decision.verdict is Verdict.ADMITTED else "Warning",
            "reason": decision.reason,
            "message": " ".join(sentences)[:LONGEST_NOTE],
            "source": {"component": MANAGER},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
