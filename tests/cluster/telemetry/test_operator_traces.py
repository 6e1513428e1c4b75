"""Both processes beside a real API server and a real collector: what they say of their work, and what they never do."""

import json

import httpx2
import pytest

from fakes.collector import Exported, Otelcol
from fakes.operators import PLANTED, bare, traced_namespace
from fakes.reconcilers import Reconciler, eventually
from fakes.webhooks import Webhook, backends_path

INTERNAL, SERVER, CLIENT = 1, 2, 3
FIELDS = ["time", "level", "logger", "message"]


def below(spans: list[Exported], parent: Exported) -> list[Exported]:
    return [span for span in spans if span.parent_id == parent.span_id]


@pytest.fixture(scope="module")
def story(
    operators: tuple[Reconciler, Webhook], collector: Otelcol, admin: httpx2.Client
) -> tuple[str, list[Exported]]:
    """A backend that is made, a pod that gets the sidecar, one that is denied; the namespace and all spans."""
    namespace = traced_namespace(admin)
    path = backends_path(namespace)
    eventually(lambda: admin.get(f"{path}/corp").json().get("status", {}).get("currentRevision"))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    answer = admin.post(pods, json=bare())
    assert answer.status_code == 201, answer.text
    denied = admin.post(pods, json=bare(**{"mimic.dev/backend": "nobody"}))
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
    # kopf says that it serves the webhook's port; of the reconciler it reports nothing but troubles.
    loggers = {"kopf" if line["logger"].startswith("kopf") else "ours" for line in lines}
    assert loggers <= {"kopf", "ours"}
    assert loggers >= ({"ours"}, {"kopf", "ours"})[which]


def test_what_was_handed_to_the_collector_is_counted(
    story: tuple[str, list[Exported]], operators: tuple[Reconciler, Webhook]
):
    reconciler, webhook = operators
    assert webhook.metrics()["mimic_operator_spans_exported_total", "success"] > 0
    assert 'mimic_operator_spans_exported_total{result="success"}' in reconciler.metrics()
