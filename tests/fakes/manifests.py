"""Pods and MimicBackends as manifests, small ones to begin with."""

from collections.abc import Mapping, Sequence
from typing import Any

from mimic_operator.resource.container import ProxyDefaults

Manifest = dict[str, Any]
DEFAULTS = ProxyDefaults(image="registry.example.com/mimic:1.0.0")


def pod(
    *containers: Manifest,
    init: Sequence[Manifest] = (),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owner: str | None = "ReplicaSet",
    name: str = "",
    **spec: Any,
) -> Manifest:
    """One that asks for the proxy, of a ReplicaSet; `owner=None` is bare. With no containers given it has one, web."""
    metadata: Manifest = {"labels": {"mimic.dev/inject": "true"} if labels is None else dict(labels)}
    metadata |= {"name": name} if name else {"generateName": "web-"}
    if annotations is not None:
        metadata["annotations"] = dict(annotations)
    if owner is not None:
        metadata["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": owner, "name": "web-1", "uid": "u1", "controller": True}
        ]
    body: Manifest = {"containers": list(containers) or [container()]}
    if init:
        body["initContainers"] = list(init)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**body, **spec}}


def container(name: str = "web", *, env: Mapping[str, str] | None = None, **fields: Any) -> Manifest:
    found: Manifest = {"name": name, "image": "registry.example.com/web:1"}
    if env is not None:
        found["env"] = [{"name": key, "value": value} for key, value in env.items()]
    return found | fields


def backend(name: str = "corp", *, namespace: str = "shop", status: Manifest | None = None, **spec: Any) -> Manifest:
    """In Sidecar mode unless `mode` says otherwise."""
    given = {
        "chat": {"url": "https://models.example.com/v1"},
        "auth": {"grant": "AuthCode", "tokenURL": "https://login.example.com/token", "secretRef": {"name": "corp-llm"}},
    }
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    found: Manifest = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata}
    return found | {"spec": given | spec} | ({"status": status} if status is not None else {})


def shared(
    name: str = "central", *, namespace: str = "platform", status: Manifest | None = None, **deployment: Any
) -> Manifest:
    """In Deployment mode, open to all namespaces."""
    wanted = {"allowedNamespaces": {"from": "All"}, "access": "Open"} | deployment
    return backend(name, namespace=namespace, status=status, mode="Deployment", deployment=wanted)
