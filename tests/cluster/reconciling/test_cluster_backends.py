"""One ClusterMimicBackend for many namespaces, on a real API server."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from fakes.bad_backends import good
from fakes.person import APPLY, MERGE, Cluster
from fakes.reconcilers import Reconciler, conditions, eventually
from mimic_operator.resource.naming import LABEL_CLUSTER_BACKEND

pytestmark = pytest.mark.timeout(180)
CLUSTER = "/apis/mimic.dev/v1alpha1/clustermimicbackends"
TENANT = "tests.mimic.dev/tenant"


def namespace_with(admin: httpx2.Client, labels: dict[str, str]) -> str:
    manifest = {"metadata": {"generateName": "tenant-", "labels": labels}}
    answer = admin.post("/api/v1/namespaces", json=manifest)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["metadata"]["name"])


@pytest.fixture
def tenants(installed: httpx2.Client, namespace: str) -> Iterator[list[Cluster]]:
    """Three namespaces, of which the first two carry the label of this test's tenants."""
    names = [namespace_with(installed, {TENANT: namespace}) for _ in range(2)] + [namespace_with(installed, {})]
    yield [Cluster(installed, name) for name in names]
    for name in names:
        installed.delete(f"/api/v1/namespaces/{name}")
    installed.delete(f"{CLUSTER}/{namespace}")


def put(admin: httpx2.Client, name: str, base: str = "sidecar", **spec: Any) -> None:
    selected = {"selector": {"matchLabels": {TENANT: name}}}
    manifest = {
        "apiVersion": "mimic.dev/v1alpha1",
        "kind": "ClusterMimicBackend",
        "metadata": {"name": name},
        "spec": {"namespaces": selected, "backend": good(base)["spec"], **spec},
    }
    answer = admin.patch(f"{CLUSTER}/{name}?fieldManager=person&force=true", json=manifest, headers=APPLY)
    assert answer.is_success, answer.text


def status(admin: httpx2.Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = admin.get(f"{CLUSTER}/{name}").json().get("status", {})
    return found


def test_admitted_namespaces_get_their_backend_and_lose_it_when_they_are_not_admitted_any_more(
    installed: httpx2.Client, namespace: str, tenants: list[Cluster], operator: Reconciler
):
    one, two, outside = tenants
    put(installed, namespace)
    eventually(lambda: status(installed, namespace).get("namespaces", {}).get("ready") == 2, operator.log.read_text)
    for tenant in (one, two):
        made = tenant.seen(namespace)
        assert made["metadata"]["labels"] == {LABEL_CLUSTER_BACKEND: namespace}
        assert tenant.get("controllerrevisions", made["status"]["currentRevision"]) is not None
    assert outside.seen(namespace) == {}
    assert conditions(installed.get(f"{CLUSTER}/{namespace}").json())["Ready"] == ("True", "Ready")

    changed = {**good("sidecar")["spec"], "callLimits": {"maxQueue": 7}}
    put(installed, namespace, backend=changed)
    eventually(lambda: two.seen(namespace)["spec"]["callLimits"] == {"maxQueue": 7}, operator.log.read_text)

    one.patch(f"/api/v1/namespaces/{one.namespace}", {"metadata": {"labels": {TENANT: None}}})
    eventually(lambda: one.seen(namespace) == {}, operator.log.read_text)
    outside.patch(f"/api/v1/namespaces/{outside.namespace}", {"metadata": {"labels": {TENANT: namespace}}})
    eventually(lambda: outside.status(namespace).get("currentRevision"), operator.log.read_text)

    two.delete("mimicbackends", namespace, "mimic.dev/v1alpha1")
    eventually(lambda: two.status(namespace).get("currentRevision"), operator.log.read_text)


def test_a_namespaces_own_backend_of_that_name_is_left_alone_and_reported(
    installed: httpx2.Client, namespace: str, tenants: list[Cluster], operator: Reconciler
):
    one, two, _ = tenants
    own = one.backend(namespace)
    put(installed, namespace)
    eventually(lambda: two.status(namespace).get("currentRevision"), operator.log.read_text)
    eventually(lambda: status(installed, namespace).get("namespaces", {}).get("failed") == 1, operator.log.read_text)
    ready = {each["type"]: each for each in status(installed, namespace)["conditions"]}["Ready"]
    assert (ready["reason"], f"{one.namespace} (Conflict)" in ready["message"]) == ("Conflict", True)
    assert one.seen(namespace)["spec"] == own["spec"]


def test_a_shared_proxy_is_in_one_namespace_and_admits_the_selected_ones(
    installed: httpx2.Client, namespace: str, tenants: list[Cluster], operator: Reconciler
):
    one, two, home = tenants
    put(installed, namespace, "deployment", deploymentNamespace=home.namespace)
    made = eventually(lambda: home.seen(namespace), operator.log.read_text)
    allowed = made["spec"]["deployment"]["allowedNamespaces"]
    assert allowed["selector"]["matchLabels"] == {TENANT: namespace}
    assert one.seen(namespace) == two.seen(namespace) == {}
    eventually(lambda: status(installed, namespace).get("namespaces", {}).get("admitted") == 2, operator.log.read_text)
    eventually(lambda: home.get("deployments")["items"], operator.log.read_text)


def test_an_invalid_one_is_refused_by_the_api_server_with_its_field(installed: httpx2.Client, namespace: str):
    manifest = {
        "apiVersion": "mimic.dev/v1alpha1",
        "kind": "ClusterMimicBackend",
        "metadata": {"name": namespace},
        "spec": {"namespaces": {}, "backend": good("deployment")["spec"]},
    }
    answer = installed.post(CLUSTER, json=manifest)
    assert answer.status_code == 422, answer.text
    blamed = {cause["field"] for cause in answer.json()["details"]["causes"]}
    assert blamed == {"spec.namespaces.names", "spec.deploymentNamespace"}
    manifest["spec"]["backend"]["limits"] = {"maxQueue": 1}
    message = installed.post(CLUSTER, json=manifest).json()["message"]
    assert "spec.backend.limits: Invalid value: was renamed: use callLimits" in message


def test_a_suspended_backend_of_one_namespace_stays_suspended(
    installed: httpx2.Client, namespace: str, tenants: list[Cluster], operator: Reconciler
):
    one = tenants[0]
    put(installed, namespace)
    eventually(lambda: one.status(namespace).get("currentRevision"), operator.log.read_text)
    path = one.path("mimicbackends", namespace, "mimic.dev/v1alpha1")
    answer = installed.patch(path, json={"spec": {"suspend": True}}, headers=MERGE)
    assert answer.is_success
    changed = {**good("sidecar")["spec"], "callLimits": {"maxQueue": 7}}
    put(installed, namespace, backend=changed)
    eventually(lambda: one.seen(namespace)["spec"]["callLimits"] == {"maxQueue": 7}, operator.log.read_text)
    assert one.seen(namespace)["spec"]["suspend"] is True
