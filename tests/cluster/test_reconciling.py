"""The reconciler on a real API server, with the controllers that make pods of workloads.

No kubelet and no webhook run here: fakes/kubelet.py plays them, so that these tests are about what the operator makes
of what it sees.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.reconcilers import Reconciler, conditions, eventually
from mimic_operator.resource.crd import definition

pytestmark = pytest.mark.timeout(180)
APPLY = {"content-type": "application/apply-patch+yaml"}
MERGE = {"content-type": "application/merge-patch+json"}
BACKENDS = "/apis/mimic.dev/v1alpha1/namespaces/{}/mimicbackends"
SELECTED = {"matchLabels": {"ai": "yes"}}


@pytest.fixture(scope="module")
def installed(admin: httpx2.Client) -> httpx2.Client:
    """The administrator of a cluster that knows MimicBackend."""
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    made = admin.post(crds, json=definition())
    assert made.status_code in (201, 409), made.text
    path = BACKENDS.format("default")
    eventually(lambda: admin.get(path).status_code == 200)
    return admin


@pytest.fixture
def operator(control_plane: ControlPlane, installed: httpx2.Client, tmp_path: Path) -> Iterator[Reconciler]:
    """A leading one, for the whole cluster."""
    reconciler = Reconciler(control_plane.kubeconfig, tmp_path).start()
    try:
        eventually(lambda: reconciler.said("was looked at"), lambda: reconciler.log.read_text())
        yield reconciler
    finally:
        reconciler.stop()


@pytest.fixture
def kubelet(control_plane: ControlPlane, namespace: str) -> Iterator[Kubelet]:
    with control_plane.http() as http, Kubelet(http, namespace) as played:
        yield played


class Cluster:
    """What a person does in one namespace."""

    def __init__(self, http: httpx2.Client, namespace: str) -> None:
        self.http, self.namespace = http, namespace

    def backend(self, name: str = "corp", **spec: Any) -> dict[str, Any]:
        """Makes or changes one."""
        given = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}, **spec}
        manifest = {
            "apiVersion": "mimic.dev/v1alpha1",
            "kind": "MimicBackend",
            "metadata": {"name": name},
            "spec": given,
        }
        path = f"{BACKENDS.format(self.namespace)}/{name}?fieldManager=person&force=true"
        answer = self.http.patch(path, json=manifest, headers=APPLY)
        assert answer.is_success, answer.text
        return answer.json()

    def workload(self, name: str, kind: str = "deployments", labels: dict[str, str] | None = None, **spec: Any) -> None:
        pods = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "web"}], "terminationGracePeriodSeconds": 0},
        }
        singular = {"deployments": "Deployment", "statefulsets": "StatefulSet", "cronjobs": "CronJob"}[kind]
        metadata = {"name": name, "labels": {"ai": "yes"} if labels is None else labels}
        if kind == "cronjobs":
            pods["spec"]["restartPolicy"] = "Never"
            inner: dict[str, Any] = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": pods}}}
        else:
            inner = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": pods, **spec}
        group = "batch/v1" if kind == "cronjobs" else "apps/v1"
        manifest = {"apiVersion": group, "kind": singular, "metadata": metadata, "spec": inner}
        answer = self.http.post(f"/apis/{group}/namespaces/{self.namespace}/{kind}", json=manifest)
        assert answer.status_code == 201, answer.text

    def get(self, kind: str, name: str = "", group: str = "apps/v1") -> Any:
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        answer = self.http.get(f"{root}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else ""))
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, answer.text
        return answer.json()

    def seen(self, name: str = "corp") -> dict[str, Any]:
        return self.get("mimicbackends", name, "mimic.dev/v1alpha1") or {}

    def status(self, name: str = "corp") -> dict[str, Any]:
        found: dict[str, Any] = self.seen(name).get("status", {})
        return found

    def phase(self, name: str = "corp") -> str:
        return str(self.status(name).get("rollout", {}).get("phase"))

    def revision(self, name: str, kind: str = "deployments") -> str | None:
        """That the pod template names."""
        metadata = self.get(kind, name)["spec"]["template"]["metadata"]
        found: str | None = metadata.get("annotations", {}).get("mimic.dev/revision")
        return found

    def patch(self, path: str, patch: dict[str, Any]) -> None:
        answer = self.http.patch(path, json=patch, headers=MERGE)
        assert answer.is_success, answer.text

    def path(self, kind: str, name: str, group: str = "apps/v1") -> str:
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return f"{root}/namespaces/{self.namespace}/{kind}/{name}"

    def delete(self, kind: str, name: str, group: str) -> None:
        assert self.http.delete(self.path(kind, name, group)).is_success


@pytest.fixture
def cluster(installed: httpx2.Client, namespace: str) -> Cluster:
    return Cluster(installed, namespace)


def image(tag: str) -> dict[str, Any]:
    return {"image": {"repository": "registry.example/mimic", "tag": tag}}


def test_a_backend_becomes_a_revision_and_its_configuration(cluster: Cluster, operator: Reconciler):
    cluster.backend()
    status = eventually(lambda: cluster.status(), operator.log.read_text)
    assert conditions(cluster.seen())["Ready"] == ("True", "Ready")
    name = status["currentRevision"]
    assert cluster.get("controllerrevisions", name)["data"]["name"] == name
    assert "llm.example" in cluster.get("configmaps", name, "v1")["data"]["mimic.yaml"]


def test_selected_workloads_take_the_sidecar_one_after_another(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    for name in ("a", "b", "c"):
        cluster.workload(name)
    cluster.workload("other", labels={"ai": "no"})
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    eventually(lambda: cluster.phase() == "Complete", lambda: (cluster.status(), operator.log.read_text()), 60)
    target = cluster.status()["updateRevision"]
    assert [cluster.revision(name) for name in ("a", "b", "c", "other")] == [target, target, target, None]
    assert cluster.status()["rollout"] == {"phase": "Complete", "done": 3, "total": 3}
    eventually(lambda: cluster.status()["injected"]["current"] == 6, lambda: cluster.status(), 15)


def settled(cluster: Cluster, operator: Reconciler, name: str = "corp") -> str:
    """Waits until a rollout has ended; the revision that everything is on."""
    generation = cluster.seen(name)["metadata"]["generation"]

    def ended() -> bool:
        status = cluster.status(name)
        return status.get("observedGeneration") == generation and cluster.phase(name) in ("Complete", "Idle")

    eventually(ended, lambda: (cluster.status(name), operator.log.read_text()), 60)
    revision: str = cluster.status(name)["currentRevision"]
    return revision


def versions(cluster: Cluster) -> dict[str, str]:
    """resourceVersion of everything that the operator writes, workloads apart."""
    found = [("mimicbackends", "mimic.dev/v1alpha1"), ("configmaps", "v1"), ("controllerrevisions", "apps/v1")]
    found += [("services", "v1"), ("serviceaccounts", "v1"), ("poddisruptionbudgets", "policy/v1")]
    return {
        f"{kind}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
        for kind, group in found
        for each in cluster.get(kind, group=group)["items"]
    }


def test_a_restarted_operator_changes_nothing(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    cluster.workload("web")
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    cluster.backend("shared", mode="Deployment", deployment={"open": True})
    settled(cluster, operator)
    settled(cluster, operator, "shared")
    eventually(lambda: cluster.status()["injected"]["current"] == 2, lambda: cluster.status(), 15)
    eventually(lambda: conditions(cluster.seen("shared"))["Ready"][0] == "True", lambda: cluster.status("shared"))
    generation = cluster.get("deployments", "web")["metadata"]["generation"]
    before = versions(cluster)
    operator.stop()
    second = Reconciler(control_plane.kubeconfig, tmp_path, "second").start()
    try:
        eventually(lambda: second.said("was looked at"), second.log.read_text)
        assert versions(cluster) == before
        assert cluster.get("deployments", "web")["metadata"]["generation"] == generation
    finally:
        second.stop()


def test_repairs_what_others_change_and_keeps_what_they_add(cluster: Cluster, operator: Reconciler):
    cluster.backend("shared", mode="Deployment", deployment={"open": True})
    settled(cluster, operator, "shared")
    service, budget = cluster.path("services", "mimic-shared", "v1"), "mimic-shared"
    cluster.patch(
        service, {"metadata": {"annotations": {"team": "a"}}, "spec": {"selector": {"mimic.dev/backend": "no"}}}
    )
    cluster.delete("poddisruptionbudgets", budget, "policy/v1")
    good = lambda: cluster.get("services", "mimic-shared", "v1")["spec"]["selector"]["mimic.dev/backend"] == "shared"
    eventually(good, operator.log.read_text)
    eventually(lambda: cluster.get("poddisruptionbudgets", budget, "policy/v1"), operator.log.read_text)
    assert cluster.get("services", "mimic-shared", "v1")["metadata"]["annotations"]["team"] == "a"


def test_deletes_what_is_no_longer_wanted(cluster: Cluster, operator: Reconciler):
    cluster.backend("shared", mode="Deployment", deployment={"open": True})
    settled(cluster, operator, "shared")
    cluster.backend("shared", mode="Deployment", deployment={"open": True, "pdb": {"enabled": False}})
    eventually(lambda: cluster.get("poddisruptionbudgets", group="policy/v1")["items"] == [], operator.log.read_text)
    cluster.backend("shared", mode="Sidecar", deployment=None)
    eventually(lambda: cluster.get("deployments")["items"] == [], operator.log.read_text)
    eventually(lambda: cluster.get("services", group="v1")["items"] == [], operator.log.read_text)


def test_nothing_is_stuck_when_the_operator_is_gone(cluster: Cluster, operator: Reconciler):
    cluster.backend("shared", mode="Deployment", deployment={"open": True})
    cluster.backend()
    settled(cluster, operator, "shared")
    revision = settled(cluster, operator)
    operator.kill()
    assert "finalizers" not in cluster.seen()["metadata"]
    for name in ("shared", "corp"):
        cluster.delete("mimicbackends", name, "mimic.dev/v1alpha1")
        assert cluster.seen(name) == {}
    eventually(lambda: cluster.get("deployments")["items"] == [], seconds=60)
    eventually(lambda: cluster.get("controllerrevisions", revision) is None, seconds=60)
    eventually(lambda: cluster.get("configmaps", revision, "v1") is None, seconds=60)


def test_a_configuration_change_reaches_the_pods_without_a_restart(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("web")
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    revision = settled(cluster, operator)
    generation = cluster.get("deployments", "web")["metadata"]["generation"]
    cluster.backend(chat={"url": "https://other.example/v1"}, injection={"workloads": {"selector": SELECTED}})
    text = lambda: cluster.get("configmaps", revision, "v1")["data"]["mimic.yaml"]
    eventually(lambda: "other.example" in text(), operator.log.read_text)
    assert settled(cluster, operator) == revision
    assert cluster.get("deployments", "web")["metadata"]["generation"] == generation


def test_an_image_that_does_not_start_halts_at_the_first_workload_and_a_fix_resumes(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    spec = {"injection": {"workloads": {"selector": SELECTED}}, "rollout": {"progressTimeout": "10s"}}
    for name in ("a", "b", "c"):
        cluster.workload(name)
    cluster.backend(proxy=image("1"), **spec)
    old = settled(cluster, operator)
    kubelet.broken = {"none yet"}
    cluster.backend(proxy=image("broken"), **spec)
    broken = eventually(lambda: (found := cluster.status()["updateRevision"]) != old and found, operator.log.read_text)
    kubelet.broken = {broken}
    eventually(lambda: cluster.phase() == "Halted", lambda: (cluster.status(), operator.log.read_text()), 40)
    seen = cluster.seen()
    assert conditions(seen)["Degraded"] == ("True", "ProgressTimeout")
    degraded = next(each for each in seen["status"]["conditions"] if each["type"] == "Degraded")
    assert "Deployment/a" in degraded["message"]
    assert [cluster.revision(name) for name in ("a", "b", "c")] == [broken, old, old]
    assert seen["status"]["currentRevision"] == old
    events = cluster.get("events", group="v1")["items"]
    assert any(each["reason"] == "Halted" and "Deployment/a" in each["message"] for each in events)

    cluster.patch(cluster.path("deployments", "b"), {"spec": {"replicas": 4}})
    pods = lambda: [
        each["metadata"]["annotations"]["mimic.dev/revision"]
        for each in cluster.get("pods", group="v1")["items"]
        if each["metadata"]["labels"]["app"] == "b"
    ]
    eventually(lambda: len(pods()) == 4)
    assert set(pods()) == {old}

    cluster.backend(proxy=image("2"), **spec)
    fixed = settled(cluster, operator)
    assert [cluster.revision(name) for name in ("a", "b", "c")] == [fixed] * 3
    assert conditions(cluster.seen())["Degraded"][0] == "False"


def test_a_backend_deleted_while_the_operator_was_down_releases_its_workloads(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    for name in ("a", "b"):
        cluster.workload(name)
    cluster.patch(
        cluster.path("deployments", "a"),
        {"spec": {"template": {"metadata": {"annotations": {"team": "x"}}}}},
    )
    before = {name: cluster.get("deployments", name)["spec"]["template"] for name in ("a", "b")}
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    settled(cluster, operator)
    operator.stop()
    cluster.delete("mimicbackends", "corp", "mimic.dev/v1alpha1")
    second = Reconciler(control_plane.kubeconfig, tmp_path, "second").start()
    try:
        after = lambda: {name: cluster.get("deployments", name)["spec"]["template"] for name in ("a", "b")}
        eventually(lambda: after() == before, second.log.read_text, 60)
    finally:
        second.stop()


def test_a_deselected_workload_is_left_as_it_was(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    cluster.workload("batch", "cronjobs")
    before = cluster.get("deployments", "web")["spec"]
    job = cluster.get("cronjobs", "batch", "batch/v1")["spec"]
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    settled(cluster, operator)
    assert cluster.get("cronjobs", "batch", "batch/v1")["spec"] != job
    cluster.patch(cluster.path("deployments", "web"), {"metadata": {"labels": {"ai": "no"}}})
    cluster.patch(cluster.path("cronjobs", "batch", "batch/v1"), {"metadata": {"labels": {"ai": "no"}}})
    eventually(lambda: cluster.get("deployments", "web")["spec"] == before, operator.log.read_text)
    eventually(lambda: cluster.get("cronjobs", "batch", "batch/v1")["spec"] == job, operator.log.read_text)


def test_manual_only_reports_until_its_user_restarts_the_workload(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    spec = {"injection": {"workloads": {"selector": SELECTED}}}
    cluster.workload("web")
    cluster.backend(proxy=image("1"), **spec)
    old = settled(cluster, operator)
    cluster.backend(proxy=image("2"), rollout={"policy": "Manual"}, **spec)
    eventually(lambda: cluster.phase() == "Manual", operator.log.read_text)
    eventually(lambda: cluster.status()["injected"]["outdated"] == 2, lambda: cluster.status(), 15)
    assert "Deployment/web" in cluster.status()["rollout"]["message"]
    assert cluster.revision("web") == old
    restarted = {"kubectl.kubernetes.io/restartedAt": "2099-01-01T00:00:00Z"}
    cluster.patch(cluster.path("deployments", "web"), {"spec": {"template": {"metadata": {"annotations": restarted}}}})
    assert settled(cluster, operator) != old
    assert cluster.revision("web") == cluster.status()["updateRevision"]


def test_one_workload_has_one_backend_the_oldest(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    cluster.backend("first", injection={"workloads": {"selector": SELECTED}})
    first = settled(cluster, operator, "first")
    cluster.backend("a-second", injection={"workloads": {"selector": SELECTED}})
    eventually(lambda: conditions(cluster.seen("a-second")).get("Injectable") == ("False", "Conflict"))
    assert cluster.revision("web") == first


def test_a_workload_opts_out_by_its_label(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    label = {"spec": {"template": {"metadata": {"labels": {"mimic.dev/inject": "false"}}}}}
    cluster.patch(cluster.path("deployments", "web"), label)
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    settled(cluster, operator)
    assert cluster.revision("web") is None
    assert "opted out: Deployment/web" in cluster.status()["rollout"]["message"]


def test_gives_up_on_a_workload_whose_fields_somebody_takes_off_each_time(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("web")
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    settled(cluster, operator)
    bare = {"labels": {"mimic.dev/inject": None}, "annotations": None}
    for _ in range(3):
        eventually(lambda: cluster.revision("web"), operator.log.read_text)
        cluster.patch(cluster.path("deployments", "web"), {"spec": {"template": {"metadata": bare}}})
        eventually(lambda: cluster.revision("web") or conditions(cluster.seen())["Degraded"][0] == "True")
    eventually(lambda: conditions(cluster.seen())["Degraded"] == ("True", "Contended"), operator.log.read_text)
    assert cluster.revision("web") is None


def test_paused_and_empty_workloads_are_written_and_hold_nobody_up(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("a-paused", paused=True)
    cluster.workload("b-empty", replicas=0)
    cluster.workload("c-waits", "statefulsets", serviceName="c", updateStrategy={"type": "OnDelete"})
    cluster.workload("web")
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    target = settled(cluster, operator)
    assert cluster.revision("web") == target
    assert cluster.revision("a-paused") == cluster.revision("b-empty") == target
    assert cluster.revision("c-waits", "statefulsets") == target


def test_a_suspended_backend_changes_nothing(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    cluster.backend(suspend=True, injection={"workloads": {"selector": SELECTED}})
    eventually(lambda: cluster.phase() == "Suspended", operator.log.read_text)
    assert cluster.revision("web") is None
    assert cluster.status()["currentRevision"]
