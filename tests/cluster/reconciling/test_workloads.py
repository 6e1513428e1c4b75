"""Every kind of workload, and those that do not take a change as one wishes."""

from collections.abc import Iterator
from typing import Any

import pytest
from lightkube import KubeConfig

from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import SELECTED, Cluster, image, settled
from fakes.reconcilers import Reconciler, conditions, eventually
from mimic_operator.reconcile.rollout import fields_for
from mimic_operator.reconcile.workload import fields_to_apply, read
from mimic_operator.resource.naming import MANAGER_WORKLOADS
from mimic_operator.runtime.client import Cluster as Client
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import DEPLOYMENT

pytestmark = pytest.mark.timeout(180)
SELECTING = {"injection": {"workloads": {"selector": SELECTED}}}


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[list[str]]:
    """Two that no kubelet runs; only pods that tolerate everything are put there."""
    names = [f"{cluster.namespace}-{number}" for number in (1, 2)]
    for name in names:
        taint = {"key": "played", "effect": "NoSchedule"}
        manifest = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": [taint]}}
        assert cluster.http.post("/api/v1/nodes", json=manifest).status_code == 201
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2099-01-01T00:00:00Z"}
        room = {"cpu": "4", "memory": "8Gi", "pods": "100"}
        status = {"status": {"conditions": [ready], "capacity": room, "allocatable": room}}
        headers = {"content-type": "application/strategic-merge-patch+json"}
        assert cluster.http.patch(f"/api/v1/nodes/{name}/status", json=status, headers=headers).is_success
    yield names
    for name in names:
        assert cluster.http.delete(f"/api/v1/nodes/{name}").is_success


def counts(cluster: Cluster, name: str) -> tuple[int, int, int]:
    """Of a DaemonSet: nodes, those with the newest pod, those where it is available."""
    status = cluster.get("daemonsets", name).get("status", {})
    fields = ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    return tuple(status.get(field, 0) for field in fields)  # type: ignore[return-value]


def message(cluster: Cluster) -> str:
    return str(cluster.status().get("rollout", {}).get("message", ""))


def test_daemon_sets_are_rolled_one_after_another_and_released(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet, nodes: list[str]
):
    for name in ("a", "b"):
        cluster.workload(name, "daemonsets")
        eventually(lambda name=name: counts(cluster, name) == (2, 2, 2), lambda: cluster.get("daemonsets"), 30)
    before = cluster.get("daemonsets", "a")["spec"]["template"]
    cluster.backend(proxy=image("1"), **SELECTING)
    old = settled(cluster, operator)
    assert [cluster.revision(name, "daemonsets") for name in ("a", "b")] == [old, old]
    assert [counts(cluster, name) for name in ("a", "b")] == [(2, 2, 2)] * 2
    eventually(lambda: cluster.status()["injected"]["current"] == 4, cluster.status, 15)

    kubelet.fine = {old}
    cluster.backend(proxy=image("broken"), rollout={"progressTimeout": "10s"}, **SELECTING)
    eventually(lambda: cluster.phase() == "Halted", lambda: (cluster.status(), operator.log.read_text()), 40)
    assert cluster.revision("b", "daemonsets") == old
    assert "DaemonSet/a" in cluster.status()["rollout"]["message"]
    assert "1 of 2 pods are available" in cluster.status()["rollout"]["message"]
    kubelet.fine = None
    settled(cluster, operator)
    labels = {"metadata": {"labels": {"ai": "no"}}}
    cluster.patch(cluster.path("daemonsets", "a"), labels)
    eventually(lambda: cluster.get("daemonsets", "a")["spec"]["template"] == before, operator.log.read_text)


def test_partitioned_and_on_delete_workloads_are_written_and_hold_nobody_up(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet, nodes: list[str]
):
    partition = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    cluster.workload("a-part", "statefulsets", serviceName="a", updateStrategy=partition)
    cluster.workload("b-waits", "daemonsets", updateStrategy={"type": "OnDelete"})
    cluster.workload("web")
    cluster.backend(**SELECTING)
    target = settled(cluster, operator)
    assert cluster.revision("a-part", "statefulsets") == target
    assert cluster.revision("b-waits", "daemonsets") == target
    assert cluster.revision("web") == target
    assert "StatefulSet/a-part (Partitioned)" in message(cluster)
    assert "DaemonSet/b-waits (OnDelete)" in message(cluster)


def test_what_was_not_settled_before_is_reported_and_tried_last(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    kubelet.stuck = {"a-shaky"}
    for name in ("a-shaky", "b", "c"):
        cluster.workload(name)
    available = "availableReplicas"
    for name in ("b", "c"):
        eventually(lambda name=name: cluster.get("deployments", name).get("status", {}).get(available) == 2)
    cluster.backend(rollout={"progressTimeout": "10s"}, **SELECTING)
    said = "not settled before, so they come last: Deployment/a-shaky"
    eventually(lambda: said in message(cluster), operator.log.read_text)
    written = eventually(lambda: cluster.revision("a-shaky"), operator.log.read_text, 60)
    assert [cluster.revision(name) for name in ("b", "c")] == [written, written]
    eventually(lambda: cluster.phase() == "Halted", lambda: (cluster.status(), operator.log.read_text()), 40)
    assert conditions(cluster.seen())["Degraded"] == ("True", "ProgressTimeout")
    kubelet.stuck = set()
    settled(cluster, operator)


def test_pods_that_a_quota_refuses_halt_at_once_and_the_backend_says_why(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    for name in ("a", "b"):
        cluster.workload(name)
        eventually(lambda name=name: cluster.get("deployments", name).get("status", {}).get("availableReplicas") == 2)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "4"}}}
    assert cluster.http.post(f"/api/v1/namespaces/{cluster.namespace}/resourcequotas", json=quota).status_code == 201
    full = cluster.path("resourcequotas", "full", "v1")
    eventually(lambda: cluster.http.get(full).json().get("status", {}).get("used") == {"pods": "4"})
    cluster.backend(**SELECTING)
    eventually(lambda: cluster.phase() == "Halted", lambda: (cluster.status(), operator.log.read_text()), 30)
    found = conditions(cluster.seen())
    assert found["Degraded"] == ("True", "ReplicaFailure")
    assert found["Injectable"] == ("False", "QuotaOrLimits")
    assert cluster.revision("b") is None
    assert cluster.http.delete(full).is_success
    eventually(lambda: cluster.phase() == "Complete", lambda: (cluster.status(), operator.log.read_text()), 90)


def test_pods_that_come_without_the_sidecar_are_not_settled(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    """The template carries the revision and all pods are available, but nobody has injected anything."""
    kubelet.plain = True
    for name in ("a", "b"):
        cluster.workload(name)
    cluster.backend(rollout={"progressTimeout": "10s"}, **SELECTING)
    eventually(lambda: cluster.phase() == "Halted", lambda: (cluster.status(), operator.log.read_text()), 40)
    assert "Deployment/a does not settle: its pods came without the new sidecar" in message(cluster)
    assert cluster.revision("b") is None
    eventually(lambda: cluster.status()["injected"]["missing"] == 2, cluster.status, 15)
    kubelet.plain = False
    settled(cluster, operator)


def test_what_another_controller_makes_is_never_written_to(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("made")
    cluster.workload("web")
    owner = {"apiVersion": "example.com/v1", "kind": "Made", "name": "x", "uid": "0-0", "controller": True}
    cluster.patch(cluster.path("deployments", "made"), {"metadata": {"ownerReferences": [owner]}})
    cluster.backend(**SELECTING)
    target = settled(cluster, operator)
    assert [cluster.revision(name) for name in ("made", "web")] == [None, target]
    assert cluster.status()["rollout"]["total"] == 1


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made-anew"])
async def test_a_workload_that_was_deleted_is_not_made_anew(cluster: Cluster, control_plane: ControlPlane, again: bool):
    """It is deleted between the read and the write."""
    cluster.workload("web", replicas=0)
    seen: dict[str, Any] = cluster.get("deployments", "web")
    cluster.delete("deployments", "web", "apps/v1")
    if again:
        cluster.workload("web", replicas=0)
    manifest = fields_to_apply(read(seen), fields_for("corp", "mimic-corp-1"))
    async with Client(KubeConfig.from_file(control_plane.kubeconfig)) as client:
        with pytest.raises(Fault) as raised:
            await client.apply(DEPLOYMENT, manifest, manager=MANAGER_WORKLOADS, force=False)
    assert raised.value.reason == ("invalid" if again else "conflict")
    found = cluster.get("deployments", "web")
    assert found is None or "annotations" not in found["spec"]["template"]["metadata"]
