"""Counts and gauges as Prometheus reads them: the whole catalogue, in strict OpenMetrics."""

from bisect import bisect_left
from dataclasses import replace
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from fakes.observations import exchange, refresh
from fakes.readings import HELD, made
from mimic_proxy.telemetry.catalogue import CATALOGUE, CLOSED, GENAI
from mimic_proxy.telemetry.counts import Histogram
from mimic_proxy.telemetry.genai_counts import GenAICounts
from mimic_proxy.telemetry.metrics import Metrics
from mimic_proxy.telemetry.models import ModelLabels
from mimic_proxy.telemetry.observation import Attempt, Operation, Outcome, TokenWait, Trace
from mimic_proxy.telemetry.port import Readings, SpanCounts

TRACE = Trace("a" * 32, "b" * 16, "c" * 16, None, True)


@pytest.fixture
def metrics() -> Metrics:
    return made()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def changes(metrics: Metrics, act: Any) -> dict[tuple[str, ...], float]:
    """What `act` adds to the counters and to the counts of histograms: name, label values, by how much."""

    def look() -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *(f"{name}={value}" for name, value in sample.labels.items())): sample.value
            for family in metrics.registry.collect()
            for sample in family.samples
            if sample.name.startswith(("mimic_", "gen_ai_")) and sample.name.endswith(("_total", "_count"))
        }

    before = look()
    act()
    return {key: count - before.get(key, 0) for key, count in look().items() if count != before.get(key, 0)}


def test_every_metric_of_the_catalogue_is_exposed_with_its_labels(metrics: Metrics):
    metrics.exchange(
        exchange(stream=True, first_chunk_seconds=0.1, events=3, max_gap_seconds=0.1, queue_seconds=1.0, model="m")
    )
    metrics.refresh(refresh())
    families = {family.name: family for family in parse_openmetrics(generate_openmetrics(metrics.registry).decode())}
    for metric in CATALOGUE.values():
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        assert labels in ({*metric.labels}, set()), metric.name


def test_an_exchange_adds_exactly_this(metrics: Metrics):
    seen = exchange(overhead_seconds=0.001, input_tokens=9, output_tokens=4, cached_tokens=0)
    assert changes(metrics, lambda: metrics.exchange(seen)) == {
        ("mimic_requests_total", "operation=chat", "stream=false", "code=200", "outcome=completed"): 1,
        ("mimic_request_duration_seconds_count", "operation=chat", "outcome=completed"): 1,
        ("mimic_overhead_seconds_count", "operation=chat"): 1,
        ("mimic_request_body_bytes_count", "operation=chat"): 1,
        ("mimic_response_body_bytes_count", "operation=chat"): 1,
        ("mimic_upstream_attempts_total", "operation=chat", "code=200", "error_type="): 1,
        ("mimic_upstream_head_seconds_count", "operation=chat", "code=2xx"): 1,
        ("mimic_model_requests_total", "operation=chat", "model=small", "outcome=completed"): 1,
        ("mimic_tokens_total", "operation=chat", "model=small", "type=input"): 9,
        ("mimic_tokens_total", "operation=chat", "model=small", "type=output"): 4,
    }


def test_a_stream_adds_exactly_this_as_well(metrics: Metrics):
    plain = changes(metrics, lambda: metrics.exchange(exchange()))
    seen = exchange(
        stream=True,
        first_chunk_seconds=0.2,
        max_gap_seconds=0.3,
        events=5,
        heartbeats=2,
        send_blocked_seconds=1.5,
        response_bytes=700,
    )
    more = changes(metrics, lambda: metrics.exchange(seen))
    assert {key: amount for key, amount in more.items() if "_stream" in key[0]} == {
        ("mimic_streams_total", "operation=chat", "outcome=completed", "mode=native"): 1,
        ("mimic_stream_duration_seconds_count", "operation=chat", "outcome=completed"): 1,
        ("mimic_stream_time_to_first_chunk_seconds_count", "operation=chat", "model=small"): 1,
        ("mimic_stream_max_gap_seconds_count", "operation=chat"): 1,
        ("mimic_stream_events_total", "operation=chat"): 5,
        ("mimic_stream_bytes_total", "operation=chat"): 700,
        ("mimic_stream_send_blocked_seconds_total", "operation=chat"): 1.5,
        ("mimic_stream_heartbeats_total", "operation=chat"): 2,
    }
    assert len(more) == len(plain) + 8


def test_repeated_attempts_waits_and_retries_add_exactly_this(metrics: Metrics):
    usual = changes(metrics, lambda: metrics.exchange(exchange()))
    seen = exchange(
        attempts=3,
        earlier=(
            Attempt(1.0, 0.1, 401, 0.1, "unauthorized", "unauthorized"),
            Attempt(2.0, 0.1, None, None, "reset", "connect"),
        ),
        queue_seconds=0.5,
        token_wait_seconds=0.7,
        token_waits=(TokenWait(1.0, 0.7, None),),
        client_retry=True,
    )
    more = changes(metrics, lambda: metrics.exchange(seen))
    assert {key: amount for key, amount in more.items() if key not in usual} == {
        ("mimic_upstream_attempts_total", "operation=chat", "code=401", "error_type=unauthorized"): 1,
        ("mimic_upstream_attempts_total", "operation=chat", "code=", "error_type=reset"): 1,
        ("mimic_upstream_head_seconds_count", "operation=chat", "code=4xx"): 1,
        ("mimic_retries_total", "operation=chat", "reason=unauthorized"): 1,
        ("mimic_retries_total", "operation=chat", "reason=connect"): 1,
        ("mimic_token_upstream_unauthorized_total", "kind=http"): 1,
        ("mimic_upstream_slot_wait_seconds_count", "pool=backend"): 1,
        ("mimic_token_wait_seconds_count",): 1,
        ("mimic_client_retries_total", "operation=chat"): 1,
    }


def test_an_attempt_that_was_not_repeated_after_all_counts_once_and_as_no_retry(metrics: Metrics):
    """The token that was waited for did not come."""
    refused = Attempt(1.0, 0.1, 401, 0.1, "unauthorized", "unauthorized")
    seen = exchange(outcome="token_error", status=503, attempts=1, earlier=(refused,), upstream_status=None)
    added = changes(metrics, lambda: metrics.exchange(seen))
    assert {key: amount for key, amount in added.items() if "attempts" in key[0] or "retries" in key[0]} == {
        ("mimic_upstream_attempts_total", "operation=chat", "code=401", "error_type=unauthorized"): 1
    }


@pytest.mark.parametrize(
    ("seen", "added"),
    [
        ({"outcome": "circuit_open", "status": 503, "attempts": 0}, ("mimic_breaker_rejected_total", "target=backend")),
        (
            {"outcome": "token_error", "status": 503, "attempts": 0, "error_code": "token_unavailable"},
            ("mimic_breaker_rejected_total", "target=token"),
        ),
        (
            {"outcome": "overloaded", "status": 503, "attempts": 0, "refused": "concurrency"},
            ("mimic_admission_rejected_total", "reason=concurrency"),
        ),
        (
            {"outcome": "token_error", "status": 502, "error_type": "unauthorized", "upstream_status": 401},
            ("mimic_token_upstream_unauthorized_total", "kind=http"),
        ),
        (
            {"outcome": "token_error", "status": 502, "error_type": "unauthorized", "upstream_status": 200},
            ("mimic_token_upstream_unauthorized_total", "kind=envelope"),
        ),
    ],
)
def test_who_is_turned_away_is_counted_by_why(metrics: Metrics, seen: dict[str, Any], added: tuple[str, ...]):
    assert changes(metrics, lambda: metrics.exchange(exchange(**seen)))[added] == 1


def test_every_outcome_is_there_before_its_first_exchange(metrics: Metrics):
    """A rate does not see the exchange that a series begins with."""
    for code, outcome in (("504", "timeout"), ("500", "upstream_error"), ("502", "token_error")):
        labels = {"operation": "chat", "stream": "true", "code": code, "outcome": outcome}
        assert value(metrics, "mimic_requests_total", **labels) == 0


def test_durations_fall_into_buckets_with_inclusive_upper_bounds(metrics: Metrics):
    for seconds in (0.01, 0.011, 700.0):
        metrics.exchange(exchange(operation="chat", outcome="completed", started=0.0, duration_seconds=seconds))
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
        histogram.child().observe(seen)
    wanted = [float(bisect_left(sorted(values), bound + 1e-9)) for bound in bounds] + [float(len(values))]
    rendered = list(histogram.cumulated())
    assert [count for _, count, _ in rendered[0][1]] == wanted if values else rendered == []


def test_refreshes_are_counted_by_result_and_trigger(metrics: Metrics):
    assert changes(metrics, lambda: metrics.refresh(refresh(result="rejected", trigger="proactive"))) == {
        ("mimic_token_refresh_total", "result=rejected", "trigger=proactive"): 1,
        ("mimic_token_refresh_duration_seconds_count", "result=rejected"): 1,
        ("mimic_breaker_transitions_total", "target=token", "to=open"): 1,
    }
    assert value(metrics, "mimic_token_refresh_total", result="success", trigger="startup") == 0


def test_the_token_service_s_breaker_opens_is_probed_and_closes(metrics: Metrics):
    def refreshed(result: str) -> dict[tuple[str, ...], float]:
        found = changes(metrics, lambda: metrics.refresh(refresh(result=result)))
        return {key: amount for key, amount in found.items() if "breaker" in key[0]}

    name = "mimic_breaker_transitions_total"
    assert refreshed("success") == {}
    assert refreshed("timeout") == {(name, "target=token", "to=open"): 1}
    probed = (name, "target=token", "to=half_open")
    assert refreshed("timeout") == {probed: 1, (name, "target=token", "to=open"): 1}
    assert refreshed("success") == {probed: 1, (name, "target=token", "to=closed"): 1}
    assert refreshed("success") == {}


def test_gauges_are_those_of_the_moment():
    readings = Readings(
        token=HELD,
        requests_in_flight={"chat": 4},
        streams_in_flight={"chat": 3},
        breaker="open",
        slots_in_use=4,
        slots_limit=512,
        conditions=[("token", True), ("config", False)],
        draining=True,
        config_hash="abc123",
        reloaded_at=1500.0,
        reload_succeeded=False,
        spans=SpanCounts(5, 2, 1),
        lines_lost=9,
    )
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in made(readings).registry.collect()
        for sample in family.samples
    }
    assert {
        ("mimic_requests_in_flight", "chat"): 4,
        ("mimic_requests_in_flight", "models"): 0,
        ("mimic_streams_in_flight", "chat"): 3,
        ("mimic_breaker_state", "backend", "open"): 1,
        ("mimic_breaker_state", "backend", "closed"): 0,
        ("mimic_breaker_state", "token", "closed"): 1,
        ("mimic_upstream_slots_in_use", "backend"): 4,
        ("mimic_upstream_slots_limit", "backend"): 512,
        ("mimic_ready", "token"): 1,
        ("mimic_ready", "config"): 0,
        ("mimic_draining",): 1,
        ("mimic_config_info", "abc123"): 1,
        ("mimic_config_last_reload_timestamp_seconds",): 1500,
        ("mimic_config_last_reload_success",): 0,
        ("mimic_token_expiry_timestamp_seconds",): 1300,
        ("mimic_token_issued_timestamp_seconds",): 1000,
        ("mimic_token_lifetime_seconds",): 300,
        ("mimic_token_refresh_margin_seconds",): 60,
        ("mimic_token_required",): 1,
        ("mimic_token_waiters",): 2,
        ("mimic_token_coalesced_total",): 7,
        ("mimic_spans_exported_total", "success"): 5,
        ("mimic_spans_exported_total", "failure"): 2,
        ("mimic_spans_dropped_total",): 1,
        ("mimic_log_lines_dropped_total",): 9,
        ("mimic_build_info", "0.1.0", "abc", "3.11.7"): 1,
    }.items() <= shown.items()


@pytest.mark.parametrize(
    ("failures", "in_flight", "state"), [(0, True, "closed"), (2, False, "open"), (2, True, "half_open")]
)
def test_the_token_service_s_breaker_shows_its_state(failures: int, in_flight: bool, state: str):
    readings = Readings(token=replace(HELD, consecutive_failures=failures, in_flight=in_flight))
    found = {name: value(made(readings), "mimic_breaker_state", target="token", state=name) for name in CLOSED["state"]}
    assert found == {name: float(name == state) for name in CLOSED["state"]}


def test_without_a_token_its_times_are_zero():
    none = replace(HELD, held=False, issued=None, expires=None, lifetime=None, refresh_margin=None)
    shown = made(Readings(token=none))
    for name in ("expiry_timestamp", "issued_timestamp", "lifetime", "refresh_margin"):
        assert value(shown, f"mimic_token_{name}_seconds") == 0


def test_an_assumed_lifetime_is_an_expiry_too():
    guessed = made(Readings(token=replace(HELD, expires=None)))
    assert value(guessed, "mimic_token_expiry_timestamp_seconds") == 1300


def test_a_sampled_exchange_is_the_example_of_its_buckets(metrics: Metrics):
    metrics.exchange(exchange(trace=TRACE, started=0.0, duration_seconds=0.25, stream=True, first_chunk_seconds=0.05))
    metrics.exchange(exchange(duration_seconds=0.25))
    text = generate_openmetrics(metrics.registry).decode()
    shown = [line.partition(" # ") for line in text.splitlines() if " # {" in line]
    ids = f'span_id="{TRACE.span_id}",trace_id="{TRACE.trace_id}"'
    assert [(series.split("{")[0], exemplar) for series, _, exemplar in shown] == [
        ("mimic_request_duration_seconds_bucket", f"{{{ids}}} 0.25 2000.0"),
        ("mimic_stream_time_to_first_chunk_seconds_bucket", f"{{{ids}}} 0.05 2000.0"),
    ]
    list(parse_openmetrics(text))
    assert b"trace_id" not in generate_latest(metrics.registry)


def test_only_models_that_have_answered_are_labels_and_only_eight(metrics: Metrics):
    metrics.exchange(exchange(model="typo", outcome="client_error", status=404))
    for number in range(20):
        metrics.exchange(exchange(model=f"model-{number}"))
    metrics.exchange(exchange(model="model-3", outcome="upstream_error", status=500))
    series = {
        sample.labels["model"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "mimic_model_requests_total" and sample.labels["outcome"] == "completed"
    }
    assert series == {**{f"model-{number}": 1.0 for number in range(8)}, "other": 12.0}
    failed = {"operation": "chat", "outcome": "upstream_error"}
    assert value(metrics, "mimic_model_requests_total", model="model-3", **failed) == 1
    assert value(metrics, "mimic_model_requests_total", model="other", operation="chat", outcome="client_error") == 1


def test_a_model_that_failed_first_gets_its_label_once_it_has_answered(metrics: Metrics):
    failed = exchange(model="m", outcome="upstream_error", status=500)
    metrics.exchange(failed)
    metrics.exchange(exchange(model="m"))
    metrics.exchange(failed)
    found = [
        value(metrics, "mimic_model_requests_total", model=name, operation="chat", outcome="upstream_error")
        for name in ("other", "m")
    ]
    assert found == [1, 1]


def test_statuses_that_nobody_knows_are_told_by_their_class(metrics: Metrics):
    def act() -> None:
        for status in (*range(200, 600), 201):
            metrics.exchange(exchange(status=status, upstream_status=status))

    added = changes(metrics, act)
    tried = {key[2].removeprefix("code="): amount for key, amount in added.items() if "attempts" in key[0]}
    assert {"201": 2, "429": 1, "529": 1, "2xx": 95, "5xx": 94}.items() <= tried.items()
    assert len(tried) < 40
    assert sum(tried.values()) == 401
    heads = {key[2] for key in added if "head_seconds" in key[0]}
    assert heads == {"code=2xx", "code=3xx", "code=4xx", "code=5xx"}


def test_where_models_are_fixed_no_other_is_a_label():
    metrics = made(models=ModelLabels(["large"]))
    for name in ("large", "small"):
        metrics.exchange(exchange(model=name))
    labels = {"operation": "chat", "outcome": "completed"}
    assert value(metrics, "mimic_model_requests_total", model="large", **labels) == 1
    assert value(metrics, "mimic_model_requests_total", model="other", **labels) == 1


def test_gaps_breaker_reloads_and_lag_are_counted_as_they_come(metrics: Metrics):
    def act() -> None:
        metrics.gaps("chat", "m")(0.5)
        metrics.breaker_changed("open")
        metrics.reloaded(True)
        metrics.reloaded(False)
        metrics.lag(0.01)

    assert changes(metrics, act) == {
        ("mimic_stream_chunk_gap_seconds_count", "operation=chat"): 1,
        ("mimic_breaker_transitions_total", "target=backend", "to=open"): 1,
        ("mimic_config_reloads_total", "result=success"): 1,
        ("mimic_config_reloads_total", "result=failure"): 1,
        ("mimic_event_loop_lag_seconds_count",): 1,
    }


def test_the_provider_of_the_generative_ai_set_is_a_setting():
    servers: dict[Operation, tuple[str, str]] = {"chat": ("backend.test", "443")}
    counts = GenAICounts(ModelLabels(), ModelLabels(), servers, "azure.ai.openai")
    counts.count(exchange())
    (labels,) = counts.counts.histograms["gen_ai_client_operation_duration_seconds"].series
    assert labels[1] == "azure.ai.openai"


def genai() -> Metrics:
    models = ModelLabels()
    servers: dict[Operation, tuple[str, str]] = {"chat": ("backend.test", "443"), "embeddings": ("backend.test", "443")}
    return made(models=models, genai=GenAICounts(models, ModelLabels(), servers))


def test_the_generative_ai_set_is_there_on_demand_with_the_prescribed_names_and_buckets():
    metrics = genai()

    def act() -> None:
        seen = exchange(stream=True, first_chunk_seconds=0.1, events=2, input_tokens=9, output_tokens=4)
        metrics.exchange(seen)
        metrics.gaps("chat", "small")(0.1)
        metrics.exchange(exchange(operation="models"))

    added = {key[0]: amount for key, amount in changes(metrics, act).items() if key[0].startswith("gen_ai")}
    assert added == {
        "gen_ai_client_operation_duration_seconds_count": 1,
        "gen_ai_client_token_usage_count": 1,
        "gen_ai_client_operation_time_to_first_chunk_seconds_count": 1,
        "gen_ai_client_operation_time_per_output_chunk_seconds_count": 1,
    }
    text = generate_openmetrics(metrics.registry).decode()
    families = {family.name: family for family in parse_openmetrics(text)}
    for metric in GENAI:
        (first, *_) = [sample for sample in families[metric.name].samples if sample.name.endswith("_bucket")]
        assert {*first.labels} == {*metric.labels, "le"}
    assert not any(name.startswith("gen_ai") for name in parse_names(made()))


def parse_names(metrics: Metrics) -> set[str]:
    return {family.name for family in parse_openmetrics(generate_openmetrics(metrics.registry).decode())}


@pytest.mark.parametrize(
    ("outcome", "error_type", "shown"), [("upstream_error", "reset", "reset"), ("overloaded", None, "overloaded")]
)
def test_a_failed_call_says_why_in_the_generative_ai_set(outcome: Outcome, error_type: str | None, shown: str):
    metrics = genai()
    found = changes(metrics, lambda: metrics.exchange(exchange(outcome=outcome, error_type=error_type)))
    (key,) = [key for key in found if key[0].startswith("gen_ai")]
    assert f"error_type={shown}" in key


def test_an_idle_process_shows_few_series(metrics: Metrics):
    assert sum(not line.startswith(b"#") for line in generate_latest(metrics.registry).splitlines()) < 350


@settings(max_examples=50)
@given(st.integers(0, 2**32))
def test_series_stay_below_their_ceiling_whatever_comes(seed: int):
    """Hypothesis draws the seed alone: it is ten times slower at the rest."""
    metrics, chance = made(), Random(seed)
    outcomes, operations = get_args(Outcome), get_args(Operation)
    for number in range(400):
        metrics.exchange(
            exchange(
                operation=chance.choice(operations),
                outcome=chance.choice(outcomes),
                model=f"model-{number}",
                path=f"/v1/{number}",
            )
        )
    assert sum(not line.startswith(b"#") for line in generate_latest(metrics.registry).splitlines()) < 4000
