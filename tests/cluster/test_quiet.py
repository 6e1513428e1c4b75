"""A cluster in which nothing happens, through many watch periods: nothing is restarted, written or warned of."""

import re
import time
from pathlib import Path

import httpx2
import pytest

from fakes import definition
from fakes.api_proxy import ApiProxy, proxied
from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import SELECTED, Cluster, settled
from fakes.reconcilers import LEASE, Reconciler, at_work, eventually
from fakes.webhooks import Webhook

pytestmark = pytest.mark.timeout(240)
PERIODS = 30
SETTINGS = {"WATCH_SECONDS": "1", "RESYNC_SECONDS": "2"}
WATCHED = "/apis/apps/v1/controllerrevisions"
"""Both processes watch it, and a second time at most once a period."""


def warnings_in(log: Path) -> list[str]:
    return [
        line for line in log.read_text("utf-8").splitlines() if re.search('"level":"(WARNING|ERROR|CRITICAL)"', line)
    ]


def watches(proxy: ApiProxy) -> int:
    return sum(path == WATCHED and query.get("watch") == "true" for _, path, query in proxy.requests)


def failing(text: str) -> float:
    return sum(float(value) for value in re.findall(r"^mimic_operator_failing\{.*\} (\S+)$", text, re.MULTILINE))


def test_fault_01_a_quiet_cluster_stays_quiet_through_thirty_watch_periods(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str, tmp_path: Path
):
    """The webhook's liveness failed 900 s after the last event of a kind: both replicas restarted every 15 minutes."""
    definition.installed(admin)
    admin.delete(LEASE)
    cluster = Cluster(admin, namespace)
    with (
        control_plane.http() as http,
        Kubelet(http, namespace),
        proxied(control_plane) as proxy,
        at_work(proxy.kubeconfig(tmp_path), tmp_path, **SETTINGS) as leader,
    ):
        webhook = Webhook(proxy.kubeconfig(tmp_path), tmp_path, **SETTINGS).start()
        standby = Reconciler(proxy.kubeconfig(tmp_path), tmp_path, "standby", **SETTINGS).start()
        try:
            cluster.workload("web")
            cluster.backend(injection={"workloads": {"selector": SELECTED}})
            settled(cluster, leader)
            eventually(lambda: standby.said("Health and metrics"), standby.log.read_text)
            eventually(lambda: cluster.status()["injected"]["current"] == 2, cluster.status)
            begun, start = len(proxy.requests), watches(proxy)
            since = time.monotonic()

            def through() -> bool:
                assert webhook.probe("livez")[0] == webhook.probe("readyz")[0] == 200
                assert leader.healthy()
                assert standby.healthy()
                return watches(proxy) - start >= 2 * PERIODS

            eventually(through, leader.log.read_text, 150)
            minutes = (time.monotonic() - since) / 60
            quiet = [each for each in proxy.requests[begun:] if not each[1].startswith(LEASE.rpartition("/")[0])]
            # What other tests have left in their namespaces is not quiet yet.
            own = [each for each in quiet if "/namespaces/" not in each[1] or f"/namespaces/{namespace}/" in each[1]]
            written = [each[:2] for each in own if each[0] != "GET"]
            listed = [each[1] for each in own if each[0] == "GET" and "limit" in each[2]]
            print(f"{len(quiet) / minutes:.0f} requests a minute, watch periods of 1 s")
            assert written == []
            # A kind that the cluster does without is looked for again.
            beside = [path for path in listed if not path.endswith("/podmonitors")]
            assert beside == [], "a list beside a watch"
            assert (leader.status(), standby.status(), webhook.status()) == (None, None, None)
            assert failing(leader.metrics()) == 0
            assert max(webhook.watch_ages().values()) < 5
            logs = leader.log, standby.log, webhook.log
            assert [line for log in logs for line in warnings_in(log)] == []
        finally:
            webhook.stop()
            standby.stop()
