"""A reconciler that may not write: how its failures are told. No other one runs, which would do its work."""

from pathlib import Path

import httpx2

from fakes.collector import Otelcol
from fakes.control_plane import ControlPlane
from fakes.definition import installed
from fakes.operators import TRACED, loose_backend
from fakes.reconcilers import Reconciler, eventually
from fakes.webhooks import backends_path


def test_a_turn_that_fails_is_an_error_by_its_reason_and_its_line_has_its_trace(
    control_plane: ControlPlane, admin: httpx2.Client, collector: Otelcol, namespace: str, tmp_path: Path
):
    installed(admin)
    account = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
    ]
    admin.post(f"{rbac}/clusterroles", json={"metadata": {"name": namespace}, "rules": rules}).raise_for_status()
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace}
    binding = {"metadata": {"name": namespace}, "roleRef": role, "subjects": [account]}
    admin.post(f"{rbac}/clusterrolebindings", json=binding).raise_for_status()
    confined = Reconciler(
        control_plane.kubeconfig_of(namespace, "default"),
        tmp_path,
        LEASE_NAME=f"lease-{namespace}",
        WATCH_NAMESPACES=namespace,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_SERVICE_NAME=namespace,
        **TRACED,
    )
    admin.post(backends_path(namespace), json=loose_backend(namespace)).raise_for_status()
    confined.start()
    try:
        failed = eventually(
            lambda: [span for span in collector.spans() if span.service == namespace and span.name == "reconcile"],
            lambda: confined.log.read_text() if confined.log.exists() else "",
        )[0]
        assert failed.failed
        assert (failed.attributes["error.type"], failed.attributes["mimic.reconcile.result"]) == ("forbidden", "error")
        lines = [line for line in confined.lines() if line.get("trace_id") == failed.trace_id]
        found = [(line["span_id"], line["reason"], line["level"]) for line in lines]
        assert (failed.span_id, "forbidden", "WARNING") in found
        assert 'mimic_operator_failing{reason="forbidden"} 1.0' in confined.metrics()
    finally:
        confined.stop()
