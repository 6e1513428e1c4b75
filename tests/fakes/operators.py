"""What a person does before both processes of the operator: a namespace with a backend, and pods."""

from typing import Any

import httpx2

from fakes.manifests import backend
from fakes.webhooks import backends_path

PLANTED = "planted-4711"
"""Stands in the pods' specifications, for nobody to read."""
TRACED = {"LOG_LEVEL": "DEBUG", "OTEL_BSP_SCHEDULE_DELAY": "50"}
"""Says everything, and spans at once."""


def traced_namespace(admin: httpx2.Client) -> str:
    """A fresh one with its service account and the backend `corp`."""
    made = admin.post("/api/v1/namespaces", json={"metadata": {"generateName": "traced-"}})
    name: str = made.raise_for_status().json()["metadata"]["name"]
    account = {"metadata": {"name": "default"}}
    assert admin.post(f"/api/v1/namespaces/{name}/serviceaccounts", json=account).status_code in (201, 409)
    answer = admin.post(backends_path(name), json=loose_backend(name))
    assert answer.status_code == 201, answer.text
    return name


def loose_backend(namespace: str) -> dict[str, Any]:
    """As a person writes it."""
    return {**backend(), "metadata": {"name": "corp", "namespace": namespace}}


def bare(**annotations: str) -> dict[str, Any]:
    """A pod without a controller that asks for the sidecar."""
    environ = [{"name": "SECRET", "value": PLANTED}]
    container = {"name": "app", "image": "registry.example/app:1", "env": environ, "args": [PLANTED]}
    metadata = {"generateName": "app-", "labels": {"mimic.dev/inject": "true"}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
