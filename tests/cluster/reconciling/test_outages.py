"""What happens when a leader dies, or the API server goes, refuses or forgets."""

import time
from pathlib import Path

import httpx2
import pytest

from fakes.api_proxy import proxied
from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import SELECTED, Cluster, image, settled, versions
from fakes.reconcilers import LEASE, Reconciler, conditions, eventually

pytestmark = pytest.mark.timeout(180)
TAKEOVER_SECONDS = 30.0
"""A Lease holds for fifteen, and anybody tries every two; the rest is the busy machine's."""


def test_another_takes_over_from_a_leader_that_dies_and_nothing_is_written_twice(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    spec = {"injection": {"workloads": {"selector": SELECTED}}}
    for name in ("a", "b", "c"):
        cluster.workload(name)
    cluster.backend(proxy=image("1"), **spec)
    settled(cluster, operator)
    standby = Reconciler(control_plane.kubeconfig, tmp_path, "standby").start()
    try:
        eventually(lambda: standby.said("Health and metrics"))
        generations = {name: cluster.get("deployments", name)["metadata"]["generation"] for name in ("a", "b", "c")}
        # The rollout stays where it is until its leader is dead: nothing becomes ready.
        kubelet.idle = True
        cluster.backend(proxy=image("2"), **spec)
        eventually(lambda: cluster.phase() == "Progressing")
        operator.kill()
        kubelet.idle = False
        killed = time.monotonic()
        eventually(standby.leads, standby.log.read_text, TAKEOVER_SECONDS)
        took = time.monotonic() - killed
        print(f"followed after {took:.1f} s")
        settled(cluster, standby)
        after = {name: cluster.get("deployments", name)["metadata"]["generation"] for name in ("a", "b", "c")}
        assert after == {name: generation + 1 for name, generation in generations.items()}
    finally:
        standby.stop()


def test_a_leader_that_ends_in_order_is_followed_at_once(
    control_plane: ControlPlane, installed: httpx2.Client, operator: Reconciler, tmp_path: Path
):
    standby = Reconciler(control_plane.kubeconfig, tmp_path, "standby").start()
    try:
        eventually(lambda: standby.said("Health and metrics"))
        assert operator.stop() == 0
        spec = installed.get(LEASE).json()["spec"]
        assert spec["holderIdentity"].partition("_")[0] in ("", "standby"), "it has kept the Lease"
        eventually(standby.leads, standby.log.read_text)
    finally:
        standby.stop()


def test_a_lost_lease_ends_the_process(control_plane: ControlPlane, operator: Reconciler, admin: httpx2.Client):
    stolen = {"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 1}}
    assert admin.patch(LEASE, json=stolen, headers={"content-type": "application/merge-patch+json"}).is_success
    eventually(lambda: operator.status() is not None, operator.log.read_text)
    assert operator.status() == 1
    assert operator.said("Lease is lost")


def test_goes_on_after_the_api_server_was_restarted(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("web")
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    before = settled(cluster, operator)
    control_plane.restart_apiserver(kill=True)
    cluster.backend(proxy=image("after"), injection={"workloads": {"selector": SELECTED}})
    assert settled(cluster, operator) != before
    assert operator.status() is None


def test_goes_on_after_watches_were_cut_and_versions_forgotten(
    cluster: Cluster, control_plane: ControlPlane, kubelet: Kubelet, tmp_path: Path
):
    with proxied(control_plane) as proxy:
        operator = Reconciler(proxy.kubeconfig(tmp_path), tmp_path).start()
        try:
            eventually(lambda: operator.said("was looked at"), operator.log.read_text)
            cluster.workload("web")
            cluster.backend(injection={"workloads": {"selector": SELECTED}})
            before = settled(cluster, operator)
            forgotten: set[str] = set()

            def forget(method: str, path: str, query: dict[str, str]) -> tuple[int, dict[str, str]] | None:
                """410 once for each kind that is watched on."""
                if query.get("watch") == "true" and path not in forgotten:
                    forgotten.add(path)
                    return 410, {}
                return None

            proxy.rules.append(forget)
            assert proxy.cut_watches() > 5
            eventually(lambda: len(forgotten) > 5, operator.log.read_text)
            cluster.backend(proxy=image("after"), injection={"workloads": {"selector": SELECTED}})
            assert settled(cluster, operator) != before
        finally:
            operator.stop()


def test_heeds_a_busy_server_and_tries_conflicts_again(
    cluster: Cluster, control_plane: ControlPlane, kubelet: Kubelet, tmp_path: Path
):
    refusals = [(429, {"retry-after": "1"}), (409, {}), (503, {}), (429, {}), (409, {}), (500, {})]

    def refuse(method: str, path: str, query: dict[str, str]) -> tuple[int, dict[str, str]] | None:
        return refusals.pop() if method == "PATCH" and cluster.namespace in path and refusals else None

    with proxied(control_plane) as proxy:
        proxy.rules.append(refuse)
        operator = Reconciler(proxy.kubeconfig(tmp_path), tmp_path).start()
        try:
            cluster.workload("web")
            cluster.backend(injection={"workloads": {"selector": SELECTED}})
            revision = settled(cluster, operator)
            assert cluster.revision("web") == revision
            assert not refusals
            assert 'mimic_operator_reconciles_total{reason="throttled",result="error"}' in operator.metrics()
        finally:
            operator.stop()


def test_a_reconciler_without_rights_says_so_and_comes_back(
    cluster: Cluster, control_plane: ControlPlane, tmp_path: Path
):
    """A refusal is no reason to end: somebody may be mending the role."""
    allowed: list[bool] = []

    def forbid(method: str, path: str, query: dict[str, str]) -> tuple[int, dict[str, str]] | None:
        return (403, {}) if method == "PATCH" and cluster.namespace in path and not allowed else None

    with proxied(control_plane) as proxy:
        proxy.rules.append(forbid)
        operator = Reconciler(proxy.kubeconfig(tmp_path), tmp_path).start()
        try:
            cluster.backend()
            eventually(lambda: operator.said('"reason":"forbidden"'), operator.log.read_text)
            allowed.append(True)
            settled(cluster, operator)
        finally:
            operator.stop()


def test_no_line_of_the_log_holds_a_pod_specification(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    cluster.patch(
        cluster.path("deployments", "web"),
        {
            "spec": {
                "template": {
                    "spec": {
                        "containers": [{"name": "web", "image": "web", "env": [{"name": "K", "value": "hush-hush"}]}]
                    }
                }
            }
        },
    )
    cluster.backend(injection={"workloads": {"selector": SELECTED}}, auth={"grant": "None"})
    settled(cluster, operator)
    lines = list(operator.lines())
    assert lines
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert not operator.said("hush-hush")
    assert conditions(cluster.seen())["Ready"][0] == "True"
    assert versions(cluster)
