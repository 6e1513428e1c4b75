"""Which Events a pass posts, and which status it writes."""

import asyncio
from collections.abc import Mapping
from typing import Any

from mimic_operator.reconcile.plan import Plan
from mimic_operator.reconcile.report import Reporter
from mimic_operator.reconcile.rollout import Rollout, Situation, decide
from mimic_operator.reconcile.state import Memory, State
from mimic_operator.reconcile.status import NOT_ASKED
from mimic_operator.reconcile.store import entry_of
from mimic_operator.reconcile.tenure import Identity
from mimic_operator.reconcile.workload import Workload, read
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.runtime.kinds import Key, Kind

KEY = Key("team", "corp")
OWN = Identity(clusterwide=True, namespace="mimic-system", lease="mimic-operator")
OTHER = Identity(clusterwide=False, namespace="team-a", lease="mimic-operator")
HOST_NETWORK = {
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "team", "uid": "u", "resourceVersion": "1"},
    "spec": {"replicas": 1, "template": {"spec": {"hostNetwork": True}}},
}


class Server:
    """Takes statuses and Events."""

    def __init__(self) -> None:
        self.statuses: list[Mapping[str, Any]] = []
        self.events: list[tuple[str, str, str]] = []
        cluster: Any = self
        self.reporter = Reporter(cluster, OWN, lambda: 0.0, lambda: 1000.0, lambda result: None)

    async def apply(self, kind: Kind, manifest: Mapping[str, Any], **_: object) -> dict[str, Any]:
        self.statuses.append(manifest["status"])
        return {"metadata": {"resourceVersion": "2"}}

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> None:
        self.events.append((manifest["involvedObject"]["kind"], manifest["reason"], manifest["message"]))

    async def posted(self) -> list[tuple[str, str, str]]:
        await asyncio.sleep(0)
        return self.events


def state(memory: Memory, **status: Any) -> State:
    metadata = {"name": "corp", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": 1}
    spec = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}}
    manifest = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata, "spec": spec}
    entry, defaults = entry_of({**manifest, "status": status}), ProxyDefaults(image="mimic:1")
    return State(
        key=KEY, now=0.0, wall=0.0, memory=memory, defaults=defaults, on_upgrade=False, entry=entry, secret=NOT_ASKED
    )


def rollout(*owned: Workload) -> Rollout:
    return decide(Situation(now=0.0, backend="corp", target="mimic-corp-1", revised=0.0, owned=owned))


async def test_fault_18_a_workload_that_is_skipped_gets_an_event_once():
    server, memory = Server(), Memory()
    plan = Plan(rollout=rollout(read(HOST_NETWORK)), target="mimic-corp-1", current="mimic-corp-1")
    for _ in range(2):
        await server.reporter.report(state(memory), plan)
    note = "Deployment/web gets no sidecar: it uses the network of its host."
    assert await server.posted() == [("MimicBackend", "Skipped", note)]


async def test_fault_09_another_operator_that_has_the_backend_is_reported_once_and_nothing_is_written():
    server, memory = Server(), Memory()
    now = state(memory, operator=str(OTHER))
    assert now.entry is not None
    for _ in range(3):
        server.reporter.elsewhere(now, now.entry, OTHER)
    (event,) = await server.posted()
    assert event[:2] == ("MimicBackend", "ManagedElsewhere")
    assert server.statuses == []


async def test_fault_02_a_pods_annotation_that_is_no_name_is_an_event_that_does_not_repeat_it():
    server = Server()
    server.reporter.misnamed("team", "web-1")
    (event,) = await server.posted()
    assert event[:2] == ("Pod", "BadAnnotation")
    assert "NAME or NAMESPACE/NAME" in event[2]


async def test_the_status_names_its_operator_and_is_written_once():
    server, memory = Server(), Memory()
    plan = Plan(rollout=rollout(), target="mimic-corp-1", current="mimic-corp-1")
    await server.reporter.report(state(memory), plan)
    (status,) = server.statuses
    assert status["operator"] == "cluster:mimic-system/mimic-operator"
    assert await server.reporter.report(state(memory), plan) is None
    assert len(server.statuses) == 1
