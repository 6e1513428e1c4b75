"""Both processes beside a real API server and a real collector: what they say of their work, and what they never do."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from fakes.collector import Exported, Otelcol, otelcol
from fakes.control_plane import ControlPlane
from fakes.definition import installed
from fakes.manifests import backend
from fakes.reconcilers import Reconciler, eventually
from fakes.tools import tool
from fakes.webhooks import Webhook, registered, unregistered

INTERNAL, SERVER, CLIENT = 1, 2, 3
PLANTED = "planted-4711"
FIELDS = ["time", "level", "logger", "message"]
EVENTS = {"LOG_LEVEL": "DEBUG", "OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Otelcol]:
    with otelcol(tool("otelcol"), tmp_path_factory.mktemp("otelcol")) as running:
        yield running


@pytest.fixture(scope="module")
def operators(
    control_plane: ControlPlane,
    admin: httpx2.Client,
    collector: Otelcol,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Reconciler, Webhook]]:
    """Both processes, at work."""
    installed(admin)
    folder = tmp_path_factory.mktemp("operators")
    variables = {**EVENTS, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    reconciler = Reconciler(control_plane.kubeconfig, folder, **variables).start()
    webhook = Webhook(control_plane.kubeconfig, folder, **variables)
    try:
        eventually(lambda: reconciler.said("was looked at"), reconciler.log.read_text)
        webhook.start()
        registered(admin, webhook)
        yield reconciler, webhook
    finally:
        unregistered(admin)
        webhook.stop()
        reconciler.stop()


def pod(**annotations: str) -> dict[str, object]:
    """With something in it that nobody is to read."""
    environ = [{"name": "SECRET", "value": PLANTED}]
    container = {"name": "app", "image": "registry.example/app:1", "env": environ, "args": [PLANTED]}
    metadata = {"name": "app", "labels": {"mimic.dev/inject": "true"}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def below(spans: list[Exported], parent: Exported) -> list[Exported]:
    return [span for span in spans if span.parent_id == parent.span_id]


@pytest.fixture(scope="module")
def story(
    operators: tuple[Reconciler, Webhook], collector: Otelcol, admin: httpx2.Client
) -> tuple[str, list[Exported]]:
    """A backend that is made, a pod that gets the sidecar, one that is denied; the namespace and all spans."""
    namespace: str = admin.post("/api/v1/namespaces", json={"metadata": {"generateName": "traced-"}}).json()[
        "metadata"
    ]["name"]
    account = {"metadata": {"name": "default"}}
    assert admin.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", json=account).status_code in (201, 409)
    manifest = backend()
    manifest["metadata"] = {"name": "corp", "namespace": namespace}
    manifest.pop("status", None)
    path = f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends"
    made = admin.post(path, json=manifest)
    assert made.status_code == 201, made.text
    eventually(lambda: admin.get(f"{path}/corp").json().get("status", {}).get("currentRevision"))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    answer = admin.post(pods, json=pod())
    assert answer.status_code == 201, answer.text
    denied = admin.post(pods, json=pod(**{"mimic.dev/backend": "nobody"}))
    assert denied.status_code == 403, denied.text

    def told() -> list[Exported]:
        spans = collector.spans()
        ours = [span for span in spans if namespace in span.attributes.values()]
        return spans if {"reconcile", "admit pods"} <= {span.name for span in ours} and len(decided(ours)) == 2 else []

    return namespace, eventually(told, collector.text)


def decided(spans: list[Exported]) -> list[Exported]:
    return [span for span in spans if span.attributes.get("mimic.admission.reason")]


def test_a_turn_is_a_root_with_its_calls_below(story: tuple[str, list[Exported]]):
    namespace, spans = story
    turns = [
        span
        for span in spans
        if (span.name, span.attributes.get("mimic.backend.namespace")) == ("reconcile", namespace)
    ]
    first = min(turns, key=lambda span: span.start)
    assert (first.service, first.kind, first.parent_id, first.failed) == ("mimic-reconciler", INTERNAL, "", False)
    assert first.attributes["mimic.backend.name"] == "corp"
    assert first.attributes["mimic.reconcile.result"] == "ok"
    assert first.attributes["mimic.revision"].startswith("mimic-corp-")
    calls = below(spans, first)
    assert {"apply ConfigMap", "apply ControllerRevision", "apply MimicBackend"} <= {call.name for call in calls}
    for call in calls:
        assert (call.kind, call.attributes["k8s.object.namespace"]) == (CLIENT, namespace)
        assert first.start <= call.start <= call.end <= first.end


def test_a_review_says_what_became_of_the_pod(story: tuple[str, list[Exported]]):
    namespace, spans = story
    found = [span for span in decided(spans) if span.attributes["mimic.admission.namespace"] == namespace]
    by_reason = {span.attributes["mimic.admission.reason"]: span for span in found}
    assert sorted(by_reason) == ["Injected", "UnknownBackend"]
    injected, denied = by_reason["Injected"], by_reason["UnknownBackend"]
    assert (injected.service, injected.kind, injected.name) == ("mimic-webhook", SERVER, "admit pods")
    assert injected.attributes["mimic.backend.name"] == "corp"
    assert injected.attributes["mimic.revision"].startswith("mimic-corp-")
    assert denied.attributes["mimic.admission.verdict"] == "denied"
    assert not denied.failed
    assert "get MimicBackend" in {call.name for call in below(spans, denied)}


def test_elections_and_watches_make_no_spans(story: tuple[str, list[Exported]]):
    _, spans = story
    roots = {span.name for span in spans if not span.parent_id}
    assert roots <= {"reconcile", "admit pods", "admit backends", "admit namespace-pods"}


def test_nothing_of_a_specification_is_told(
    story: tuple[str, list[Exported]], collector: Otelcol, operators: tuple[Reconciler, Webhook]
):
    reconciler, webhook = operators
    for said in (collector.text(), reconciler.log.read_text(), webhook.log.read_text()):
        assert said
        assert PLANTED not in said
        assert "registry.example/app" not in said


@pytest.mark.parametrize("which", [0, 1], ids=["reconciler", "webhook"])
def test_every_line_of_the_log_is_json_in_the_proxy_s_form_kopf_s_too(
    story: tuple[str, list[Exported]], operators: tuple[Reconciler, Webhook], which: int
):
    text = operators[which].log.read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line for line in lines if list(line)[:4] != FIELDS] == []
    assert {"kopf" if line["logger"].startswith("kopf") else "ours" for line in lines} == {"kopf", "ours"}


def test_what_was_handed_to_the_collector_is_counted(
    story: tuple[str, list[Exported]], operators: tuple[Reconciler, Webhook]
):
    reconciler, webhook = operators
    assert webhook.metrics()["mimic_operator_spans_exported_total", "success"] > 0
    assert 'mimic_operator_spans_exported_total{result="success"}' in reconciler.metrics()


def test_a_turn_that_fails_is_an_error_by_its_reason_and_its_line_has_its_trace(
    control_plane: ControlPlane, admin: httpx2.Client, collector: Otelcol, namespace: str, tmp_path: Path
):
    """One that may read and not write."""
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
        **EVENTS,
    )
    manifest = {**backend(), "metadata": {"name": "corp", "namespace": namespace}}
    manifest.pop("status", None)
    path = f"/apis/mimic.dev/v1alpha1/namespaces/{namespace}/mimicbackends"
    admin.post(path, json=manifest).raise_for_status()
    confined.start()
    try:
        failed = eventually(
            lambda: [span for span in collector.spans() if span.service == namespace and span.name == "reconcile"],
            lambda: confined.log.read_text() if confined.log.exists() else "",
        )[0]
        assert failed.failed
        assert (failed.attributes["error.type"], failed.attributes["mimic.reconcile.result"]) == ("forbidden", "error")
        (line,) = [line for line in confined.lines() if line.get("trace_id") == failed.trace_id]
        assert (line["span_id"], line["reason"], line["level"]) == (failed.span_id, "forbidden", "WARNING")
        assert 'mimic_operator_failing{reason="forbidden"} 1.0' in confined.metrics()
    finally:
        confined.stop()
