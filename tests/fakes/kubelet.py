"""Plays node and webhook for pods that no kubelet runs: marks them as injected and as ready.

What a test shows with it is what the operator makes of the states that it is shown; the real webhook and real pods have
tests of their own.
"""

import threading
from typing import Any

import httpx2

from mimic_operator.resource.naming import ANNOTATION_TEMPLATE_HASH, LABEL_INJECT

LOOK_SECONDS = 0.1


class Kubelet:
    """In one namespace, until the block is left. broken: revisions whose pods never become ready."""

    def __init__(self, http: httpx2.Client, namespace: str) -> None:
        self.broken: set[str] = set()
        self.idle = False
        """It does nothing at all."""
        self.plain = False
        """Nobody injects: pods become ready without the sidecar."""
        self._http = http
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Kubelet":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            if self.idle:
                continue
            try:
                answer = self._http.get(self._pods)
                for pod in answer.json()["items"] if answer.is_success else ():
                    self._look_after(pod)
            except httpx2.TransportError:
                continue  # the API server is being restarted, as it is where it has errors of its own

    def _look_after(self, pod: dict[str, Any]) -> None:
        metadata, path = pod["metadata"], f"{self._pods}/{pod['metadata']['name']}"
        annotations = metadata.get("annotations", {})
        wants = metadata.get("labels", {}).get(LABEL_INJECT) == "true" and not self.plain
        if wants and ANNOTATION_TEMPLATE_HASH not in annotations:
            self._patch(path, {"metadata": {"annotations": {ANNOTATION_TEMPLATE_HASH: "played"}}})
        broken = annotations.get("mimic.dev/revision") in self.broken
        ready = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", ())}.get("Ready")
        if not broken and ready != "True":
            condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            self._patch(f"{path}/status", {"status": {"phase": "Running", "conditions": [condition]}})

    def _patch(self, path: str, patch: dict[str, Any]) -> None:
        answer = self._http.patch(path, json=patch, headers={"content-type": "application/strategic-merge-patch+json"})
        assert answer.status_code in (200, 404, 409) or answer.is_server_error, answer.text
