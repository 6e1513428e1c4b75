"""Applies what was planned for one backend: its children, its revisions, and the fields of its workloads."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from mimic_operator.reconcile.observe import Looking, Memory, Refusal
from mimic_operator.reconcile.plan import defaults_of, older_config_map, stored_form
from mimic_operator.reconcile.report import Announcer
from mimic_operator.reconcile.rollout import Plan, Situation, Write, plan, written
from mimic_operator.reconcile.store import Store
from mimic_operator.reconcile.workload import Ref, Workload, fields_to_apply, read
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.kinds import KIND_BY_NAME
from mimic_operator.resource.naming import ANNOTATION_APPLIED, LABEL_INJECT, MANAGER, MANAGER_WORKLOADS, short_hash
from mimic_operator.resource.revision import Kept, kept_in
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import CONTROLLER_REVISION, Kind
from mimic_operator.runtime.queue import Key

logger = logging.getLogger("mimic.reconcile")


@dataclass(slots=True)
class Slots:
    """limit: of all backends together. wake: called with backends that may go on."""

    limit: int
    wake: Callable[[Key], None]
    open: bool = False
    """False until every backend has been looked at once: until then nobody knows what moves already."""
    _held: dict[Key, int] = field(default_factory=dict)
    _waiting: dict[Key, None] = field(default_factory=dict)
    """In the order in which they came."""

    def free(self) -> int:
        """So many more workloads may be written now."""
        return max(0, self.limit - sum(self._held.values())) if self.open else 0

    def hold(self, key: Key, moving: int, *, waits: bool) -> None:
        """So many workloads of a backend move now. waits: it would begin more if it could, and is woken then."""
        self._held.pop(key, None)
        if moving:
            self._held[key] = moving
        if waits:
            self._waiting.setdefault(key)
        else:
            self._waiting.pop(key, None)
        self._wake()

    def start(self) -> None:
        """Everything that moves is known now."""
        self.open = True
        self._wake()

    def _wake(self) -> None:
        """As many as there is room for; each says anew what it holds and whether it waits."""
        for key in list(self._waiting)[: self.free()]:
            del self._waiting[key]
            self.wake(key)


UNUSED_SECONDS = 60.0
"""A revision that nobody asks for is kept this long: a pod that was just admitted may not have been seen yet."""
OF_REVISIONS = ("ControllerRevision", "ConfigMap")
Name = tuple[str, str]
"""Kind and name."""


@dataclass(slots=True)
class Children:
    """Applies with what was applied before in mind: an object at the same version with the same wish is left alone."""

    cluster: Cluster
    store: Store
    clock: Callable[[], float]
    _applied: dict[Key, dict[Name, tuple[str, str]]] = field(default_factory=dict)
    """Hash of the manifest, and the resourceVersion that it led to."""
    _unused: dict[Key, dict[Name, float]] = field(default_factory=dict)

    async def apply(self, key: Key, manifests: Iterable[Mapping[str, Any]]) -> None:
        """In their order. Foreign drift is repaired, foreign fields are left alone. Raises Fault."""
        applied = self._applied.setdefault(key, {})
        for manifest in manifests:
            name = (manifest["kind"], manifest["metadata"]["name"])
            digest = short_hash(msgspec.json.encode(manifest).decode())
            version = self._version(key, name)
            if applied.get(name) == (digest, version):
                continue
            if self._stands(key, name, digest):
                applied[name] = (digest, version)
                continue
            made = await self.cluster.apply(
                KIND_BY_NAME[name[0]], _marked(manifest, digest), manager=MANAGER, force=True
            )
            applied[name] = (digest, made["metadata"]["resourceVersion"])

    def _stands(self, key: Key, name: Name, digest: str) -> bool:
        """Whether it is what was applied, perhaps by an operator before this one, and nobody has touched it since."""
        child = self.store.children.get(key, {}).get(name)
        return child is not None and child.untouched and (child.annotations or {}).get(ANNOTATION_APPLIED) == digest

    def _version(self, key: Key, name: Name) -> str:
        """Of the object as it was seen last; empty if it is not there."""
        if name[0] == "Deployment":
            seen = self.store.workloads.get(key.namespace, {}).get(Ref(key.namespace, *name))
            return seen.version if seen is not None else ""
        child = self.store.children.get(key, {}).get(name)
        return child.version if child is not None else ""

    async def sweep(self, key: Key, wanted: set[Name], revisions: set[str], kinds: Mapping[str, Kind]) -> float | None:
        """Deletes what is not wanted; of revisions what nobody has needed for a minute.

        wanted: what is to stay. revisions: names of ControllerRevisions and ConfigMaps that are still needed.
        Answers with the seconds after which to sweep again.
        """
        there: set[Name] = set(self.store.children.get(key, {}))
        there |= {
            ("Deployment", ref.name)
            for ref, seen in self.store.workloads.get(key.namespace, {}).items()
            if seen.child_of == key.name
        }
        unused = self._unused.setdefault(key, {})
        revised = {name for kind, name in there if kind == "ControllerRevision"}
        surplus = there - wanted - {(kind, name) for kind, name in there if kind in OF_REVISIONS and name in revisions}
        for used in unused.keys() - surplus:
            del unused[used]
        now, again = self.clock(), None
        for kind, name in sorted(surplus):
            if name in revised:
                left = unused.setdefault((kind, name), now) + UNUSED_SECONDS - now
                if left > 0:
                    again = left if again is None else min(again, left)
                    continue
            await self.cluster.delete(kinds[kind], key.namespace, name)
            unused.pop((kind, name), None)
            self._applied.get(key, {}).pop((kind, name), None)
        return again

    def forget(self, key: Key) -> None:
        """The backend is gone; the cluster collects what it owned."""
        self._applied.pop(key, None)
        self._unused.pop(key, None)


def _marked(manifest: Mapping[str, Any], digest: str) -> dict[str, Any]:
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), ANNOTATION_APPLIED: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


@dataclass(slots=True)
class Keeping:
    """Nothing is asked of the API server about a revision that was read before: its data can never change."""

    cluster: Cluster
    store: Store
    children: Children

    async def read(self, key: Key, name: str, memory: Memory) -> Kept | None:
        """None where there is none, or none that can be read. Raises Fault."""
        child = self.store.children.get(key, {}).get(("ControllerRevision", name))
        if child is None:
            return None
        version, kept = memory.kept.get(name, ("", None))
        if version != child.version:
            manifest = await self.cluster.get(CONTROLLER_REVISION, key.namespace, name)
            defaults = defaults_of(child)
            kept = kept_in((manifest or {}).get("data") or {}, defaults) if defaults is not None else None
            memory.kept[name] = (child.version, kept)
        return kept

    async def bring(self, key: Key, backend: Backend, names: Collection[str], memory: Memory) -> list[str]:
        """Brings the backend's configuration to these revisions; those that cannot have it. Raises Fault."""
        frozen: list[str] = []
        memory.kept = {name: found for name, found in memory.kept.items() if name in names}
        for name in sorted(names):
            kept = await self.read(key, name, memory) or await self._restored(key, backend, name, memory)
            if kept is not None and kept.revision.mode != "Sidecar":
                continue
            there = ("ConfigMap", name) in self.store.children.get(key, {})
            manifest, whole = older_config_map(kept, backend, there=there) if kept is not None else (None, False)
            if manifest is not None:
                await self.children.apply(key, [manifest])
            if not whole and (kept is not None or there):
                frozen.append(name)
        self._tell(key, frozen, memory)
        return frozen

    async def _restored(self, key: Key, backend: Backend, name: str, memory: Memory) -> Kept | None:
        """A ControllerRevision that somebody has deleted, although it is needed, is made again as it was."""
        kept = self.remembered(name, memory)
        if kept is None or kept.spec is None:
            return None
        form = stored_form(replace(backend, spec=kept.spec), kept.revision, kept.defaults)
        await self.children.apply(key, [form])
        return kept

    def remembered(self, name: str, memory: Memory) -> Kept | None:
        """As it was read, whether or not it is there now."""
        return memory.kept.get(name, ("", None))[1]

    def _tell(self, key: Key, frozen: list[str], memory: Memory) -> None:
        for name in sorted(set(frozen) - memory.frozen):
            extra = {"key": str(key), "revision": name}
            logger.info("Pods of revision %s of %s keep their configuration until they restart", name, key, extra=extra)
        memory.frozen = set(frozen)


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
        kind = KIND_BY_NAME[manifest["kind"]]
        try:
            return await self.cluster.apply(kind, manifest, manager=MANAGER_WORKLOADS, force=False)
        except Fault as fault:
            if not fault.fields or any(path.endswith(LABEL_INJECT) for path in fault.fields):
                raise
        return await self.cluster.apply(kind, manifest, manager=MANAGER_WORKLOADS, force=True)

    def _announce(self, key: Key, planned: Plan, memory: Memory) -> None:
        before, memory.plan = memory.plan, planned
        entry = self.store.entries.get(key)
        if entry is not None and (before is None or before.phase != planned.phase):
            self.announcer.rollout(key, entry.uid, planned, first=before is None)
