"""A release from its first install to its end, under load: nothing is stuck, and running pods go on."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e import release
from e2e.applications import ANSWERS, LOAD, backend, deployment, secret
from e2e.calls import followed
from e2e.cluster import Cluster, eventually, name_of, proxy_of, run
from e2e.namespaces import fresh

pytestmark = pytest.mark.timeout(500)

CRD = "mimicbackends.mimic.dev"


def helm(word: str, *arguments: str) -> str:
    return release.helm(word, "mimic", *arguments, "--namespace", release.SYSTEM)


def started(cluster: Cluster, app: str) -> bool:
    """Whether a new labelled pod starts with the proxy."""
    cluster.apply(deployment(app))
    cluster.settled(f"deployment/{app}")
    return "initContainers" in cluster.get("pod", cluster.pod(app))["spec"]


def revision(cluster: Cluster, image: str) -> str:
    """The backend's current revision, if it is one with this image."""
    name: str = cluster.get("mimicbackend", "demo")["status"]["currentRevision"]
    found = cluster.get("controllerrevision", name)["data"]["container"]["image"] == image
    return name if found else ""


def test_an_upgrade_a_rollback_an_uninstall_and_a_reinstall_disturb_no_running_pod(demo: Cluster, tmp_path: Path):
    demo.apply(deployment("chat", LOAD))
    demo.settled("deployment/chat")
    pod, resource = demo.pod("chat"), demo.get("mimicbackend", "demo")
    with followed(demo, "chat", tmp_path) as calls:
        calls.goes_on()
        helm("upgrade", release.CHART, "--reset-then-reuse-values", *release.image_values(release.NEXT_IMAGE), "--wait")
        helm("test")
        newer = eventually("a revision of the next image", lambda: revision(demo, release.NEXT_IMAGE))
        assert started(demo, "newer")
        pod_of_newer = demo.get("pod", demo.pod("newer"))
        assert pod_of_newer["metadata"]["annotations"]["mimic.dev/revision"] == newer
        assert proxy_of(pod_of_newer)["image"] == release.NEXT_IMAGE
        assert proxy_of(demo.get("pod", pod))["image"] == release.IMAGE
        helm("rollback", "--wait")
        helm("test")
        calls.goes_on()

        release.uninstall("mimic", release.SYSTEM)
        assert not started(demo, "bare")
        assert demo.get("mimicbackend", "demo")["metadata"]["uid"] == resource["metadata"]["uid"]

        release.install()
        helm("test")
        assert started(demo, "again")
        assert demo.condition("demo", "Ready")["status"] == "True"
        calls.goes_on()
    assert [name_of(entry) for entry in demo.pods("chat")] == [pod]
    demo.kubectl("delete", "namespace", demo.namespace, "--timeout=60s")


@pytest.fixture
def bare(installed: Cluster) -> Iterator[None]:
    """A cluster in which there never was a Mimic."""
    release.uninstall("mimic", release.SYSTEM)
    run("kubectl", "delete", "customresourcedefinition", CRD)
    yield
    run("kubectl", "delete", "customresourcedefinition", CRD)
    release.install()


def values(tmp_path: Path, system: str, served: str, crds: bool) -> list[str]:
    """The arguments of an install that serves one namespace, with a MimicBackend there."""
    spec = backend()["spec"]
    spec["chat"]["url"] = f"http://mimic-demo.{system}.svc/v1"
    spec["auth"]["tokenURL"] = f"http://mimic-demo.{system}.svc/token"
    content = {
        "watchNamespaces": [served],
        "crds": {"enabled": crds},
        "demo": {"enabled": True},
        "backends": [{"name": "demo", "namespace": served, "spec": spec}],
    }
    file = tmp_path / f"{system}.json"
    file.write_text(json.dumps(content))
    return ["--values", str(file), *release.image_values(), "--wait", "--timeout", "2m"]


@pytest.mark.usefixtures("bare")
def test_two_releases_serve_a_namespace_each_from_a_first_install_with_backends(tmp_path: Path):
    with ExitStack() as stack:
        pairs = [(stack.enter_context(fresh()), stack.enter_context(fresh())) for _ in range(2)]
        for number, (system, served) in enumerate(pairs):
            served.apply(secret())
            arguments = values(tmp_path, system.namespace, served.namespace, crds=number == 0)
            release.helm("install", "mimic", release.CHART, "--namespace", system.namespace, *arguments)
        for _, served in pairs:
            eventually("ready", lambda cluster=served: cluster.condition("demo", "Ready").get("status") == "True")
            assert started(served, "chat")
            assert "Are you there?" in json.loads(served.execute(served.pod("chat"), *ANSWERS))["answer"]
        for system, _ in pairs:
            release.uninstall("mimic", system.namespace)
        for pair in pairs:
            for cluster in pair:
                cluster.kubectl("delete", "namespace", cluster.namespace, "--timeout=60s")
