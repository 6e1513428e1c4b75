"""The chart's manifests on a real API server."""

import uuid
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from fakes.applied import Cluster
from fakes.chart_release import server_version
from fakes.control_plane import ControlPlane
from fakes.helm import CI_VALUES, NAMES, HelmFailed, Rendering, helms, is_hook, of_kind, render, run

FOREIGN = {"monitoring.coreos.com/v1", "cert-manager.io/v1"}


@pytest.fixture(scope="module")
def cluster(admin: httpx2.Client) -> Cluster:
    return Cluster(admin)


@pytest.fixture
def watched(cluster: Cluster) -> None:
    for name in ("shop", "search"):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        assert cluster.apply(namespace).is_success


@pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)
@pytest.mark.usefixtures("watched")
def test_the_api_server_takes_every_field(file: Path, cluster: Cluster, namespace: str, request: pytest.FixtureRequest):
    if file.stem == "tenants-values":
        request.getfixturevalue("policies")
    rendering = Rendering(values=[file], namespace=namespace, version=server_version(cluster.client))
    tried = 0
    for manifest in render(rendering):
        if manifest["apiVersion"] not in FOREIGN:
            answer = cluster.apply(manifest, dry_run=True)
            assert answer.is_success, f"{manifest['kind']} {manifest['metadata']['name']}: {answer.text}"
            assert "warning" not in answer.headers, answer.headers
            tried += 1
    assert tried >= 8


def test_its_pods_pass_the_restricted_standard_as_the_api_server_judges_it(cluster: Cluster):
    name = f"restricted-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    cluster.apply_all([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}])
    everything = [file for file in CI_VALUES if file.stem == "everything-values"]
    sets = {"webhook.hostNetwork": "false"}
    for manifest in of_kind(
        render(Rendering(values=everything, namespace=name, sets=sets)), "Deployment", "Job", "Pod"
    ):
        answer = cluster.apply(manifest | {"metadata": manifest["metadata"] | {"namespace": name}}, dry_run=True)
        # A pod also needs its account, which a dry run has not made; the standard is judged before.
        assert answer.is_success or "serviceaccount" in answer.text, answer.text
        assert "warning" not in answer.headers, answer.headers


@pytest.mark.parametrize("name", NAMES)
def test_helm_installs_upgrades_rolls_back_and_takes_away_all_but_the_crd(
    name: str, control_plane: ControlPlane, cluster: Cluster, namespace: str
):
    if name not in helms():
        pytest.skip(f"{name} is not on this machine")
    chart = str(CI_VALUES[0].parent.parent)
    environ = {"KUBECONFIG": str(control_plane.kubeconfig), "HOME": str(control_plane.folder), "PATH": "/usr/bin:/bin"}
    base = ["mimic", "--namespace", namespace]
    # No pod runs here, so no hook ends; whoever owned the CRD before has let go of it.
    options = [chart, "--no-hooks", "--take-ownership"]

    def helm(*arguments: str) -> str:
        return run(*arguments, name=name, environ=environ)

    said = helm("install", *base, *options)
    assert "helm test mimic" in said
    rendering = Rendering(namespace=namespace, hooks=False, version=server_version(cluster.client))
    installed = [entry for entry in render(rendering) if not is_hook(entry)]
    for manifest in installed:
        assert cluster.client.get(cluster.path(manifest)).is_success, manifest["metadata"]["name"]
    bundle = _bundled(cluster, f"admission.mimic.dev.{namespace}.mimic")
    helm("upgrade", *base, *options, "--set", "webhook.replicaCount=3")
    webhook = f"/apis/apps/v1/namespaces/{namespace}/deployments/mimic-webhook"
    assert cluster.client.get(webhook).json()["spec"]["replicas"] == 3
    helm("rollback", *base, "1", "--no-hooks")
    assert cluster.client.get(webhook).json()["spec"]["replicas"] == 2
    # What the reconciler wrote there is none of helm's.
    assert bundle() == ["LS0tLQ=="] * 2
    helm("uninstall", *base, "--no-hooks")
    for manifest in installed:
        found = cluster.client.get(cluster.path(manifest))
        gone = found.status_code == 404 or "deletionTimestamp" in found.json()["metadata"]
        assert gone == (manifest["kind"] != "CustomResourceDefinition"), manifest["metadata"]["name"]
    # The same name again takes over the CRD that was left.
    helm("install", *base, *options[:2])
    helm("uninstall", *base, "--no-hooks")


def _bundled(cluster: Cluster, configuration: str) -> Callable[[], list[str]]:
    """Write a caBundle as the reconciler does; a function that reads it again."""
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{configuration}"
    names = [entry["name"] for entry in cluster.client.get(path).json()["webhooks"]]
    patch = {"webhooks": [{"name": name, "clientConfig": {"caBundle": "LS0tLQ=="}} for name in names]}
    headers = {"content-type": "application/strategic-merge-patch+json"}
    assert cluster.client.patch(path, json=patch, headers=headers).is_success
    return lambda: [entry["clientConfig"].get("caBundle") for entry in cluster.client.get(path).json()["webhooks"]]


def test_a_second_owner_of_the_crd_is_refused_unless_it_takes_it_over(
    control_plane: ControlPlane, cluster: Cluster, namespace: str
):
    chart = str(CI_VALUES[0].parent.parent)
    environ = {"KUBECONFIG": str(control_plane.kubeconfig), "HOME": str(control_plane.folder), "PATH": "/usr/bin:/bin"}

    def helm(*arguments: str) -> str:
        return run(*arguments, environ=environ)

    helm("install", "first", chart, "--namespace", namespace, "--no-hooks", "--take-ownership")
    with pytest.raises(HelmFailed, match="ownership"):
        helm("install", "second", chart, "--namespace", namespace, "--no-hooks")
    helm("install", "third", chart, "--namespace", namespace, "--no-hooks", "--set", "crds.enabled=false")
    for release in ("first", "third"):
        helm("uninstall", release, "--namespace", namespace, "--no-hooks")
