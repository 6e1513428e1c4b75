"""The life of the webhook's process."""

import httpx2
import pytest
import trustme

from fakes.control_plane import ControlPlane
from fakes.manifests import backend
from fakes.webhooks import Webhook, created


def test_it_is_ready_once_it_knows_all_backends_and_serves(webhook: Webhook):
    status, said = webhook.probe("readyz")
    assert (status, said["checks"]) == (200, {"index": "ok", "tls": "ok"})
    assert webhook.probe("livez")[0] == 200


def test_it_serves_over_tls_with_its_certificate_and_nothing_but_its_paths(webhook: Webhook):
    context = httpx2.create_ssl_context(trust_env=False)
    context.load_verify_locations(cadata=webhook.authority.cert_pem.bytes().decode())
    with httpx2.Client(base_url=f"https://127.0.0.1:{webhook.port}", verify=context, trust_env=False) as client:
        assert client.get("/livez").status_code == 200
        assert client.post("/other", json={}).status_code == 404
        assert client.post("/pods", content=b"{").status_code == 400
        assert client.post("/pods", json={}).status_code == 400
        assert client.post("/pods", content=b" " * (9 << 20)).status_code == 413


def test_a_certificate_that_is_no_use_is_passed_over_and_counted(webhook: Webhook):
    key = "mimic_operator_webhook_certificate_reloads_total", "failed"
    before, whole = webhook.metrics()[key], (webhook.folder / "tls.key").read_bytes()
    other = trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes()
    try:
        webhook.put("tls.key", other)
        webhook.until(lambda: webhook.metrics()[key] > before)
        assert webhook.probe("readyz")[0] == 200
    finally:
        webhook.put("tls.key", whole)


def test_without_a_certificate_it_ends_and_says_so(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
):
    lone = Webhook(control_plane.kubeconfig, tmp_path_factory.mktemp("lone"))
    (lone.folder / "tls.crt").unlink()
    lone.start(ready=False)
    assert lone.wait() == 1
    assert "tls.crt and tls.key are not a certificate and its key" in lone.log.read_text()


def test_the_index_forgets_backends_that_go(webhook: Webhook, admin: httpx2.Client, namespace: str):
    created(admin, backend(), namespace)
    webhook.caught_up(admin)
    admin.delete(f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends/corp").raise_for_status()
    webhook.caught_up(admin)


def test_it_may_do_with_the_rights_of_the_chart_and_no_more(
    control_plane: ControlPlane,
    webhook: Webhook,
    admin: httpx2.Client,
    namespace: str,
    tmp_path_factory: pytest.TempPathFactory,
):
    """As helm/mimic/templates/_permissions.tpl gives them."""
    account = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    rights = [
        ("mimic.dev", "mimicbackends", ["get", "list", "watch"]),
        ("apps", "controllerrevisions", ["get", "list", "watch"]),
        ("apps", "replicasets", ["get"]),
        ("batch", "jobs", ["get"]),
        ("", "namespaces", ["get"]),
        ("", "events", ["create"]),
    ]
    rules = [{"apiGroups": [group], "resources": [plural], "verbs": verbs} for group, plural, verbs in rights]
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    admin.post(f"{rbac}/clusterroles", json={"metadata": {"name": namespace}, "rules": rules}).raise_for_status()
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace}
    binding = {"metadata": {"name": namespace}, "roleRef": role, "subjects": [account]}
    admin.post(f"{rbac}/clusterrolebindings", json=binding).raise_for_status()
    confined = Webhook(control_plane.kubeconfig_of(namespace, "default"), tmp_path_factory.mktemp("confined"))
    try:
        confined.start()
    finally:
        assert confined.stop() == 0
    user = f"system:serviceaccount:{namespace}:default"
    refused = [
        each["requestURI"]
        for each in control_plane.audit()
        if each["user"].get("username") == user and each.get("responseStatus", {}).get("code") == 403
    ]
    assert refused == []
