"""One backend brought in line, whatever has happened: look, decide, write, report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mimic_operator.reconcile.apply import Children, Keeping, Slots, Writing
from mimic_operator.reconcile.manifests import desired
from mimic_operator.reconcile.observe import NO_PLACE, Looking, Memory
from mimic_operator.reconcile.plan import Target, as_kept, needed, stored_form, target_of
from mimic_operator.reconcile.report import Announcer, Named, Reporting
from mimic_operator.reconcile.rollout import Situation
from mimic_operator.reconcile.status import Verdict
from mimic_operator.reconcile.store import ChildSeen, Entry, Store
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.kinds import BACKEND, KIND_BY_NAME
from mimic_operator.resource.revision import Revision
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.queue import Key

RELEASE_LOOK_SECONDS = 2.0
"""Workloads that were released are no backend's any more, so no event of theirs leads here."""
NEXT_WRITE_SECONDS = 0.5
"""There was room for more after the writes of this turn."""


@dataclass(slots=True)
class Reconciler:
    """clock: monotonic seconds. wall: Unix time. secret: its condition. A turn may raise Fault, and is tried again."""

    cluster: Cluster
    store: Store
    slots: Slots
    children: Children
    announcer: Announcer
    defaults: ProxyDefaults
    on_upgrade: bool
    clock: Callable[[], float]
    wall: Callable[[], float]
    add: Callable[[Key], None]
    secret: Callable[[Entry], Verdict]
    memories: dict[Key, Memory] = field(default_factory=dict)
    _looking: Looking = field(init=False)
    _keeping: Keeping = field(init=False)
    _writing: Writing = field(init=False)
    _reporting: Reporting = field(init=False)

    def __post_init__(self) -> None:
        self._looking = Looking(self.cluster, self.store, self.clock, self.wall)
        self._keeping = Keeping(self.cluster, self.store, self.children)
        self._writing = Writing(self.cluster, self.store, self.slots, self._looking, self.announcer, self.clock)
        self._reporting = Reporting(self.cluster, self._looking, self.secret, self.clock, self.wall)

    async def reconcile(self, key: Key) -> float | None:
        """One turn; the seconds after which to look again."""
        memory = self.memories.setdefault(key, Memory())
        await self._looking.refresh(key, memory)
        entry = self.store.entries.get(key)
        if entry is None:
            return await self._without(key, memory)
        if memory.uid != entry.uid:  # another one of the same name
            memory = self.memories[key] = Memory(uid=entry.uid)
            self.children.forget(key)
        if entry.backend is None:
            observed = self._reporting.observed_invalid(key, entry, memory)
            return await self._reporting.report(key, entry, observed, memory)
        return await self._with(key, entry, entry.backend, memory)

    # A backend that is there

    async def _with(self, key: Key, entry: Entry, backend: Backend, memory: Memory) -> float | None:
        status = memory.told(entry.status)
        target, revision = await self._target(key, backend, status, memory)
        if ("ControllerRevision", revision.name) not in self.store.children.get(key, {}):
            await self.children.apply(key, [stored_form(backend, revision, target.defaults)])
        wanted = [] if target.kept else _wanted(backend, revision)
        await self.children.apply(key, wanted)
        current = str(status.get("currentRevision") or "")
        live = self._live(key, {current})
        older = live | {target.name} if target.kept else live - {target.name}
        frozen = await self._keeping.bring(key, backend, older, memory)
        memory.at(entry.generation)
        free = self.slots.free()
        situation = self._looking.situation(key, entry, backend, target.name, memory, free)
        planned = await self._writing.carry_out(key, situation, memory)
        there = current in self._stored(key) or self._keeping.remembered(current, memory) is not None
        if planned.ended or not there:
            current = target.name
        live = self._live(key, {current, target.name})
        swept = await self.children.sweep(
            key, {(each["kind"], each["metadata"]["name"]) for each in wanted}, live, KIND_BY_NAME
        )
        named = Named(target.name, current, target.waiting, frozen)
        observed = self._reporting.observed(key, entry, backend, planned, named, revision)
        reported = await self._reporting.report(key, entry, observed, memory)
        again = [planned.again, swept, reported, memory.retry(self.clock())]
        if memory.released:
            again.append(RELEASE_LOOK_SECONDS)
        if planned.writes:
            again.append(NEXT_WRITE_SECONDS)
        return min((seconds for seconds in again if seconds is not None), default=None)

    async def _target(
        self, key: Key, backend: Backend, status: Mapping[str, Any], memory: Memory
    ) -> tuple[Target, Revision]:
        stored = self._stored(key)
        target = target_of(backend, self.defaults, status=status, stored=stored, on_upgrade=self.on_upgrade)
        if target.made is None:
            kept = await self._keeping.read(key, target.name, memory)
            unchanged = status.get("observedGeneration") == backend.generation
            target = as_kept(target, kept, backend, self.defaults, unchanged=unchanged)
        assert target.made is not None
        return target, target.made

    def _stored(self, key: Key) -> dict[str, ChildSeen]:
        """Its ControllerRevisions by name."""
        children = self.store.children.get(key, {})
        return {name: child for (kind, name), child in children.items() if kind == "ControllerRevision"}

    def _live(self, key: Key, names: set[str]) -> set[str]:
        """Revisions that somebody may still ask for."""
        mine = [detail for detail in self._looking.near(key) if detail.fields.backend == key.name]
        return needed(names, self.store.pods_of(key), mine)

    # A backend that is not there

    async def _without(self, key: Key, memory: Memory) -> float | None:
        """Releases its workloads (decided case 8), once the API server has said that it is gone."""
        manifest = await self.cluster.get(BACKEND, key.namespace, key.name) if key.name else None
        if manifest is not None and not manifest["metadata"].get("deletionTimestamp"):
            return 1.0  # its event is on the way
        self.children.forget(key)
        for workload in self._looking.near(key):
            other = Key(key.namespace, workload.fields.backend or "")
            if workload.applied and other != key and other not in self.store.entries:
                self.add(other)
        leaving = self._looking.leaving(key, memory)
        now = self.clock()
        situation = Situation(
            now=now,
            backend=key.name,
            target=NO_PLACE,
            revised=0.0,
            leaving=leaving,
            trails=memory.trails,
            refused=memory.refused(NO_PLACE, now),
        )
        planned = await self._writing.carry_out(key, situation, memory)
        if not memory.released and not planned.trails and not self._looking.leaving(key, memory):
            self.memories.pop(key, None)
            self.slots.hold(key, 0, waits=False)
            self.announcer.forget(key)
            return None
        return RELEASE_LOOK_SECONDS


def _wanted(backend: Backend, revision: Revision) -> list[dict[str, Any]]:
    """The children but for ControllerRevisions, which are applied only once."""
    return [manifest for manifest in desired(backend, revision) if manifest["kind"] != "ControllerRevision"]
