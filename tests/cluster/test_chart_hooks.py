"""The scripts of the chart's hooks, run as in their pods: the hooks' own accounts, against a real API server."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest

from fakes.applied import Cluster
from fakes.chart_release import eventually, server_version
from fakes.control_plane import ControlPlane
from fakes.helm import CHART, Rendering, is_hook, of_kind, one, render

SPEC = {"chat": {"url": "https://llm.example.com/v1"}, "auth": {"grant": "None"}}


def script(manifests: list[dict], job: str, kubeconfig: Path | str) -> subprocess.CompletedProcess[str]:
    """The command of a hook's Job, as the image would run it, with this Python instead of the image's."""
    (container,) = one(manifests, "Job", job)["spec"]["template"]["spec"]["containers"]
    command = [sys.executable, *container["command"][1:], *container["args"]]
    environ = {"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, check=False)


def hooked(cluster: Cluster, namespace: str, sets: Mapping[str, str]) -> list[dict]:
    """The release's manifests, hooks included, in a real cluster; Jobs and test pods are made by nobody."""
    rendering = Rendering(namespace=namespace, version=server_version(cluster.client), sets=sets)
    manifests = render(rendering)
    for manifest in manifests:
        if manifest["kind"] not in {"Job", "Pod"}:
            assert (answer := cluster.apply(manifest, manager="helm")).is_success, answer.text
    return manifests


def test_backends_are_applied_again_and_again_and_never_made_anew(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str
):
    cluster = Cluster(admin)
    backends = [{"name": "corp", "namespace": namespace, "labels": {"team": "shop"}, "spec": SPEC}]
    sets = {"backends": json.dumps(backends), "watchNamespaces": json.dumps([namespace])}
    manifests = hooked(cluster, namespace, sets)
    kubeconfig = control_plane.kubeconfig_of(namespace, "mimic-backends")
    path = f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends/corp"

    def applied() -> dict:
        ended = script(manifests, "mimic-backends", kubeconfig)
        assert (ended.returncode, ended.stdout) == (0, f"MimicBackend {namespace}/corp: applied\n"), ended.stderr
        return admin.get(path).json()

    first = applied()
    assert first["metadata"]["labels"] == {"team": "shop"}
    second = applied()
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    take_away(cluster, manifests)


def test_a_backend_that_is_refused_fails_the_release_and_is_named(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str
):
    cluster = Cluster(admin)
    backends = [
        {"name": "lost", "namespace": f"{namespace}-absent", "spec": SPEC},
        {"name": "wrong", "namespace": namespace, "spec": SPEC | {"chat": {"url": "no url"}}},
        {"name": "right", "namespace": namespace, "spec": SPEC},
    ]
    cluster.apply_all([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{namespace}-absent"}}])
    manifests = hooked(cluster, namespace, {"backends": json.dumps(backends)})
    kubeconfig = control_plane.kubeconfig_of(namespace, "mimic-backends")
    assert admin.delete(f"/api/v1/namespaces/{namespace}-absent").is_success
    eventually("it is gone", lambda: admin.get(f"/api/v1/namespaces/{namespace}-absent").status_code == 404)
    ended = script(manifests, "mimic-backends", kubeconfig)
    assert ended.returncode == 1
    lost, wrong, right = ended.stdout.splitlines()
    assert lost.startswith(f"MimicBackend {namespace}-absent/lost: ")
    assert "spec.chat.url" in wrong
    assert right == f"MimicBackend {namespace}/right: applied"
    take_away(cluster, manifests)


@pytest.mark.parametrize("times", [1, 2])
def test_before_an_uninstall_the_webhooks_go(
    times: int, control_plane: ControlPlane, admin: httpx2.Client, namespace: str
):
    cluster = Cluster(admin)
    manifests = hooked(cluster, namespace, {})
    kubeconfig = control_plane.kubeconfig_of(namespace, "mimic-uninstall")
    for _ in range(times):
        ended = script(manifests, "mimic-uninstall", kubeconfig)
        assert ended.returncode == 0, ended.stderr
    for manifest in of_kind(manifests, "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        assert admin.get(cluster.path(manifest)).status_code == 404
    take_away(cluster, manifests)


@pytest.mark.parametrize("kubeconfig", ["/nonexistent", "refused"])
def test_an_uninstall_is_never_held_up(kubeconfig: str, tmp_path: Path):
    if kubeconfig == "refused":
        nobody = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "users": [{"name": "x", "user": {}}],
        }
        kubeconfig = str(tmp_path / "kubeconfig")
        Path(kubeconfig).write_text(json.dumps(nobody))
    ended = script(render(), "mimic-uninstall", kubeconfig)
    assert ended.returncode == 0
    assert "left to helm" in ended.stdout


def take_away(cluster: Cluster, manifests: list[dict]) -> None:
    """So that no webhook meets other tests' pods."""
    for manifest in manifests:
        if manifest["kind"] not in {"CustomResourceDefinition", "Job", "Pod"}:
            assert cluster.client.delete(cluster.path(manifest)).status_code in {200, 404}


def test_every_script_is_used():
    manifests = render(Rendering(values=[CHART / "ci" / "everything-values.yaml"]))
    inline = [arg for entry in manifests if is_hook(entry) for arg in _arguments(entry)]
    for file in (CHART / "files").glob("*.py"):
        assert file.read_text("utf-8") in inline, file.name


def _arguments(manifest: dict) -> list[str]:
    if manifest["kind"] not in {"Job", "Pod"}:
        return []
    spec = manifest["spec"]
    pod = spec["template"]["spec"] if manifest["kind"] == "Job" else spec
    return [argument for container in pod["containers"] for argument in container["args"]]
