"""One backend brought in line, whatever has happened: look, decide, write, report."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from mimic_operator.cluster.client import Cluster
from mimic_operator.cluster.faults import Fault
from mimic_operator.cluster.kinds import BACKEND, CONTROLLER_REVISION
from mimic_operator.reconcile.announce import Announcer
from mimic_operator.reconcile.children import KIND_BY_NAME, Children
from mimic_operator.reconcile.manifests import desired
from mimic_operator.reconcile.ownership import owner_of
from mimic_operator.reconcile.queue import Key
from mimic_operator.reconcile.revisions import Target, needed, stored_form, target_of
from mimic_operator.reconcile.rollout import Before, Plan, Situation, Trail, Write, plan, written
from mimic_operator.reconcile.slots import Slots
from mimic_operator.reconcile.status import Injected, Observed, Verdict, current_names, due, status_of
from mimic_operator.reconcile.store import ChildSeen, Entry, Store
from mimic_operator.reconcile.workload import Ref, Workload, fields_to_apply, of_quota, read, seconds_of
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.naming import (
    API_VERSION,
    KIND,
    LABEL_INJECT,
    MANAGER_STATUS,
    MANAGER_WORKLOADS,
    child_name,
    selector_of,
)
from mimic_operator.resource.revision import Revision, from_data

logger = logging.getLogger("mimic.reconcile")

RELEASE_LOOK_SECONDS = 2.0
"""Workloads that were released are no backend's any more, so no event of theirs leads here."""
NEXT_WRITE_SECONDS = 0.5
"""There was room for more after the writes of this turn."""
NO_PLACE = "no backend"
"""Stands for the target where workloads are only released."""


@dataclass(frozen=True, slots=True)
class Named:
    """The revisions by name, as the status tells them."""

    name: str
    current: str
    waiting: str


@dataclass(slots=True)
class Memory:
    """What is remembered of one backend between two turns."""

    trails: Mapping[str, Trail] = field(default_factory=dict)
    released: dict[Ref, str] = field(default_factory=dict)
    """Workloads whose fields were taken off and that have not settled yet, with their uid."""
    uid: str = ""
    generation: int = 0
    reported: Mapping[str, Any] | None = None
    """The status as it was written last."""
    reported_at: float = float("-inf")


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
    plans: dict[Key, Plan] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> float | None:
        """One turn; the seconds after which to look again."""
        await self._refresh(key)
        entry = self.store.entries.get(key)
        if entry is None:
            return await self._without(key)
        if self.memories.setdefault(key, Memory()).uid != entry.uid:  # another one of the same name
            self.memories[key] = Memory(uid=entry.uid)
            self.children.forget(key)
        if entry.backend is None:
            return await self._report(key, entry, self._observed_invalid(key, entry))
        return await self._with(key, entry, entry.backend)

    # Looking

    async def _refresh(self, key: Key) -> None:
        """Fetches the workloads that matter and have changed."""
        for ref in self.store.unread(key):
            await self._fetch(ref)
        memory = self.memories.get(key)
        for ref in list(memory.released) if memory is not None else ():
            await self._fetch(ref)
        for ref, seen in list(self.store.workloads.get(key.namespace, {}).items()):
            if seen.child_of == key.name and getattr(self.store.details.get(ref), "version", "") != seen.version:
                await self._fetch(ref)

    async def _fetch(self, ref: Ref) -> None:
        manifest = await self.cluster.get(KIND_BY_NAME[ref.kind], ref.namespace, ref.name)
        if manifest is None:
            self.store.details.pop(ref, None)
        else:
            self.store.details[ref] = read(manifest)

    def _near(self, key: Key) -> list[Workload]:
        details = self.store.details
        return [details[ref] for ref in self.store.near(key) if ref in details]

    def _leaving(self, key: Key) -> list[Workload]:
        """Workloads that bear this backend's fields and belong to nobody, and those that were released just now."""
        claims = self.store.claims.get(key.namespace, {}).values()
        found = [
            workload
            for workload in self._near(key)
            if workload.applied and (workload.fields.backend or "") == key.name and owner_of(workload, claims) is None
        ]
        memory = self.memories.setdefault(key, Memory())
        for ref, uid in list(memory.released.items()):
            workload = self.store.details.get(ref)
            if workload is None or workload.uid != uid or workload.applied or workload.rolled or workload.standing:
                del memory.released[ref]
            else:
                found.append(workload)
        return found

    # A backend that is there

    async def _with(self, key: Key, entry: Entry, backend: Backend) -> float | None:
        target, revision = await self._target(key, entry, backend)
        wanted = _wanted(backend, revision)
        if ("ControllerRevision", revision.name) not in self.store.children.get(key, {}):
            await self.children.apply(key, [stored_form(backend, revision, target.defaults)])
        await self.children.apply(key, wanted)
        memory = self.memories.setdefault(key, Memory())
        if memory.generation != entry.generation:
            memory.generation = entry.generation
            memory.trails = {uid: replace(trail, losses=()) for uid, trail in memory.trails.items()}
        situation = self._situation(key, entry, backend, target)
        planned = await self._carry_out(key, situation)
        current = str(entry.status.get("currentRevision") or "")
        stored = self.store.children.get(key, {})
        if planned.ended or not current or ("ControllerRevision", current) not in stored:
            current = target.name
        swept = await self._sweep(key, wanted, {current, target.name})
        observed = self._observed(key, entry, backend, planned, Named(target.name, current, target.waiting), revision)
        again = [planned.again, swept, await self._report(key, entry, observed)]
        if memory.released:
            again.append(RELEASE_LOOK_SECONDS)
        if planned.writes:
            again.append(NEXT_WRITE_SECONDS)
        return min((seconds for seconds in again if seconds is not None), default=None)

    async def _target(self, key: Key, entry: Entry, backend: Backend) -> tuple[Target, Revision]:
        children = self.store.children.get(key, {})
        stored: dict[str, ChildSeen] = {
            name: child for (kind, name), child in children.items() if kind == "ControllerRevision"
        }
        status = self.memories[key].reported if key in self.memories else None
        status = status if status is not None else entry.status
        target = target_of(backend, self.defaults, status=status, stored=stored, on_upgrade=self.on_upgrade)
        if target.made is not None:
            return target, target.made
        manifest = await self.cluster.get(CONTROLLER_REVISION, key.namespace, target.name)
        try:
            kept = from_data((manifest or {})["data"])
        except (KeyError, TypeError):
            fresh = target_of(backend, self.defaults, status={}, stored={}, on_upgrade=True)
            assert fresh.made is not None
            return fresh, fresh.made
        return target, kept

    async def _sweep(self, key: Key, manifests: Sequence[Mapping[str, Any]], named: set[str]) -> float | None:
        wanted = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
        mine = [detail for detail in self._near(key) if detail.fields.backend == key.name]
        live = needed(named, self.store.pods_of(key), mine)
        return await self.children.sweep(key, wanted, live, KIND_BY_NAME)

    def _situation(self, key: Key, entry: Entry, backend: Backend, target: Target) -> Situation:
        claims = self.store.claims.get(key.namespace, {}).values()
        owned = [workload for workload in self._near(key) if owner_of(workload, claims) == key.name]
        rollout, status = backend.rollout, entry.status
        stored = self.store.children.get(key, {}).get(("ControllerRevision", target.name))
        return Situation(
            now=self.clock(),
            backend=key.name,
            target=target.name,
            revised=seconds_of(stored.created) if stored is not None else self.wall(),
            policy=rollout.policy,
            suspended=backend.suspend,
            max_unavailable=rollout.max_unavailable,
            progress_timeout=rollout.progress_timeout,
            free=self.slots.free(),
            owned=owned,
            leaving=self._leaving(key),
            carrying=self._carrying(key, owned, target.name),
            trails=self.memories[key].trails,
            before=Before(
                phase=str((status.get("rollout") or {}).get("phase") or ""),
                target=str(status.get("updateRevision") or ""),
                current=current_names(status),
            ),
        )

    def _carrying(self, key: Key, owned: Sequence[Workload], target: str) -> dict[str, int]:
        counts: dict[tuple[str, str], int] = {}
        for pod in self.store.pods_of(key):
            if pod.injected and pod.revision == target:
                counts[pod.workload] = counts.get(pod.workload, 0) + 1
        return {workload.uid: counts.get((workload.ref.kind, workload.ref.name), 0) for workload in owned}

    # Writing to workloads

    async def _carry_out(self, key: Key, situation: Situation) -> Plan:
        """Writes what the plan says, and answers with the plan as it stands afterwards."""
        planned = plan(replace(situation, free=self.slots.free()))
        begun = sum(1 for write in planned.writes if write.workload.standing is None)
        self.slots.hold(key, len(planned.moving) + begun, waits=planned.waits)
        trails = dict(planned.trails)
        memory = self.memories[key]
        memory.trails = trails
        for write in planned.writes:
            after = await self._write(key, write)
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
            leaving=self._leaving(key),
            trails=trails,
        )
        planned = plan(after_writes)
        memory.trails = planned.trails
        self.slots.hold(key, len(planned.moving), waits=planned.waits)
        self._announce(key, planned)
        return planned

    def _renewed(self, workloads: Sequence[Workload]) -> list[Workload]:
        return [found for old in workloads if (found := self.store.details.get(old.ref)) is not None]

    async def _write(self, key: Key, write: Write) -> Workload | None:
        """None where the workload is gone or its user has said no meanwhile; it is looked at anew then."""
        workload = write.workload
        manifest = fields_to_apply(workload, write.fields)
        try:
            made = await self._applied_without_force(manifest)
        except Fault as fault:
            if fault.reason not in ("conflict", "absent"):
                raise
            logger.info("%s of %s is left alone: %s", workload.ref, key, fault, extra={"key": str(key)})
            self.store.details.pop(workload.ref, None)
            return None
        after = self.store.details[workload.ref] = read(made)
        done = "takes revision" if write.fields is not None else "is released from revision"
        revision = write.fields.revision if write.fields is not None else workload.fields.revision
        extra = {"key": str(key), "workload": str(workload.ref), "revision": revision}
        logger.info("%s in %s %s %s", workload.ref, key.namespace, done, revision, extra=extra)
        return after

    async def _applied_without_force(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The label is the user's word and never forced; on the annotations alone we insist (decided case 2)."""
        try:
            return await self.cluster.apply(manifest, manager=MANAGER_WORKLOADS, force=False)
        except Fault as fault:
            if not fault.fields or any(path.endswith(LABEL_INJECT) for path in fault.fields):
                raise
        return await self.cluster.apply(manifest, manager=MANAGER_WORKLOADS, force=True)

    # A backend that is not there

    async def _without(self, key: Key) -> float | None:
        """Releases its workloads (decided case 8), once the API server has said that it is gone."""
        manifest = await self.cluster.get(BACKEND, key.namespace, key.name) if key.name else None
        if manifest is not None and not manifest["metadata"].get("deletionTimestamp"):
            return 1.0  # its event is on the way
        self.children.forget(key)
        for workload in self._near(key):
            other = Key(key.namespace, workload.fields.backend or "")
            if workload.applied and other != key and other not in self.store.entries:
                self.add(other)
        leaving = self._leaving(key)
        memory = self.memories[key]
        situation = Situation(
            now=self.clock(), backend=key.name, target=NO_PLACE, revised=0.0, leaving=leaving, trails=memory.trails
        )
        planned = await self._carry_out(key, situation)
        if not memory.released and not planned.trails and not self._leaving(key):
            self.memories.pop(key, None)
            self.plans.pop(key, None)
            self.slots.hold(key, 0, waits=False)
            self.announcer.forget(key)
            return None
        return RELEASE_LOOK_SECONDS

    # Reporting

    def _observed_invalid(self, key: Key, entry: Entry) -> Observed:
        status = entry.status
        return Observed(
            generation=entry.generation,
            mode=entry.mode,
            backend=None,
            problems=entry.problems,
            url=str(status.get("url") or ""),
            target=str(status.get("updateRevision") or ""),
            current=str(status.get("currentRevision") or ""),
            injected=self._injected(key, str(status.get("updateRevision") or "")),
            secret=self.secret(entry),
        )

    def _observed(
        self, key: Key, entry: Entry, backend: Backend, planned: Plan, target: Named, revision: Revision
    ) -> Observed:
        shared = backend.mode == "Deployment"
        deployment = self.store.details.get(Ref(key.namespace, "Deployment", child_name(key.name))) if shared else None
        labels = ",".join(f"{name}={value}" for name, value in sorted(selector_of(key.name).items()))
        return Observed(
            generation=entry.generation,
            mode=backend.mode,
            backend=backend,
            url=revision.url,
            target=target.name,
            current=target.current,
            waiting=target.waiting,
            plan=planned,
            lost=self._lost(key),
            refused=self._refused(key),
            injected=self._injected(key, target.name),
            secret=self.secret(entry),
            pods=deployment.counts if deployment is not None else None,
            selector=labels if shared else "",
        )

    def _refused(self, key: Key) -> str:
        """What a quota or a limit range said of the pods of a workload that was written (decided case 14)."""
        said = (w.failure for w in self._near(key) if w.applied and w.fields.backend == key.name)
        return next((failure for failure in said if of_quota(failure)), "")

    def _lost(self, key: Key) -> list[tuple[Ref, str | None]]:
        claims = self.store.claims.get(key.namespace, {})
        claim = claims.get(key.name)
        if claim is None or claim.selector is None:
            return []
        owners = [
            (workload.ref, owner_of(workload, claims.values()))
            for workload in self._near(key)
            if claim.selector.matches(workload.labels)
        ]
        return [(ref, owner) for ref, owner in owners if owner not in (None, key.name)]

    def _injected(self, key: Key, target: str) -> Injected:
        pods = list(self.store.pods_of(key))
        current = sum(1 for pod in pods if pod.injected and pod.revision == target)
        missing = sum(1 for pod in pods if not pod.injected)
        return Injected(current=current, outdated=len(pods) - current - missing, missing=missing)

    async def _report(self, key: Key, entry: Entry, observed: Observed) -> float | None:
        """Writes the status if it differs; the seconds after which to write it if only counters do."""
        memory = self.memories.setdefault(key, Memory())
        before = memory.reported if memory.reported is not None else entry.status
        now = datetime.fromtimestamp(self.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        wanted = status_of(observed, before, now)
        wait = due(wanted, before, self.clock() - memory.reported_at)
        if wait is None or wait > 0:
            return wait
        metadata = {"name": key.name, "namespace": key.namespace, "uid": entry.uid}
        manifest = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": wanted}
        await self.cluster.apply(manifest, manager=MANAGER_STATUS, force=True, status=True)
        memory.reported, memory.reported_at = wanted, self.clock()
        return None

    def _announce(self, key: Key, planned: Plan) -> None:
        before = self.plans.get(key)
        self.plans[key] = planned
        entry = self.store.entries.get(key)
        if entry is not None and (before is None or before.phase != planned.phase):
            self.announcer.rollout(key, entry.uid, planned, first=before is None)


def _wanted(backend: Backend, revision: Revision) -> list[dict[str, Any]]:
    """The children but for ControllerRevisions, which are applied only once."""
    return [manifest for manifest in desired(backend, revision) if manifest["kind"] != "ControllerRevision"]
