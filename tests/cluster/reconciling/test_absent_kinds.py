"""What the leader does while a kind, a right or a namespace is away: it waits, says so, and goes on when it is back.

On a control plane of its own: the CustomResourceDefinition that is deleted here is everyone's.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from fakes import definition
from fakes.api_proxy import proxied
from fakes.control_plane import ControlPlane, running
from fakes.kubelet import Kubelet
from fakes.person import SELECTED, Cluster, settled
from fakes.reconcilers import Reconciler, at_work, conditions, eventually

pytestmark = pytest.mark.timeout(240)
FAST = {"DEFINITION_POLL_SECONDS": "0.5", "WATCH_RETRY_SECONDS": "1", "WATCH_SECONDS": "20"}
MONITORS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/podmonitors.monitoring.coreos.com"


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with running(tmp_path_factory.mktemp("absent")) as plane:
        yield plane


@pytest.fixture(scope="module")
def admin(control_plane: ControlPlane) -> Iterator[httpx2.Client]:
    with control_plane.http() as http:
        yield http


def podmonitors() -> dict[str, object]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "podmonitors", "singular": "podmonitor", "kind": "PodMonitor", "listKind": "PodMonitorList"}
    head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    metadata = {"name": "podmonitors.monitoring.coreos.com"}
    spec = {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {**head, "metadata": metadata, "spec": spec}


def test_fault_03_a_deleted_definition_releases_nothing_and_all_goes_on_when_it_is_back(
    cluster: Cluster, control_plane: ControlPlane, installed: httpx2.Client, kubelet: Kubelet, tmp_path: Path
):
    """The sidecars were taken out of running workloads, one after another."""
    spec = {"injection": {"workloads": {"selector": SELECTED}}}
    with at_work(control_plane.kubeconfig, tmp_path, **FAST) as operator:
        for name in ("a", "b"):
            cluster.workload(name)
        cluster.backend(**spec)
        revision = settled(cluster, operator)
        before = {name: cluster.get("deployments", name)["metadata"]["generation"] for name in ("a", "b")}
        assert installed.delete(f"{definition.BASE}/{definition.NAME}").is_success
        eventually(lambda: operator.said("There is no CustomResourceDefinition"), operator.log.read_text)
        definition.installed(installed)
        eventually(lambda: operator.said("The CustomResourceDefinition is there"), operator.log.read_text)
        # Its MimicBackends are gone; that no one applied them again yet is no decision about the workloads.
        other = Cluster(installed, "default")
        other.backend("unrelated")
        settled(other, operator, "unrelated")
        assert {name: cluster.get("deployments", name)["metadata"]["generation"] for name in ("a", "b")} == before
        cluster.backend(**spec)
        assert settled(cluster, operator) == revision
        assert {name: cluster.get("deployments", name)["metadata"]["generation"] for name in ("a", "b")} == before
        assert operator.status() is None


def test_fault_06_a_namespace_that_is_gone_is_skipped_until_it_is_back(
    cluster: Cluster, control_plane: ControlPlane, kubelet: Kubelet, tmp_path: Path
):
    """Its Roles vanish with it; the 403 of one tenant ended the operator of all."""
    away: list[bool] = []

    def refuse(method: str, path: str, query: dict[str, str]) -> tuple[int, dict[str, str]] | None:
        return (403, {}) if away and "/namespaces/gone/" in path else None

    gone = Cluster(cluster.http, "gone")
    assert cluster.http.post("/api/v1/namespaces", json={"metadata": {"name": "gone"}}).is_success
    gone.backend()
    with proxied(control_plane) as proxy:
        proxy.rules.append(refuse)
        settings = {**FAST, "WATCH_NAMESPACES": f"gone,{cluster.namespace}"}
        with at_work(proxy.kubeconfig(tmp_path), tmp_path, **settings) as operator:
            settled(gone, operator)
            away.append(True)
            proxy.cut_watches()
            eventually(lambda: operator.said("Namespace gone is skipped until it is back"), operator.log.read_text)
            assert "mimic_operator_namespaces_skipped 1.0" in operator.metrics()
            gone.backend(models={"static": ["a"]})
            cluster.backend()
            settled(cluster, operator)
            away.clear()
            eventually(lambda: operator.said("Namespace gone is back"), operator.log.read_text)
            settled(gone, operator)
            assert operator.status() is None
        # A leader that starts while the namespace is away waits for it no longer than for a response.
        away.append(True)
        with at_work(proxy.kubeconfig(tmp_path), tmp_path, "second", **settings) as operator:
            cluster.backend(models={"static": ["b"]})
            settled(cluster, operator)


def test_fault_11_a_first_list_that_never_succeeds_ends_with_the_name_of_the_kind(
    control_plane: ControlPlane, installed: httpx2.Client, tmp_path: Path
):
    """A leader with trimmed rights looked healthy and did nothing."""

    def refuse(method: str, path: str, query: dict[str, str]) -> tuple[int, dict[str, str]] | None:
        return (403, {}) if path.endswith("/statefulsets") else None

    with proxied(control_plane) as proxy:
        proxy.rules.append(refuse)
        settings = {**FAST, "SYNC_DEADLINE_SECONDS": "3"}
        operator = Reconciler(proxy.kubeconfig(tmp_path), tmp_path, **settings).start()
        try:
            eventually(lambda: operator.status() is not None, operator.log.read_text)
            assert operator.status() == 1
            assert operator.said("The first list did not succeed within 3 s. statefulsets: list statefulsets: 403")
        finally:
            operator.stop()


def test_fault_17_a_kind_that_comes_later_is_watched_without_a_restart(
    cluster: Cluster, control_plane: ControlPlane, installed: httpx2.Client, tmp_path: Path
):
    """PodMonitor was looked for once; and a MimicBackend that wants one on a cluster without it never got a status."""
    shared = {"mode": "Deployment", "deployment": {"access": "Open", "podMonitor": {"enabled": True}}}
    with at_work(control_plane.kubeconfig, tmp_path, **FAST) as operator:
        assert operator.said("The cluster has no podmonitors")
        cluster.backend(**shared)
        eventually(lambda: "Ready" in conditions(cluster.seen()), operator.log.read_text)
        assert cluster.get("deployments", "mimic-corp") is not None
        assert installed.post(MONITORS.rpartition("/")[0], json=podmonitors()).is_success
        eventually(lambda: operator.said("The watch of podmonitors works again"), operator.log.read_text)
        assert operator.status() is None
    assert installed.delete(MONITORS).is_success
