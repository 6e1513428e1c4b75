"""ClusterMimicBackends: namespaces with a Secret of their own, with the identity of their pods, and without either."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from e2e.applications import ANSWERS, backend, deployment, secret, template
from e2e.cluster import Cluster, Failed, Manifest, eventually, run
from e2e.namespaces import fresh

pytestmark = pytest.mark.timeout(300)
IDENTITY = {"grant": "TokenExchange", "serviceAccountToken": {"audience": "https://login.example.com"}}


@pytest.fixture
def tenants(installed: Cluster) -> Iterator[list[Cluster]]:
    """Five namespaces, and no ClusterMimicBackend of this test afterwards."""
    with ExitStack() as stack:
        found = [stack.enter_context(fresh()) for _ in range(5)]
        yield found
        run("kubectl", "delete", "clustermimicbackends", "-l", f"test={found[0].namespace}")


def wide(kind: str, tenants: list[Cluster], admitted: Cluster, spec: dict[str, Any], **more: Any) -> Manifest:
    name = f"{kind}-{tenants[0].namespace}"
    return {
        "apiVersion": "mimic.dev/v1alpha1",
        "kind": "ClusterMimicBackend",
        "metadata": {"name": name, "labels": {"test": tenants[0].namespace}},
        "spec": {"namespaces": {"names": [admitted.namespace]}, "backend": backend(**spec)["spec"], **more},
    }


def asking(name: str) -> Manifest:
    annotations = {"mimic.dev/backend": name}
    return deployment("asking", spec={"template": {"metadata": {"annotations": annotations}}})


def test_one_definition_serves_the_namespaces_that_it_admits_and_no_others(tenants: list[Cluster]):
    own, identity, caller, home, outside = tenants
    stored = wide("stored", tenants, own, {})
    federated = wide("federated", tenants, identity, {"auth": IDENTITY})
    del federated["spec"]["backend"]["auth"]["secretRef"]
    shared = wide(
        "shared",
        tenants,
        caller,
        {"mode": "Deployment", "deployment": {"access": "Open", "replicas": 1}},
        deploymentNamespace=home.namespace,
    )
    own.apply(secret())
    home.apply(secret())
    run("kubectl", "apply", "-f", "-", given=_listed(stored, federated, shared))
    for manifest in (stored, federated, shared):
        run("kubectl", "wait", "--for=condition=Ready", f"clustermimicbackend/{_name(manifest)}", "--timeout=80s")

    for namespace, manifest in ((own, stored), (identity, federated), (caller, shared)):
        namespace.apply(asking(_name(manifest)))
    for namespace in (own, identity, caller):
        namespace.settled("deployment/asking")
    for namespace in (own, caller):
        assert '"answer"' in namespace.execute(namespace.pod("asking"), *ANSWERS)
    # The demo's token service trusts no cluster: what is shown is that the pod has an identity, and no secret.
    assert _volumes(identity) >= {"mimic-identity"}
    assert "mimic-secret" not in _volumes(identity)
    assert not [name for name in _volumes(caller) if name.startswith("mimic-")], "it calls the proxy of another one"
    assert caller.all("mimicbackends") == []
    assert caller.all("secrets") == []

    pod = {"apiVersion": "v1", "kind": "Pod", **template("lost")}
    pod["metadata"] |= {"name": "lost", "annotations": {"mimic.dev/backend": _name(stored)}}
    with pytest.raises(Failed, match=f"does not admit pods of the namespace {outside.namespace}"):
        outside.apply(pod)
    eventually("the pods are counted", lambda: _status(stored) == "1" and _status(shared) == "1")


def _listed(*manifests: Manifest) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})


def _name(manifest: Manifest) -> str:
    name: str = manifest["metadata"]["name"]
    return name


def _status(manifest: Manifest) -> str:
    return run("kubectl", "get", "clustermimicbackend", _name(manifest), "-o", "jsonpath={.status.pods}")


def _volumes(namespace: Cluster) -> set[str]:
    return {volume["name"] for volume in namespace.get("pod", namespace.pod("asking"))["spec"]["volumes"]}
