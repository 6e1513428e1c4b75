"""The OTEL_* variables: what they mean, and that a wrong one is told and stops nothing."""

from pathlib import Path

import pytest

from mimic_proxy.telemetry.propagation import Propagation
from mimic_proxy.telemetry.sampling import ALL
from mimic_proxy.telemetry.tracing.settings import (
    OTLP,
    Batching,
    TracingSettings,
    importable,
    read_propagation,
    read_tracing,
)
from mimic_proxy.telemetry.tracing.spans import Limits

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def read(**variables: str) -> tuple[TracingSettings | None, list[tuple[str, str]]]:
    return read_tracing(variables, "1.2.3", is_file=lambda path: path.name != "missing.pem")


def otlp(**variables: str) -> OTLP:
    settings, problems = read(**{**ENDPOINT, **variables})
    assert problems == []
    assert settings is not None
    assert settings.otlp is not None
    return settings.otlp


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "  "},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_MAX_QUEUE_SIZE": "nonsense"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318"},
    ],
)
def test_without_an_exporter_there_is_nothing_and_no_noise(variables: dict[str, str]):
    assert read(**variables) == (None, [])


def test_an_endpoint_is_enough():
    settings, problems = read(**ENDPOINT)
    assert problems == []
    assert settings is not None
    assert settings.otlp == OTLP("http://collector:4318/v1/traces")
    assert (settings.batching, settings.limits, settings.sampler.bound) == (Batching(), Limits(), ALL)
    assert settings.resource["service.name"] == "mimic-proxy"
    assert settings.resource["service.version"] == "1.2.3"


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp"}, "https://c/otlp/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:4318"}, "http://t:4318"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"}, "http://t/x"),
    ],
)
def test_the_traces_endpoint_is_used_as_it_is_and_wins(variables: dict[str, str], url: str):
    assert otlp(**variables).url == url


def test_variables_of_traces_win_over_those_of_all_signals():
    both = {
        "OTEL_EXPORTER_OTLP_TIMEOUT": "9",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1.5",
        "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "X-Key=b%20c, d = e%3Df",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/all.pem",
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "/traces.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/client.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/client.key",
    }
    found = otlp(**both)
    assert (found.timeout, found.gzip, found.headers) == (1.5, True, (("x-key", "b c"), ("d", "e=f")))
    assert (found.certificate, found.client_certificate) == (Path("/traces.pem"), Path("/client.pem"))
    assert found.client_key == Path("/client.key")


def test_headers_are_secrets_and_in_no_repr():
    assert "hidden" not in repr(otlp(OTEL_EXPORTER_OTLP_HEADERS="authorization=hidden"))


def test_the_resource_is_what_the_variables_say():
    settings, _ = read(
        **ENDPOINT, OTEL_RESOURCE_ATTRIBUTES="k8s.pod.name=p-1,service.name=a,text=a%2Cb", OTEL_SERVICE_NAME="b"
    )
    assert settings is not None
    assert settings.resource["service.name"] == "b"
    assert (settings.resource["k8s.pod.name"], settings.resource["text"]) == ("p-1", "a,b")


def test_batches_are_what_the_variables_say():
    settings, _ = read(
        **ENDPOINT,
        OTEL_BSP_SCHEDULE_DELAY="200",
        OTEL_BSP_MAX_QUEUE_SIZE="100",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
    )
    assert settings is not None
    assert settings.batching == Batching(0.2, 100, 10)
    settings, problems = read(**ENDPOINT, OTEL_BSP_MAX_QUEUE_SIZE="100")
    assert settings is not None
    assert (settings.batching.batch, problems) == (100, [])


def test_limits_are_what_the_variables_say():
    settings, _ = read(
        **ENDPOINT,
        OTEL_ATTRIBUTE_COUNT_LIMIT="9",
        OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="5",
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="40",
        OTEL_SPAN_EVENT_COUNT_LIMIT="3",
        OTEL_SPAN_LINK_COUNT_LIMIT="2",
    )
    assert settings is not None
    assert settings.limits == Limits(5, 3, 2, 40)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no pair"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "name=line%0Abreak"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/missing.pem"),
        ("OTEL_RESOURCE_ATTRIBUTES", "no pair"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-5"),
    ],
)
def test_a_wrong_value_is_told_by_name_without_itself_and_traces_go_on(name: str, value: str):
    settings, problems = read(**ENDPOINT, **{name: value})
    assert settings is not None
    assert [told for told, _ in problems] == [name]
    assert len(value) < 2 or value not in problems[0][1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector"),
    ],
)
def test_where_no_exporter_can_be_made_of_it_there_is_none_and_it_is_told(name: str, value: str):
    settings, problems = read(**{**ENDPOINT, name: value})
    assert settings is None
    assert [told for told, _ in problems] == [name]


@pytest.mark.parametrize(
    ("value", "propagation", "wrong"),
    [
        ("", Propagation(True, False), 0),
        ("tracecontext", Propagation(True, False), 0),
        ("tracecontext,baggage", Propagation(True, True), 0),
        (" baggage ", Propagation(False, True), 0),
        ("none", Propagation(False, False), 0),
        ("b3,tracecontext", Propagation(True, False), 1),
        ("b3", Propagation(False, False), 1),
    ],
)
def test_baggage_passes_only_if_it_is_named(value: str, propagation: Propagation, wrong: int):
    found, problems = read_propagation({"OTEL_PROPAGATORS": value})
    assert (found, len(problems)) == (propagation, wrong)


@pytest.mark.parametrize(("value", "left"), [("b3,tracecontext", "tracecontext"), ("jaeger", "none"), ("none", "none")])
def test_what_would_break_the_import_of_opentelemetry_is_not_there_meanwhile(value: str, left: str):
    written = {"OTEL_PROPAGATORS": value, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many", "OTEL_SPAN_LINK_COUNT_LIMIT": "7"}
    environ = dict(written)
    with importable(environ):
        assert environ == {"OTEL_PROPAGATORS": left, "OTEL_SPAN_LINK_COUNT_LIMIT": "7"}
    assert environ == written


@pytest.mark.parametrize("value", ["", "tracecontext", "tracecontext,baggage"])
def test_what_breaks_nothing_stays(value: str):
    environ = {"OTEL_PROPAGATORS": value, "OTEL_ATTRIBUTE_COUNT_LIMIT": "5"}
    with importable(environ):
        assert environ == {"OTEL_PROPAGATORS": value, "OTEL_ATTRIBUTE_COUNT_LIMIT": "5"}
