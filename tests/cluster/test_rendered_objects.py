"""What is rendered, judged by a real API server: its schemas, its admission, its server-side apply."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fakes.definition import installed
from fakes.generated_backends import backends
from fakes.injection import admit
from fakes.kubernetes_examples import EXAMPLES, manifest_in
from fakes.manifests import container, pod
from mimic_operator.reconcile.manifests import desired
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.fields import write_fields
from mimic_operator.resource.naming import API_VERSION, KIND
from mimic_operator.resource.revision import from_data, revision_of
from mimic_operator.webhook.decide import Namespace, Request

DEFAULTS = ProxyDefaults(image="registry.example.com/mimic:0.1.0")
PLURALS = {
    "ConfigMap": "api/v1/{}/configmaps",
    "ControllerRevision": "apis/apps/v1/{}/controllerrevisions",
    "Deployment": "apis/apps/v1/{}/deployments",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2/{}/horizontalpodautoscalers",
    "NetworkPolicy": "apis/networking.k8s.io/v1/{}/networkpolicies",
    "PodDisruptionBudget": "apis/policy/v1/{}/poddisruptionbudgets",
    "Service": "api/v1/{}/services",
    "ServiceAccount": "api/v1/{}/serviceaccounts",
}
APPLY = {"content-type": "application/apply-patch+yaml"}


def rendered(example: Path, namespace: str) -> list[dict[str, Any]]:
    manifest = manifest_in(example)
    manifest["metadata"] = {**manifest["metadata"], "namespace": namespace}
    return objects_of(parse(manifest, strict=True))


def objects_of(backend: Backend) -> list[dict[str, Any]]:
    # The kind of an operator that this API server has not got.
    return [each for each in desired(backend, revision_of(backend, DEFAULTS)) if each["kind"] != "PodMonitor"]


def applied(admin: httpx2.Client, manifest: dict[str, Any], **more: str) -> httpx2.Response:
    place = PLURALS[manifest["kind"]].format(f"namespaces/{manifest['metadata']['namespace']}")
    params = {"fieldManager": "mimic-operator", "force": "true", "fieldValidation": "Strict", **more}
    return admin.patch(f"/{place}/{manifest['metadata']['name']}", params=params, headers=APPLY, json=manifest)


@pytest.fixture
def restricted(admin: httpx2.Client, namespace: str) -> str:
    """A namespace that lets in pods of the restricted profile alone, and warns of templates that are not."""
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    patch = {"metadata": {"labels": levels}}
    kind = {"content-type": "application/merge-patch+json"}
    assert admin.patch(f"/api/v1/namespaces/{namespace}", json=patch, headers=kind).status_code == 200
    return namespace


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_objects_of_every_example_are_applied_once_and_without_a_warning(
    admin: httpx2.Client, restricted: str, example: Path
):
    for manifest in rendered(example, restricted):
        first = applied(admin, manifest)
        assert first.status_code in (200, 201), first.text
        assert "warning" not in first.headers
        # Controllers write in between, but not for ever; what is never the same twice is ours.
        versions = [applied(admin, manifest).json()["metadata"]["resourceVersion"] for _ in range(10)]
        assert any(one == other for one, other in pairwise([first.json()["metadata"]["resourceVersion"], *versions]))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_pods_of_every_example_pass_the_restricted_profile(admin: httpx2.Client, restricted: str, example: Path):
    for manifest in rendered(example, restricted):
        if manifest["kind"] == "Deployment":
            spec = manifest["spec"]["template"]["spec"]
            # Neither exists here, and admission asks for them before anything else.
            spec = {key: value for key, value in spec.items() if key not in ("serviceAccountName", "priorityClassName")}
        elif manifest["kind"] == "ControllerRevision":
            revision = from_data(manifest["data"])
            spec = {"containers": [revision.container], "volumes": list(revision.volumes)}
        else:
            continue
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-"}, "spec": spec}
        params = {"dryRun": "All", "fieldValidation": "Strict"}
        answer = admin.post(f"/api/v1/namespaces/{restricted}/pods", params=params, json=pod)
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_a_stored_revision_comes_back_as_it_was(admin: httpx2.Client, namespace: str, example: Path):
    for manifest in rendered(example, namespace):
        if manifest["kind"] == "ControllerRevision":
            stored = applied(admin, manifest).json()
            assert from_data(stored["data"]) == from_data(json.loads(json.dumps(manifest["data"])))


FEW = settings(
    max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)


def written(backend: Backend, namespace: str) -> dict[str, Any]:
    """The resource, without what Kubernetes alone can judge."""
    spec: dict[str, Any] = write_fields(backend.spec)
    if "deployment" in spec:
        for field in ("affinity", "tolerations", "topologySpreadConstraints"):
            spec["deployment"].pop(field, None)
        spec["deployment"]["networkPolicy"].pop("allowFrom", None)
        spec["deployment"]["podTemplate"] = {"metadata": spec["deployment"]["podTemplate"]["metadata"]}
        for field in ("behavior", "metrics"):
            spec["deployment"].get("autoscaling", {}).pop(field, None)
    metadata = {"name": backend.name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


@pytest.fixture
def served(admin: httpx2.Client, namespace: str) -> str:
    """A namespace in a cluster that knows MimicBackends."""
    installed(admin)
    return namespace


@FEW
@given(backend=backends())
def test_whatever_backend_is_accepted_so_are_its_objects_and_the_pods_that_get_it(
    admin: httpx2.Client, served: str, backend: Backend
):
    manifest = written(backend, served)
    place = f"/apis/mimic.dev/v1alpha1/namespaces/{served}/mimicbackends"
    answer = admin.post(place, params={"dryRun": "All", "fieldValidation": "Strict"}, json=manifest)
    assert answer.status_code == 201, answer.text
    for each in objects_of(parse(manifest)):
        each["metadata"].pop("ownerReferences", None)  # of a resource that is not there
        answer = applied(admin, each, dryRun="All")
        assert answer.status_code == 201, answer.text
    for server in ((1, 31), (1, 35)):
        asking = pod(container(), annotations={"mimic.dev/backend": backend.name})
        found = admit(asking, manifest, request=Request(namespace=Namespace(served), server=server))
        assert found.reason in ("Injected", "Pointed", "ClientKeyMissing", "NotReconciled"), found.decision.sentence
        answer = admin.post(f"/api/v1/namespaces/{served}/pods", params={"dryRun": "All"}, json=found.pod)
        assert answer.status_code == 201, answer.text
