"""Alerts on tokens, breakers, slots, streams and the process: each fires by what it is for, alone, and clears.

Run by promtool on the rule files of the chart. Every trial has a healthy pod beside the one in trouble.
"""

import re
from pathlib import Path

import pytest

from fakes.rule_trial import Firing, Series, Values, born, complaints, growing, healthy, renewed, steady, steps, trial
from observability.places import RULES

FILES = (RULES / "alerts.yaml", RULES / "absent.yaml")
FROM, TO = 10, 40
"""Minutes between which something is wrong."""
CLEAR_AT = 78
HELD, BAD, GOOD = 'mimic_ready{condition="token"}', {0: 1.0, FROM: 0.0, TO: 1.0}, {0: 0.0, FROM: 1.0, TO: 0.0}
OPEN = 'mimic_breaker_state{target="backend",state="open"}'
TURNED_AWAY = 'mimic_breaker_rejected_total{target="backend"}'


def wrong_for_a_while(rate: float) -> Values:
    return growing({0: 0, FROM: rate, TO: 0})


def refreshes(result: str, trigger: str) -> str:
    return f'mimic_token_refresh_total{{result="{result}",trigger="{trigger}"}}'


def not_renewed_in_time(minutes: int) -> list[float]:
    """Issued at the start, and again only at TO; then as it should be."""
    return [1.0 if minute < TO else minute // 15 * 900.0 for minute in range(minutes)]


HALF_AN_HOUR = {
    "mimic_token_issued_timestamp_seconds": not_renewed_in_time,
    "mimic_token_lifetime_seconds": steady(1800),
    "mimic_token_refresh_margin_seconds": steady(600),
}
TOKEN_GOES = {
    HELD: steps(BAD),
    "mimic_token_consecutive_failures": steps({0: 0, FROM: 2, TO: 0}),
}
FAILS = {"mimic_token_consecutive_failures": steps({0: 0, FROM: 7, TO: 0})}
TROUBLES: dict[str, tuple[Series, int, Firing]] = {
    "no usable token": (TOKEN_GOES, 12, {("MimicTokenExpired", "critical")}),
    "an overdue renewal": (HALF_AN_HOUR, 30, {("MimicTokenNotRenewed", "warning")}),
    "failing refreshes with much time left": (
        FAILS | {"mimic_token_lifetime_seconds": steady(36000)},
        16,
        {("MimicTokenRefreshFailing", "warning")},
    ),
    "failing refreshes with little time left": (
        FAILS | {"mimic_token_lifetime_seconds": steady(600), "mimic_token_issued_timestamp_seconds": renewed(1)},
        16,
        {("MimicTokenRefreshFailing", "critical")},
    ),
    "a refused secret": (
        {
            refreshes("rejected", "proactive"): wrong_for_a_while(1),
            "mimic_token_consecutive_failures": steps({0: 0, FROM: 2, TO: 0}),
        },
        14,
        {("MimicAuthCodeRejected", "critical")},
    ),
    "a backend that refuses new tokens": (
        {refreshes("success", "unauthorized"): wrong_for_a_while(12)},
        25,
        {("MimicRefreshStorm", "warning")},
    ),
    "an open breaker of one pod of two": (
        {OPEN: steps(GOOD), TURNED_AWAY: wrong_for_a_while(20)},
        14,
        {("MimicBreakerOpen", "warning")},
    ),
    "slots in use": (
        {'mimic_upstream_slots_in_use{pool="all"}': steps({0: 3, FROM: 500, TO: 3})},
        21,
        {("MimicUpstreamPoolSaturated", "warning")},
    ),
    "streams that fall silent": (
        {'mimic_streams_total{outcome="idle_timeout"}': wrong_for_a_while(3)},
        35,
        {("MimicStreamsIdleTimeout", "warning")},
    ),
    "a fault of Mimic's own": (
        {'mimic_requests_total{outcome="internal_error"}': growing({0: 0, FROM: 1, FROM + 1: 0})},
        14,
        {("MimicInternalError", "warning")},
    ),
    "a fault that its series begins with": (
        {'mimic_requests_total{outcome="internal_error",code="200"}': born(FROM, 1)},
        14,
        {("MimicInternalError", "warning")},
    ),
    "a late event loop": (
        {
            f'mimic_event_loop_lag_seconds_bucket{{le="{le}"}}': growing({0: 60, FROM: good, TO: 60})
            for le, good in (("0.001", 30), ("0.25", 50), ("1.0", 60))
        },
        24,
        {("MimicEventLoopLag", "warning")},
    ),
    "files that cannot be used": (
        {"mimic_config_last_reload_success": steps(BAD)},
        21,
        {("MimicConfigReloadFailed", "warning")},
    ),
    "spans that are dropped": (
        {"mimic_spans_dropped_total": wrong_for_a_while(5)},
        30,
        {("MimicTracesDropped", "info")},
    ),
    "spans that the collector refuses": (
        {'mimic_spans_exported_total{result="failure"}': wrong_for_a_while(5)},
        30,
        {("MimicTracesDropped", "info")},
    ),
    "a pod that does not answer": ({"up": steps(BAD)}, 16, {("MimicTargetDown", "warning")}),
}


NO_TOKENS = {
    "mimic_token_required": steady(0),
    "mimic_token_issued_timestamp_seconds": steady(0),
    "mimic_token_lifetime_seconds": steady(0),
    "mimic_token_refresh_margin_seconds": steady(0),
}
FINE: dict[str, Series] = {
    "a healthy pod": {},
    "a pod that nobody calls": {
        name: growing({0: 0}) if name.partition("{")[0].endswith(("_total", "_bucket", "_count")) else values
        for name, values in healthy().items()
    },
    "a static token": NO_TOKENS,
    "no static token": {**NO_TOKENS, HELD: steady(0)},
    "a token whose expiry nobody said": {"mimic_token_expiry_timestamp_seconds": steady(0)},
    "a token that is replaced within a minute": {HELD: steps({0: 1, 10: 0, 11: 1})},
    "one refusal of the token service that a success follows": {
        refreshes("rejected", "proactive"): growing({0: 0, 10: 1, 11: 0}),
        "mimic_token_consecutive_failures": steps({0: 0, 10: 1, 11: 0}),
    },
    "no limit on concurrency": {
        'mimic_upstream_slots_in_use{pool="all"}': steady(700),
        'mimic_upstream_slots_limit{pool="all"}': steady(0),
    },
    "a breaker that stayed open since nobody called": {OPEN: steady(1)},
    "a token service that is left alone while a token serves": {
        'mimic_breaker_state{target="token",state="open"}': steady(1),
        'mimic_breaker_transitions_total{target="token",to="open"}': growing({0: 1}),
        'mimic_breaker_rejected_total{target="token"}': growing({0: 1}),
    },
    "four silent streams": {'mimic_streams_total{outcome="idle_timeout"}': growing({0: 0, 10: 1, 14: 0})},
}


def pods_in_trouble() -> dict[str, Series]:
    """A namespace for each trouble, with a healthy pod beside the one that has it."""
    troubled = {f"{name}/in-trouble": {**healthy(), **trouble} for name, (trouble, _, _) in TROUBLES.items()}
    return troubled | {f"{name}/healthy": healthy() for name in TROUBLES}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One run for all troubles, since most of it is the start."""
    fires = {
        name: {FROM - 1: set[tuple[str, str]](), minute: alerts, CLEAR_AT: set[tuple[str, str]]()}
        for name, (_, minute, alerts) in TROUBLES.items()
    }
    return complaints(trial(FILES, pods_in_trouble(), fires, 60), tmp_path_factory.mktemp("troubles"))


@pytest.mark.parametrize("name", TROUBLES)
def test_an_alert_fires_by_its_trouble_alone_and_clears(name: str, judged: str):
    assert name not in judged


@pytest.fixture(scope="module")
def judged_as_fine(tmp_path_factory: pytest.TempPathFactory) -> str:
    pods = {f"{name}/a": {**healthy(), **state} for name, state in FINE.items()}
    fires: dict[str, dict[int, Firing]] = {name: {7: set(), 30: set(), 60: set()} for name in FINE}
    return complaints(trial(sorted(RULES.glob("*.yaml")), pods, fires, 60), tmp_path_factory.mktemp("fine"))


@pytest.mark.parametrize("name", FINE)
def test_what_is_fine_does_not_alert(name: str, judged_as_fine: str):
    assert name not in judged_as_fine


def test_breakers_of_most_pods_are_critical(tmp_path: Path):
    trouble = {**healthy(), OPEN: steps(GOOD), TURNED_AWAY: wrong_for_a_while(20)}
    pods = {"shop/a": trouble, "shop/b": trouble, "shop/c": healthy()}
    firing = {("MimicBreakerOpen", "critical"), ("MimicBreakerOpen", "warning")}
    assert complaints(trial(FILES, pods, {"shop": {14: firing, CLEAR_AT: set()}}, 60), tmp_path) == ""


def test_a_breaker_that_probes_is_still_not_closed(tmp_path: Path):
    """Scrapes meet it in either state: `for` must not begin anew with each probe."""
    odd = {minute: float(minute % 2) for minute in range(FROM, TO)}
    half_open = OPEN.replace('"open"', '"half_open"')
    probing = {
        OPEN: steps({0: 0, **odd, TO: 0}),
        half_open: steps({0: 0, **{minute: 1 - value for minute, value in odd.items()}, TO: 0}),
        'mimic_breaker_transitions_total{target="backend",to="open"}': wrong_for_a_while(1),
    }
    pods = {"shop/a": {**healthy(), **probing}, "shop/b": healthy()}
    fires: dict[int, Firing] = {20: {("MimicBreakerOpen", "warning")}, CLEAR_AT: set()}
    assert complaints(trial(FILES, pods, {"shop": fires}, 60), tmp_path) == ""


def test_a_namespace_without_an_answer_is_critical_and_so_is_a_cluster_without_mimic(tmp_path: Path):
    down = {("MimicTargetDown", "critical"), ("MimicTargetDown", "warning")}
    fires: dict[str, dict[int, Firing]] = {
        "shop": {FROM - 1: set(), 17: down, CLEAR_AT: set()},
        "": {FROM - 1: set(), 17: {("MimicAbsent", "critical")}, CLEAR_AT: set()},
    }
    assert complaints(trial(FILES, {"shop/a": {**healthy(), "up": steps(BAD)}}, fires, 60), tmp_path) == ""


def test_what_alerts_say_can_be_read(tmp_path: Path):
    """promtool shows it when it is told to expect none."""
    failing = {**healthy(), 'mimic_requests_total{outcome="upstream_error"}': growing({0: 60})}
    rejecting = {**healthy(), **TOKEN_GOES, refreshes("http_error", "expired"): wrong_for_a_while(3)}
    pods = {**pods_in_trouble(), "failing/a": failing, "tokenless/a": rejecting}
    document = trial(sorted(RULES.glob("*.yaml")), pods, {"": {TO: set()}}, 60)
    (test,) = document["tests"]  # type: ignore[misc]
    names = {name for _, _, alerts in TROUBLES.values() for name, _ in alerts} | {"MimicErrorBudgetBurn"}
    test["promql_expr_test"] = []
    test["alert_rule_test"] = [
        {"alertname": name, "eval_time": f"{minute}m", "exp_alerts": []} for name in names for minute in (16, 30, 35)
    ]
    said = complaints(document, tmp_path)
    assert {name for name in names if f"alertname: {name}" in said} == names
    for wrong in ("error expanding", "no value", "{{", "NaN", "%!"):
        assert wrong not in said
    assert "% of requests failed in namespace failing (1h)" in said
    assert re.search(r"In the last 5 minutes: upstream_error 1/s, where token_error is", said)
    assert re.search(r"token service in the last 15 minutes: http_error [\d.]+, and /readyz", said)
