"""One operator for each test, on the control plane that all share.

No kubelet and no webhook run here: fakes/kubelet.py plays them, so that these tests are about what the operator makes
of what it sees.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from fakes import definition
from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import Cluster
from fakes.reconcilers import LEASE, Reconciler, at_work


@pytest.fixture(scope="module")
def installed(admin: httpx2.Client) -> httpx2.Client:
    """The administrator of a cluster that knows MimicBackend."""
    definition.installed(admin)
    return admin


@pytest.fixture(autouse=True)
def free_lease(installed: httpx2.Client) -> None:
    """A reconciler that a test before has killed holds it for 15 s more."""
    answer = installed.delete(LEASE)
    assert answer.status_code in (200, 404), answer.text


@pytest.fixture
def operator(control_plane: ControlPlane, installed: httpx2.Client, tmp_path: Path) -> Iterator[Reconciler]:
    """A leading one, for the whole cluster. It waits for none that another test has killed with the Lease in hand."""
    with at_work(control_plane.kubeconfig, tmp_path) as reconciler:
        yield reconciler


@pytest.fixture
def kubelet(control_plane: ControlPlane, namespace: str) -> Iterator[Kubelet]:
    with control_plane.http() as http, Kubelet(http, namespace) as played:
        yield played


@pytest.fixture
def cluster(installed: httpx2.Client, namespace: str) -> Cluster:
    return Cluster(installed, namespace)
