"""The release that the README installs, once for all tests of this folder, and a namespace of its own for each."""

from collections.abc import Iterator

import pytest

from e2e import release
from e2e.applications import backend, secret
from e2e.cluster import Cluster, eventually, needed, run
from e2e.namespaces import fresh


@pytest.fixture(scope="session")
def installed() -> Iterator[Cluster]:
    """Mimic with its demo backend, in the whole cluster; the namespace is its own."""
    needed()
    if run("kubectl", "get", "namespace", release.SYSTEM, "--ignore-not-found"):
        pytest.fail(f"the cluster has a namespace {release.SYSTEM}: these tests want one without Mimic")
    release.install()
    yield Cluster(release.SYSTEM)
    if release.exists():
        release.uninstall("mimic", release.SYSTEM)
    run("kubectl", "delete", "namespace", release.SYSTEM)
    run("kubectl", "delete", "customresourcedefinition", "mimicbackends.mimic.dev")


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
