"""One webhook process for the folder; who stops it starts it again."""

from collections.abc import Iterator

import httpx2
import pytest

from fakes.control_plane import ControlPlane
from fakes.definition import installed
from fakes.webhooks import Webhook, registered, unregistered


@pytest.fixture(scope="module")
def webhook(
    control_plane: ControlPlane, admin: httpx2.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Webhook]:
    """Ready and registered."""
    installed(admin)
    running = Webhook(control_plane.kubeconfig, tmp_path_factory.mktemp("webhook"))
    try:
        running.start()
        registered(admin, running)
        yield running
    finally:
        unregistered(admin)
        running.stop()
