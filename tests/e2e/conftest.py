"""The release that the README installs, once for all tests of a run, and a namespace of its own for each."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import release
from e2e.applications import backend, deployment, scripts, secret
from e2e.cluster import Cluster, eventually, needed, run
from e2e.health import Health, jobs, standing_alerts
from e2e.namespaces import fresh
from fakes.chart_files import RULE_FILES
from fakes.prometheus import scraping

IDLE = "e2e-idle"
"""A namespace with a labelled workload that no test touches."""
SHARED = "MIMIC_E2E_RUN"
"""Names a folder that the processes of one run share, in their environment."""


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        os.environ[SHARED] = tempfile.mkdtemp(prefix="mimic-e2e-")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take the release away, if this run has installed it: after the last of its processes."""
    if not _is_worker(session.config):
        folder = Path(os.environ.pop(SHARED))
        taken = (folder / "installed").exists()
        shutil.rmtree(folder)
        if taken:
            if release.exists():
                if wrong := asyncio.run(left_wrong()):
                    print(f"\nWhat was left running is not well: {wrong}")
                    session.exitstatus = pytest.ExitCode.TESTS_FAILED
                release.uninstall("mimic", release.SYSTEM)
            run("kubectl", "delete", "namespace", release.SYSTEM, IDLE, "--ignore-not-found")
            run("kubectl", "delete", "customresourcedefinition", release.CRD, release.CLUSTER_CRD)


async def left_wrong() -> dict[str, list[str]]:
    """Judges the operator, and a workload that no test has touched, after all tests."""
    health = Health([Cluster(release.SYSTEM), Cluster(IDLE)])
    with tempfile.TemporaryDirectory() as folder:
        async with scraping(Path(folder) / "prometheus", jobs(), RULE_FILES) as prometheus:
            await prometheus.until('count(up{job="mimic-operator"} == 1) == 4', 30)
            found = health.found() | {"alerts pending or firing": await standing_alerts(prometheus, 30)}
    return {what: each for what, each in found.items() if each}


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.fixture(scope="session")
def installed() -> Cluster:
    """Mimic with its demo backend, in the whole cluster; the namespace is its own. Whoever comes first installs it."""
    needed()
    folder = Path(os.environ[SHARED])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            if run("kubectl", "get", "namespace", release.SYSTEM, "--ignore-not-found"):
                pytest.fail(f"the cluster has a namespace {release.SYSTEM}: these tests want one without Mimic")
            (folder / "installed").touch()
            release.install()
            idle = Cluster(IDLE)
            idle.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": IDLE}}, scripts())
            idle.apply(secret(), backend(), deployment("idle"))
    return Cluster(release.SYSTEM)


@pytest.fixture
def namespace(installed: Cluster) -> Iterator[Cluster]:
    """A namespace that enforces the restricted standard, with the applications' scripts. It can be deleted."""
    with fresh() as made:
        yield made


@pytest.fixture
def demo(namespace: Cluster) -> Cluster:
    """One with the Secret and the MimicBackend of the examples, ready."""
    namespace.apply(secret(), backend())
    eventually("the backend is ready", lambda: namespace.condition("demo", "Ready").get("status") == "True")
    return namespace
