"""The webhook as a process of its own, its configurations as the chart renders them, and a revision for backends.

The API server reaches it at an address, not through a Service: there is no node whose rules would lead there.
"""

import base64
import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import trustme
from prometheus_client.parser import text_string_to_metric_families

from fakes.free_ports import free_port
from fakes.manifests import DEFAULTS, Manifest
from fakes.processes import Process, imported, started
from fakes.reconcilers import eventually
from mimic_operator.reconcile.manifests import controller_revision
from mimic_operator.resource.backend import parse
from mimic_operator.resource.revision import Revision, revision_of

STOP_SECONDS = 15.0
START_SECONDS = 30.0
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
MERGE = {"content-type": "application/merge-patch+json"}
EXCLUDED = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "mimic-system"]}

imported("mimic_operator.cli.webhook", "mimic_operator.webhook.process")


def absent(key: str) -> Manifest:
    return {"key": key, "operator": "DoesNotExist"}


class Webhook:
    """One replica on ports of its own. authority: signs its certificate; the API server is told to trust it."""

    def __init__(self, kubeconfig: Path, folder: Path, **settings: str) -> None:
        self.authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.folder = folder / "certificate"
        self.folder.mkdir(parents=True)
        self.log = folder / "webhook.log"
        self.port, self.metrics_port = free_port(), free_port()
        self.renew()
        self._environ = {
            **{key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "PYTHONPATH")},
            "KUBECONFIG": str(kubeconfig),
            "MIMIC_IMAGE": DEFAULTS.image,
            "MIMIC_NAMESPACE": "mimic-system",
            "WEBHOOK_HOST": "127.0.0.1",
            "WEBHOOK_PORT": str(self.port),
            "WEBHOOK_CERT_DIR": str(self.folder),
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": str(self.metrics_port),
            **settings,
        }
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def renew(self, authority: trustme.CA | None = None) -> None:
        """Put another certificate into its folder, by rename as the kubelet does."""
        leaf = (authority or self.authority).issue_cert("127.0.0.1", not_after=datetime(2035, 1, 1, tzinfo=UTC))
        pairs = {
            "tls.crt": b"".join(pem.bytes() for pem in leaf.cert_chain_pems),
            "tls.key": leaf.private_key_pem.bytes(),
        }
        for name, content in pairs.items():
            self.put(name, content)

    def put(self, name: str, content: bytes) -> None:
        """One file of its certificate's folder, whole at once."""
        fresh = self.folder / f".{name}"
        fresh.write_bytes(content)
        fresh.replace(self.folder / name)

    def start(self, ready: bool = True) -> "Webhook":
        self._process = started("mimic_operator", "webhook", self.log.parent, self._environ, self.log)
        if ready:
            self.until(lambda: self.probe("readyz")[0] == 200)
        return self

    def until(self, holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Raises AssertionError with its log."""

        def lives_and_holds() -> bool:
            assert self.status() is None, f"it ended with {self.status()}:\n{self._tail()}"
            return holds()

        eventually(lives_and_holds, self._tail, seconds)

    def _tail(self) -> str:
        return self.log.read_text()[-4000:]

    def status(self) -> int | None:
        """The exit code of one that has ended by itself."""
        return None if self._process is None else self._process.poll()

    def wait(self) -> int:
        """The exit code of one that ends by itself."""
        assert self._process is not None
        return self._process.wait(START_SECONDS)

    def stop(self) -> int:
        """Its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it does not end:\n{self._tail()}") from None

    def probe(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status, and what is said; 0 while nobody listens."""
        try:
            answer = httpx2.get(f"http://127.0.0.1:{self.metrics_port}/{path}", trust_env=False, timeout=5)
        except httpx2.TransportError:
            return 0, {}
        return answer.status_code, answer.json()

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Samples by name and the values of their labels, in the order of the labels' names."""
        text = httpx2.get(f"http://127.0.0.1:{self.metrics_port}/metrics", trust_env=False, timeout=5).text
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def watch_ages(self) -> dict[str, float]:
        """Seconds since the last sign of life of each watch, by kind."""
        return {key[1]: age for key, age in self.metrics().items() if key[0] == "mimic_operator_watch_age_seconds"}

    def caught_up(self, admin: httpx2.Client) -> None:
        """Waits until its index holds as many backends as there are: its watch runs behind what was just written."""
        path = "/apis/mimic.dev/v1alpha1/mimicbackends"
        key = "mimic_operator_index_objects", "MimicBackend"
        self.until(lambda: self.metrics()[key] == len(admin.get(path).json()["items"]))

    def reviewed(self) -> float:
        """How many pods it was asked about."""
        return sum(value for key, value in self.metrics().items() if key[0] == "mimic_operator_admissions_total")

    def client_config(self, path: str, bundle: bytes | None = None) -> Manifest:
        trusted = base64.b64encode(bundle or self.authority.cert_pem.bytes()).decode()
        return {"url": f"https://127.0.0.1:{self.port}/{path}", "caBundle": trusted}


def registered(admin: httpx2.Client, webhook: Webhook, bundle: bytes | None = None) -> None:
    """Both configurations, as helm/mimic/templates/admission.yaml renders them."""
    pods = {
        "sideEffects": "NoneOnDryRun",
        "matchPolicy": "Equivalent",
        "reinvocationPolicy": "IfNeeded",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
                "scope": "Namespaced",
            }
        ],
    }
    own = {
        "name": "pods.mimic.dev",
        "clientConfig": webhook.client_config("pods", bundle),
        "failurePolicy": "Fail",
        "namespaceSelector": {"matchExpressions": [EXCLUDED]},
        "objectSelector": {
            "matchLabels": {"mimic.dev/inject": "true"},
            "matchExpressions": [absent("mimic.dev/component")],
        },
    }
    others = {
        "name": "namespaces.mimic.dev",
        "clientConfig": webhook.client_config("namespace-pods", bundle),
        "failurePolicy": "Ignore",
        "namespaceSelector": {"matchLabels": {"mimic.dev/injection": "enabled"}, "matchExpressions": [EXCLUDED]},
        "objectSelector": {"matchExpressions": [absent("mimic.dev/inject"), absent("mimic.dev/component")]},
        "matchConditions": [
            {"name": "no-host-network", "expression": "!object.spec.?hostNetwork.orValue(false)"},
            {"name": "no-windows", "expression": "object.spec.?os.name.orValue('linux') != 'windows'"},
        ],
    }
    backends = {
        "name": "backends.mimic.dev",
        "clientConfig": webhook.client_config("backends", bundle),
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
        "rules": [
            {
                "apiGroups": ["mimic.dev"],
                "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["mimicbackends"],
                "scope": "Namespaced",
            }
        ],
    }
    _put(admin, "Mutating", [pods | own, pods | others])
    _put(admin, "Validating", [backends])


def unregistered(admin: httpx2.Client) -> None:
    for kind in ("mutating", "validating"):
        admin.delete(f"{REGISTRATION}/{kind}webhookconfigurations/mimic")


def _put(admin: httpx2.Client, kind: str, webhooks: list[Manifest]) -> None:
    manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": "mimic"},
        "webhooks": webhooks,
    }
    path = f"{REGISTRATION}/{kind.lower()}webhookconfigurations/mimic"
    answer = admin.patch(
        path,
        params={"fieldManager": "test", "force": "true"},
        headers={"content-type": "application/apply-patch+yaml"},
        content=json.dumps(manifest),
    )
    assert answer.status_code in (200, 201), answer.text


def backends_path(namespace: str) -> str:
    return f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends"


def created(admin: httpx2.Client, manifest: Mapping[str, Any], namespace: str, *, current: bool = True) -> Revision:
    """A backend as the reconciler leaves it: with its revision, which its status names unless not `current`."""
    loose = {**manifest, "metadata": {"name": manifest["metadata"]["name"], "namespace": namespace}}
    loose.pop("status", None)
    answer = admin.post(backends_path(namespace), json=loose)
    assert answer.status_code == 201, answer.text
    backend = parse(answer.json())
    revision = revision_of(backend, DEFAULTS)
    path = f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
    made = admin.post(path, json=controller_revision(backend, revision))
    assert made.status_code == 201, made.text
    if current:
        status = {"status": {"currentRevision": revision.name}}
        named = admin.patch(f"{backends_path(namespace)}/{backend.name}/status", json=status, headers=MERGE)
        assert named.status_code == 200, named.text
    return revision
