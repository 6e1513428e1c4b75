"""What the operator knows of the cluster: small records, kept by watches, indexed by what asks for them.

Every change says which backends it may concern; those are reconciled anew.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from mimic_operator.errors import InvalidBackend, Problem
from mimic_operator.reconcile.workload import Ref, Workload, owner_of
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
from mimic_operator.resource.spec import LabelSelector
from mimic_operator.runtime.informer import Change, Metadata
from mimic_operator.runtime.kinds import Key

Label = tuple[str, str]
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


def _sets() -> dict[Label | None, set[str]]:
    return defaultdict(set)


def _first(selector: LabelSelector) -> Label | None:
    return next(iter(selector.match_labels.items()), None)


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

    _by_label: dict[str, dict[Label | None, set[str]]] = field(default_factory=lambda: defaultdict(_sets))
    """By namespace and one label that a selector asks for, None if it asks for none: the names of its backends."""

    # What watches report

    def set_backend(self, key: Key, entry: Entry | None) -> None:
        """A MimicBackend, or that there is none of this name any more."""
        before, candidates = self.entries.pop(key, None), self.candidates[key.namespace]
        old = candidates.pop(key.name, None)
        if entry is not None:
            self.entries[key] = entry
            candidates[key.name] = entry.candidate
        self.concern(key)
        if (before.candidate if before is not None else None) != (entry.candidate if entry is not None else None):
            self._select(key, old, entry.candidate if entry is not None else None)
            for other in candidates:
                self.concern(Key(key.namespace, other))

    def _select(self, key: Key, old: Candidate | None, new: Candidate | None) -> None:
        by_label = self._by_label[key.namespace]
        if old is not None and old.selector is not None:
            by_label[_first(old.selector)].discard(key.name)
        self.selected.pop(key, None)
        if new is None or new.selector is None:
            return
        label = _first(new.selector)
        by_label[label].add(key.name)
        found: set[Ref] = set()
        for ref, each in self.workloads.get(key.namespace, {}).items():
            labels = each.labels or {}
            likely = label is None or labels.get(label[0]) == label[1]
            if likely and each.child_of is None and new.selector.matches(labels):
                found.add(ref)
        if found:
            self.selected[key] = found

    def _selecting(self, namespace: str, labels: Mapping[str, str]) -> Iterator[Candidate]:
        """The backends whose selectors match these labels: by one label of each selector, then by all of it."""
        by_label, candidates = self._by_label.get(namespace, {}), self.candidates.get(namespace, {})
        names = set(by_label.get(None, ()))
        names.update(*(by_label[label] for label in labels.items() if label in by_label))
        for name in names:
            selector = candidates[name].selector
            if selector is not None and selector.matches(labels):
                yield candidates[name]

    def _selected_by(self, ref: Ref, workload: ObservedWorkload | None) -> Iterator[Key]:
        if workload is not None and workload.child_of is None:
            for candidate in self._selecting(ref.namespace, workload.labels or {}):
                yield Key(ref.namespace, candidate.name)

    def owner_of(self, workload: Workload) -> str | None:
        """The one backend that writes to a workload; None: the operator leaves it alone."""
        candidates = self.candidates.get(workload.ref.namespace, {})
        found = {each.name: each for each in self._selecting(workload.ref.namespace, workload.labels)}
        for name in (workload.chosen, workload.fields.backend):
            if name is not None and name in candidates:
                found[name] = candidates[name]
        return owner_of(workload, found.values())

    def set_workload(self, kind: str, change: Change[ObservedWorkload]) -> None:
        ref = Ref(change.namespace, kind, change.name)
        observed = change.found if change.found is not None else change.before
        assert observed is not None
        for key in {*self._concerned(ref, observed), *self._selected_by(ref, change.before)}:
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
        for key in self._selected_by(ref, change.before):
            self._keep(self.selected[key], ref, there=False)
        for key in self._selected_by(ref, change.found):
            self._keep(self.selected[key], ref, there=True)

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
        yield from self._selected_by(ref, observed)

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
