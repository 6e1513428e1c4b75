"""Gives every namespace that a ClusterMimicBackend admits its MimicBackend, and reports how they fare.

From there on a namespace's MimicBackend is like any other: its pods, workloads and status are reconciled as usual. It
belongs to the ClusterMimicBackend by an owner reference, so that the cluster deletes them together. A MimicBackend of
the same name that a namespace has made itself is left alone, and reported.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.cluster_backend import (
    ClusterBackend,
    Created,
    Manifest,
    backends_of,
    invalid_status,
    parse_cluster,
    status_of,
)
from mimic_operator.resource.kinds import BACKEND, CLUSTER_BACKEND
from mimic_operator.resource.naming import (
    ANNOTATION_APPLIED,
    API_VERSION,
    CLUSTER_KIND,
    LABEL_CLUSTER_BACKEND,
    MANAGER,
    MANAGER_STATUS,
    short_hash,
)
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Change, Informer, Metadata, metadata_only, whole
from mimic_operator.runtime.kinds import NAMESPACE, Key
from mimic_operator.runtime.queue import Backoff, WorkQueue

logger = logging.getLogger("mimic.cluster-backends")
REPORT_SECONDS = 5.0
"""Changes of the namespaces' MimicBackends are reported this often at most."""
LOCAL = ("conflict", "forbidden", "invalid", "absent")
"""Faults of one namespace, which keep nothing from the others."""
RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Child:
    """The MimicBackend of one namespace, as it was observed."""

    owner: str
    """The uid of its ClusterMimicBackend."""
    digest: str
    untouched: bool
    created: Created


def child_of(manifest: Mapping[str, Any]) -> Child | None:
    """Reads one; None where no ClusterMimicBackend controls it."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    owners = metadata.get("ownerReferences") or ()
    owner = next((each for each in owners if each.get("controller") and each.get("kind") == CLUSTER_KIND), None)
    if owner is None:
        return None
    ready: Mapping[str, Any] = next(
        (each for each in status.get("conditions") or () if each.get("type") == "Ready"), {}
    )
    counts = status.get("injected") or {}
    writers = [entry for entry in metadata.get("managedFields") or () if not entry.get("subresource")]
    return Child(
        owner=owner.get("uid", ""),
        digest=(metadata.get("annotations") or {}).get(ANNOTATION_APPLIED, ""),
        untouched=len(writers) == 1 and writers[0].get("manager") == MANAGER,
        created=Created(
            ready=ready.get("status", "Unknown"),
            reason=ready.get("reason", "NotReconciled"),
            pods=int(counts.get("total") or 0) + int(counts.get("pointed") or 0),
        ),
    )


def _labels(metadata: Metadata) -> Mapping[str, str] | None:
    """Of a namespace; None for one that is being deleted."""
    return (metadata.labels or {}) if metadata.deletion_timestamp is None else None


@dataclass(slots=True)
class ClusterBackends:
    """watching: the connections for watches. clock: monotonic seconds; wall: Unix time."""

    cluster: Cluster
    watching: Cluster
    clock: Callable[[], float]
    wall: Callable[[], float]
    backoff: Backoff
    watch_seconds: float
    backends: Informer[Manifest] = field(init=False)
    namespaces: Informer[Mapping[str, str]] = field(init=False)
    children: Informer[Child] = field(init=False)
    queue: WorkQueue = field(init=False)

    def __post_init__(self) -> None:
        common: dict[str, Any] = {
            "cluster": self.watching,
            "clock": self.clock,
            "backoff": self.backoff,
            "watch_seconds": self.watch_seconds,
        }
        # Optional: a cluster whose definitions are older does without them.
        self.backends = Informer(
            kind=CLUSTER_BACKEND,
            view=whole(CLUSTER_BACKEND, lambda manifest: manifest),
            changed=self._backend_changed,
            optional=True,
            **common,
        )
        self.namespaces = Informer(
            kind=NAMESPACE, view=metadata_only(_labels), changed=self._namespace_changed, optional=True, **common
        )
        self.children = Informer(
            kind=BACKEND,
            view=whole(BACKEND, child_of),
            changed=self._child_changed,
            labels=LABEL_CLUSTER_BACKEND,
            optional=True,
            **common,
        )
        self.queue = WorkQueue(self.reconcile, self.clock, self.backoff, lambda outcome: None)

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        return self.backends, self.namespaces, self.children

    async def run(self) -> None:
        """Reconciles until cancelled; every informer has its first list."""
        for _, name in self.backends.items:
            self.queue.add(Key("", name))
        await self.queue.run(1)

    async def reconcile(self, key: Key) -> float | None:
        """Brings the MimicBackends of one ClusterMimicBackend up to date. Raises Fault."""
        manifest = self.backends.items.get((key.namespace, key.name))
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            return None  # the cluster deletes what it owned
        try:
            cluster = parse_cluster(manifest)
        except InvalidBackend as invalid:
            generation = manifest["metadata"].get("generation", 0)
            before = manifest.get("status") or {}
            await self._report(manifest, invalid_status(generation, invalid.problems, before, self._now()))
            return None
        there = {name: labels for (_, name), labels in self.namespaces.items.items()}
        wanted = backends_of(cluster, there)
        for namespace in sorted(self._own(cluster).keys() - wanted.keys()):
            await self.cluster.delete(BACKEND, namespace, cluster.name)
        failed: dict[str, str] = {}
        for namespace, backend in wanted.items():
            if (reason := await self._apply(cluster, namespace, backend)) is not None:
                failed[namespace] = reason
            await asyncio.sleep(0)  # hundreds of namespaces: the Lease has to be renewed in between
        admitted = [name for name, labels in there.items() if cluster.admits(name, labels)]
        own = self._own(cluster)
        created = {name: own[name].created if name in own else Created() for name in wanted if name not in failed}
        status = status_of(cluster, admitted, created, failed, manifest.get("status") or {}, self._now())
        await self._report(manifest, status)
        return RETRY_SECONDS if failed else None

    async def _apply(self, cluster: ClusterBackend, namespace: str, backend: Manifest) -> str | None:
        """Applies one MimicBackend if it differs; the reason if that namespace cannot have it. Raises Fault."""
        digest = short_hash(msgspec.json.encode(backend, order="deterministic").decode())
        child = self.children.items.get((namespace, cluster.name))
        if child is not None and child.owner == cluster.uid and child.digest == digest and child.untouched:
            return None
        try:
            if child is None or child.owner != cluster.uid:
                there = await self.cluster.get(BACKEND, namespace, cluster.name)
                found = child_of(there) if there is not None else None
                if there is not None and (found is None or found.owner != cluster.uid):
                    return "Conflict"
            metadata = {**backend["metadata"], "annotations": {ANNOTATION_APPLIED: digest}}
            await self.cluster.apply(BACKEND, {**backend, "metadata": metadata}, manager=MANAGER, force=True)
        except Fault as fault:
            if fault.reason not in LOCAL:
                raise
            extra = {"key": f"{namespace}/{cluster.name}", "reason": fault.reason}
            logger.warning("Namespace %s cannot have the MimicBackend: %s", namespace, fault, extra=extra)
            return fault.reason.capitalize()
        return None

    async def _report(self, manifest: Manifest, status: Manifest) -> None:
        if manifest.get("status") == status:
            return
        metadata = {"name": manifest["metadata"]["name"]}
        applied = {"apiVersion": API_VERSION, "kind": CLUSTER_KIND, "metadata": metadata, "status": status}
        await self.cluster.apply(CLUSTER_BACKEND, applied, manager=MANAGER_STATUS, force=True, status=True)

    def _own(self, cluster: ClusterBackend) -> dict[str, Child]:
        """Its MimicBackends by namespace."""
        return {
            namespace: child
            for (namespace, name), child in self.children.items.items()
            if name == cluster.name and child.owner == cluster.uid
        }

    def _backend_changed(self, change: Change[Manifest]) -> None:
        spec = [each.get("spec") if each is not None else None for each in (change.found, change.before)]
        if spec[0] != spec[1]:
            self.queue.add(Key("", change.name))

    def _namespace_changed(self, change: Change[Mapping[str, str]]) -> None:
        for _, name in self.backends.items:
            self.queue.add(Key("", name))

    def _child_changed(self, change: Change[Child]) -> None:
        if change.found is None:
            self.queue.add(Key("", change.name))
        else:
            self.queue.add_after(Key("", change.name), REPORT_SECONDS)

    def _now(self) -> str:
        return datetime.fromtimestamp(self.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
