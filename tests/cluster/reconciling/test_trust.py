"""The webhook's certificate, made by the leader and trusted by the API server."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509

from fakes.control_plane import ControlPlane
from fakes.reconcilers import Reconciler, eventually

pytestmark = pytest.mark.timeout(120)
BASE = "/apis/admissionregistration.k8s.io/v1"
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture
def configuration(installed: httpx2.Client, namespace: str) -> Iterator[str]:
    """The name of both webhook configurations, as a chart would have put them there; one entry is somebody else's."""
    client = {"service": {"name": "hooks", "namespace": "default", "path": "/pods"}}
    other = {"service": {"name": "others", "namespace": "default", "path": "/"}}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["podtemplates"]}
    shared = {"rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore"}
    webhooks = [
        {"name": "others.example.com", "clientConfig": other, **shared},
        {"name": "pods.mimic.dev", "clientConfig": client, **shared},
    ]
    for kind in ("Mutating", "Validating"):
        manifest = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": namespace},
            "webhooks": webhooks,
        }
        made = installed.post(f"{BASE}/{kind.lower()}webhookconfigurations", json=manifest)
        assert made.status_code == 201, made.text
    yield namespace
    for kind in ("mutating", "validating"):
        installed.delete(f"{BASE}/{kind}webhookconfigurations/{namespace}")


@pytest.fixture
def certifying(control_plane: ControlPlane, configuration: str, tmp_path: Path) -> Iterator[Reconciler]:
    """An operator that makes the certificate of these configurations."""
    settings = {
        "CERT_MODE": "self",
        "CERT_SECRET": f"cert-{configuration}",
        "WEBHOOK_SERVICE": "hooks",
        "WEBHOOK_CONFIGURATION": configuration,
    }
    operator = Reconciler(control_plane.kubeconfig, tmp_path, **settings).start()
    try:
        yield operator
    finally:
        operator.stop()


def bundle(admin: httpx2.Client, name: str, kind: str = "mutating", entry: int = 1) -> bytes:
    found: dict[str, Any] = admin.get(f"{BASE}/{kind}webhookconfigurations/{name}").json()
    return base64.b64decode(found["webhooks"][entry]["clientConfig"].get("caBundle") or "")


def test_makes_its_certificate_and_restores_the_trust_in_it_at_once(
    installed: httpx2.Client, configuration: str, certifying: Reconciler
):
    eventually(lambda: bundle(installed, configuration), certifying.log.read_text)
    eventually(lambda: bundle(installed, configuration, "validating"), certifying.log.read_text)
    path = f"/api/v1/namespaces/default/secrets/cert-{configuration}"
    secret = eventually(lambda: (answer := installed.get(path)).status_code == 200 and answer.json())
    data = {name: base64.b64decode(text) for name, text in secret["data"].items()}
    leaf, authority = (
        x509.load_pem_x509_certificate(data["tls.crt"]),
        x509.load_pem_x509_certificate(data["ca.crt"]),
    )
    leaf.verify_directly_issued_by(authority)
    assert bundle(installed, configuration) == data["ca.crt"]
    assert bundle(installed, configuration, entry=0) == b""
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "hooks.default.svc" in names.get_values_for_type(x509.DNSName)

    where = f"{BASE}/mutatingwebhookconfigurations/{configuration}"
    entries = installed.get(where).json()["webhooks"]
    entries[1]["clientConfig"].pop("caBundle")
    assert installed.patch(where, json={"webhooks": entries}, headers=MERGE).is_success
    eventually(lambda: bundle(installed, configuration) == data["ca.crt"], certifying.log.read_text)
    expiry = leaf.not_valid_after_utc.timestamp()
    shown = re.search(
        r"^mimic_operator_certificate_expiry_timestamp_seconds (\S+)$", certifying.metrics(), re.MULTILINE
    )
    assert shown is not None
    assert float(shown[1]) == expiry
    certifying.stop()
    certifying.start()
    eventually(certifying.leads, certifying.log.read_text)
    assert installed.get(path).json()["data"] == secret["data"]
    assert not certifying.said("PRIVATE KEY")


def test_a_damaged_certificate_is_replaced_and_the_old_authority_stays_trusted(
    installed: httpx2.Client, configuration: str, certifying: Reconciler
):
    path = f"/api/v1/namespaces/default/secrets/cert-{configuration}"
    secret = eventually(lambda: (answer := installed.get(path)).status_code == 200 and answer.json())
    certifying.stop()
    old = base64.b64decode(secret["data"]["ca.crt"])
    damaged = {"data": {"ca.key": base64.b64encode(b"no key").decode()}}
    assert installed.patch(path, json=damaged, headers=MERGE).is_success
    certifying.start()
    eventually(lambda: bundle(installed, configuration).count(b"BEGIN") == 2, certifying.log.read_text)
    assert old in bundle(installed, configuration)


def test_a_deleted_secret_is_made_anew_and_what_webhooks_still_serve_stays_trusted(
    installed: httpx2.Client, configuration: str, certifying: Reconciler
):
    path = f"/api/v1/namespaces/default/secrets/cert-{configuration}"
    secret = eventually(lambda: (answer := installed.get(path)).status_code == 200 and answer.json())
    old = base64.b64decode(secret["data"]["ca.crt"])
    assert installed.delete(path).is_success
    # It looks each half minute, and whenever somebody changes a configuration.
    where = f"{BASE}/validatingwebhookconfigurations/{configuration}"
    assert installed.patch(where, json={"metadata": {"labels": {"a": "b"}}}, headers=MERGE).is_success
    again = eventually(lambda: (answer := installed.get(path)).status_code == 200 and answer.json())
    new = base64.b64decode(again["data"]["ca.crt"])
    assert new != old
    assert bundle(installed, configuration) == bundle(installed, configuration, "validating") == new + old
    assert base64.b64decode(again["data"]["retired.crt"]) == old
    certifying.stop()
    certifying.start()
    eventually(certifying.leads, certifying.log.read_text)
    assert bundle(installed, configuration) == new + old
