"""The CustomResourceDefinition, put into a control plane for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from fakes.reconcilers import eventually
from mimic_operator.resource.crd import NAME, cluster_definition, definition

BASE = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def installed(admin: httpx2.Client) -> None:
    """Apply it, and wait until backends are served. Raises AssertionError."""
    _apply(admin, definition())
    _apply(admin, cluster_definition())
    eventually(lambda: _conditions(admin).get("Established") == "True", lambda: _conditions(admin))
    assert _conditions(admin).get("NonStructuralSchema", "False") == "False"
    for plural in ("mimicbackends", "clustermimicbackends"):
        path = f"/apis/mimic.dev/v1alpha1/{plural}"
        eventually(lambda path=path: admin.get(path).status_code == 200)  # type: ignore[misc]


@contextmanager
def any_spec(admin: httpx2.Client) -> Iterator[None]:
    """With a definition that accepts any spec, as if one of another version had been there before."""
    loose = definition()
    for version in loose["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] = {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
        }
    _apply(admin, loose)
    try:
        yield
    finally:
        _apply(admin, definition())


def _apply(admin: httpx2.Client, manifest: dict[str, Any]) -> None:
    params = {"fieldManager": "test", "force": "true"}
    kind = {"content-type": "application/apply-patch+yaml"}
    answer = admin.patch(f"{BASE}/{manifest['metadata']['name']}", params=params, headers=kind, json=manifest)
    assert answer.status_code in (200, 201), answer.text


def _conditions(admin: httpx2.Client) -> dict[str, Any]:
    found = admin.get(f"{BASE}/{NAME}").json().get("status", {}).get("conditions") or []
    return {condition["type"]: condition["status"] for condition in found}
