"""A real Prometheus scrapes both processes at work; then all that the operator's board and alerts ask for is there."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest

from fakes.chart_files import (
    BOARD_FILES,
    EVERYTHING,
    MINUTE,
    OPERATOR_BOARD,
    RULE_FILES,
    alerts,
    board,
    substituted,
    targets,
)
from fakes.operators import bare, traced_namespace
from fakes.prometheus import Prometheus, Samples, scraping, wrong_with
from fakes.promql import without_comparisons
from fakes.reconcilers import Reconciler, eventually
from fakes.webhooks import MERGE, Webhook, backends_path
from mimic_operator.catalogue import CATALOGUE

pytestmark = pytest.mark.timeout(120)

ROUNDS = 3
"""A series that begins with its first event shows no growth before its second."""
INTERVAL = "500ms"


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to ask: Prometheus, and both metrics pages as text."""

    prometheus: Prometheus
    pages: tuple[str, ...]


@pytest.fixture(scope="module")
async def seen(
    operators: tuple[Reconciler, Webhook], admin: httpx2.Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Seen]:
    reconciler, webhook = operators
    ports = {"reconciler": reconciler.port, "webhook": webhook.metrics_port}
    pods = {
        port: {"job": "mimic-operator", "component": name, "namespace": "mimic", "pod": f"{name}-1"}
        for name, port in ports.items()
    }
    folder = tmp_path_factory.mktemp("scraped") / "prometheus"
    async with scraping(folder, pods, RULE_FILES, INTERVAL) as prometheus:
        await prometheus.until("count(mimic_operator_build_info) == 2")
        namespace = traced_namespace(admin)
        path = f"{backends_path(namespace)}/corp"
        eventually(lambda: admin.get(path).json().get("status", {}).get("currentRevision"))
        for number in range(1, ROUNDS + 1):
            await asyncio.to_thread(one_round, admin, namespace, path, number)
            counted = f'mimic_operator_admissions_total{{reason="Injected",source="label"}} >= {number}'
            await prometheus.until(f'{counted} and on () mimic_operator_spans_exported_total{{result="success"}} > 0')
        await prometheus.until("sum(increase(mimic_operator_reconcile_duration_seconds_count[1m])) > 0")
        pages = tuple(httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text for port in ports.values())
        # A scrape that a busy machine did not answer in time leaves nothing to see.
        await prometheus.until("count(up == 1) == 2")
        prometheus.moment = time.time()
        yield Seen(prometheus, pages)


def one_round(admin: httpx2.Client, namespace: str, path: str, number: int) -> None:
    """A pod that gets the sidecar, one that is denied, and a backend that is changed."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    assert admin.post(pods, json=bare()).status_code == 201
    assert admin.post(pods, json=bare(**{"mimic.dev/backend": "nobody"})).status_code == 403
    change = {"spec": {"chat": {"url": f"https://models-{number}.example.com/v1"}}}
    admin.patch(path, json=change, headers=MERGE).raise_for_status()


def hollow(samples: Samples) -> bool:
    """Nothing, or nothing but what is no number: a handler that was never called has no quantile."""
    return all(math.isnan(value) for _, value in samples)


async def unanswered(prometheus: Prometheus, exprs: dict[str, str]) -> dict[str, Samples]:
    answers = {name: await prometheus.query(expr) for name, expr in exprs.items()}
    return {name: samples for name, samples in answers.items() if hollow(samples)}


async def test_every_panel_of_the_operator_has_something_to_show(seen: Seen):
    values = {**EVERYTHING, **MINUTE, "operator_job": "mimic-operator", "operator_namespace": "mimic"}
    exprs = {str(each): substituted(each.expr, values) for each in targets() if each.board == OPERATOR_BOARD}
    assert len(exprs) > 30
    assert await unanswered(seen.prometheus, exprs) == {}


def compared(expr: str) -> str:
    """The expression of an alert with 0 or 1 for what it compares; `absent` is nothing where something is there."""
    return without_comparisons(re.sub(r"\babsent\(([^)]*)\)", r"\1", expr))


async def test_every_alert_on_the_operator_looks_at_something(seen: Seen):
    exprs = {f"{rule['alert']}: {rule['expr']}": compared(rule["expr"]) for rule in alerts("operator")}
    assert await unanswered(seen.prometheus, exprs) == {}


async def test_an_operator_at_work_alerts_nobody_but_of_the_pods_that_it_denies(seen: Seen):
    """Rules are evaluated each half second here; what waits for minutes may be pending."""
    firing = await seen.prometheus.query('ALERTS{alertstate="firing",job="mimic-operator"}')
    assert firing == []
    rules = [rule for rule in await seen.prometheus.rules() if rule["name"].startswith(("MimicOp", "MimicWeb"))]
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}


async def test_choices_of_the_operators_variables_are_there(seen: Seen):
    (file,) = (file for file in BOARD_FILES if file.stem == OPERATOR_BOARD)
    asked = [each["query"] for each in board(file)["templating"]["list"] if each["type"] == "query"]
    assert asked
    for query in asked:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found is not None
        assert await seen.prometheus.query(f"count by ({found[2]}) ({substituted(found[1], EVERYTHING)})")


async def test_both_pages_show_the_catalogue_and_nothing_else_of_ours(seen: Seen):
    declared = {line.split()[2] for page in seen.pages for line in page.splitlines() if line.startswith("# TYPE mimic")}
    assert declared == set(CATALOGUE)


@pytest.mark.parametrize("which", [0, 1], ids=["reconciler", "webhook"])
async def test_promtool_finds_nothing_wrong_with_the_operators_metrics(which: int, seen: Seen):
    assert wrong_with(seen.pages[which].encode()) == ""
