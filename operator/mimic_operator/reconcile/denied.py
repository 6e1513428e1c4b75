"""Workloads whose pods were refused while the webhook or their backend was away (decided case 9).

Their controllers back off for up to 1,000 s. Touching the workload's metadata makes its controller try again at once;
who was refused is told by the Events that controllers post about it, whoever labelled the pods.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mimic_operator.reconcile.store import Entry, Store
from mimic_operator.reconcile.workload import Ref, seconds_of
from mimic_operator.resource.kinds import KIND_BY_NAME
from mimic_operator.resource.naming import ANNOTATION_RETRY_AT, GROUP, MANAGER
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import EVENT

logger = logging.getLogger("mimic.retry")

LOOK_SECONDS = 30.0
FORGET_SECONDS = 1800.0
"""Older refusals are over: the longest back-off is 1,000 s."""


class Refusal(NamedTuple):
    """The last refused pod of a workload. away: nobody answered, so the backend is not to blame. at: Unix time."""

    ref: Ref
    away: bool
    at: float


@dataclass(slots=True)
class Denied:
    """namespaces: none is the whole cluster. wall: Unix time."""

    cluster: Cluster
    store: Store
    namespaces: Sequence[str]
    wall: Callable[[], float]
    _retried: dict[Ref, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        said = ""
        while True:
            try:
                await self.look()
            except Fault as fault:
                level = logging.DEBUG if fault.reason == said else logging.WARNING
                said, extra = fault.reason, {"reason": fault.reason}
                logger.log(level, "Refused pods could not be looked for: %s", fault, extra=extra)
            else:
                said = ""
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """One look at the Events. Raises Fault."""
        now = self.wall()
        self._retried = {ref: at for ref, at in self._retried.items() if now - at < FORGET_SECONDS}
        for namespace in self.namespaces or (None,):
            events = [event async for event in self.cluster.list(EVENT, namespace, fields={"reason": "FailedCreate"})]
            for refusal in refusals(events, now):
                known = self.store.workloads.get(refusal.ref.namespace, {}).get(refusal.ref)
                entries = [entry for key, entry in self.store.entries.items() if key.namespace == refusal.ref.namespace]
                if known is not None and is_due(refusal, self._retried.get(refusal.ref, 0.0), entries):
                    await self._retry(refusal.ref, now)

    async def _retry(self, ref: Ref, now: float) -> None:
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        patch = {"metadata": {"annotations": {ANNOTATION_RETRY_AT: stamp}}}
        self._retried[ref] = now
        await self.cluster.merge(KIND_BY_NAME[ref.kind], ref.namespace, ref.name, patch, MANAGER)
        logger.info("%s in %s may try its pods again", ref, ref.namespace, extra={"workload": str(ref)})


def refusals(events: Sequence[Mapping[str, Any]], now: float) -> Iterator[Refusal]:
    """What the operator's webhook, or its absence, refused of late; the newest of each workload."""
    newest: dict[Ref, Refusal] = {}
    for event in events:
        message, about = str(event.get("message")), event.get("involvedObject") or {}
        if f'.{GROUP}"' not in message:
            continue
        ref = _workload(str(about.get("kind")), str(about.get("namespace")), str(about.get("name")))
        at = seconds_of(str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        before = newest.get(ref)
        if now - at < FORGET_SECONDS and (before is None or before.at < at):
            newest[ref] = Refusal(ref, "failed calling webhook" in message, at)
    yield from newest.values()


def _workload(kind: str, namespace: str, name: str) -> Ref:
    if kind == "ReplicaSet":
        return Ref(namespace, "Deployment", name.rpartition("-")[0])
    return Ref(namespace, kind, name)


def is_due(refusal: Refusal, retried: float, entries: Sequence[Entry]) -> bool:
    """Whether it may go better now: the webhook may be back, or a backend has become injectable since.

    Timestamps of Events and conditions are of whole seconds.
    """
    if refusal.away:
        return refusal.at >= int(retried)
    since = [
        seconds_of(str(condition.get("lastTransitionTime")))
        for entry in entries
        for condition in entry.status.get("conditions") or ()
        if condition.get("type") == "Injectable" and condition.get("status") == "True"
    ]
    return any(at >= refusal.at and retried < at + LOOK_SECONDS for at in since)
