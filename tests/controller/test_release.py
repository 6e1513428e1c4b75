"""`release --all`: what it does when one of many workloads cannot be released."""

from collections.abc import Mapping
from typing import Any

import pytest

from mimic_operator.reconcile.release import NotReleased, Release
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Manager, Metadata
from mimic_operator.runtime.kinds import Kind


def deployment(name: str, available: int = 1) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "team", "uid": name, "resourceVersion": "1", "generation": 1},
        "spec": {"replicas": 1},
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": available,
            "availableReplicas": available,
        },
    }


class World:
    """An API server with Deployments that the operator has written."""

    def __init__(self, faults: Mapping[str, Fault], unsettled: str = "") -> None:
        self.faults, self.unsettled = faults, unsettled
        self.left = ["a", "b", "c"]
        self.suspended: list[str] = []
        self.said: list[str] = []
        self.now = 0.0

    async def list(self, kind: Kind, namespace: str | None) -> list[Metadata]:
        if kind.kind == "MimicBackend":
            return [Metadata(name="corp", namespace="team")]
        ours = [Manager("mimic-operator-workloads", "Apply")]
        names = self.left if kind.kind == "Deployment" else []
        return [Metadata(name=name, namespace="team", managed_fields=ours) for name in names]

    async def merge(self, kind: Kind, namespace: str, name: str, patch: object, manager: str) -> None:
        if "corp" in self.faults:
            raise self.faults["corp"]
        self.suspended.append(name)

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        return deployment(name, available=0 if name == self.unsettled else 1)

    async def apply(self, kind: Kind, manifest: Mapping[str, Any], **_: object) -> dict[str, Any]:
        name = manifest["metadata"]["name"]
        if name in self.faults:
            raise self.faults[name]
        self.left.remove(name)
        return deployment(name, available=0 if name == self.unsettled else 1)

    async def run(self) -> None:
        both: Any = self

        def clock() -> float:
            self.now += 100.0
            return self.now

        await Release(both, both.list, (None,), self.said.append, patience=50.0, clock=clock).run()


@pytest.mark.parametrize("reason", ["invalid", "forbidden", "conflict"])
async def test_fault_15_goes_on_after_a_refused_workload_and_lists_it(reason: Any):
    world = World({"a": Fault(reason, "apply Deployment team/a: 422 denied by policy: Invalid value: {secret}")})
    with pytest.raises(NotReleased) as failed:
        await world.run()
    assert world.left == ["a"]
    assert str(failed.value) == (
        "1 were not released; fix them and repeat:\n"
        "  Deployment/a in team: apply Deployment team/a: 422 denied by policy"
    )
    assert "2 workloads were released; new pods of theirs start without the sidecar" in world.said


async def test_goes_on_after_a_workload_that_does_not_settle():
    world = World({}, unsettled="a")
    with pytest.raises(NotReleased, match=r"Deployment/a in team: it was released and does not settle \(0 of 1"):
        await world.run()
    assert world.left == []


async def test_goes_on_after_a_backend_that_cannot_be_suspended():
    world = World({"corp": Fault("forbidden", "patch MimicBackend team/corp: 403")})
    with pytest.raises(NotReleased, match="MimicBackend/corp in team"):
        await world.run()
    assert world.left == []


async def test_an_api_server_that_does_not_answer_ends_it():
    with pytest.raises(Fault):
        await World({"b": Fault("unreachable", "apply Deployment team/b: ConnectError")}).run()


async def test_all_that_can_be_released_is_released():
    world = World({})
    await world.run()
    assert (world.left, world.suspended) == ([], ["corp"])
