"""The chart applied to a real API server, and what acts under its accounts."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from fakes.applied import Cluster
from fakes.control_plane import ControlPlane
from fakes.helm import Rendering, is_hook, render

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Release:
    """namespace: where it stands. webhook and reconciler: clients under the accounts of both processes."""

    namespace: str
    configuration: str
    webhook: httpx2.Client
    reconciler: httpx2.Client


@contextmanager
def released(plane: ControlPlane, admin: httpx2.Client, sets: Mapping[str, str] | None = None) -> Iterator[Release]:
    """The chart with `sets`, in a namespace of its own, and gone at the end but for the CRD."""
    namespace = f"mimic-{uuid.uuid4().hex[:8]}"
    cluster = Cluster(admin)
    cluster.apply_all([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
    rendering = Rendering(namespace=namespace, version=server_version(admin), sets=sets or {})
    manifests = [manifest for manifest in render(rendering) if not is_hook(manifest)]
    for manifest in manifests:
        assert (answer := cluster.apply(manifest, manager="helm")).is_success, answer.text
    webhook, reconciler = (plane.http(plane.token(namespace, f"mimic-{role}")) for role in ("webhook", "reconciler"))
    with webhook, reconciler:
        yield Release(namespace, f"admission.mimic.dev.{namespace}.mimic", webhook, reconciler)
    # Other tests have pods and MimicBackends too, which no webhook and no policy of ours shall meet.
    for manifest in manifests:
        if manifest["kind"] != "CustomResourceDefinition":
            assert admin.delete(cluster.path(manifest)).is_success, manifest["metadata"]["name"]


def server_version(admin: httpx2.Client) -> str:
    """MAJOR.MINOR"""
    found = admin.get("/version").json()
    return f"{found['major']}.{found['minor'].rstrip('+')}"


def may(client: httpx2.Client, verb: str, resource: str, name: str = "", namespace: str = "") -> bool:
    """Whether the client's account may do this. resource: GROUP/PLURAL[/SUBRESOURCE]; `core` is the group of v1."""
    group, plural, *rest = resource.split("/")
    attributes = {
        "verb": verb,
        "group": "" if group == "core" else group,
        "resource": plural,
        "subresource": rest[0] if rest else "",
        "name": name,
        "namespace": namespace,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = client.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json=review)
    allowed: bool = answer.json()["status"]["allowed"]
    return allowed


def eventually(what: str, true: Callable[[], Any]) -> Any:
    """What `true` gives once it is something: policies take effect when the API server's own watch has seen them."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := true()):
        assert time.monotonic() < deadline, f"after {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.1)
    return found
