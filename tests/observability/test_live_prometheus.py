"""A real Prometheus scrapes two running Mimics while calls end in every way there is; then everything that dashboards
and rules ask for has an answer.
"""

import asyncio
import math
import re
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.caller import Caller, ask
from fakes.chart_files import (
    EVERYTHING,
    MINUTE,
    OPERATOR_BOARD,
    RULE_FILES,
    Target,
    alerts,
    records,
    substituted,
    targets,
)
from fakes.mimic import SERVICE, Mimic, running
from fakes.prometheus import Prometheus, Samples, scraping, wrong_with
from fakes.promql import without_comparisons
from fakes.troubles import Stage, chat, outcomes, refused_tokens, sabotaged
from mimic_proxy.telemetry.catalogue import CLOSED

pytestmark = pytest.mark.timeout(120)

PODS = {"app-1": "shop", "app-2": "shop"}
QUICK = {"FIRST_BYTE_TIMEOUT": "0.4", "IDLE_TIMEOUT": "0.4", "HEARTBEAT_AFTER": "0.1", "LOG_LEVEL": "INFO"}
LIMITED = {"BREAKER_FAILURES": "2", "BREAKER_COOLDOWN": "600", "MAX_CONCURRENCY": "2", "MAX_QUEUE": "0"}
TRACED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "always_on"}
"""Nobody takes the spans; they are sampled all the same."""
ROUNDS = 2
"""A series that begins with its first event shows no growth before its second."""
INTERVAL = "500ms"
"""A stop leaves its last counts on show for a second."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to ask: Prometheus, and the metrics page of a pod as text."""

    prometheus: Prometheus
    page: bytes


@pytest.fixture(scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    folder = tmp_path_factory.mktemp("live")
    for name in PODS:
        (folder / name).mkdir()
    code = folder / "auth_code"
    async with Stage() as one, Stage() as two:
        code.write_text(one.tokens.auth_code)
        fault = f"{sabotaged(folder / 'fault')}:{SERVICE}"
        first = one.settings(**QUICK, MAX_CONCURRENCY="4", AUTH_CODE_FILE=str(code), PYTHONPATH=fault)
        first.pop("AUTH_CODE")
        first |= TRACED
        second = two.settings(**LIMITED, DRAIN_TIMEOUT="1", LOG_LEVEL="INFO")
        async with (
            running(first, folder / "app-1", stop=False) as busy,
            running(second, folder / "app-2", stop=False) as ending,
            scraping(folder / "prometheus", labels(busy, ending), RULE_FILES, INTERVAL) as prometheus,
        ):
            await prometheus.until('count(mimic_build_info{namespace="shop"}) == 2')
            await asyncio.gather(rounds(prometheus, busy, one, code), limits_and_stop(prometheus, ending, two))
            # A scrape that a busy machine did not answer in time leaves nothing to see.
            await prometheus.until('up{pod="app-1"} == 1')
            prometheus.moment = time.time()
            yield Seen(prometheus, (await busy.admin("/metrics")).body)


def labels(*mimics: Mimic) -> dict[int, dict[str, str]]:
    """As the PodMonitor's relabelling leaves them."""
    named = zip(mimics, PODS.items(), strict=True)
    return {mimic.admin_port: {"job": "mimic", "namespace": namespace, "pod": pod} for mimic, (pod, namespace) in named}


async def rounds(prometheus: Prometheus, mimic: Mimic, stage: Stage, code: Path) -> None:
    """Everything that can happen to calls, several times with scrapes between, and a changed secret."""
    for number in range(1, ROUNDS + 1):
        answers = await outcomes(mimic, stage)
        assert answers["fault"].status == 500, mimic.log
        assert (await refused_tokens(mimic, stage)).error()["code"] == "upstream_auth_failed"
        change(stage, code, f"another-code-{number}")
        done = f'mimic_requests_total{{pod="app-1",operation="models",outcome="internal_error"}} >= {number}'
        await prometheus.until(f'{done} and on (pod) mimic_config_reloads_total{{result="success"}} >= {number}')


def change(stage: Stage, code: Path, value: str) -> None:
    """A new secret at the token service, and in the file."""
    stage.tokens.auth_code = value
    code.write_text(value)


async def limits_and_stop(prometheus: Prometheus, mimic: Mimic, stage: Stage) -> None:
    """Too many calls, a backend that fails in a row, and a stop while a stream has a reader that takes nothing."""
    async with await Caller.connect(mimic.port, receive_buffer=4096) as reader:
        await reader.send(chat("endless", stream=True))
        await reader.head()
        holding = asyncio.create_task(ask(mimic.port, chat("held")))
        await stage.backend.until(lambda: len(stage.backend.requests) == 2)
        assert (await ask(mimic.port, chat("large"))).error()["code"] == "overloaded"
        stage.gate.set()
        await holding
        for code in (None, None, "circuit_open"):
            answer = await ask(mimic.port, chat("broken"))
            assert answer.error()["code"] == code
        turned_away = 'mimic_breaker_rejected_total{pod="app-2",target="backend"} > 0'
        await prometheus.until(turned_away)
        mimic.signal(signal.SIGTERM)
        await prometheus.until('mimic_requests_total{pod="app-2",outcome="shutdown"} > 0')


async def test_every_outcome_was_counted(seen: Seen):
    counted = await seen.prometheus.query(
        "sum by (outcome) (max_over_time(mimic_requests_total[5m])) > 0",
    )
    assert sorted(labels["outcome"] for labels, _ in counted) == sorted(CLOSED["outcome"])


def hollow(samples: Samples) -> bool:
    """Nothing, or not a number."""
    return not samples or any(math.isnan(value) for _, value in samples)


async def unanswered(prometheus: Prometheus, exprs: dict[str, str]) -> dict[str, Samples]:
    answers = {name: await prometheus.query(expr) for name, expr in exprs.items()}
    return {name: samples for name, samples in answers.items() if hollow(samples)}


def shown() -> list[Target]:
    """What is about proxies: the operator has a stage of its own."""
    return [target for target in targets() if target.board != OPERATOR_BOARD]


async def test_what_is_not_there_is_noticed(seen: Seen):
    exprs = {"absent": "mimic_nothing", "not a number": "0 * up / 0", "there": "up"}
    assert set(await unanswered(seen.prometheus, exprs)) == {"absent", "not a number"}


CHOICES = {
    "everything": EVERYTHING,
    "one pod": {**EVERYTHING, "namespace": "shop", "job": "mimic", "pod": "app-1", "operation": "(chat|embeddings)"},
}


@pytest.mark.parametrize("choice", CHOICES)
async def test_every_panel_has_something_to_show(choice: str, seen: Seen):
    exprs = {str(target): substituted(target.expr, {**CHOICES[choice], **MINUTE}) for target in shown()}
    assert len(exprs) > 100
    assert await unanswered(seen.prometheus, exprs) == {}


async def test_every_recorded_series_is_there(seen: Seen):
    assert await unanswered(seen.prometheus, {name: name for name in records()}) == {}
    assert await unanswered(seen.prometheus, records()) == {}


def compared(expr: str) -> str:
    """The expression of an alert with 0 or 1 for what it compares; `absent` is nothing where something is there."""
    return without_comparisons(re.sub(r"^absent\((.*)\)$", r"\1", expr))


async def test_every_alert_looks_at_something(seen: Seen):
    exprs = {f"{rule['alert']}: {rule['expr']}": compared(rule["expr"]) for rule in alerts("proxies")}
    assert await unanswered(seen.prometheus, exprs) == {}


async def test_rules_are_evaluated_without_an_error(seen: Seen):
    rules = await seen.prometheus.rules()
    assert {rule["name"] for rule in rules} == {*records(), *(rule["alert"] for rule in alerts())}
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}


async def test_alerts_that_wait_for_nothing_fire_with_words_that_can_be_read(seen: Seen):
    (rule,) = [rule for rule in await seen.prometheus.rules() if rule["name"] == "MimicInternalError"]
    (alert,) = rule["alerts"]
    assert alert["state"] == "firing"
    assert "in namespace shop" in alert["annotations"]["summary"]


@pytest.mark.parametrize("name", ["mimic_request_duration_seconds", "mimic_stream_time_to_first_chunk_seconds"])
async def test_durations_and_first_chunks_lead_to_traces(name: str, seen: Seen):
    found = await seen.prometheus.exemplars(f'{name}_bucket{{pod="app-1",operation="chat"}}')
    ids = [exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]]
    assert ids
    assert all(re.fullmatch("[0-9a-f]{32}", trace_id) for trace_id in ids)


async def test_choices_of_the_variables_are_there(seen: Seen):
    for label, expected in {"pod": {"app-1"}, "namespace": {"shop"}, "job": {"mimic"}}.items():
        found = await seen.prometheus.query(f"count by ({label}) (mimic_build_info)")
        assert {labels[label] for labels, _ in found} >= expected
    operations = await seen.prometheus.query("count by (operation) (mimic_requests_total)")
    assert {labels["operation"] for labels, _ in operations} == set(CLOSED["operation"])


async def test_promtool_finds_nothing_wrong_with_the_metrics(seen: Seen):
    assert wrong_with(seen.page) == ""
