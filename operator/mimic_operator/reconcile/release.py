"""Takes Mimic's fields off every workload, before the operator is uninstalled.

The backends are suspended first: a running operator would write what is taken off here again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mimic_operator.errors import OperatorError
from mimic_operator.reconcile.workload import Workload, fields_to_apply, read
from mimic_operator.resource.kinds import BACKEND, WORKLOADS
from mimic_operator.resource.naming import MANAGER_WORKLOADS
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.informer import Metadata, MetadataReader
from mimic_operator.runtime.kinds import Kind

LOOK_SECONDS = 0.5
ROUNDS = 5
"""Times that it looks for what was written between suspending and releasing."""
MANAGER_RELEASE = "mimic-operator-release"


class NotReleased(OperatorError):
    """Something could not be released; the message says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """patience: seconds to wait for each workload; 0 does not wait. Raises NotReleased, Fault."""

    cluster: Cluster
    reader: MetadataReader
    namespaces: tuple[str | None, ...]
    say: Callable[[str], None]
    patience: float
    clock: Callable[[], float]

    async def run(self) -> None:
        """Suspend, release, look again."""
        for backend in await self._list(BACKEND):
            patch = {"spec": {"suspend": True}}
            await self.cluster.merge(BACKEND, backend.namespace, backend.name, patch, MANAGER_RELEASE)
            self.say(f"suspended MimicBackend {backend.namespace}/{backend.name}")
        count = 0
        for _ in range(ROUNDS):
            found = [(kind, each) for kind in WORKLOADS for each in await self._list(kind) if _ours(each)]
            if not found:
                self.say(f"{count} workloads were released; new pods start without the sidecar")
                return
            for kind, metadata in found:
                count += await self._one(kind, metadata)
        raise NotReleased(
            "somebody writes Mimic's fields again and again: stop the operator (kubectl scale) and repeat"
        )

    async def _list(self, kind: Kind) -> list[Metadata]:
        return [each for namespace in self.namespaces for each in (await self.reader.list(kind, namespace))[0]]

    async def _one(self, kind: Kind, metadata: Metadata) -> int:
        manifest = await self.cluster.get(kind, metadata.namespace, metadata.name)
        if manifest is None:
            return 0
        workload = read(manifest)
        made = await self.cluster.apply(kind, fields_to_apply(workload, None), manager=MANAGER_WORKLOADS, force=False)
        self.say(f"released {workload.ref} in {metadata.namespace}")
        await self._settled(kind, read(made))
        return 1

    async def _settled(self, kind: Kind, workload: Workload) -> None:
        end = self.clock() + self.patience
        while self.patience and workload.standing is None and not workload.rolled:
            if self.clock() > end:
                counts = workload.counts
                raise NotReleased(
                    f"{workload.ref} in {workload.ref.namespace} does not settle without the sidecar "
                    f"({counts.available} of {counts.desired} pods are available); mend it and repeat, or use --no-wait"
                )
            await asyncio.sleep(LOOK_SECONDS)
            manifest = await self.cluster.get(kind, workload.ref.namespace, workload.ref.name)
            if manifest is None:
                return
            workload = read(manifest)


def _ours(metadata: Metadata) -> bool:
    return metadata.applied_by(MANAGER_WORKLOADS)
