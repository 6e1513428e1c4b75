"""What the operator knows of the cluster: small records, kept by watches, indexed by what asks for them.

Every change says which backends it may concern; those are reconciled anew.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from mimic_operator.errors import InvalidBackend, Problem
from mimic_operator.reconcile.workload import Ref, Workload
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.naming import (
    ANNOTATION_BACKEND,
    ANNOTATION_REVISION,
    ANNOTATION_TEMPLATE_HASH,
    KIND,
    LABEL_INJECTED,
    MANAGER,
    MANAGER_WORKLOADS,
    POINTED,
)
from mimic_operator.resource.selection import Candidate, candidate_of, default_of, named_key
from mimic_operator.runtime.informer import Change, Metadata
from mimic_operator.runtime.kinds import Key

UNNAMED = ""
"""Stands for the backend of pods that name none."""


class PodName(NamedTuple):
    """Which pod."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One MimicBackend as it was observed last. backend: None where the spec is invalid."""

    uid: str
    version: str
    generation: int
    mode: str
    status: Mapping[str, Any]
    backend: Backend | None
    problems: tuple[Problem, ...]
    candidate: Candidate


def entry_of(manifest: Mapping[str, Any]) -> Entry:
    """Reads what a watch has shown."""
    metadata = manifest["metadata"]
    backend: Backend | None = None
    problems: tuple[Problem, ...] = ()
    try:
        backend = parse(manifest)
    except InvalidBackend as invalid:
        problems = invalid.problems
    candidate = candidate_of(manifest, backend, problems[0].path if problems else "")
    return Entry(
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=int(metadata.get("generation") or 0),
        mode=candidate.mode,
        status=manifest.get("status") or {},
        backend=backend,
        problems=problems,
        # What changes with each status is of no use here.
        candidate=replace(candidate, revision=""),
    )


def keep_backend(manifest: Mapping[str, Any]) -> Entry | None:
    """One that is being deleted counts as gone."""
    return None if manifest["metadata"].get("deletionTimestamp") else entry_of(manifest)


class ObservedWorkload(msgspec.Struct, frozen=True, gc=False):
    """Metadata of a workload, which is all that is kept of most."""

    uid: str
    version: str
    labels: dict[str, str] | None
    applied: str
    """When the operator last applied fields to it (RFC 3339); empty if it bears none."""
    child_of: str | None
    """The MimicBackend that owns it: the Deployment of Deployment mode."""


class ObservedPod(msgspec.Struct, frozen=True, gc=False):
    """A pod that asks for the proxy, or that the webhook has changed."""

    workload: tuple[str, str]
    """Kind and name of what it belongs to; empty texts for a bare pod."""
    backend: Key | None
    """The backend that its annotation names, else `UNNAMED` in its namespace; None: the annotation is no name."""
    revision: str | None
    injected: bool
    ending: bool
    pointed: bool = False
    """Whether its containers call a shared proxy, and it has no sidecar."""


class ObservedChild(msgspec.Struct, frozen=True, gc=False):
    """An object that a MimicBackend owns."""

    version: str
    owner: str
    created: str
    labels: dict[str, str] | None
    annotations: dict[str, str] | None
    untouched: bool
    """Nobody but the operator has written to it."""


def keep_workload(metadata: Metadata) -> ObservedWorkload | None:
    """Workloads that another controller makes do not matter, the backends' own Deployments apart."""
    owner = metadata.controller()
    if owner is not None and owner.kind != KIND:
        return None
    return ObservedWorkload(
        metadata.uid,
        metadata.resource_version,
        metadata.labels,
        metadata.applied_at(MANAGER_WORKLOADS),
        owner.name if owner is not None else None,
    )


def keep_pod(metadata: Metadata) -> ObservedPod:
    annotations, owner = metadata.annotations or {}, metadata.controller()
    kind, name = (owner.kind, owner.name) if owner is not None else ("", "")
    template = (metadata.labels or {}).get("pod-template-hash")
    if kind == "ReplicaSet" and template is not None and name.endswith(f"-{template}"):
        kind, name = "Deployment", name.removesuffix(f"-{template}")
    return ObservedPod(
        (kind, name),
        _named(annotations.get(ANNOTATION_BACKEND), metadata.namespace),
        annotations.get(ANNOTATION_REVISION),
        ANNOTATION_TEMPLATE_HASH in annotations,
        metadata.deletion_timestamp is not None,
        (metadata.labels or {}).get(LABEL_INJECTED) == POINTED,
    )


def _named(text: str | None, namespace: str) -> Key | None:
    try:
        named = named_key(text, namespace)
    except ValueError:
        return None
    return Key(namespace, UNNAMED) if named is None else named


def keep_version(metadata: Metadata) -> str:
    """Of an Event: it is read where it has changed."""
    return metadata.resource_version


def keep_child(metadata: Metadata) -> ObservedChild | None:
    owner = metadata.controller()
    if owner is None or owner.kind != KIND:
        return None
    created = metadata.creation_timestamp or ""
    untouched = metadata.only_by(MANAGER)
    return ObservedChild(
        metadata.resource_version, owner.name, created, metadata.labels, metadata.annotations, untouched
    )


@dataclass(slots=True)
class Store:
    """concern: called with each backend that a change may concern. misnamed: with a pod whose annotation is no name."""

    concern: Callable[[Key], None]
    misnamed: Callable[[str, str], None] = lambda namespace, name: None
    failed_create: Callable[[Change[str]], None] = lambda change: None
    """Called with Events of reason FailedCreate."""
    entries: dict[Key, Entry] = field(default_factory=dict)
    candidates: dict[str, dict[str, Candidate]] = field(default_factory=lambda: defaultdict(dict))
    workloads: dict[str, dict[Ref, ObservedWorkload]] = field(default_factory=lambda: defaultdict(dict))
    details: dict[Ref, Workload] = field(default_factory=dict)
    """Workloads that were fetched, since they are selected or bear our fields."""
    pods: dict[Key, dict[PodName, ObservedPod]] = field(default_factory=lambda: defaultdict(dict))
    """By the backend that they name, or `UNNAMED` in their namespace."""
    selected: dict[Key, set[Ref]] = field(default_factory=lambda: defaultdict(set))
    """Workloads by the backends whose selectors match them."""
    owned: dict[Key, set[Ref]] = field(default_factory=lambda: defaultdict(set))
    """Deployments by the backend that owns them."""
    applied: dict[str, set[Ref]] = field(default_factory=lambda: defaultdict(set))
    """Workloads that bear the operator's fields, by namespace."""
    children: dict[Key, dict[tuple[str, str], ObservedChild]] = field(default_factory=lambda: defaultdict(dict))
    """By kind and name."""

    # What watches report

    def set_backend(self, key: Key, entry: Entry | None) -> None:
        """A MimicBackend, or that there is none of this name any more."""
        if entry is None:
            before = self.entries.pop(key, None)
            self.candidates[key.namespace].pop(key.name, None)
            changed = before is not None
        else:
            before = self.entries.get(key)
            changed = before is None or before.candidate != entry.candidate
            self.entries[key] = entry
            self.candidates[key.namespace][key.name] = entry.candidate
        self.concern(key)
        if changed:
            self._select(key)
            for other in self.candidates[key.namespace]:
                self.concern(Key(key.namespace, other))

    def _select(self, key: Key) -> None:
        candidate = self.candidates[key.namespace].get(key.name)
        self.selected.pop(key, None)
        if candidate is not None and candidate.selector is not None:
            matches = candidate.selector.matches
            workloads = self.workloads.get(key.namespace, {})
            found = {ref for ref, each in workloads.items() if each.child_of is None and matches(each.labels or {})}
            if found:
                self.selected[key] = found

    def set_workload(self, kind: str, change: Change[ObservedWorkload]) -> None:
        ref = Ref(change.namespace, kind, change.name)
        observed = change.found if change.found is not None else change.before
        assert observed is not None
        for key in self._concerned(ref, observed):
            self.concern(key)
        if change.found is None:
            self.workloads[ref.namespace].pop(ref, None)
            self.details.pop(ref, None)
        else:
            self.workloads[ref.namespace][ref] = change.found
        for child in (change.before, change.found):
            if child is not None and child.child_of is not None:
                self._keep(self.owned[Key(ref.namespace, child.child_of)], ref, there=child is change.found)
        there = change.found is not None and change.found.child_of is None
        self._keep(self.applied[ref.namespace], ref, there=there and bool(observed.applied))
        for candidate in self.candidates.get(ref.namespace, {}).values():
            matches = candidate.selector is not None and candidate.selector.matches(observed.labels or {})
            key = Key(ref.namespace, candidate.name)
            if matches or key in self.selected:
                self._keep(self.selected[key], ref, there=there and matches)

    def _keep(self, refs: set[Ref], ref: Ref, *, there: bool) -> None:
        (refs.add if there else refs.discard)(ref)

    def _concerned(self, ref: Ref, observed: ObservedWorkload) -> Iterator[Key]:
        if observed.child_of is not None:
            yield Key(ref.namespace, observed.child_of)
            return
        detail = self.details.get(ref)
        if detail is not None and (detail.fields.backend is not None or detail.applied):
            yield Key(ref.namespace, detail.fields.backend or "")
        elif observed.applied:
            yield Key(ref.namespace, "")
        for candidate in self.candidates.get(ref.namespace, {}).values():
            if candidate.selector is not None and candidate.selector.matches(observed.labels or {}):
                yield Key(ref.namespace, candidate.name)

    def set_pod(self, change: Change[ObservedPod]) -> None:
        for pod in (change.before, change.found):
            if pod is not None:
                self._place(change, pod, there=pod is change.found)

    def _place(self, change: Change[ObservedPod], pod: ObservedPod, *, there: bool) -> None:
        if pod.backend is None:
            if there and (change.before is None or change.before.backend is not None):
                self.misnamed(change.namespace, change.name)
            return
        named, name = self.pods[pod.backend], PodName(change.namespace, change.name)
        if there:
            named[name] = pod
        else:
            named.pop(name, None)
            if not named:
                del self.pods[pod.backend]
        backend = pod.backend.name or self.default_backend(change.namespace)
        if backend is not None:
            self.concern(Key(pod.backend.namespace, backend))

    def set_child(self, kind: str, change: Change[ObservedChild]) -> None:
        for child in (change.before, change.found):
            if child is None:
                continue
            key = Key(change.namespace, child.owner)
            if child is change.found:
                self.children[key][kind, change.name] = child
            else:
                self.children[key].pop((kind, change.name), None)
                if not self.children[key]:
                    del self.children[key]
            self.concern(key)

    # What a pass reads

    def default_backend(self, namespace: str) -> str | None:
        """The backend of pods that name none."""
        found = default_of(namespace, self.candidates.get(namespace, {}).values())
        return found.name if isinstance(found, Candidate) else None

    def pods_of(self, key: Key) -> Iterator[ObservedPod]:
        """Pods that name the backend, and if it is the default one those that name none; without those that end."""
        return (pod for _, pod in self.named_pods_of(key))

    def named_pods_of(self, key: Key) -> Iterator[tuple[PodName, ObservedPod]]:
        """The same, with their names."""
        pods, unnamed = [self.pods.get(key, {})], Key(key.namespace, UNNAMED)
        if unnamed in self.pods and self.default_backend(key.namespace) == key.name:
            pods.append(self.pods[unnamed])
        return ((name, pod) for some in pods for name, pod in some.items() if not pod.ending)

    def near(self, key: Key) -> list[Ref]:
        """Workloads that the backend selects, and those that bear its fields or have not been read yet."""
        found = set(self.selected.get(key, ()))
        for ref in self.applied.get(key.namespace, ()):
            detail = self.details.get(ref)
            if detail is None or (detail.fields.backend or "") == key.name:
                found.add(ref)
        return sorted(found)

    def deployments_of(self, key: Key) -> dict[Ref, ObservedWorkload]:
        """The Deployments that the backend owns."""
        observed = self.workloads.get(key.namespace, {})
        return {ref: observed[ref] for ref in self.owned.get(key, ()) if ref in observed}

    def unread(self, key: Key) -> list[Ref]:
        """Of those, the ones that have to be fetched."""
        observed = self.workloads.get(key.namespace, {})
        return [
            ref
            for ref in self.near(key)
            if ref in observed and getattr(self.details.get(ref), "version", None) != observed[ref].version
        ]

    def unused(self) -> set[Key]:
        """Keys of backends that are not there although workloads may bear their fields."""
        applied = {
            Key(ref.namespace, detail.fields.backend or "") for ref, detail in self.details.items() if detail.applied
        }
        unread = {
            Key(namespace, "")
            for namespace, workloads in self.workloads.items()
            for ref, observed in workloads.items()
            if observed.applied and ref not in self.details
        }
        return (applied | unread) - self.entries.keys()
