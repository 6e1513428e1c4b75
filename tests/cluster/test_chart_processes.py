"""Both processes as the chart runs them: under its accounts, with its settings, its webhooks and its policies in force.

The API server's audit log is the witness of what they asked for. Nodes are played (fakes/kubelet.py), and since no
Service works without them, the webhooks are called by URL.
"""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fakes.applied import Cluster
from fakes.chart_release import Release, eventually, released, server_version
from fakes.control_plane import ControlPlane
from fakes.free_ports import free_port
from fakes.helm import Rendering, of_kind, one, render
from fakes.kubelet import Kubelet
from mimic_operator.__main__ import main

pytestmark = pytest.mark.timeout(180)
MERGE = {"content-type": "application/merge-patch+json"}
SELECTED = {"matchLabels": {"team": "search"}}
SECRET_VALUE = "a-code-that-nobody-else-has"


@dataclass(frozen=True, slots=True)
class Running:
    """A release whose processes run. url: of the webhook. folder: with logs, and ca.crt."""

    release: Release
    url: str
    folder: Path


@pytest.fixture(scope="module")
def running(
    control_plane: ControlPlane, admin: httpx2.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("processes")
    port = free_port()
    url = f"https://localhost:{port}"
    with (
        released(control_plane, admin) as release,
        _process(control_plane, admin, release, "reconciler", folder, {"WEBHOOK_NAMES": "localhost"}),
    ):
        _mount_certificate(admin, release, folder)
        listening = {"WEBHOOK_CERT_DIR": str(folder), "WEBHOOK_HOST": "127.0.0.1", "WEBHOOK_PORT": str(port)}
        with _process(control_plane, admin, release, "webhook", folder, listening):
            _call_by_url(admin, release, url)
            yield Running(release, url, folder)


def _mount_certificate(admin: httpx2.Client, release: Release, folder: Path) -> None:
    """What the kubelet does with the Secret that the leader has made."""
    path = f"/api/v1/namespaces/{release.namespace}/secrets/mimic-webhook-tls"
    eventually("the leader has made a certificate", lambda: admin.get(path).status_code == 200)
    for name, encoded in admin.get(path).json()["data"].items():
        if name in ("tls.crt", "tls.key", "ca.crt"):
            (folder / name).write_bytes(base64.b64decode(encoded))


@contextmanager
def _process(
    plane: ControlPlane, admin: httpx2.Client, release: Release, role: str, folder: Path, changes: dict[str, str]
) -> Iterator[None]:
    """With the environment of its container, but for what a node would give it; ready, and ended in good order."""
    manifests = render(Rendering(namespace=release.namespace, version=server_version(admin)))
    pod = one(manifests, "Deployment", f"mimic-{role}")["spec"]["template"]["spec"]
    settings = {entry["name"]: entry.get("value", release.namespace) for entry in pod["containers"][0]["env"]}
    port = free_port()
    environ = {
        **settings,
        **changes,
        "PATH": os.environ["PATH"],
        "HOSTNAME": role,
        "KUBECONFIG": str(plane.kubeconfig_of(release.namespace, pod["serviceAccountName"])),
        "METRICS_HOST": "127.0.0.1",
        "METRICS_PORT": str(port),
    }
    log = folder / f"{role}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", *pod["containers"][0]["args"]]
        command[2] = command[2].replace("-", "_")
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        eventually(f"{role} is ready", lambda: _ready(port, process, log))
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(20)


def _ready(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def _call_by_url(admin: httpx2.Client, release: Release, url: str) -> None:
    """No node routes to the Service here. The leader lets the API server trust what is called."""
    for kind in ("mutating", "validating"):
        path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/{release.configuration}"
        webhooks = admin.get(path).json()["webhooks"]
        for entry in webhooks:
            entry["clientConfig"] = {"url": url + entry["clientConfig"]["service"]["path"]}
        answer = admin.patch(path, json={"webhooks": webhooks}, headers=MERGE)
        assert answer.status_code == 200, answer.text
        eventually(f"the {kind} webhooks are trusted", lambda path=path: _trusted(admin, path))


def _trusted(admin: httpx2.Client, path: str) -> bool:
    return all("caBundle" in entry["clientConfig"] for entry in admin.get(path).json()["webhooks"])


def backend(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    given = {
        "chat": {"url": "https://llm.example.com/v1"},
        "auth": {"tokenURL": "https://login.example.com/token", "secretRef": {"name": "corp"}},
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata, "spec": given | spec}


def deployment(namespace: str, name: str) -> dict[str, Any]:
    pods = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": pods}
    metadata = {"name": name, "namespace": namespace, "labels": {"team": "search"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


SHARED = {
    "mode": "Deployment",
    "deployment": {
        "access": "Open",
        "autoscaling": {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilization": 70},
        "networkPolicy": {"enabled": True},
    },
}


@pytest.fixture(scope="module")
def lived(running: Running, control_plane: ControlPlane, admin: httpx2.Client) -> Running:
    """After the whole life of two backends: made, rolled out, deleted."""
    namespace, cluster = f"lived-{running.release.namespace}", Cluster(admin)
    metadata = {"name": "corp", "namespace": namespace}
    cluster.apply_all(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"AUTH_CODE": SECRET_VALUE}},
            deployment(namespace, "search"),
            backend(namespace, "corp", injection={"workloads": {"selector": SELECTED}}),
            backend(namespace, "shared", **SHARED),
        ]
    )
    search = cluster.path(deployment(namespace, "search"))
    shared = f"/apis/apps/v1/namespaces/{namespace}/deployments/mimic-shared"
    with control_plane.http() as http, Kubelet(http, namespace):
        eventually("the workload's pods have the proxy", lambda: _injected(admin, namespace, "search") == 2)
        eventually("the shared proxy is there", lambda: admin.get(shared).status_code == 200)
        path = cluster.path(backend(namespace, "corp"))
        eventually("it is ready", lambda: _condition(admin.get(path).json(), "Ready") == "True")
        for name in ("corp", "shared"):
            assert admin.delete(cluster.path(backend(namespace, name))).is_success
        eventually("the workload is released", lambda: "mimic.dev/inject" not in _template_labels(admin, search))
        eventually("the shared proxy is gone", lambda: admin.get(shared).status_code == 404)
        _live_as_tenants(admin, namespace)
    return running


CLUSTER_BACKENDS = "/apis/mimic.dev/v1alpha1/clustermimicbackends"


def _live_as_tenants(admin: httpx2.Client, namespace: str) -> None:
    """One ClusterMimicBackend: a backend of its own for a namespace, then a shared proxy, then for another one."""
    cluster, outside = Cluster(admin), f"{namespace}-outside"
    spec = backend(namespace, "wide")["spec"]
    head = {"apiVersion": "mimic.dev/v1alpha1", "kind": "ClusterMimicBackend", "metadata": {"name": namespace}}
    cluster.apply_all(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": outside}},
            {**head, "spec": {"namespaces": {"names": [namespace]}, "backend": spec}},
        ]
    )
    own = cluster.path(backend(namespace, namespace))
    eventually("the namespace has its backend", lambda: _status(admin, own).get("currentRevision"))
    admitted = _asking(admin, namespace, namespace)
    assert "mimic-proxy" in {container["name"] for container in _containers(admitted.json()["spec"])}, admitted.text
    refused = _asking(admin, outside, namespace)
    assert refused.status_code == 403
    assert f"does not admit pods of the namespace {outside}: it admits {namespace}." in refused.json()["message"]

    open_to_all = {**spec, **SHARED, "deployment": {"access": "Open"}}
    names = {"namespaces": {"names": [outside]}, "deploymentNamespace": namespace}
    cluster.apply_all([{**head, "spec": {**names, "backend": open_to_all}}])
    eventually("the backend is shared", lambda: _status(admin, own).get("mode") == "Deployment")
    eventually("callers are pointed at it", lambda: _pointed(_asking(admin, outside, namespace), namespace))

    cluster.apply_all([{**head, "spec": {"namespaces": {"names": [outside]}, "backend": spec}}])
    eventually("the backend of what is not admitted is gone", lambda: admin.get(own).status_code == 404)
    assert admin.delete(f"{CLUSTER_BACKENDS}/{namespace}").is_success


def _status(admin: httpx2.Client, path: str) -> dict[str, Any]:
    answer = admin.get(path)
    return answer.json().get("status", {}) if answer.is_success else {}


def _asking(admin: httpx2.Client, namespace: str, name: str) -> httpx2.Response:
    """A pod that names this backend, as the API server would create it."""
    metadata = {"generateName": "asks-", "labels": {"mimic.dev/inject": "true"}}
    pod = {
        "metadata": metadata | {"annotations": {"mimic.dev/backend": name}},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    }
    return admin.post(f"/api/v1/namespaces/{namespace}/pods", json=pod, params={"dryRun": "All"})


def _pointed(answer: httpx2.Response, home: str) -> bool:
    """Whether the pod calls the shared proxy, and names it in full."""
    if not answer.is_success:
        return False
    annotations = answer.json()["metadata"]["annotations"]
    return bool(annotations["mimic.dev/backend"] == f"{home}/{home}")


def _template_labels(admin: httpx2.Client, path: str) -> dict[str, str]:
    found: dict[str, str] = admin.get(path).json()["spec"]["template"]["metadata"]["labels"]
    return found


def test_nothing_that_they_asked_for_was_refused(lived: Running, control_plane: ControlPlane):
    refused = [
        entry["requestURI"]
        for entry in _asked(control_plane, lived.release)
        if entry["responseStatus"]["code"] in (403, 422)
    ]
    # Whether the Prometheus operator is here is found out by asking.
    assert [uri for uri in refused if "podmonitors" not in uri] == []


RARELY = {
    ("reconciler", "core/events"),  # of a halted rollout
    ("reconciler", "apiextensions.k8s.io/customresourcedefinitions"),  # against a schema that is older
    ("webhook", "batch/jobs"),  # behind the pod of a Job
}


@pytest.mark.parametrize("role", ["webhook", "reconciler"])
def test_what_they_may_is_what_they_do(role: str, lived: Running, control_plane: ControlPlane, admin: httpx2.Client):
    used = {
        _resource(entry)
        for entry in _asked(control_plane, lived.release)
        if entry["user"]["username"].endswith(f":mimic-{role}")
    }
    manifests = render(Rendering(namespace=lived.release.namespace, version=server_version(admin)))
    granted = {
        f"{group or 'core'}/{resource}"
        for manifest in of_kind(manifests, "Role", "ClusterRole")
        if manifest["metadata"]["labels"]["mimic.dev/component"] == role
        for rule in manifest["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert granted - used - {resource for account, resource in RARELY if account == role} == set()


def test_nobody_asked_for_a_secret_but_the_reconciler_for_its_own(lived: Running, control_plane: ControlPlane):
    asked = [entry for entry in _asked(control_plane, lived.release) if _resource(entry) == "core/secrets"]
    own = {"namespace": lived.release.namespace, "name": "mimic-webhook-tls"}
    for entry in asked:
        assert own.items() <= entry["objectRef"].items(), entry["requestURI"]
    for log in lived.folder.glob("*.log"):
        assert SECRET_VALUE not in log.read_text()


def test_a_pod_is_refused_with_the_reason_and_helms_own_test_passes(
    running: Running, admin: httpx2.Client, namespace: str
):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "lost", "labels": {"mimic.dev/inject": "true"}},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    }
    answer = admin.post(f"/api/v1/namespaces/{namespace}/pods", json=pod)
    assert answer.status_code == 403
    assert "has no MimicBackend in Sidecar mode" in answer.json()["message"]
    (container,) = one(render(), "Pod", "mimic-test")["spec"]["containers"]
    command = [sys.executable, "-c", container["args"][0], running.url, namespace, str(running.folder / "ca.crt")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env={})
    assert ended.returncode == 0, ended.stderr
    assert "helm-test-names-no-backend" in ended.stdout


def _injected(admin: httpx2.Client, namespace: str, app: str) -> int:
    pods = admin.get(f"/api/v1/namespaces/{namespace}/pods", params={"labelSelector": f"app={app}"}).json()["items"]
    return sum(
        any(container["name"] == "mimic-proxy" for container in _containers(pod["spec"]))
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    )


def _containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec["containers"], *spec.get("initContainers", [])]


def _condition(manifest: dict[str, Any], kind: str) -> str:
    found = {each["type"]: each["status"] for each in manifest.get("status", {}).get("conditions", [])}
    return found.get(kind, "")


def _asked(plane: ControlPlane, release: Release) -> Iterator[dict[str, Any]]:
    """What both accounts asked of the API server, with its answer."""
    accounts = {f"system:serviceaccount:{release.namespace}:mimic-{role}" for role in ("webhook", "reconciler")}
    for entry in plane.audit():
        if entry["user"]["username"] in accounts and entry["stage"] == "ResponseComplete" and "objectRef" in entry:
            yield entry


def _resource(entry: dict[str, Any]) -> str:
    reference = entry["objectRef"]
    place = f"{reference.get('apiGroup') or 'core'}/{reference.get('resource')}"
    return f"{place}/{reference['subresource']}" if reference.get("subresource") else place


def test_the_check_finds_all_of_it_well_but_for_the_pods_that_are_processes_here(
    running: Running,
    control_plane: ControlPlane,
    admin: httpx2.Client,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    cluster, home = Cluster(admin), running.release.namespace
    cluster.apply_all([backend(namespace, "corp")])
    path = cluster.path(backend(namespace, "corp"))
    eventually("it has a revision", lambda: _status(admin, path).get("currentRevision"))
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    assert main(["check", "-n", namespace]) == 1
    said = " ".join(capsys.readouterr().out.split())
    for line in (
        "ok CRD mimicbackends.mimic.dev serves v1alpha1 with every field",
        "ok CRD clustermimicbackends.mimic.dev serves v1alpha1 with every field",
        f"error Reconciler No pod of {home}/mimic-reconciler is ready.",
        f"error Webhook No pod of {home}/mimic-webhook is ready.",
        "ok Certificate The authority of pods.mimic.dev is valid until",
        f"called the webhook for a trial pod in the namespace {namespace} (a dry run): it got the proxy.",
        "ok RBAC The accounts of webhook and reconciler may do what they need.",
        f"ok Namespaces Excluded from injection: kube-system, {home}",
    ):
        assert line in said
    assert "holds the Lease" not in said
    assert "Not checked" not in said
