"""What must be true of an installation that works: no restart, no failing reconcile, no warning, no alert."""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from e2e import release
from e2e.cluster import Cluster, Failed, Manifest, name_of, run
from e2e.monitors import scrape_config, service_scrape_config
from fakes.prometheus import Prometheus

LOUD = re.compile('"level":"(WARNING|ERROR|CRITICAL)"')


@dataclass(slots=True)
class Health:
    """Of the pods in these namespaces; the first is the operator's."""

    namespaces: Sequence[Cluster]
    since: str = ""

    def begin(self) -> None:
        """Log lines count from now on."""
        self.since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def found(self) -> dict[str, list[str]]:
        """By what is judged: what is wrong."""
        return {"restarts": self._restarts(), "warnings": self._warnings(), "failing reconciles": self._failing()}

    def requests(self) -> dict[str, float]:
        """Requests to the API server so far, by pod of the operator."""
        return {pod: sum(self._series(pod, "mimic_operator_api_requests_total")) for pod in self._operators()}

    def _restarts(self) -> list[str]:
        return [
            f"{cluster.namespace}/{name_of(pod)} {each['name']}: {each['restartCount']}"
            for cluster in self.namespaces
            for pod in cluster.all("pods")
            for kind in ("containerStatuses", "initContainerStatuses")
            for each in pod["status"].get(kind, ())
            if each["restartCount"]
        ]

    def _warnings(self) -> list[str]:
        found = []
        for cluster in self.namespaces if self.since else ():
            for pod in cluster.all("pods"):
                spec = pod["spec"]
                for each in (*spec["containers"], *spec.get("initContainers", ())):
                    if each["name"] not in ("application", "asking"):
                        said = cluster.kubectl("logs", name_of(pod), "-c", each["name"], f"--since-time={self.since}")
                        found += [f"{name_of(pod)}: {line}" for line in said.splitlines() if LOUD.search(line)]
        return found

    def _failing(self) -> list[str]:
        counts = {pod: sum(self._series(pod, "mimic_operator_failing")) for pod in self._operators("reconciler")}
        return [f"{pod}: {count:.0f}" for pod, count in counts.items() if count]

    def _operators(self, *components: str) -> list[str]:
        wanted = components or ("webhook", "reconciler")
        return [
            name_of(pod)
            for pod in self.namespaces[0].all("pods", "mimic.dev/component")
            if pod["metadata"]["labels"]["mimic.dev/component"] in wanted
        ]

    def _series(self, pod: str, name: str) -> list[float]:
        try:
            samples = self.namespaces[0].metrics(pod, 8080)
        except Failed:
            return []
        return [value for series, value in samples.items() if series.partition("{")[0] == name]


def monitors() -> dict[str, Manifest]:
    """The chart's, by their kind."""
    show = ["--show-only", "templates/monitors.yaml"]
    for name in ("podMonitor", "serviceMonitor"):
        show += ["--set", f"monitoring.{name}=true"]
    text = release.helm("template", "mimic", release.CHART, "--namespace", release.SYSTEM, *show)
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def everywhere(kind: str) -> list[Manifest]:
    """Those that are not being deleted."""
    found: list[Manifest] = json.loads(run("kubectl", "get", kind, "--all-namespaces", "-o", "json"))["items"]
    return [each for each in found if "deletionTimestamp" not in each["metadata"]]


def jobs() -> list[dict[str, Any]]:
    """What the Prometheus operator makes of the monitors."""
    chart, pods = monitors(), everywhere("pods")
    return [
        scrape_config(chart["PodMonitor"], pods),
        service_scrape_config(chart["ServiceMonitor"], everywhere("services"), pods),
    ]


async def standing_alerts(prometheus: Prometheus, seconds: float) -> list[str]:
    """Alerts that stay pending or firing: a Prometheus that has just started misses for a moment what is there."""
    deadline = time.monotonic() + seconds
    while found := await prometheus.query("max by (alertname, alertstate) (ALERTS)"):
        if time.monotonic() > deadline:
            return sorted(f"{labels['alertname']} {labels['alertstate']}" for labels, _ in found)
        await asyncio.sleep(1)
    return []


async def alerts(prometheus: Prometheus, minutes: float) -> list[str]:
    """Every alert that was pending or firing within the last minutes."""
    found = await prometheus.query(f"max by (alertname, alertstate) (max_over_time(ALERTS[{minutes * 60:.0f}s]))")
    return sorted(f"{labels['alertname']} {labels['alertstate']}" for labels, _ in found)


def table(minutes: float, found: Mapping[str, Sequence[str]], rates: Mapping[str, float]) -> str:
    """For the note of whoever ran it."""
    lines = [f"| left alone for {minutes:g} minutes | found |", "| --- | --- |"]
    lines += [f"| {what} | {'; '.join(each) if each else 'none'} |" for what, each in found.items()]
    lines += [f"| API requests a minute, {pod} | {rate:.1f} |" for pod, rate in rates.items()]
    return "\n".join(["", *lines, ""])
