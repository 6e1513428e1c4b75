"""Plans one pass: from what was observed of a backend, all that is to be applied, deleted and reported. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mimic_operator.reconcile.manifests import Manifest, config_map, controller_revision, desired
from mimic_operator.reconcile.rollout import Before, Rollout, Situation, decide
from mimic_operator.reconcile.state import Name, State
from mimic_operator.reconcile.status import Injected, current_names
from mimic_operator.reconcile.store import Entry, ObservedChild
from mimic_operator.reconcile.workload import Ref, Workload, of_quota, seconds_of
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.naming import ANNOTATION_DEFAULTS, child_name
from mimic_operator.resource.revision import Revision, config_for, needs_restart, revision_of
from mimic_operator.runtime.kinds import Key

NO_TARGET = "no backend"
"""Stands for the target where workloads are only released."""
UNUSED_SECONDS = 60.0
"""A revision that no one asks for is kept this long: a pod that was just admitted may not have been observed yet."""
OF_REVISIONS = ("ControllerRevision", "ConfigMap")
RELEASE_SECONDS = 2.0
"""Workloads that were released are no backend's any more, so no event of theirs leads here."""
NEXT_WRITE_SECONDS = 0.5
"""There was room for more after the writes of this pass."""


@dataclass(frozen=True, slots=True)
class Target:
    """What workloads are to carry."""

    revision: Revision
    defaults: ProxyDefaults
    waiting: str = ""
    """The revision of the upgraded operator, which waits for the next change of the spec."""

    @property
    def name(self) -> str:
        return self.revision.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of one pass. rollout: None while the spec is invalid."""

    rollout: Rollout | None = None
    target: str = ""
    current: str = ""
    """The revision of pods that name none."""
    waiting: str = ""
    url: str = ""
    manifests: tuple[Manifest, ...] = ()
    """Children, in the order in which they are applied."""
    deletes: tuple[Name, ...] = ()
    unused: Mapping[Name, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    """Revisions whose pods keep their configuration until they restart."""
    released: Mapping[Ref, str] = field(default_factory=dict)
    """Workloads that were released and have not settled yet, with their uid."""
    lost: tuple[tuple[Ref, str | None], ...] = ()
    """Workloads that the backend selects and another one has, with its name."""
    quota: str = ""
    """What a quota or a limit range said of pods with the sidecar, and of which workload."""
    injected: Injected = field(default_factory=Injected)
    wake: tuple[Key, ...] = ()
    """Backends that are gone, and whose workloads were found."""
    again: float | None = None
    """Seconds after which to observe again even if nothing happens."""
    ended: bool = False
    """Whether nothing is left to do for a backend that is gone."""


def plan(state: State) -> Plan:
    """Computed once for each pass; `apply` performs it and `report` derives the status from it."""
    entry = state.entry
    if entry is None:
        return _without(state)
    if entry.backend is None:
        current, target = state.names
        status = state.status
        return Plan(
            target=target,
            current=current,
            url=str(status.get("url") or ""),
            injected=injected(state, target),
            released=state.memory.released,
        )
    return _with(state, entry, entry.backend)


def _with(state: State, entry: Entry, backend: Backend) -> Plan:
    target = target_of(state, backend)
    leaving, released = _leaving(state)
    planned = decide(_situation(state, entry, backend, target.name, leaving))
    current = state.names[0]
    there = ("ControllerRevision", current) in state.children or state.stored.get(current) is not None
    if planned.phase in ("Idle", "Complete") or not there:
        current = target.name
    needed = state.needed(current, target.name)
    configurations, frozen = _configurations(state, backend, needed)
    manifests = [*_revisions(state, backend, target), *_others(backend, target), *configurations]
    keep = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    keep |= {(kind, name) for kind in OF_REVISIONS for name in needed}
    pods = injected(state, target.name)
    if backend.mode == "Sidecar" and pods.pointed:
        keep |= _shared(state)
    deletes, unused, sweep = _sweep(state, keep)
    again = [planned.again, sweep, state.memory.retry(state.now)]
    again += [RELEASE_SECONDS] if released else []
    again += [NEXT_WRITE_SECONDS] if planned.writes else []
    return Plan(
        rollout=planned,
        target=target.name,
        current=current,
        waiting=target.waiting,
        url=target.revision.url,
        manifests=tuple(manifests),
        deletes=deletes,
        unused=unused,
        frozen=frozen,
        released=released,
        lost=_lost(state),
        quota=_quota(state),
        injected=pods,
        again=min((seconds for seconds in again if seconds is not None), default=None),
    )


def _without(state: State) -> Plan:
    """Releases the workloads of a backend that is gone."""
    leaving, released = _leaving(state)
    refused = state.memory.refused(NO_TARGET, state.now)
    planned = decide(
        Situation(
            now=state.now,
            backend=state.key.name,
            target=NO_TARGET,
            revised=0.0,
            leaving=leaving,
            free=state.free,
            progress=state.memory.progress,
            refused=refused,
        )
    )
    others = {Key(state.key.namespace, workload.fields.backend or "") for workload in state.near if workload.applied}
    ended = not released and not planned.progress and not leaving
    return Plan(
        rollout=planned,
        released=released,
        wake=tuple(sorted(key for key in others - {state.key} if key.name not in state.others)),
        again=None if ended else RELEASE_SECONDS,
        ended=ended,
    )


# Workloads


def _situation(state: State, entry: Entry, backend: Backend, target: str, leaving: tuple[Workload, ...]) -> Situation:
    """All that the rollout depends on. target: name of the revision that workloads are to carry."""
    owned = [workload for workload in state.near if state.owners[workload.ref] == state.key.name]
    status, wanted, memory = state.status, backend.rollout, state.memory
    stored = state.children.get(("ControllerRevision", target))
    counts: dict[tuple[str, str], int] = {}
    for pod in state.pods:
        if pod.injected and pod.revision == target:
            counts[pod.workload] = counts.get(pod.workload, 0) + 1
    return Situation(
        now=state.now,
        wall=state.wall,
        backend=state.key.name,
        target=target,
        revised=seconds_of(stored.created) if stored is not None else state.wall,
        policy=wanted.policy,
        suspended=backend.suspend,
        max_unavailable=wanted.max_unavailable,
        progress_timeout=wanted.progress_timeout,
        free=state.free,
        owned=owned,
        leaving=leaving,
        carrying={workload.uid: counts.get((workload.ref.kind, workload.ref.name), 0) for workload in owned},
        progress=memory.progress,
        hindrances=state.hindrances,
        refused=memory.refused(target, state.now),
        before=Before(
            phase=str((status.get("rollout") or {}).get("phase") or ""),
            target=str(status.get("updateRevision") or ""),
            current=current_names(status),
        ),
    )


def _leaving(state: State) -> tuple[tuple[Workload, ...], Mapping[Ref, str]]:
    """Workloads that bear this backend's fields and belong to none, or were released and have not settled yet."""
    found = [
        workload
        for workload in state.near
        if workload.applied and (workload.fields.backend or "") == state.key.name and state.owners[workload.ref] is None
    ]
    unsettled = [
        workload
        for workload in state.released
        if state.memory.released[workload.ref] == workload.uid
        and not (workload.applied or workload.rolled or workload.inert)
    ]
    return (*found, *unsettled), {workload.ref: workload.uid for workload in unsettled}


def _lost(state: State) -> tuple[tuple[Ref, str | None], ...]:
    own = state.candidate
    if own is None or own.selector is None:
        return ()
    owners = [(w.ref, state.owners[w.ref]) for w in state.near if own.selector.matches(w.labels)]
    return tuple((ref, owner) for ref, owner in owners if owner not in (None, state.key.name))


def _quota(state: State) -> str:
    """What a quota or a limit range said of the sidecar's pods: of written workloads, and of those that ask for it."""
    said = {
        workload.ref: workload.failure
        for workload in state.near
        if workload.applied and workload.fields.backend == state.key.name and of_quota(workload.failure)
    }
    return next((f"{ref}: {sentence}" for ref, sentence in sorted({**state.refused, **said}.items())), "")


def injected(state: State, target: str) -> Injected:
    """The backend's pods by the proxy that they have."""
    current = sum(1 for pod in state.pods if pod.injected and pod.revision == target)
    sidecars = sum(1 for pod in state.pods if pod.injected)
    callers = len(state.pods) - sidecars
    # A backend in Deployment mode never misses a sidecar, and pods that an older webhook pointed carry no mark.
    shared = state.entry is not None and state.entry.mode == "Deployment"
    pointed = callers if shared else sum(1 for pod in state.pods if pod.pointed and not pod.injected)
    return Injected(current=current, outdated=sidecars - current, missing=callers - pointed, pointed=pointed)


# Revisions


def target_of(state: State, backend: Backend) -> Target:
    """The revision that the spec asks for, in what of it is the user's.

    An upgrade of the operator makes another container of the same spec. Selected workloads are not restarted for that
    alone: the revision that they carry stays the target until the spec asks for a restart.
    """
    assert state.newest is not None
    newest = Target(state.newest, state.defaults)
    wanted = state.names[1]
    stored = state.stored.get(wanted)
    if state.on_upgrade or backend.injection.workloads is None or wanted == newest.name or stored is None:
        return newest
    restart = needs_restart(stored, backend)
    unchanged = state.status.get("observedGeneration") == backend.generation
    if restart or (restart is None and not unchanged):
        return newest
    return Target(stored.revision, stored.defaults, newest.name)


def defaults_of(child: ObservedChild) -> ProxyDefaults | None:
    """What the operator's settings said when a revision was made; None where that cannot be read."""
    try:
        return ProxyDefaults(**json.loads((child.annotations or {})[ANNOTATION_DEFAULTS]))
    except (KeyError, ValueError, TypeError):
        return None


def stored_form(backend: Backend, revision: Revision, defaults: ProxyDefaults) -> dict[str, Any]:
    """The ControllerRevision. Its data never changes (the API server refuses that), so it is applied once."""
    manifest = controller_revision(backend, revision)
    manifest["metadata"]["annotations"] = {ANNOTATION_DEFAULTS: json.dumps(asdict(defaults), sort_keys=True)}
    return manifest


def _revisions(state: State, backend: Backend, target: Target) -> list[Manifest]:
    """ControllerRevisions that are not there, although they are needed."""
    there = {name for kind, name in state.children if kind == "ControllerRevision"}
    found = []
    if target.name not in there and target.name not in state.stored:
        found.append(stored_form(backend, target.revision, target.defaults))
    for name, stored in state.stored.items():
        if name not in there and stored is not None and stored.spec is not None:
            found.append(stored_form(replace(backend, spec=stored.spec), stored.revision, stored.defaults))
    return found


def _others(backend: Backend, target: Target) -> list[Manifest]:
    """The target's children. A revision that is held was made by another operator, and has its configuration alone."""
    if target.waiting:
        return []
    if backend.mode == "Sidecar":
        return [config_map(backend, target.revision)]
    return list(desired(backend, target.revision))


def _configurations(state: State, backend: Backend, needed: set[str]) -> tuple[list[Manifest], tuple[str, ...]]:
    """ConfigMaps of the revisions that are not the newest, and those whose pods keep the one that they have.

    Each revision has a ConfigMap of its own. With one for all, pods that wait for another credential would send theirs
    to the token service of the new one, and could not start again while a rollout halts.
    """
    found, frozen = [], []
    for name, stored in state.stored.items():
        there = ("ConfigMap", name) in state.children
        if name not in needed or (stored is None and not there):
            continue
        if stored is not None and stored.revision.mode != "Sidecar":
            continue
        config = config_for(stored, backend) if stored is not None else None
        if config is None:
            frozen.append(name)
        if config is not None and stored is not None:
            found.append(config_map(backend, replace(stored.revision, config=config)))
        elif stored is not None and stored.spec is not None and not there:  # no pod starts without it
            before = replace(backend, spec=stored.spec)
            config = revision_of(before, stored.defaults).config
            found.append(config_map(before, replace(stored.revision, config=config)))
    return found, tuple(frozen)


# Children


def _shared(state: State) -> set[Name]:
    """The children of a shared proxy. Pods that were pointed at it call it until they restart, whatever the mode is."""
    own = child_name(state.key.name)
    return {(kind, name) for kind, name in state.children if name == own} | {
        ("Deployment", name) for name in state.deployments
    }


def _sweep(state: State, keep: set[Name]) -> tuple[tuple[Name, ...], Mapping[Name, float], float | None]:
    """What is deleted now, since when revisions are unused, and seconds until the next of them is deleted.

    A revision and its ConfigMap are deleted once no one has needed them for a minute.
    """
    there: set[Name] = {*state.children, *(("Deployment", name) for name in state.deployments)}
    revised = {name for kind, name in there if kind == "ControllerRevision"}
    surplus = sorted(there - keep)
    unused = {child: state.memory.unused.get(child, state.now) for child in surplus if child[1] in revised}
    left = {child: since + UNUSED_SECONDS - state.now for child, since in unused.items()}
    deletes = tuple(child for child in surplus if left.get(child, 0.0) <= 0)
    again = min((seconds for seconds in left.values() if seconds > 0), default=None)
    return deletes, {child: since for child, since in unused.items() if child not in deletes}, again
