"""Provides what a decision needs from the cluster: from the index, else from the API server."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import msgspec

from mimic_operator.errors import OperatorError
from mimic_operator.resource import naming
from mimic_operator.resource.kinds import BACKEND, CLUSTER_BACKEND
from mimic_operator.resource.revision import Revision, from_data
from mimic_operator.resource.selection import (
    Candidate,
    ClusterCandidate,
    Unselected,
    candidate,
    cluster_candidate,
    cluster_of,
    named_key,
)
from mimic_operator.resource.spec.common import NAMESPACE_NAME
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Change
from mimic_operator.runtime.kinds import CONTROLLER_REVISION, NAMESPACE, Key, Kind
from mimic_operator.webhook import pods
from mimic_operator.webhook.decide import Namespace, choose, wanted_revisions

logger = logging.getLogger("mimic.admission")
CLUSTERS_SECONDS = 1.0
"""For so long the ClusterMimicBackends are remembered: pods come in crowds."""
REMEMBER_SECONDS = 10.0
"""For so long a namespace's labels are remembered."""
MOST_NAMESPACES = 10_000
RETRY_SECONDS = 0.2
MOST_WAITING = 32
"""Lookups at once, beyond which none waits: hundreds of pods of one backend must not hold up those of others."""
YOUNG_SECONDS = 60.0
"""In a namespace that is younger, a backend may be on its way: namespace, backend and workload come in one apply."""
Object = Mapping[str, Any]


class Index:
    """MimicBackends by namespace, and revisions as bytes: decoded when they are injected. Only informers change it."""

    def __init__(self) -> None:
        self._backends: dict[str, dict[str, Candidate]] = {}
        self._revisions: dict[Key, bytes] = {}

    def backend_changed(self, change: Change[Candidate]) -> None:
        own = self._backends.setdefault(change.namespace, {})
        if change.found is not None:
            own[change.name] = change.found
        else:
            own.pop(change.name, None)
        if not own:
            del self._backends[change.namespace]

    def revision_changed(self, change: Change[bytes]) -> None:
        name = Key(change.namespace, change.name)
        if change.found is not None:
            self._revisions[name] = change.found
        else:
            self._revisions.pop(name, None)

    def backend(self, name: Key) -> Candidate | None:
        return self._backends.get(name.namespace, {}).get(name.name)

    def backends(self, namespace: str) -> list[Candidate]:
        return list(self._backends.get(namespace, {}).values())

    def revision(self, name: Key) -> Revision | None:
        encoded = self._revisions.get(name)
        return None if encoded is None else _read(encoded)

    def count(self, kind: Kind) -> int:
        return len(self._revisions) if kind is CONTROLLER_REVISION else sum(map(len, self._backends.values()))


def keep_revision(manifest: Object) -> bytes | None:
    """What is kept of a ControllerRevision; None if no MimicBackend owns it, or if this version cannot read it."""
    owner = pods.controller(manifest)
    if owner is None or owner.get("kind") != naming.KIND:
        return None  # a StatefulSet's or DaemonSet's, which carries the labels of its pod template
    data = manifest.get("data") or {}
    encoded = msgspec.json.encode({name: value for name, value in data.items() if name != "spec"})
    if _read(encoded) is None:
        key = Key(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        logger.warning("The revision %s cannot be read: a newer version of Mimic wrote it", key)
        return None
    return encoded


def _read(encoded: bytes) -> Revision | None:
    try:
        return from_data(msgspec.json.decode(encoded))
    except (KeyError, TypeError, OperatorError):
        return None


def _may_come(unselected: Unselected, young: bool) -> bool:
    """Whether there may be a backend a moment later. young: whether the namespace was just created."""
    return unselected.why == "NotCreated" or (young and unselected.why in ("NoBackend", "UnknownBackend"))


class Source(Protocol):
    """The API server. Each raises Fault."""

    async def backend(self, name: Key) -> Object | None: ...
    async def backends(self, namespace: str) -> list[Object]: ...
    async def cluster_backends(self) -> list[Object]: ...
    async def revision(self, name: Key) -> Object | None: ...
    async def namespace(self, name: str) -> Object | None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """Enough to decide on one pod."""

    namespace: Namespace
    candidates: tuple[Candidate, ...]
    revisions: Mapping[Key, Revision]
    awaited: bool = False
    """A moment later there may be more: the backend, or its first revision, is on its way."""


@dataclass(slots=True)
class Lookup:
    """missed: called with a kind that the index did not hold. clock: monotonic seconds; wall: Unix time."""

    index: Index
    source: Source
    clock: Callable[[], float]
    wall: Callable[[], float]
    missed: Callable[[str], None]
    _namespaces: dict[str, tuple[float, Namespace]] = field(default_factory=dict)
    _clusters_known: tuple[float, tuple[ClusterCandidate, ...]] | None = None
    _waiting: int = 0

    async def know(self, pod: pods.Pod, namespace: str, patience: float) -> Known:
        """All that `decide` may need for this pod. Raises Fault.

        patience: seconds to wait for what is on its way: a pod that starts a moment too early has no proxy, or is
        refused and comes back after its controller's back-off.
        """
        end = self.clock() + (patience if self._waiting < MOST_WAITING else 0.0)
        self._waiting += 1
        try:
            while (known := await self._know(pod, namespace)).awaited and self.clock() + RETRY_SECONDS < end:
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._waiting -= 1
        return known

    async def _know(self, pod: pods.Pod, name: str) -> Known:
        namespace = await self._namespace(name)
        candidates = tuple(await self._candidates(pod, name))
        chosen = choose(pod, namespace, candidates)
        if isinstance(chosen, Unselected) and chosen.why in ("UnknownBackend", "NoBackend"):
            namespace = replace(namespace, clusters=await self._clusters())
            cluster = cluster_of(chosen, {NAMESPACE_NAME: name, **namespace.labels}, namespace.clusters)
            if cluster is not None and cluster.shared is not None:
                shared = self.index.backend(cluster.shared) or await self._ask(cluster.shared)
                candidates = (*candidates, shared) if shared is not None else candidates
            chosen = choose(pod, namespace, candidates)
        if isinstance(chosen, Unselected):
            young = self.wall() - namespace.created < YOUNG_SECONDS
            return Known(namespace, candidates, {}, awaited=_may_come(chosen, young))
        if not chosen.revision and (fresh := await self._ask(chosen.key)):
            candidates = (*(each for each in candidates if each.key != fresh.key), fresh)
            chosen = fresh
        for wanted in wanted_revisions(pod, chosen):
            key = Key(chosen.namespace, wanted)
            if (revision := await self._revision(key)) is not None:
                return Known(namespace, candidates, {key: revision})
        return Known(namespace, candidates, {}, awaited=not (chosen.problem or chosen.suspended))

    async def _clusters(self) -> tuple[ClusterCandidate, ...]:
        """All ClusterMimicBackends; few, and remembered for a moment."""
        now = self.clock()
        if self._clusters_known is None or now - self._clusters_known[0] >= CLUSTERS_SECONDS:
            listed = await self.source.cluster_backends()
            self._clusters_known = now, tuple(cluster_candidate(each) for each in listed)
        return self._clusters_known[1]

    async def _namespace(self, name: str) -> Namespace:
        now = self.clock()
        known = self._namespaces.get(name)
        if known is not None and now - known[0] < REMEMBER_SECONDS:
            return known[1]
        metadata = ((await self.source.namespace(name)) or {}).get("metadata") or {}
        created = str(metadata.get("creationTimestamp") or "")
        found = Namespace(
            name,
            metadata.get("labels") or {},
            metadata.get("annotations") or {},
            datetime.fromisoformat(created).timestamp() if created else 0.0,
        )
        if len(self._namespaces) >= MOST_NAMESPACES:
            self._namespaces.clear()
        self._namespaces[name] = (now, found)
        return found

    async def _candidates(self, pod: pods.Pod, namespace: str) -> list[Candidate]:
        found = self.index.backends(namespace)
        try:
            named = named_key(pods.annotations(pod).get(naming.ANNOTATION_BACKEND), namespace)
        except ValueError:
            return found
        if named is not None:
            other = self.index.backend(named) or await self._ask(named)
            return found if other is None or other in found else [*found, other]
        if found:
            return found
        self.missed("MimicBackend")
        return [candidate(each) for each in await self.source.backends(namespace)]

    async def _ask(self, name: Key) -> Candidate | None:
        self.missed("MimicBackend")
        manifest = await self.source.backend(name)
        return None if manifest is None else candidate(manifest)

    async def _revision(self, name: Key) -> Revision | None:
        found = self.index.revision(name)
        if found is not None:
            return found
        self.missed("ControllerRevision")
        manifest = await self.source.revision(name)
        encoded = None if manifest is None else keep_revision(manifest)
        return None if encoded is None else _read(encoded)


READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Reader:
    """Every failed call raises Fault."""

    cluster: Cluster

    async def backend(self, name: tuple[str, str]) -> Mapping[str, Any] | None:
        return await self.cluster.get(BACKEND, *name)

    async def backends(self, namespace: str) -> list[Mapping[str, Any]]:
        return [each async for each in self.cluster.list(BACKEND, namespace)]

    async def cluster_backends(self) -> list[Mapping[str, Any]]:
        """None where the cluster does not have the kind, or the operator serves a few namespaces alone."""
        try:
            return [each async for each in self.cluster.list(CLUSTER_BACKEND, None)]
        except Fault as fault:
            if fault.reason in ("absent", "forbidden"):
                return []
            raise

    async def revision(self, name: tuple[str, str]) -> Mapping[str, Any] | None:
        return await self.cluster.get(CONTROLLER_REVISION, *name)

    async def namespace(self, name: str) -> Mapping[str, Any] | None:
        return await self.cluster.get(NAMESPACE, None, name)
