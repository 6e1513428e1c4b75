"""A real Prometheus that scrapes processes of a test, evaluates the chart's rules and is asked for what it saw."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from fakes.free_ports import free_port
from fakes.tools import tool

START_SECONDS = 20.0
Samples = list[tuple[dict[str, str], float]]
Pods = Mapping[int, Mapping[str, str]]
"""Labels by the port that is scraped."""


@dataclass(slots=True)
class Prometheus:
    """A running one."""

    client: httpx2.AsyncClient
    moment: float | None = None
    """Unix time that is asked about, else now: what is asked of the last minute is gone after a busy machine's next."""

    async def query(self, expr: str) -> Samples:
        """The result of an instant query; a scalar is one sample without labels. Raises AssertionError."""
        asked = {"query": expr} if self.moment is None else {"query": expr, "time": str(self.moment)}
        answer = (await self.client.post("/api/v1/query", data=asked)).json()
        assert answer["status"] == "success", (expr, answer)
        data = answer["data"]
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(found["metric"], float(found["value"][1])) for found in data["result"]]

    async def exemplars(self, expr: str) -> list[dict[str, Any]]:
        """Exemplars of the last minutes."""
        answer = (await self.client.get("/api/v1/query_exemplars", params={"query": expr})).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]
        return found

    async def rules(self) -> list[dict[str, Any]]:
        """All rules with their health."""
        groups = (await self.client.get("/api/v1/rules")).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def until(self, expr: str, seconds: float = 10.0) -> Samples:
        """Wait until a query gives something. Raises AssertionError."""
        for _ in range(int(seconds / 0.1)):
            if found := await self.query(expr):
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"nothing within {seconds} s: {expr}")


def _hurried(rules: Path) -> str:
    """The rules without intervals of their own, which are meant for days."""
    document = yaml.safe_load(rules.read_text("utf-8"))
    for group in document["groups"]:
        group.pop("interval", None)
    return yaml.safe_dump(document)


def jobs_of(pods: Pods) -> list[dict[str, Any]]:
    """What scrapes the admin ports of processes here, and gives each its labels as a PodMonitor would."""
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": dict(labels)} for port, labels in pods.items()]
    return [{"job_name": "mimic", "static_configs": targets}]


def _configuration(folder: Path, jobs: list[dict[str, Any]], rules: Iterable[Path], interval: str) -> Path:
    for file in rules:
        (folder / file.name).write_text(_hurried(file))
    config = folder / "prometheus.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": interval, "evaluation_interval": interval, "scrape_timeout": interval},
                "rule_files": [str(folder / file.name) for file in rules],
                "scrape_configs": jobs,
            }
        )
    )
    return config


def wrong_with(page: bytes) -> str:
    """What promtool finds wrong with a metrics page; empty if nothing."""
    ended = subprocess.run([tool("promtool"), "check", "metrics"], input=page, capture_output=True, check=False)
    said = (ended.stderr + ended.stdout).decode()
    assert said or ended.returncode == 0, ended
    return said


class _Process:
    """The program, on a port of its own. Its output goes to a file."""

    def __init__(self, folder: Path, jobs: list[dict[str, Any]], rules: Iterable[Path], interval: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [
            tool("prometheus"),
            f"--config.file={_configuration(folder, jobs, tuple(rules), interval)}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--enable-feature=exemplar-storage",
        ]
        with (folder / "prometheus.log").open("wb") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def judge(self, ready: bool = True) -> None:
        """Assert that it lives, and that it is ready."""
        log = (self.folder / "prometheus.log").read_text("utf-8", "replace")
        assert self._process.poll() is None, log
        assert ready, f"not ready within {START_SECONDS} s:\n{log}"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder / "data", ignore_errors=True)


@asynccontextmanager
async def scraping(
    folder: Path, pods: Pods | list[dict[str, Any]], rules: Iterable[Path] = (), interval: str = "1s"
) -> AsyncIterator[Prometheus]:
    """One that scrapes the admin ports of `pods`, or by the `scrape_configs` that are given instead."""
    process = _Process(folder, pods if isinstance(pods, list) else jobs_of(pods), rules, interval)
    try:
        async with httpx2.AsyncClient(base_url=process.url, trust_env=False, timeout=10) as client:
            ready = False
            for _ in range(int(START_SECONDS / 0.05)):
                process.judge()
                if ready := await _is_ready(client):
                    break
                await asyncio.sleep(0.05)
            process.judge(ready)
            yield Prometheus(client)
    finally:
        process.end()


async def _is_ready(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).status_code == 200
    except httpx2.TransportError:
        return False
