"""A release from its first install to its end, under load: nothing is stuck, and running pods go on."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e import release
from e2e.applications import ANSWERS, COMPANY, LOAD, backend, company, deployment, secret
from e2e.calls import followed
from e2e.cluster import Cluster, eventually, name_of, proxy_of, run
from e2e.namespaces import fresh
from fakes.helm import helms

pytestmark = pytest.mark.timeout(500)

WEBHOOKS = "app.kubernetes.io/component=webhook"


def helm(word: str, *arguments: str) -> str:
    return release.helm(word, "mimic", *arguments, "--namespace", release.SYSTEM)


def started(cluster: Cluster, app: str) -> bool:
    """Whether a new labelled pod starts with the proxy."""
    cluster.apply(deployment(app))
    cluster.settled(f"deployment/{app}")
    return "initContainers" in cluster.get("pod", cluster.pod(app))["spec"]


def selected(cluster: Cluster) -> None:
    """A workload that a backend of its own selects, rolled out with the sidecar."""
    cluster.apply(
        backend("selecting", injection={"workloads": {"selector": {"matchLabels": {"team": "search"}}}}),
        deployment("selected", inject=False, labels={"team": "search"}),
    )
    eventually("it has the sidecar", lambda: "initContainers" in cluster.get("pod", cluster.pod("selected"))["spec"])


def revision(cluster: Cluster, image: str) -> str:
    """The backend's current revision, if it is one with this image."""
    name: str = cluster.get("mimicbackend", "demo")["status"]["currentRevision"]
    found = cluster.get("controllerrevision", name)["data"]["container"]["image"] == image
    return name if found else ""


def test_an_upgrade_a_rollback_an_uninstall_and_a_reinstall_disturb_no_running_pod(namespace: Cluster, tmp_path: Path):
    # A model of the namespace's own: the chart's demo backend goes with the release.
    namespace.apply(*company("code", 60, release.IMAGE), secret(AUTH_CODE="code"), backend(**COMPANY))
    for name in ("tokens", "model"):
        namespace.settled(f"deployment/{name}")
    namespace.apply(deployment("chat", LOAD))
    namespace.settled("deployment/chat")
    pod, resource = namespace.pod("chat"), namespace.get("mimicbackend", "demo")
    with followed(namespace, "chat", tmp_path) as calls:
        calls.goes_on()
        helm("upgrade", release.CHART, "--reset-then-reuse-values", *release.image_values(release.NEXT_IMAGE), "--wait")
        helm("test")
        newer = eventually("a revision of the next image", lambda: revision(namespace, release.NEXT_IMAGE))
        assert started(namespace, "newer")
        pod_of_newer = namespace.get("pod", namespace.pod("newer"))
        assert pod_of_newer["metadata"]["annotations"]["mimic.dev/revision"] == newer
        assert proxy_of(pod_of_newer)["image"] == release.NEXT_IMAGE
        assert proxy_of(namespace.get("pod", pod))["image"] == release.IMAGE
        helm("rollback", "--wait")
        helm("test")
        calls.goes_on()

        selected(namespace)
        for command in release.uninstall_commands():
            run(*command, seconds=release.HELM_SECONDS)
        namespace.settled("deployment/selected")
        assert "mimic.dev" not in json.dumps(namespace.get("deployment", "selected")["spec"]["template"])
        namespace.kubectl("delete", "mimicbackend", "selecting", "--timeout=20s")
        assert not started(namespace, "bare")
        assert namespace.get("mimicbackend", "demo")["metadata"]["uid"] == resource["metadata"]["uid"]
        calls.goes_on()

        helm("install", str(release.previous_chart(tmp_path)), "--set", "demo.enabled=true", *release.image_values())
        helm("upgrade", release.CHART, "--reset-then-reuse-values", "--wait")
        helm("test")
        namespace.kubectl("patch", "mimicbackend", "demo", "--type=merge", "-p", '{"spec": {"suspend": false}}')
        eventually("adopted", lambda: namespace.condition("demo", "Progressing").get("reason") == "Idle")
        eventually("ready", lambda: namespace.condition("demo", "Ready").get("status") == "True")
        assert started(namespace, "again")
        assert namespace.get("mimicbackend", "demo")["metadata"]["uid"] == resource["metadata"]["uid"]
        calls.goes_on()
    calls.judge()
    assert [name_of(entry) for entry in namespace.pods("chat")] == [pod]
    namespace.kubectl("delete", "namespace", namespace.namespace, "--timeout=60s")


@pytest.fixture
def bare(installed: Cluster) -> Iterator[None]:
    """A cluster in which there never was a Mimic."""
    release.uninstall("mimic", release.SYSTEM)
    run("kubectl", "delete", "customresourcedefinition", release.CRD, release.CLUSTER_CRD)
    yield
    run("kubectl", "delete", "customresourcedefinition", release.CRD, release.CLUSTER_CRD)
    release.install()


def values(tmp_path: Path, system: str, served: str, crds: bool) -> list[str]:
    """The arguments of an install that serves one namespace."""
    content = {"watchNamespaces": [served], "crds": {"enabled": crds}, "demo": {"enabled": True}}
    file = tmp_path / f"{system}.json"
    file.write_text(json.dumps(content))
    return ["--values", str(file), *release.image_values(), "--wait", "--timeout", "2m"]


def backend_values(tmp_path: Path, system: str, served: str) -> list[str]:
    """The arguments of an install of a MimicBackend in that namespace."""
    spec = backend()["spec"]
    spec["chat"]["url"] = f"http://mimic-demo.{system}.svc/v1"
    spec["auth"]["tokenURL"] = f"http://mimic-demo.{system}.svc/token"
    file = tmp_path / f"{served}.json"
    file.write_text(json.dumps({"backends": {"demo": {"spec": spec}}}))
    return ["--values", str(file), "--namespace", served]


@pytest.mark.usefixtures("bare")
def test_two_releases_serve_a_namespace_each_with_backends_as_releases_of_their_own(tmp_path: Path):
    """The first by helm 4, the second by helm 3 where both are here."""
    with ExitStack() as stack:
        pairs = [(stack.enter_context(fresh()), stack.enter_context(fresh())) for _ in range(2)]
        programs = [helms()[0], helms()[-1]]

        def helm(number: int, word: str, *arguments: str) -> str:
            place = ("--namespace", pairs[number][0].namespace)
            return run(programs[number], word, "mimic", *arguments, *place, seconds=release.HELM_SECONDS)

        for number, (system, served) in enumerate(pairs):
            served.apply(secret())
            arguments = values(tmp_path, system.namespace, served.namespace, crds=number == 0)
            helm(number, "install", release.CHART, *arguments)
            backends = backend_values(tmp_path, system.namespace, served.namespace)
            run(programs[number], "install", "backends", release.BACKENDS, *backends, seconds=release.HELM_SECONDS)
        for _, served in pairs:
            eventually("ready", lambda cluster=served: cluster.condition("demo", "Ready").get("status") == "True")
            assert started(served, "chat")
            assert "Are you there?" in json.loads(served.execute(served.pod("chat"), *ANSWERS))["answer"]

        def changed(number: int) -> None:
            system, served = pairs[number]
            helm(number, "upgrade", release.CHART, "--reuse-values", "--set", "webhook.replicaCount=1", "--wait")
            eventually("one is left", lambda: len(system.all("pods", WEBHOOKS)) == 1)
            helm(number, "rollback", "1", "--wait")
            helm(number, "test")
            assert started(served, "later")
            run(programs[number], "uninstall", "backends", "--namespace", served.namespace, "--wait")
            assert not served.all("mimicbackends", "")
            helm(number, "uninstall", "--wait")

        with ThreadPoolExecutor() as pool:
            list(pool.map(changed, range(2)))
        for pair in pairs:
            for cluster in pair:
                cluster.kubectl("delete", "namespace", cluster.namespace, "--timeout=60s")
