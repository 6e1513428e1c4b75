"""`policy.images` and `policy.hosts`: what a tenant's MimicBackend may name, as the API server judges."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from fakes.applied import Cluster
from fakes.chart_release import Release, eventually, released
from fakes.control_plane import ControlPlane

SETS = {
    "policy.images": '["registry.example.com/mimic", "mirror.example.com/"]',
    "policy.hosts": '["login.example.com", "*.models.example.com"]',
}
ALLOWED: dict[str, dict[str, Any]] = {
    "as it should be": {},
    "below the wildcard": {"chat": {"url": "https://a.b.models.example.com/v1"}},
    "with a port": {"chat": {"url": "https://a.models.example.com:8443/v1"}},
    "in capitals": {"chat": {"url": "https://A.Models.Example.COM/v1"}},
    "the image": {"proxy": {"image": {"repository": "registry.example.com/mimic"}}},
    "below the image": {"proxy": {"image": {"repository": "registry.example.com/mimic/arm"}}},
    "below the mirror": {"proxy": {"image": {"repository": "mirror.example.com/any"}}},
    "traces": {"proxy": {"telemetry": {"otlpEndpoint": "https://otel.models.example.com:4318"}}},
}
REFUSED: dict[str, dict[str, Any]] = {
    "another host": {"chat": {"url": "https://evil.example/v1"}},
    "the wildcard's own domain": {"chat": {"url": "https://models.example.com/v1"}},
    "a host that ends alike": {"chat": {"url": "https://evilmodels.example.com/v1"}},
    "an allowed name in the path": {"chat": {"url": "https://evil.example/login.example.com"}},
    "an allowed name in front": {"chat": {"url": "https://login.example.com.evil.example/v1"}},
    "the embeddings": {"embedding": {"url": "https://evil.example/v1"}},
    "the token service": {"auth": {"tokenURL": "https://evil.example/token", "secretRef": {"name": "corp"}}},
    "traces": {"proxy": {"telemetry": {"otlpEndpoint": "https://evil.example:4318"}}},
    "another image": {"proxy": {"image": {"repository": "evil.example/mimic"}}},
    "an image that begins alike": {"proxy": {"image": {"repository": "registry.example.com/mimic-evil"}}},
}


def backend(namespace: str, change: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "chat": {"url": "https://eu.models.example.com/v1"},
        "auth": {"tokenURL": "https://login.example.com/token", "secretRef": {"name": "corp"}},
    }
    metadata = {"name": "corp", "namespace": namespace}
    return {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata, "spec": spec | change}


@pytest.fixture(scope="module")
def release(policies: None, control_plane: ControlPlane, admin: httpx2.Client) -> Iterator[Release]:
    with released(control_plane, admin, SETS) as made:
        cluster = Cluster(admin)
        foreign = backend(made.namespace, REFUSED["another host"])
        eventually("MimicBackends are served", lambda: _served(admin))
        eventually("the policy is in force", lambda: cluster.apply(foreign, dry_run=True).status_code == 403)
        yield made


def _served(admin: httpx2.Client) -> bool:
    return admin.get("/apis/mimic.dev/v1alpha1").status_code == 200


@pytest.mark.parametrize("what", ALLOWED)
def test_allowed(what: str, release: Release, admin: httpx2.Client):
    answer = Cluster(admin).apply(backend(release.namespace, ALLOWED[what]), dry_run=True)
    assert answer.is_success, answer.text


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_name(what: str, release: Release, admin: httpx2.Client):
    answer = Cluster(admin).apply(backend(release.namespace, REFUSED[what]), dry_run=True)
    assert answer.status_code == 403, answer.text
    assert "that this cluster allows for Mimic" in answer.json()["message"]
