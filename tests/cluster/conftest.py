"""One control plane for all tests of this folder, and a namespace of its own for each."""

from collections.abc import Iterator

import httpx2
import pytest

from fakes.control_plane import ControlPlane, running

KINDS = (
    ("apps/v1", "deployments"),
    ("apps/v1", "statefulsets"),
    ("apps/v1", "daemonsets"),
    ("batch/v1", "cronjobs"),
    ("batch/v1", "jobs"),
    ("mimic.dev/v1alpha1", "mimicbackends"),
)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Shared: whoever stops a component of it starts it again."""
    with running(tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def admin(control_plane: ControlPlane) -> Iterator[httpx2.Client]:
    """The administrator's HTTP client."""
    with control_plane.http() as client:
        yield client


@pytest.fixture(scope="session")
def policies(control_plane: ControlPlane) -> None:
    """For tests of what a ValidatingAdmissionPolicy does."""
    if control_plane.minor < 30:
        pytest.skip("Kubernetes has ValidatingAdmissionPolicy since 1.30")


@pytest.fixture
def namespace(admin: httpx2.Client) -> Iterator[str]:
    """A fresh one, with its default service account. What it holds is taken away: a workload that still restarts would
    take one of the operator's few places from those of the next test."""
    wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "test-"}}
    answer = admin.post("/api/v1/namespaces", json=wanted)
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["metadata"]["name"]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    made = admin.post(f"/api/v1/namespaces/{name}/serviceaccounts", json=account)
    assert made.status_code in (201, 409), made.text
    yield name
    for group, kind in KINDS:
        left = admin.delete(f"/apis/{group}/namespaces/{name}/{kind}")
        assert left.status_code in (200, 404), left.text
