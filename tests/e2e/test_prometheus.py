"""A real Prometheus finds the sidecars as the chart's PodMonitor selects them, and the dashboards show them."""

import socket
from pathlib import Path

import pytest

from e2e.applications import LOAD, deployment
from e2e.cluster import Cluster, name_of
from e2e.health import jobs
from fakes.chart_files import EVERYTHING, MINUTE, RULE_FILES, substituted, targets
from fakes.prometheus import scraping
from fakes.tools import lacking

pytestmark = pytest.mark.timeout(300)


QUIET = {
    "mimic-overview: Whose time is it? (p99)",  # of its lines that of calls which wait for a slot
    "mimic-overview: Waits for a slot",
    "mimic-overview: Tries that went wrong, by kind",
    "mimic-overview: By model",  # of its columns that of errors
    "mimic-overview: By caller",  # a sidecar knows one alone
    "mimic-tokens: Successful refreshes",  # the first token is older than the first scrape
}
"""Panels with a query that has nothing to show as long as nothing goes wrong."""


def reachable(address: str) -> None:
    """Skip, or fail where tools are required, unless pods can be called from here."""
    try:
        socket.create_connection((address, 18481), 5).close()
    except OSError as error:
        lacking(f"pods cannot be called from this machine: {error}")


async def test_sidecars_are_scraped_and_the_dashboards_show_them(demo: Cluster, tmp_path: Path):
    demo.apply(deployment("chat", LOAD, replicas=2))
    demo.settled("deployment/chat")
    pods = demo.pods("chat")
    reachable(pods[0]["status"]["podIP"])
    async with scraping(tmp_path / "prometheus", jobs(), RULE_FILES) as prometheus:
        mine = f'namespace="{demo.namespace}"'
        await prometheus.until(f'count(up{{job="mimic",{mine}}} == 1) == 2', 30)
        found = await prometheus.query(f"mimic_build_info{{{mine}}}")
        assert {(labels["pod"], labels["container"]) for labels, _ in found} == {
            (name_of(pod), "mimic-proxy") for pod in pods
        }
        await prometheus.until(f"sum(rate(mimic_requests_total{{{mine}}}[1m])) > 0", 30)
        await prometheus.until(f"sum(rate(mimic_stream_time_to_first_chunk_seconds_count{{{mine}}}[1m])) > 0", 30)
        await prometheus.until("namespace_job:mimic_requests_valid:rate5m", 30)
        await prometheus.until('count(up{job="mimic-operator"} == 1) == 4', 30)
        operators = await prometheus.query('count by (component) (up{job="mimic-operator"} == 1)')
        assert {labels["component"]: count for labels, count in operators} == {"webhook": 2, "reconciler": 2}
        silent = set()
        for target in targets():
            values = {**EVERYTHING, **MINUTE, "namespace": demo.namespace}
            if not await prometheus.query(substituted(target.expr, values)):
                silent.add(f"{target.board}: {target.panel}")
        assert silent <= QUIET
