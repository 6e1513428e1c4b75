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
        manifest = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": {"name": name}, "spec": given}
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


def test_selected_workloads_take_the_sidecar_one_after_another(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    for name in ("a", "b", "c"):
        cluster.workload(name)
    cluster.workload("other", labels={"ai": "no"})
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    eventually(lambda: cluster.phase() == "Complete", lambda: (cluster.status(), operator.log.read_text()), 60)
    target = cluster.status()["updateRevision"]
    assert [cluster.revision(name) for name in ("a", "b", "c", "other")] == [target, target, target, None]
    assert cluster.status()["rollout"] == {"phase": "Complete", "done": 3, "total": 3}
    eventually(lambda: cluster.status()["injected"]["current"] == 6, lambda: cluster.status(), 15)
