"""Observes what matters to one backend: workloads are fetched where they have changed, older revisions read once."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mimic_operator.reconcile.plan import defaults_of
from mimic_operator.reconcile.state import Memory, State
from mimic_operator.reconcile.status import NOT_ASKED, Condition, current_names
from mimic_operator.reconcile.store import Entry, Store
from mimic_operator.reconcile.workload import Ref, hindrance_of, read
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.kinds import KIND_BY_NAME
from mimic_operator.resource.naming import child_name
from mimic_operator.resource.revision import StoredRevision, revision_of, stored_in
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.kinds import CONTROLLER_REVISION, POD, Key

MOST_HINDRANCES = 3
AT_ONCE = 8
"""So many are fetched together: a backend may have hundreds of workloads."""


@dataclass(slots=True)
class Observer:
    """clock: monotonic seconds. wall: Unix time. secret: the condition SecretResolved.

    refused: what a quota said of pods, by workload.
    """

    cluster: Cluster
    store: Store
    defaults: ProxyDefaults
    on_upgrade: bool
    clock: Callable[[], float]
    wall: Callable[[], float]
    secret: Callable[[Entry], Condition]
    refused: Callable[[Key], Mapping[Ref, str]]

    async def observe(self, key: Key, memory: Memory) -> State:
        """Raises Fault."""
        await self._refresh(key, memory)
        store, details = self.store, self.store.details
        entry = store.entries.get(key)
        near = tuple(details[ref] for ref in store.near(key) if ref in details)
        state = State(
            key=key,
            now=self.clock(),
            wall=self.wall(),
            memory=memory,
            defaults=self.defaults,
            on_upgrade=self.on_upgrade,
            entry=entry,
            secret=self.secret(entry) if entry is not None else NOT_ASKED,
            candidate=store.candidates.get(key.namespace, {}).get(key.name),
            near=near,
            owners={workload.ref: store.owner_of(workload) for workload in near},
            others=frozenset(store.candidates.get(key.namespace, ())),
            released=tuple(details[ref] for ref in memory.released if ref in details),
            pods=tuple(store.pods_of(key)),
            children=dict(store.children.get(key, {})),
            refused=self.refused(key),
            deployments={ref.name: found.version for ref, found in store.deployments_of(key).items()},
        )
        if entry is None or entry.backend is None:
            return state
        own = details.get(Ref(key.namespace, "Deployment", child_name(key.name)))
        newest = revision_of(entry.backend, self.defaults)
        names = state.needed(*state.names) - {newest.name}
        memory.stored = {name: found for name, found in memory.stored.items() if name in names}
        stored = {name: await self._revision(state, entry.backend, name) for name in sorted(names)}
        shared = own.counts if own is not None and entry.mode == "Deployment" else None
        hindrances = await self._hindrances(state) if _stalls(state, entry.backend) else {}
        return replace(state, shared=shared, newest=newest, stored=stored, hindrances=hindrances)

    async def _refresh(self, key: Key, memory: Memory) -> None:
        """Fetches the workloads that matter and have changed."""
        details, own = self.store.details, self.store.deployments_of(key)
        wanted = {*self.store.unread(key), *memory.released}
        wanted |= {ref for ref, found in own.items() if ref not in details or details[ref].version != found.version}
        listed = sorted(wanted)
        for start in range(0, len(listed), AT_ONCE):
            await asyncio.gather(*(self._fetch(ref) for ref in listed[start : start + AT_ONCE]))

    async def _hindrances(self, state: State) -> Mapping[Ref, str]:
        """Of a halted rollout, from one pod of each workload that moves."""
        found: dict[Ref, str] = {}
        target, moving = state.names[1], current_names(state.status)
        for name, pod in self.store.named_pods_of(state.key):
            ref = Ref(name.namespace, *pod.workload)
            if pod.revision == target and str(ref) in moving and ref not in found and len(found) < MOST_HINDRANCES:
                manifest = await self.cluster.get(POD, *name)
                if manifest is not None and (hindrance := hindrance_of(manifest)):
                    found[ref] = hindrance
        return found

    async def _fetch(self, ref: Ref) -> None:
        manifest = await self.cluster.get(KIND_BY_NAME[ref.kind], ref.namespace, ref.name)
        if manifest is None:
            self.store.details.pop(ref, None)
        else:
            self.store.details[ref] = read(manifest)

    async def _revision(self, state: State, backend: Backend, name: str) -> StoredRevision | None:
        """Asks the API server once for each: a ControllerRevision's data can never change.

        One that was deleted although it is needed is returned as it was. None: there is none, or it cannot be read.
        """
        child, memory = state.children.get(("ControllerRevision", name)), state.memory
        version, found = memory.stored.get(name, ("", None))
        if child is None or child.version == version:
            return found
        defaults = defaults_of(child)
        if defaults is None:
            found = None
        elif (made := revision_of(backend, defaults)).name == name:
            found = StoredRevision(made, backend.spec, defaults)
        else:
            manifest = await self.cluster.get(CONTROLLER_REVISION, state.key.namespace, name)
            found = stored_in((manifest or {}).get("data") or {}, defaults)
        memory.stored[name] = (child.version, found)
        return found


def _stalls(state: State, backend: Backend) -> bool:
    """Whether the rollout is halted, which a new leader finds in the status, or is about to be."""
    timeout = backend.rollout.progress_timeout
    late = (state.now - each.since >= timeout for each in state.memory.progress.values() if not each.settled)
    return (state.status.get("rollout") or {}).get("phase") == "Halted" or any(late)
