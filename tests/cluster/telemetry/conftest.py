"""Webhook and reconciler at work beside a real collector, one of each for a module."""

from collections.abc import Iterator

import httpx2
import pytest

from fakes.collector import Otelcol, otelcol
from fakes.control_plane import ControlPlane
from fakes.definition import installed
from fakes.operators import TRACED
from fakes.reconcilers import Reconciler, eventually
from fakes.tools import tool
from fakes.webhooks import Webhook, registered, unregistered


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Otelcol]:
    with otelcol(tool("otelcol"), tmp_path_factory.mktemp("otelcol")) as running:
        yield running


@pytest.fixture(scope="module")
def operators(
    control_plane: ControlPlane,
    admin: httpx2.Client,
    collector: Otelcol,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Reconciler, Webhook]]:
    """Both processes, at work."""
    installed(admin)
    folder = tmp_path_factory.mktemp("operators")
    variables = {**TRACED, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    # A webhook configuration of that name is not there: the one of the tests trusts an authority of their own.
    own = {"CERT_MODE": "self", "WEBHOOK_CONFIGURATION": "another", **variables}
    reconciler = Reconciler(control_plane.kubeconfig, folder, **own).start()
    webhook = Webhook(control_plane.kubeconfig, folder, **variables)
    try:
        eventually(lambda: reconciler.said("was looked at"), reconciler.log.read_text)
        webhook.start()
        registered(admin, webhook)
        yield reconciler, webhook
    finally:
        unregistered(admin)
        webhook.stop()
        reconciler.stop()
