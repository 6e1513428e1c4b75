"""`mimic-operator release --all`: takes Mimic's fields off every workload, before the operator is uninstalled.

The backends are suspended first: a running operator would write what is taken off here again.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from mimic_operator.cluster.client import Cluster
from mimic_operator.cluster.config import cluster_config
from mimic_operator.cluster.faults import Fault
from mimic_operator.cluster.kinds import BACKEND, WORKLOADS, Kind
from mimic_operator.cluster.metadata import Metadata, MetadataReader
from mimic_operator.errors import OperatorError
from mimic_operator.reconcile.workload import Workload, fields_to_apply, read
from mimic_operator.resource.naming import MANAGER_WORKLOADS
from mimic_operator.settings import Settings, load
from mimic_operator.surroundings import Surroundings

OK, FAILED = 0, 1
LOOK_SECONDS = 0.5
ROUNDS = 5
"""Times that it looks for what was written between suspending and releasing."""
MANAGER_RELEASE = "mimic-operator-release"


class NotReleased(OperatorError):
    """Something could not be released; the message says what, and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "--all", action="store_true", required=True, help="every workload that the operator has written"
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait for each workload to settle before the next"
    )
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="wait for each (default: 600)")


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Prints what it does. Raises SettingsError."""
    settings = load(surroundings.environ)

    def say(sentence: str) -> None:
        print(sentence, file=surroundings.out, flush=True)

    try:
        asyncio.run(_release(settings, say, 0.0 if arguments.no_wait else arguments.timeout))
    except (NotReleased, Fault) as error:
        print(f"mimic-operator: {error}", file=surroundings.err)
        return FAILED
    return OK


async def _release(settings: Settings, say: Callable[[str], None], patience: float) -> None:
    config = cluster_config()
    async with Cluster(config) as cluster:
        reader = MetadataReader(config)
        try:
            await Release(cluster, reader, settings.watch_namespaces or (None,), say, patience, time.monotonic).run()
        finally:
            await reader.close()


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
        made = await self.cluster.apply(fields_to_apply(workload, None), manager=MANAGER_WORKLOADS, force=False)
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
