"""The CustomResourceDefinition, put into a control plane for tests."""

from typing import Any

import httpx2

from fakes.reconcilers import eventually
from mimic_operator.resource.crd import NAME, definition

BASE = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def installed(admin: httpx2.Client) -> None:
    """Apply it, and wait until backends are served. Raises AssertionError."""
    params = {"fieldManager": "test", "force": "true"}
    kind = {"content-type": "application/apply-patch+yaml"}
    answer = admin.patch(f"{BASE}/{NAME}", params=params, headers=kind, json=definition())
    assert answer.status_code in (200, 201), answer.text
    eventually(lambda: _conditions(admin).get("Established") == "True", lambda: _conditions(admin))
    assert _conditions(admin).get("NonStructuralSchema", "False") == "False"
    eventually(lambda: admin.get("/apis/mimic.dev/v1alpha1/mimicbackends").status_code == 200)


def _conditions(admin: httpx2.Client) -> dict[str, Any]:
    found = admin.get(f"{BASE}/{NAME}").json().get("status", {}).get("conditions") or []
    return {condition["type"]: condition["status"] for condition in found}
