"""Which pods reach which webhook: a real API server is made to refuse every pod that it would have asked about."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from fakes.applied import Cluster
from fakes.chart_release import Release, eventually, released
from fakes.control_plane import ControlPlane

NOBODY = "https://127.0.0.1:9"
PATCH = {"content-type": "application/strategic-merge-patch+json"}
LABELLED, OTHERS = "pods.mimic.dev", "namespaces.mimic.dev"
SPEC = {"containers": [{"name": "application", "image": "application"}]}
ASKS = {"metadata": {"labels": {"mimic.dev/inject": "true"}}}
HOST = {"spec": {**SPEC, "hostNetwork": True}}
WINDOWS = {"spec": {**SPEC, "os": {"name": "windows"}}}
WINDOWS_NODE = {"spec": {**SPEC, "nodeSelector": {"kubernetes.io/os": "windows"}}}
LINUX_NODE = {"spec": {**SPEC, "nodeSelector": {"kubernetes.io/os": "linux"}}}

REACHES: dict[str, tuple[bool, dict[str, Any], str | None]] = {
    "an ordinary pod": (False, {}, None),
    "one that asks": (False, ASKS, LABELLED),
    "one that says no": (False, {"metadata": {"labels": {"mimic.dev/inject": "false"}}}, None),
    "Mimic's own": (
        False,
        {"metadata": {"labels": {"mimic.dev/inject": "true", "mimic.dev/component": "proxy"}}},
        None,
    ),
    "one that asks, in the host's network": (False, {**ASKS, **HOST}, LABELLED),
    "one that asks, on Windows": (False, {**ASKS, **WINDOWS}, LABELLED),
    "any, where the namespace asks": (True, {}, OTHERS),
    "one that asks, where the namespace asks": (True, ASKS, LABELLED),
    "one that says no, where the namespace asks": (True, {"metadata": {"labels": {"mimic.dev/inject": "no"}}}, None),
    "Mimic's own, where the namespace asks": (True, {"metadata": {"labels": {"mimic.dev/component": "proxy"}}}, None),
    "the host's network, where the namespace asks": (True, HOST, None),
    "not the host's network, where the namespace asks": (True, {"spec": {**SPEC, "hostNetwork": False}}, OTHERS),
    "Windows, where the namespace asks": (True, WINDOWS, None),
    "a Windows node, where the namespace asks": (True, WINDOWS_NODE, None),
    "a Linux node, where the namespace asks": (True, LINUX_NODE, OTHERS),
    "a mirror of a static pod, where the namespace asks": (
        True,
        {
            "metadata": {"annotations": {"kubernetes.io/config.mirror": "hash"}},
            "spec": {**SPEC, "nodeName": "somewhere"},
        },
        None,
    ),
    "annotated, where the namespace asks": (True, {"metadata": {"annotations": {"note": "mine"}}}, OTHERS),
}


@pytest.fixture(scope="module")
def release(control_plane: ControlPlane, admin: httpx2.Client) -> Iterator[Release]:
    """With webhooks that nobody answers, and without which nothing they see can be created."""
    with released(control_plane, admin) as made:
        path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{made.configuration}"
        entries = [
            {"name": name, "failurePolicy": "Fail", "clientConfig": {"service": None, "url": NOBODY}}
            for name in (LABELLED, OTHERS)
        ]
        assert (answer := admin.patch(path, json={"webhooks": entries}, headers=PATCH)).is_success, answer.text
        eventually("the webhooks are asked", lambda: _reached(admin, "default", ASKS) == LABELLED)
        yield made


@pytest.fixture(scope="module", params=[True, False], ids=["asking", "silent"])
def place(request: pytest.FixtureRequest, admin: httpx2.Client) -> tuple[bool, str]:
    """Whether a namespace asks for injection, and its name."""
    labels = {"mimic.dev/injection": "enabled"} if request.param else {}
    metadata = {"name": f"place-{uuid.uuid4().hex[:8]}", "labels": labels}
    Cluster(admin).apply_all([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
    return request.param, str(metadata["name"])


@pytest.mark.usefixtures("release")
def test_each_pod_reaches_the_webhook_that_is_for_it(place: tuple[bool, str], admin: httpx2.Client):
    asks, namespace = place
    table = {what: (pod, reached) for what, (there, pod, reached) in REACHES.items() if there == asks}
    # The API server's watch of namespaces may lag behind.
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    eventually("pods may be made", lambda: admin.get(account).is_success)
    eventually("the namespace is known", lambda: _reached(admin, namespace, {}) == (OTHERS if asks else None))
    found = {what: _reached(admin, namespace, pod) for what, (pod, _) in table.items()}
    assert found == {what: reached for what, (_, reached) in table.items()}


@pytest.mark.parametrize("where", ["kube-system", "its own"])
def test_no_pod_of_the_system_nor_of_mimic_itself_reaches_any(where: str, release: Release, admin: httpx2.Client):
    namespace = release.namespace if where == "its own" else where
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    eventually("pods may be made", lambda: admin.get(account).is_success)
    assert _reached(admin, namespace, ASKS) is None


def _reached(admin: httpx2.Client, namespace: str, pod: dict[str, Any]) -> str | None:
    """The webhook that the API server wanted to ask about a pod; None if the pod would have been created."""
    metadata = {"generateName": "tried-", **pod.get("metadata", {})}
    spec = {"automountServiceAccountToken": False, **pod.get("spec", SPEC)}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    answer = admin.post(f"/api/v1/namespaces/{namespace}/pods", json=manifest, params={"dryRun": "All"})
    if answer.is_success:
        return None
    message = answer.json()["message"]
    assert "failed calling webhook" in message, message
    (name,) = (name for name in (LABELLED, OTHERS) if f'"{name}"' in message)
    return name
