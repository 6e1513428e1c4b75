"""What a turn writes to workloads: the plan carried out, one server-side apply after another."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mimic_operator.cluster.client import Cluster
from mimic_operator.cluster.faults import Fault
from mimic_operator.reconcile.announce import Announcer
from mimic_operator.reconcile.looking import Looking
from mimic_operator.reconcile.memory import Memory, Refusal
from mimic_operator.reconcile.queue import Key
from mimic_operator.reconcile.rollout import Plan, Situation, Write, plan, written
from mimic_operator.reconcile.slots import Slots
from mimic_operator.reconcile.store import Store
from mimic_operator.reconcile.workload import Workload, fields_to_apply, read
from mimic_operator.resource.naming import LABEL_INJECT, MANAGER_WORKLOADS

logger = logging.getLogger("mimic.reconcile")
REFUSING = ("invalid", "forbidden")
LONGEST_REFUSAL = 300


@dataclass(slots=True)
class Writing:
    """clock: monotonic seconds."""

    cluster: Cluster
    store: Store
    slots: Slots
    looking: Looking
    announcer: Announcer
    clock: Callable[[], float]

    async def carry_out(self, key: Key, situation: Situation, memory: Memory) -> Plan:
        """Writes what the plan says, and answers with the plan as it stands afterwards."""
        planned = plan(replace(situation, free=self.slots.free()))
        begun = sum(1 for write in planned.writes if write.workload.standing is None)
        self.slots.hold(key, len(planned.moving) + begun, waits=planned.waits)
        trails = dict(planned.trails)
        memory.trails = trails
        for write in planned.writes:
            after = await self._write(key, write, memory)
            if after is None:
                trails.pop(write.workload.uid, None)
                continue
            trails[after.uid] = written(write, self.clock(), trails.get(after.uid), after)
            if write.fields is None:
                memory.released[after.ref] = after.uid
        after_writes = replace(
            situation,
            now=self.clock(),
            free=self.slots.free(),
            owned=self._renewed(situation.owned),
            leaving=self.looking.leaving(key, memory),
            trails=trails,
            refused=memory.refused(situation.target, self.clock()),
        )
        planned = plan(after_writes)
        memory.trails = planned.trails
        self.slots.hold(key, len(planned.moving), waits=planned.waits)
        self._announce(key, planned, memory)
        return planned

    def _renewed(self, workloads: Sequence[Workload]) -> list[Workload]:
        return [found for old in workloads if (found := self.store.details.get(old.ref)) is not None]

    async def _write(self, key: Key, write: Write, memory: Memory) -> Workload | None:
        """None where the workload is gone, its user has said no meanwhile, or the write is refused."""
        workload = write.workload
        manifest = fields_to_apply(workload, write.fields)
        try:
            made = await self._applied_without_force(manifest)
        except Fault as fault:
            if fault.reason in REFUSING:
                self._refused(key, write, fault, memory)
                return None
            if fault.reason not in ("conflict", "absent"):
                raise
            logger.info("%s of %s is left alone: %s", workload.ref, key, fault, extra={"key": str(key)})
            self.store.details.pop(workload.ref, None)  # it is looked at anew
            return None
        memory.refusals.pop(workload.uid, None)
        after = self.store.details[workload.ref] = read(made)
        done = "takes revision" if write.fields is not None else "is released from revision"
        revision = write.fields.revision if write.fields is not None else workload.fields.revision
        extra = {"key": str(key), "workload": str(workload.ref), "revision": revision}
        logger.info("%s in %s %s %s", workload.ref, key.namespace, done, revision, extra=extra)
        return after

    def _refused(self, key: Key, write: Write, fault: Fault, memory: Memory) -> None:
        """By a policy of its user, mostly; what is wrong with one workload is no reason to leave the others."""
        # What follows may be part of a pod's specification.
        said = str(fault).partition("Invalid value")[0][:LONGEST_REFUSAL].rstrip(" :")
        before = memory.refusals.get(write.workload.uid)
        target = write.fields.revision if write.fields is not None else None
        memory.refusals[write.workload.uid] = Refusal(target, said, self.clock())
        level = logging.DEBUG if before is not None and before.sentence == said else logging.WARNING
        extra = {"key": str(key), "workload": str(write.workload.ref), "reason": fault.reason}
        logger.log(level, "%s of %s cannot be written: %s", write.workload.ref, key, said, extra=extra)

    async def _applied_without_force(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The label is the user's word and never forced; on the annotations alone we insist (decided case 2)."""
        try:
            return await self.cluster.apply(manifest, manager=MANAGER_WORKLOADS, force=False)
        except Fault as fault:
            if not fault.fields or any(path.endswith(LABEL_INJECT) for path in fault.fields):
                raise
        return await self.cluster.apply(manifest, manager=MANAGER_WORKLOADS, force=True)

    def _announce(self, key: Key, planned: Plan, memory: Memory) -> None:
        before, memory.plan = memory.plan, planned
        entry = self.store.entries.get(key)
        if entry is not None and (before is None or before.phase != planned.phase):
            self.announcer.rollout(key, entry.uid, planned, first=before is None)
