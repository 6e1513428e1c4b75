"""Applies what was planned for one backend: its children, and the fields of its workloads."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mimic_operator.reconcile.manifests import Manifest
from mimic_operator.reconcile.plan import Plan
from mimic_operator.reconcile.rollout import Write, written
from mimic_operator.reconcile.state import Memory, Name, Refusal, State
from mimic_operator.reconcile.store import Store
from mimic_operator.reconcile.workload import Workload, fields_to_apply, read
from mimic_operator.resource.kinds import KIND_BY_NAME
from mimic_operator.resource.naming import ANNOTATION_APPLIED, LABEL_INJECT, MANAGER, MANAGER_WORKLOADS, short_hash
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Key

logger = logging.getLogger("mimic.reconcile")
REFUSING = ("invalid", "forbidden")
MOUNTED = ("ControllerRevision", "ConfigMap")
"""Kinds without which no workload is written: its pods would not start."""
LONGEST_REFUSAL = 300


@dataclass(slots=True)
class Applier:
    """Server-side apply, one object after another. clock: monotonic seconds. wall: Unix time."""

    cluster: Cluster
    store: Store
    clock: Callable[[], float]
    wall: Callable[[], float]

    async def apply(self, state: State, planned: Plan) -> None:
        """Performs the plan, and remembers what it did. Raises Fault."""
        memory = state.memory
        whole = await self._children(state, planned.manifests)
        self._log_frozen(state.key, planned.frozen, memory)
        memory.released = dict(planned.released)
        if planned.rollout is not None and whole:
            await self._workloads(state.key, planned.rollout.writes, dict(planned.rollout.progress), memory)
        for kind, name in planned.deletes:
            await self.cluster.delete(KIND_BY_NAME[kind], state.key.namespace, name)
            memory.applied.pop((kind, name), None)
        memory.unused = planned.unused

    # Children

    async def _children(self, state: State, manifests: Sequence[Manifest]) -> bool:
        """In their order. Drift is repaired, foreign fields are left alone; what has not changed is not written.

        Returns whether all that pods mount is there. What is refused, such as a PodMonitor without its definition,
        does not keep the others from being applied.
        """
        memory = state.memory
        refused, memory.refused_children = memory.refused_children, {}
        for manifest in manifests:
            name = (manifest["kind"], manifest["metadata"]["name"])
            digest = short_hash(msgspec.json.encode(manifest).decode())
            version = _version(state, name)
            if memory.applied.get(name) == (digest, version):
                continue
            child, before = state.children.get(name), refused.get(name)
            if child is not None and child.untouched and (child.annotations or {}).get(ANNOTATION_APPLIED) == digest:
                memory.applied[name] = (digest, version)  # by an operator before this one
                continue
            if before is not None and before.target == digest and before.again(self.clock()) > 0:
                memory.refused_children[name] = before
                continue
            try:
                made = await self.cluster.apply(
                    KIND_BY_NAME[name[0]], _marked(manifest, digest), manager=MANAGER, force=True
                )
            except Fault as fault:
                if fault.reason not in (*REFUSING, "absent"):
                    raise
                memory.refused_children[name] = self._child_refused(state.key, name, digest, fault, before)
                continue
            memory.applied[name] = (digest, made["metadata"]["resourceVersion"])
        return not any(kind in MOUNTED for kind, _ in memory.refused_children)

    def _child_refused(self, key: Key, name: Name, digest: str, fault: Fault, before: Refusal | None) -> Refusal:
        sentence = _short(fault)
        level = logging.DEBUG if before is not None and before.sentence == sentence else logging.WARNING
        extra = {"key": str(key), "reason": fault.reason}
        logger.log(level, "%s/%s of %s cannot be written: %s", *name, key, sentence, extra=extra)
        return Refusal(digest, sentence, self.clock())

    def _log_frozen(self, key: Key, frozen: Sequence[str], memory: Memory) -> None:
        for name in sorted(set(frozen) - memory.frozen):
            extra = {"key": str(key), "revision": name}
            logger.info("Pods of revision %s of %s keep their configuration until they restart", name, key, extra=extra)
        memory.frozen = frozenset(frozen)

    # Workloads

    async def _workloads(self, key: Key, writes: Sequence[Write], progress: dict[str, Any], memory: Memory) -> None:
        memory.progress = progress
        for write in writes:
            after = await self._write(key, write, memory)
            if after is None:
                progress.pop(write.workload.uid, None)
                continue
            progress[after.uid] = written(write, self.clock(), after)
            if write.fields is None:
                memory.released[after.ref] = after.uid

    async def _write(self, key: Key, write: Write, memory: Memory) -> Workload | None:
        """None where the workload is gone, its user has opted out meanwhile, or the write is refused."""
        workload = write.workload
        manifest = fields_to_apply(workload, write.fields, write.losses, self.wall())
        try:
            made = await self._applied_without_force(manifest)
        except Fault as fault:
            if fault.reason in REFUSING:
                self._refused(key, write, fault, memory)
                return None
            if fault.reason not in ("conflict", "absent"):
                raise
            logger.info("%s of %s is left alone: %s", workload.ref, key, fault, extra={"key": str(key)})
            self.store.details.pop(workload.ref, None)  # it is fetched anew
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
        sentence = _short(fault)
        before = memory.refusals.get(write.workload.uid)
        target = write.fields.revision if write.fields is not None else None
        memory.refusals[write.workload.uid] = Refusal(target, sentence, self.clock())
        level = logging.DEBUG if before is not None and before.sentence == sentence else logging.WARNING
        extra = {"key": str(key), "workload": str(write.workload.ref), "reason": fault.reason}
        logger.log(level, "%s of %s cannot be written: %s", write.workload.ref, key, sentence, extra=extra)

    async def _applied_without_force(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The label is the user's decision and never forced; on the annotations alone the operator insists.

        `kubectl rollout undo` makes the annotations another manager's.
        """
        kind = KIND_BY_NAME[manifest["kind"]]
        try:
            return await self.cluster.apply(kind, manifest, manager=MANAGER_WORKLOADS, force=False)
        except Fault as fault:
            if not fault.fields or any(path.endswith(LABEL_INJECT) for path in fault.fields):
                raise
        return await self.cluster.apply(kind, manifest, manager=MANAGER_WORKLOADS, force=True)


def _short(fault: Fault) -> str:
    """Without what may be part of a pod's specification."""
    return str(fault).partition("Invalid value")[0][:LONGEST_REFUSAL].rstrip(" :")


def _version(state: State, name: Name) -> str:
    """Of the object as it was observed last; empty if it is not there."""
    if name[0] == "Deployment":
        return state.deployments.get(name[1], "")
    child = state.children.get(name)
    return child.version if child is not None else ""


def _marked(manifest: Mapping[str, Any], digest: str) -> dict[str, Any]:
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), ANNOTATION_APPLIED: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
