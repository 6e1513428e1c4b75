"""The watches that keep the store: metadata alone, but for MimicBackends, which are kopf's part."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mimic_operator.errors import OperatorError
from mimic_operator.reconcile.store import Store, keep_child, keep_pod, keep_workload
from mimic_operator.resource.kinds import BACKEND, CHILDREN, WORKLOADS
from mimic_operator.resource.naming import GROUP, LABEL_COMPONENT, LABEL_INJECT, LABEL_INJECTED
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Informer, Metadata, MetadataReader
from mimic_operator.runtime.kinds import DEPLOYMENT, POD, POD_MONITOR, Kind
from mimic_operator.runtime.queue import Backoff, Key

STALE_SECONDS = 600.0
"""A watch that has heard nothing for so long, not even a bookmark, is broken."""
SETTLE_SECONDS = 0.05
POD_LABELS = (f"{LABEL_INJECT}=true", f"{LABEL_INJECTED},{LABEL_INJECT}!=true")
"""Pods that ask for the proxy themselves, and those that got it by the label of their namespace."""
NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"


class NotInstalled(OperatorError):
    """The cluster does not know MimicBackend."""


@dataclass(slots=True)
class Watches:
    """namespaces: none is the whole cluster."""

    reader: MetadataReader
    store: Store
    clock: Callable[[], float]
    backoff: Backoff
    namespaces: Sequence[str] = ()
    informers: list[Informer[Any]] = field(default_factory=list)
    _behind: float | None = None
    """Since when kopf's watch is known to lag."""

    async def prepare(self) -> set[Key]:
        """Makes the informers; the backends that are there now. Raises NotInstalled, Fault."""
        try:
            found = await self._backends()
        except Fault as fault:
            if fault.reason == "absent":
                raise NotInstalled(f"{BACKEND.plural}.{GROUP} is not installed: apply the chart's CRD first") from fault
            raise
        for namespace in self.namespaces or (None,):
            for kind in WORKLOADS:
                self._add(kind, namespace, keep_workload, self._workload(kind.kind))
            for labels in POD_LABELS:
                self._add(POD, namespace, keep_pod, self.store.pod_seen, labels, NOT_ENDED)
            for kind in CHILDREN:
                if kind is not DEPLOYMENT and (kind is not POD_MONITOR or await self._served(kind)):
                    self._add(kind, namespace, keep_child, self._child(kind.kind), LABEL_COMPONENT)
        return found.keys() | set()

    def _workload(self, kind: str) -> Callable[[Any], None]:
        return lambda change: self.store.workload_seen(kind, change)

    def _child(self, kind: str) -> Callable[[Any], None]:
        return lambda change: self.store.child_seen(kind, change)

    def _add(
        self,
        kind: Kind,
        namespace: str | None,
        keep: Callable[[Metadata], Any],
        changed: Callable[[Any], None],
        labels: str | None = None,
        fields: str | None = None,
    ) -> None:
        informer: Informer[Any] = Informer(
            self.reader,
            kind,
            keep=keep,
            changed=changed,
            clock=self.clock,
            namespace=namespace,
            labels=labels,
            fields=fields,
        )
        self.informers.append(informer)

    async def _served(self, kind: Kind) -> bool:
        try:
            await self.reader.list(kind, self.namespaces[0] if self.namespaces else None, LABEL_COMPONENT)
        except Fault as fault:
            if fault.reason in ("absent", "forbidden"):
                return False
            raise
        return True

    async def _backends(self) -> dict[Key, str]:
        """The backends by resourceVersion."""
        found: dict[Key, str] = {}
        for namespace in self.namespaces or (None,):
            listed, _ = await self.reader.list(BACKEND, namespace)
            found |= {Key(each.namespace, each.name): each.resource_version for each in listed}
        return found

    async def run(self) -> None:
        """All watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self.informers:
                group.create_task(informer.run(self.backoff))

    async def listed(self, backends: Iterable[Key]) -> None:
        """Waits until everything that was there at the start has been seen."""
        for informer in self.informers:
            await informer.listed.wait()
        missing = set(backends)
        while missing := missing - self.store.entries.keys():
            await asyncio.sleep(SETTLE_SECONDS)
            if missing:
                missing &= await self._still_there(missing)

    async def _still_there(self, missing: set[Key]) -> set[Key]:
        if len(missing) > 20:  # many are on their way
            return missing
        return missing & (await self._backends()).keys()

    async def compare(self) -> None:
        """Finds what kopf's watch has missed: a deletion between two lists, or a stream that is dead."""
        before = {key: entry.version for key, entry in self.store.entries.items()}
        there = await self._backends()
        behind = False
        for key, version in before.items():
            if key not in there and key in self.store.entries:
                self.store.backend_seen(key, None)
            elif there.get(key) != version and self.store.entries.get(key) is not None:
                behind |= self.store.entries[key].version == version
        behind |= bool(there.keys() - self.store.entries.keys())
        self._behind = (self._behind if self._behind is not None else self.clock()) if behind else None

    def ages(self) -> dict[tuple[str, ...], float]:
        """Seconds since each watch last heard of the server, by kind."""
        found: dict[tuple[str, ...], float] = {}
        for informer in self.informers:
            label = (informer.kind.plural,)
            found[label] = max(found.get(label, 0.0), self.clock() - informer.heard)
        found[BACKEND.plural,] = 0.0 if self._behind is None else self.clock() - self._behind
        return found

    def stale(self) -> str:
        """Which watch is broken; empty if none is."""
        old = [kind for (kind,), age in self.ages().items() if age > STALE_SECONDS]
        return f"nothing heard of {', '.join(sorted(old))} for {STALE_SECONDS:.0f} s" if old else ""
