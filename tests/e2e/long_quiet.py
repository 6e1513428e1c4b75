"""An installation that is left alone: no restart, no warning, no failing reconcile, no alert. `make e2e-quiet` runs it.

MIMIC_E2E_QUIET_MINUTES (25) says for how long. Its name keeps it out of `make e2e`, which judges what it leaves running
by the same rules at its end (conftest.py).
"""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.applications import LOAD, backend, deployment, example, scripts, secret
from e2e.cluster import Cluster, eventually, run
from e2e.health import Health, alerts, jobs, table
from e2e.namespaces import fresh
from fakes.chart_files import RULE_FILES
from fakes.prometheus import scraping

MINUTES = float(os.environ.get("MIMIC_E2E_QUIET_MINUTES", "25"))
pytestmark = pytest.mark.timeout(600 + MINUTES * 60)
SELECTING = {"injection": {"workloads": {"selector": {"matchLabels": {"team": "search"}}}}}


@pytest.fixture
def installation(installed: Cluster) -> Iterator[list[Cluster]]:
    """A selected workload, a labelled one, one by its namespace's label; a shared proxy, called from two namespaces."""
    with fresh() as selected, fresh() as labelled, fresh() as by_namespace:
        run("kubectl", "label", "namespace", by_namespace.namespace, "mimic.dev/injection=enabled")
        for each in (selected, labelled, by_namespace):
            each.apply(secret(), backend(**(SELECTING if each is selected else {})))
            eventually(
                "the backend is ready", lambda each=each: each.condition("demo", "Ready").get("status") == "True"
            )
        for file in ("backend.yaml", "caller.yaml"):
            run("kubectl", "apply", "-f", "-", given=example(f"shared/{file}"))
        selected.apply(deployment("chat", LOAD, inject=False, labels={"team": "search"}))
        labelled.apply(deployment("chat", LOAD))
        by_namespace.apply(deployment("chat", LOAD, inject=False))
        llm, search = Cluster("llm"), Cluster("search")
        eventually("the shared proxy serves", lambda: llm.condition("shared", "Available").get("status") == "True")
        search.settled("deployment/chat-shared")
        own = {"mimic.dev/backend": "shared", "mimic.dev/client-key-secret": "llm-key"}
        key = secret("llm-key", OPENAI_API_KEY="replace-me-by-a-long-random-text")
        llm.apply(scripts(), key, deployment("chat", LOAD, spec={"template": {"metadata": {"annotations": own}}}))
        llm.settled("deployment/chat")
        for each in (selected, labelled, by_namespace):
            each.settled("deployment/chat")
        yield [installed, selected, labelled, by_namespace, llm, search]
        run("kubectl", "delete", "namespace", "search", "llm", "--wait=false")


async def test_an_installation_that_is_left_alone_stays_quiet(installation: list[Cluster], tmp_path: Path):
    health = Health(installation)
    async with scraping(tmp_path / "prometheus", jobs(), RULE_FILES, interval="5s") as prometheus:
        await asyncio.sleep(60)
        health.begin()
        before = health.requests()
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end:
            await asyncio.sleep(min(15.0, max(0.0, end - time.monotonic())))
        rung = await alerts(prometheus, MINUTES)
    found = health.found() | {"alerts pending or firing": rung}
    rates = {pod: (count - before.get(pod, 0.0)) / MINUTES for pod, count in health.requests().items()}
    print(table(MINUTES, found, rates))
    assert {what: each for what, each in found.items() if each} == {}
