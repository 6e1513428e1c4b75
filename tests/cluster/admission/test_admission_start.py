"""When the webhook starts while the API server, or a right, is away."""

from pathlib import Path

import httpx2
import pytest

from fakes import definition
from fakes.api_proxy import proxied
from fakes.control_plane import ControlPlane
from fakes.webhooks import Webhook

pytestmark = pytest.mark.timeout(120)
FAST = {"WATCH_RETRY_SECONDS": "0.5"}


def test_fault_14_starts_while_the_api_server_is_away_and_becomes_ready_when_it_is_back(
    control_plane: ControlPlane, admin: httpx2.Client, tmp_path: Path
):
    definition.installed(admin)
    away = [True]
    with proxied(control_plane) as proxy:
        proxy.trouble = lambda method, path, query: "reset" if away else None
        webhook = Webhook(proxy.kubeconfig(tmp_path), tmp_path, **FAST).start(ready=False)
        try:
            webhook.until(lambda: "The API server cannot be reached yet" in webhook.log.read_text())
            assert webhook.probe("livez")[0] == 200
            assert webhook.probe("readyz")[0] == 503
            away.clear()
            webhook.until(lambda: webhook.probe("readyz")[0] == 200)
            assert webhook.log.read_text().count('"level":"WARNING"') == 1, "it says once that it waits"
        finally:
            webhook.stop()


def test_fault_06_a_watched_namespace_that_is_refused_keeps_no_webhook_from_being_ready(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str, tmp_path: Path
):
    definition.installed(admin)
    with proxied(control_plane) as proxy:
        proxy.rules.append(lambda method, path, query: (403, {}) if "/namespaces/gone/" in path else None)
        settings = {**FAST, "WATCH_NAMESPACES": f"gone,{namespace}"}
        webhook = Webhook(proxy.kubeconfig(tmp_path), tmp_path, **settings).start()
        try:
            assert webhook.metrics()["mimic_operator_namespaces_skipped",] == 1
            assert "Namespace gone is skipped until it is back" in webhook.log.read_text()
        finally:
            webhook.stop()


def test_a_port_that_is_taken_ends_it(control_plane: ControlPlane, admin: httpx2.Client, tmp_path: Path):
    definition.installed(admin)
    first = Webhook(control_plane.kubeconfig, tmp_path / "first").start()
    second = Webhook(control_plane.kubeconfig, tmp_path / "second", WEBHOOK_PORT=str(first.port)).start(ready=False)
    try:
        assert second.wait() == 1
        assert "address already in use" in second.log.read_text()
    finally:
        first.stop()
