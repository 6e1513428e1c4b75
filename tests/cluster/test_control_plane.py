"""What the other tests of this folder stand on."""

import pytest
from lightkube.core.exceptions import ApiError
from lightkube.resources.core_v1 import ConfigMap, Pod

from fakes.control_plane import ControlPlane

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"containers": [{"name": "web", "image": "web"}]},
}


def test_pods_are_objects_that_can_be_made(control_plane: ControlPlane, namespace: str):
    with control_plane.client(namespace) as client:
        created = client.create(Pod.from_dict(POD))
    assert created.metadata.namespace == namespace
    assert created.spec.serviceAccountName == "default"


def test_a_service_account_may_do_nothing_until_it_is_allowed(control_plane: ControlPlane, namespace: str):
    kubeconfig = control_plane.kubeconfig_of(namespace, "default")
    with control_plane.client(namespace, kubeconfig) as client, pytest.raises(ApiError) as refused:
        list(client.list(ConfigMap))
    assert refused.value.status.code == 403
    assert f"system:serviceaccount:{namespace}:default" in refused.value.status.message


def test_what_was_asked_stands_in_the_audit_log(control_plane: ControlPlane, namespace: str):
    with control_plane.client(namespace) as client:
        list(client.list(ConfigMap))
    asked = [(event["verb"], event["requestURI"]) for event in control_plane.audit()]
    assert ("list", f"/api/v1/namespaces/{namespace}/configmaps") in [(verb, uri.split("?")[0]) for verb, uri in asked]


def test_objects_outlive_a_restart_of_the_api_server(control_plane: ControlPlane, namespace: str):
    with control_plane.client(namespace) as client:
        client.create(Pod.from_dict(POD))
        control_plane.restart_apiserver()
        assert [pod.metadata.name for pod in client.list(Pod)] == ["web"]


def test_pod_security_is_judged(control_plane: ControlPlane, namespace: str):
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    with control_plane.http() as client:
        patch = {"content-type": "application/merge-patch+json"}
        client.patch(f"/api/v1/namespaces/{namespace}", json=label, headers=patch).raise_for_status()
        answer = client.post(f"/api/v1/namespaces/{namespace}/pods", json=POD)
    assert answer.status_code == 403
    assert "violates PodSecurity" in answer.json()["message"]
