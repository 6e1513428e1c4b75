"""A real Prometheus finds the sidecars as the chart's PodMonitor selects them, and the dashboards show them."""

import json
import socket
from pathlib import Path

import pytest
import yaml

from e2e import release
from e2e.applications import LOAD, deployment
from e2e.cluster import Cluster, name_of, run
from e2e.monitors import scrape_config
from fakes.chart_files import EVERYTHING, MINUTE, RULE_FILES, substituted, targets
from fakes.prometheus import scraping
from fakes.promql import read
from fakes.tools import lacking

pytestmark = pytest.mark.timeout(300)


def pod_monitor() -> dict:
    show = ["--show-only", "templates/monitors.yaml", "--set", "monitoring.podMonitor=true"]
    text = release.helm("template", "mimic", release.CHART, "--namespace", release.SYSTEM, *show)
    (monitor,) = [document for document in yaml.safe_load_all(text) if document["kind"] == "PodMonitor"]
    return monitor


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
    everywhere = json.loads(run("kubectl", "get", "pods", "--all-namespaces", "-o", "json"))["items"]
    jobs = [scrape_config(pod_monitor(), everywhere)]
    async with scraping(tmp_path / "prometheus", jobs, RULE_FILES) as prometheus:
        mine = f'namespace="{demo.namespace}"'
        await prometheus.until(f'count(up{{job="mimic",{mine}}} == 1) == 2', 30)
        found = await prometheus.query(f"mimic_build_info{{{mine}}}")
        assert {(labels["pod"], labels["container"]) for labels, _ in found} == {
            (name_of(pod), "mimic-proxy") for pod in pods
        }
        await prometheus.until(f"sum(rate(mimic_requests_total{{{mine}}}[1m])) > 0", 30)
        await prometheus.until(f"sum(rate(mimic_stream_time_to_first_chunk_seconds_count{{{mine}}}[1m])) > 0", 30)
        silent = {}
        for target in targets():
            values = {**EVERYTHING, **MINUTE, "namespace": demo.namespace}
            if not await prometheus.query(substituted(target.expr, values)):
                silent[str(target)] = {selector.metric for selector in read(target.expr).selectors}
        print(len(targets()), len(silent), silent)
        assert len(silent) < len(targets()) / 4
