"""What a backend owns in the cluster: applied when it differs, deleted when it is not wanted any more."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mimic_operator.cluster.client import Cluster
from mimic_operator.cluster.kinds import KINDS, Kind
from mimic_operator.reconcile.queue import Key
from mimic_operator.reconcile.store import Store
from mimic_operator.reconcile.workload import Ref
from mimic_operator.resource.naming import ANNOTATION_APPLIED, MANAGER, short_hash

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
            made = await self.cluster.apply(_marked(manifest, digest), manager=MANAGER, force=True)
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


KIND_BY_NAME: Mapping[str, Kind] = {kind.kind: kind for kind in KINDS.values()}
