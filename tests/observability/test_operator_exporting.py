"""Where the operator's spans go: to a real collector by the standard variables, and a sick one costs three seconds."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from fakes.collector import Collector, Exported, Otelcol, Reply
from fakes.free_ports import free_port
from mimic_operator.reconcile.metrics import ReconcileSpans
from mimic_operator.runtime.exporting import END_SECONDS, exporting
from mimic_operator.runtime.kinds import Key
from mimic_operator.runtime.queue import Outcome
from mimic_operator.runtime.spans import OFF, Spans


@contextmanager
def exported(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], counted: Counter[str] | None = None
) -> Iterator[Spans]:
    """As a process would have them in its environment, where the SDK looks."""
    tally: Counter[str] = Counter() if counted is None else counted

    def count(result: str, spans: int) -> None:
        tally[result] += spans

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with exporting(variables, service="mimic-reconciler", version="1.2.3", exported=count) as spans:
        yield spans


def reconcile(spans: Spans, name: str = "corp", reason: str = "") -> None:
    reconciles = ReconcileSpans(spans)
    reconciles.begin(Key("shop", name))
    with spans.call("apply", "ConfigMap", "shop", name):
        pass
    reconciles.end(Outcome(Key("shop", name), 0.1, reason), None, {})


def of(spans: list[Exported], service: str) -> list[Exported]:
    return [span for span in spans if span.service == service]


async def test_a_reconcile_reaches_the_collector_before_the_process_ends(
    collector: Otelcol, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: Counter[str] = Counter()
    with exported(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, counted) as spans:
        reconcile(spans, reason="timeout")
    assert counted == {"success": 2}
    found = await collector.until(lambda spans: len(of(spans, "mimic-reconciler")) == 2)
    call, root = of(found, "mimic-reconciler")
    assert (root.name, root.failed, root.attributes["error.type"]) == ("reconcile", True, "timeout")
    assert (call.name, call.failed, call.parent_id) == ("apply ConfigMap", False, root.span_id)


@pytest.mark.parametrize(
    "named",
    [{"OTEL_SERVICE_NAME": "ours-{}"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=ours-{},k8s.pod.name=one"}],
    ids=lambda named: next(iter(named)),
)
async def test_whoever_deploys_names_the_service(
    named: dict[str, str], collector: Otelcol, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = f"ours-{next(iter(named))}"
    variables = {name: value.format(next(iter(named))) for name, value in named.items()}
    traces = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces", **variables}
    with exported(monkeypatch, traces) as spans:
        reconcile(spans)
    found = await collector.until(lambda spans: bool(of(spans, service)))
    assert {span.name for span in of(found, service)} == {"reconcile", "apply ConfigMap"}


async def test_the_sampler_is_the_standard_ones(collector: Otelcol, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SERVICE_NAME": "unsampled",
    }
    counted: Counter[str] = Counter()
    with exported(monkeypatch, variables, counted) as spans:
        reconcile(spans)
    assert counted == {}
    assert of(collector.spans(), "unsampled") == []


HERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": HERE, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_made_where_nothing_is_wanted(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with exported(monkeypatch, variables) as spans:
        assert spans is OFF
        reconcile(spans)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("variable", "value", "off"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", True),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", False),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=fine,Bearer planted", False),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/planted.pem", False),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", True),
    ],
)
def test_a_wrong_variable_is_told_once_by_its_name_and_stops_nobody(
    variable: str, value: str, off: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with Collector() as fake:
        with exported(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": fake.url, variable: value}) as spans:
            assert (spans is OFF) is off
            reconcile(spans)
        assert bool(fake.posted) is not off
    said = [record.getMessage() for record in caplog.records if record.name == "mimic.traces"]
    assert len(said) == 1, said
    assert said[0].startswith("OTEL_")
    assert "planted" not in caplog.text


@pytest.mark.timeout(30)
@pytest.mark.parametrize("sick", ["refused", "silent", "unavailable"])
def test_a_sick_collector_costs_the_end_three_seconds_at_most(
    sick: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    reply = Reply(after=20.0) if sick == "silent" else Reply(503, {"retry-after": "60"})
    with Collector(reply) as fake:
        url = f"http://127.0.0.1:{free_port()}" if sick == "refused" else fake.url
        counted: Counter[str] = Counter()
        with exported(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": url}, counted) as spans:
            begun = time.monotonic()
            for number in range(200):
                reconcile(spans, f"backend-{number}")
            took = time.monotonic() - begun
            ending = time.monotonic()
        assert time.monotonic() - ending < END_SECONDS + 1.0
        assert took < 2.0
        assert counted["success"] == 0
