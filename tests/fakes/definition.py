"""The CustomResourceDefinition, put into a control plane for tests."""

import time
from typing import Any

import httpx2

from mimic_operator.resource.crd import NAME, definition

BASE = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WAIT_SECONDS = 20.0


def installed(admin: httpx2.Client) -> None:
    """Apply it, and wait until backends are served. Raises AssertionError."""
    params = {"fieldManager": "test", "force": "true"}
    kind = {"content-type": "application/apply-patch+yaml"}
    answer = admin.patch(f"{BASE}/{NAME}", params=params, headers=kind, json=definition())
    assert answer.status_code in (200, 201), answer.text
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        conditions = _conditions(admin)
        if conditions.get("Established") == "True":
            break
        assert time.monotonic() < deadline, conditions
        time.sleep(0.05)
    assert conditions.get("NonStructuralSchema", "False") == "False"
    while admin.get("/apis/mimic.dev/v1alpha1/mimicbackends").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _conditions(admin: httpx2.Client) -> dict[str, Any]:
    found = admin.get(f"{BASE}/{NAME}").json().get("status", {}).get("conditions") or []
    return {condition["type"]: condition["status"] for condition in found}
