"""What is written to the cluster, and what becomes of refusals."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mimic_operator.reconcile.apply import Applier
from mimic_operator.reconcile.plan import Plan
from mimic_operator.reconcile.report import observed
from mimic_operator.reconcile.rollout import Situation, decide
from mimic_operator.reconcile.state import Memory, State
from mimic_operator.reconcile.status import NOT_ASKED, conditions_of
from mimic_operator.reconcile.store import ObservedChild, Store, entry_of
from mimic_operator.reconcile.workload import Ref, Workload, read
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Key, Kind

KEY = Key("team", "corp")
WEB = {
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "team", "uid": "u", "resourceVersion": "1"},
    "spec": {"replicas": 1, "template": {}},
}


class Server:
    """Takes what it is given, but for kinds that it refuses."""

    def __init__(self, **refused: Fault) -> None:
        self.refused = refused
        self.written: list[str] = []
        self.deleted: list[tuple[str, str]] = []
        self.annotations: dict[str, str] = {}
        self.now = 0.0
        cluster: Any = self
        self.applier = Applier(cluster, Store(lambda key: None), lambda: self.now, lambda: 1000.0 + self.now)

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        self.deleted.append((kind.kind, name))

    async def apply(self, kind: Kind, manifest: Mapping[str, Any], **_: object) -> dict[str, Any]:
        self.written.append(kind.kind)
        self.annotations = dict(manifest["metadata"].get("annotations") or {})
        if kind.kind in self.refused:
            raise self.refused[kind.kind]
        return {**WEB, **manifest, "metadata": {**WEB["metadata"], **manifest["metadata"], "resourceVersion": "2"}}


def manifest(kind: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "mimic-corp", "namespace": "team"}}


def state(memory: Memory) -> State:
    metadata = {"name": "corp", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": 1}
    spec = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}}
    entry = entry_of({"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata, "spec": spec})
    defaults = ProxyDefaults(image="mimic:1")
    return State(
        key=KEY, now=0.0, wall=0.0, memory=memory, defaults=defaults, on_upgrade=False, entry=entry, secret=NOT_ASKED
    )


def planned(*kinds: str, workload: Workload | None = None) -> Plan:
    owned = [workload] if workload is not None else []
    found = decide(Situation(now=0.0, backend="corp", target="mimic-corp-1", revised=0.0, owned=owned))
    return Plan(
        rollout=found, target="mimic-corp-1", current="mimic-corp-1", manifests=tuple(manifest(kind) for kind in kinds)
    )


async def test_fault_04_a_pod_monitor_on_a_cluster_without_that_kind_holds_nothing_up():
    server, memory = Server(PodMonitor=Fault("absent", "apply PodMonitor team/mimic-corp: 404")), Memory()
    plan = planned("PodMonitor", "Service", workload=read(WEB))
    await server.applier.apply(state(memory), plan)
    assert server.written == ["PodMonitor", "Service", "Deployment"]
    now = state(memory)
    assert now.entry is not None
    degraded = conditions_of(observed(now, now.entry, plan))["Degraded"]
    assert (degraded.status, degraded.reason, degraded.message) == (
        "True",
        "Refused",
        "PodMonitor/mimic-corp cannot be written: apply PodMonitor team/mimic-corp: 404",
    )


async def test_what_was_refused_is_tried_again_after_a_minute():
    server, memory = Server(PodMonitor=Fault("absent", "404")), Memory()
    for after in (0.0, 30.0, 29.0, 2.0):
        server.now += after
        await server.applier.apply(state(memory), planned("PodMonitor"))
    assert server.written == ["PodMonitor", "PodMonitor"]
    assert memory.retry(server.now) == 60.0
    server.refused = {}
    server.now += 61.0
    await server.applier.apply(state(memory), planned("PodMonitor"))
    assert memory.refused_children == {}


@pytest.mark.parametrize("kind", ["ConfigMap", "ControllerRevision"])
async def test_no_workload_is_written_without_what_its_pods_mount(kind: str):
    server = Server(**{kind: Fault("forbidden", "403 exceeded quota: count/configmaps")})
    await server.applier.apply(state(Memory()), planned(kind, workload=read(WEB)))
    assert server.written == [kind]


async def test_an_api_server_that_does_not_answer_ends_the_pass():
    server = Server(Service=Fault("unavailable", "503"))
    with pytest.raises(Fault):
        await server.applier.apply(state(Memory()), planned("Service"))


async def test_a_workload_gets_a_note_of_what_was_written_and_when():
    server, memory = Server(), Memory()
    await server.applier.apply(state(memory), planned(workload=read(WEB)))
    after = server.applier.store.details[Ref("team", "Deployment", "web")]
    assert after.written is not None
    assert (after.written.revision, after.written.losses, after.written.at) == ("mimic-corp-1", 0, 1000.0)


def seen(version: str, digest: str = "", *, untouched: bool = True) -> ObservedChild:
    annotations = {"mimic.dev/applied-hash": digest} if digest else None
    return ObservedChild(version, "corp", "2026-01-01T00:00:00Z", None, annotations, untouched)


NAME = ("Service", "mimic-corp")


async def test_a_child_is_applied_once_and_again_when_it_or_the_wish_has_changed():
    server, memory = Server(), Memory()
    await server.applier.apply(state(memory), planned("Service"))
    assert server.written == ["Service"]
    same = replace(state(memory), children={NAME: seen("2")})
    await server.applier.apply(same, planned("Service"))
    assert server.written == ["Service"]
    drifted = replace(state(memory), children={NAME: seen("3", untouched=False)})
    await server.applier.apply(drifted, planned("Service"))
    assert server.written == ["Service"] * 2
    gone = replace(state(memory), children={})
    await server.applier.apply(gone, planned("Service"))
    assert server.written == ["Service"] * 3


@pytest.mark.parametrize(("untouched", "written"), [(True, []), (False, ["Service"])])
async def test_what_an_operator_before_applied_is_not_written_again_unless_it_was_touched(
    untouched: bool, written: list[str]
):
    first = Server()
    await first.applier.apply(state(Memory()), planned("Service"))
    digest = first.annotations["mimic.dev/applied-hash"]
    server = Server()
    after = replace(state(Memory()), children={NAME: seen("7", digest, untouched=untouched)})
    await server.applier.apply(after, planned("Service"))
    assert server.written == written


async def test_what_is_not_wanted_any_more_is_deleted_and_forgotten():
    server, memory = Server(), Memory()
    await server.applier.apply(state(memory), planned("Service"))
    await server.applier.apply(state(memory), replace(planned(), deletes=(NAME,), unused={NAME: 5.0}))
    assert (server.deleted, memory.applied, memory.unused) == ([NAME], {}, {NAME: 5.0})
