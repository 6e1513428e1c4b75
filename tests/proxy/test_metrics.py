"""Counts of exchanges and refreshes, as Prometheus reads them."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from fakes.observations import exchange, refresh
from mimic_proxy.telemetry.accumulators import Histogram
from mimic_proxy.telemetry.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="0.1.0", revision="abc", python="3.11.7", ready=lambda: [("token", True), ("config", False)])


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_an_exchange_is_counted_by_operation_stream_code_and_outcome(metrics: Metrics):
    for _ in range(3):
        metrics.exchange(exchange(operation="chat", stream=True, status=200, outcome="completed"))
    labels = {"operation": "chat", "stream": "true", "code": "200", "outcome": "completed"}
    assert value(metrics, "mimic_requests_total", **labels) == 3


def test_every_outcome_is_there_before_its_first_exchange(metrics: Metrics):
    """A rate does not see the exchange that a series begins with."""
    labels = {"operation": "chat", "stream": "true", "code": "504", "outcome": "timeout"}
    assert value(metrics, "mimic_requests_total", **labels) == 0


def test_durations_fall_into_buckets_with_inclusive_upper_bounds(metrics: Metrics):
    for seconds in (0.01, 0.011, 700.0):
        metrics.exchange(exchange(operation="chat", outcome="completed", duration_seconds=seconds))
    labels = {"operation": "chat", "outcome": "completed"}
    name = "mimic_request_duration_seconds"
    assert value(metrics, f"{name}_bucket", le="0.01", **labels) == 1
    assert value(metrics, f"{name}_bucket", le="0.02", **labels) == 2
    assert value(metrics, f"{name}_bucket", le="655.36", **labels) == 2
    assert value(metrics, f"{name}_bucket", le="+Inf", **labels) == 3
    assert value(metrics, f"{name}_count", **labels) == 3
    assert value(metrics, f"{name}_sum", **labels) == pytest.approx(700.021)


@given(st.lists(st.floats(0, 100)), st.lists(st.integers(1, 50), min_size=1, unique=True).map(sorted))
def test_cumulated_buckets_count_what_is_at_most_their_bound(values: list[float], bounds: list[int]):
    histogram = Histogram((), bounds)
    for seen in values:
        histogram.observe((), seen)
    wanted = [float(bisect_left(sorted(values), bound + 1e-9)) for bound in bounds] + [float(len(values))]
    rendered = list(histogram.rendered())
    assert [count for _, count in rendered[0][1]] == wanted if values else rendered == []


def test_refreshes_are_counted_by_result_and_trigger(metrics: Metrics):
    metrics.refresh(refresh(result="rejected", trigger="proactive"))
    assert value(metrics, "mimic_token_refresh_total", result="rejected", trigger="proactive") == 1
    assert value(metrics, "mimic_token_refresh_total", result="success", trigger="startup") == 0


def test_readiness_and_build_are_gauges_of_the_moment(metrics: Metrics):
    assert value(metrics, "mimic_ready", condition="token") == 1
    assert value(metrics, "mimic_ready", condition="config") == 0
    assert value(metrics, "mimic_build_info", version="0.1.0", revision="abc", python="3.11.7") == 1


def test_the_exposition_is_strict_openmetrics_with_the_contracts_names(metrics: Metrics):
    metrics.exchange(exchange())
    families = {family.name for family in parse_openmetrics(generate_openmetrics(metrics.registry).decode())}
    assert {
        "mimic_requests",
        "mimic_request_duration_seconds",
        "mimic_token_refresh",
        "mimic_ready",
        "mimic_build_info",
        "process_resident_memory_bytes",
    } <= families


def test_an_idle_process_shows_few_series(metrics: Metrics):
    assert sum(not line.startswith(b"#") for line in generate_latest(metrics.registry).splitlines()) < 300
