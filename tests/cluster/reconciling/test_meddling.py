"""What becomes of the operator's own objects when somebody else lays hands on them."""

from pathlib import Path

import httpx2
import pytest

from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import MERGE, SELECTED, Cluster, image, settled, versions
from fakes.reconcilers import LEASE, Reconciler, at_work, conditions, eventually

pytestmark = pytest.mark.timeout(180)
SELECTING = {"injection": {"workloads": {"selector": SELECTED}}}


def set_status(cluster: Cluster, status: dict[str, object] | None) -> None:
    path = cluster.path("mimicbackends", "corp/status", "mimic.dev/v1alpha1")
    assert cluster.http.patch(path, json={"status": status}, headers=MERGE).is_success


def halted(cluster: Cluster, operator: Reconciler, kubelet: Kubelet) -> str:
    """Workloads a and b in the middle of a rollout to an image that does not start; the revision before."""
    for name in ("a", "b"):
        cluster.workload(name)
    cluster.backend(proxy=image("1"), rollout={"progressTimeout": "10s"}, **SELECTING)
    old = settled(cluster, operator)
    kubelet.fine = {old}
    cluster.backend(proxy=image("broken"), rollout={"progressTimeout": "10s"}, **SELECTING)
    eventually(lambda: cluster.phase() == "Halted", lambda: (cluster.status(), operator.log.read_text()), 40)
    return old


def test_a_status_that_somebody_changes_is_written_again(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    """Not even in a halted rollout do new pods get the revision that does not start."""
    old = halted(cluster, operator, kubelet)
    for damage in (
        None,
        {"currentRevision": "mimic-nonsense", "rollout": {"phase": "Complete", "done": 0, "total": 0}},
    ):
        set_status(cluster, damage)
        eventually(lambda: cluster.phase() == "Halted", cluster.status)
        assert cluster.status()["currentRevision"] == old
        assert conditions(cluster.seen())["Degraded"] == ("True", "ProgressTimeout")
    assert cluster.revision("b") == old


def test_children_that_somebody_deletes_or_edits_are_as_they_were(cluster: Cluster, operator: Reconciler):
    cluster.backend()
    revision = settled(cluster, operator)
    where = cluster.path("configmaps", revision, "v1")
    text = cluster.get("configmaps", revision, "v1")["data"]
    data = cluster.get("controllerrevisions", revision)["data"]
    cluster.delete("configmaps", revision, "v1")
    eventually(lambda: (found := cluster.get("configmaps", revision, "v1")) and found["data"] == text)
    cluster.delete("controllerrevisions", revision, "apps/v1")
    eventually(lambda: (found := cluster.get("controllerrevisions", revision)) and found["data"] == data)
    cluster.patch(where, {"data": {"mimic.yaml": "chat_api_url: https://evil.example\n", "theirs": "kept"}})
    eventually(lambda: cluster.get("configmaps", revision, "v1")["data"] == {**text, "theirs": "kept"})
    cluster.patch(where, {"metadata": {"ownerReferences": None, "labels": None}})
    eventually(lambda: cluster.get("configmaps", revision, "v1")["metadata"].get("ownerReferences"))


def test_applied_fields_that_somebody_edits_are_as_they_were(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    cluster.backend(**SELECTING)
    revision = settled(cluster, operator)
    other = {"spec": {"template": {"metadata": {"annotations": {"mimic.dev/revision": "mimic-other", "team": "a"}}}}}
    cluster.patch(cluster.path("deployments", "web"), other)
    eventually(lambda: cluster.revision("web") == revision, operator.log.read_text)
    assert cluster.get("deployments", "web")["spec"]["template"]["metadata"]["annotations"]["team"] == "a"
    settled(cluster, operator)


def test_a_backend_that_is_made_anew_under_its_name_has_children_of_its_own(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("web")
    first = cluster.backend(**SELECTING)["metadata"]["uid"]
    revision = settled(cluster, operator)
    cluster.delete("mimicbackends", "corp", "mimic.dev/v1alpha1")
    second = cluster.backend(**SELECTING)["metadata"]["uid"]
    assert second != first
    assert settled(cluster, operator) == revision

    def owners() -> set[str]:
        found = [cluster.get("configmaps", revision, "v1"), cluster.get("controllerrevisions", revision)]
        return {owner["uid"] for each in found for owner in (each or {"metadata": {}})["metadata"]["ownerReferences"]}

    eventually(
        lambda: all(cluster.get(*of) for of in (("configmaps", revision, "v1"), ("controllerrevisions", revision)))
    )
    eventually(lambda: owners() == {second}, operator.log.read_text, 60)
    assert settled(cluster, operator) == revision == cluster.revision("web")


def test_a_namespace_that_goes_during_a_rollout_leaves_nothing_behind(
    cluster: Cluster, admin: httpx2.Client, operator: Reconciler, kubelet: Kubelet
):
    for name in ("a", "b", "c"):
        cluster.workload(name)
    cluster.backend(**SELECTING)
    eventually(lambda: cluster.revision("a"), operator.log.read_text)
    path = f"/api/v1/namespaces/{cluster.namespace}"
    assert admin.delete(path).is_success
    eventually(lambda: admin.get(path).status_code == 404, lambda: admin.get(path).text, 60)
    eventually(lambda: 'mimic_operator_failing{reason="forbidden"} 0.0' in operator.metrics(), operator.metrics)
    assert not operator.said("failed with a defect")


def test_a_lease_that_somebody_deletes_is_taken_again(cluster: Cluster, admin: httpx2.Client, operator: Reconciler):
    cluster.backend()
    settled(cluster, operator)
    assert admin.delete(LEASE).is_success
    holder = eventually(lambda: admin.get(LEASE).json().get("spec", {}).get("holderIdentity"), operator.log.read_text)
    assert holder.startswith("reconciler_")
    assert operator.status() is None


def test_a_halt_is_known_to_the_next_leader(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    old = halted(cluster, operator, kubelet)
    operator.stop()
    before = versions(cluster)
    with at_work(control_plane.kubeconfig, tmp_path, "second") as second:
        assert versions(cluster) == before
        assert (cluster.phase(), cluster.revision("b"), cluster.status()["currentRevision"]) == ("Halted", old, old)
        kubelet.fine = None
        settled(cluster, second)
