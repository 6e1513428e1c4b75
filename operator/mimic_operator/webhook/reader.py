"""Reads what an admission waits for straight from the API server, with short limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mimic_operator.resource.kinds import BACKEND, CLUSTER_BACKEND
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import CONTROLLER_REVISION, NAMESPACE

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
