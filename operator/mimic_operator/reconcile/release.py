"""Takes Mimic's fields off every workload, before the operator is uninstalled.

The backends are suspended first: a running operator would write again what is taken off here. What cannot be released
is passed over and listed at the end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from mimic_operator.errors import OperatorError
from mimic_operator.reconcile.workload import Workload, fields_to_apply, read
from mimic_operator.resource.kinds import BACKEND, WORKLOADS
from mimic_operator.resource.naming import MANAGER_WORKLOADS
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Metadata
from mimic_operator.runtime.kinds import Kind

POLL_SECONDS = 0.5
ROUNDS = 5
"""Times that workloads are listed again for what was written between suspending and releasing."""
MANAGER_RELEASE = "mimic-operator-release"
REFUSING = ("invalid", "forbidden", "conflict", "absent")


class NotReleased(OperatorError):
    """Something could not be released; the message lists it, and says what to do."""


@dataclass(slots=True)
class Release:
    """listed: all objects of a kind as metadata. patience: seconds to wait for each workload; 0 does not wait.

    Raises NotReleased, Fault.
    """

    cluster: Cluster
    listed: Callable[[Kind, str | None], Awaitable[list[Metadata]]]
    namespaces: tuple[str | None, ...]
    say: Callable[[str], None]
    patience: float
    clock: Callable[[], float]
    _failed: dict[str, str] = field(default_factory=dict)
    """What could not be released, or does not settle without the sidecar, and why."""

    async def run(self) -> None:
        """Suspend, release, list again."""
        for backend in await self._list(BACKEND):
            await self._suspend(backend)
        count = 0
        for _ in range(ROUNDS):
            found = [(kind, each) for kind in WORKLOADS for each in await self._list(kind) if self._due(kind, each)]
            if not found:
                self.say(f"{count} workloads were released; new pods of theirs start without the sidecar")
                break
            for kind, metadata in found:
                count += await self._release(kind, metadata)
        else:
            raise NotReleased(
                "another writer sets Mimic's fields again and again: stop the operator (kubectl scale) and repeat"
            )
        if self._failed:
            lines = [f"  {name}: {why}" for name, why in sorted(self._failed.items())]
            raise NotReleased("\n".join([f"{len(lines)} were not released; fix them and repeat:", *lines]))

    async def _list(self, kind: Kind) -> list[Metadata]:
        return [each for namespace in self.namespaces for each in await self.listed(kind, namespace)]

    async def _suspend(self, backend: Metadata) -> None:
        name = f"MimicBackend/{backend.name} in {backend.namespace}"
        try:
            await self.cluster.merge(
                BACKEND, backend.namespace, backend.name, {"spec": {"suspend": True}}, MANAGER_RELEASE
            )
        except Fault as fault:
            self._pass_over(name, fault)
        else:
            self.say(f"suspended {name}")

    def _due(self, kind: Kind, metadata: Metadata) -> bool:
        return bool(metadata.applied_at(MANAGER_WORKLOADS)) and _named(kind, metadata) not in self._failed

    async def _release(self, kind: Kind, metadata: Metadata) -> int:
        """How many were released."""
        name = _named(kind, metadata)
        manifest = await self.cluster.get(kind, metadata.namespace, metadata.name)
        if manifest is None:
            return 0
        wanted = fields_to_apply(read(manifest), None)
        try:
            made = await self.cluster.apply(kind, wanted, manager=MANAGER_WORKLOADS, force=False)
        except Fault as fault:
            self._pass_over(name, fault)
            return 0
        self.say(f"released {name}")
        await self._settle(kind, read(made), name)
        return 1

    def _pass_over(self, name: str, fault: Fault) -> None:
        """A refusal concerns one object. Raises any other fault, which concerns the API server."""
        if fault.reason not in REFUSING:
            raise fault
        # What follows may be part of a pod's specification.
        self._failed[name] = str(fault).partition("Invalid value")[0].rstrip(" :")
        self.say(f"passed over {name}: {self._failed[name]}")

    async def _settle(self, kind: Kind, workload: Workload, name: str) -> None:
        end = self.clock() + self.patience
        while self.patience and workload.inert is None and not workload.rolled:
            if self.clock() > end:
                counts = workload.counts
                self._failed[name] = (
                    f"it was released and does not settle ({counts.available} of {counts.desired} pods are available)"
                )
                return
            await asyncio.sleep(POLL_SECONDS)
            manifest = await self.cluster.get(kind, workload.ref.namespace, workload.ref.name)
            if manifest is None:
                return
            workload = read(manifest)


def _named(kind: Kind, metadata: Metadata) -> str:
    return f"{kind.kind}/{metadata.name} in {metadata.namespace}"
