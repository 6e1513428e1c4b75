"""The examples as they stand, in a namespace that enforces the restricted standard: each gets its answers."""

from collections.abc import Sequence

import pytest

from e2e.applications import example
from e2e.cluster import Cluster, Manifest, eventually, name_of, proxy_of

pytestmark = pytest.mark.timeout(300)

ANSWER = 'You asked: "Why is the sky blue?"'


def applied(cluster: Cluster, *files: str) -> None:
    for file in files:
        cluster.kubectl("apply", "-f", "-", given=example(file))


def answered(cluster: Cluster, pods: Sequence[Manifest]) -> None:
    """Assert that each of them has the sidecar and soon an answer in its log."""
    for pod in pods:
        assert proxy_of(pod)["restartPolicy"] == "Always"
        said = ("logs", name_of(pod), "-c", "application")
        eventually(f"an answer for {name_of(pod)}", lambda said=said: ANSWER in cluster.kubectl(*said))


@pytest.mark.parametrize(
    ("file", "workload"),
    [
        ("python/deployment.yaml", "deployment/chat-python"),
        ("python/statefulset.yaml", "statefulset/chat-stateful"),
        ("typescript/deployment.yaml", "deployment/chat-typescript"),
    ],
)
def test_every_application_gets_its_answers(file: str, workload: str, namespace: Cluster):
    applied(namespace, "demo.yaml", file)
    namespace.settled(workload)
    pods = namespace.pods(workload.partition("/")[2])
    assert len(pods) == 2
    answered(namespace, pods)


def test_a_cronjob_completes_although_a_proxy_runs_beside_it(namespace: Cluster):
    applied(namespace, "demo.yaml", "python/cronjob.yaml")
    namespace.kubectl("create", "job", "now", "--from=cronjob/chat-nightly")
    namespace.kubectl("wait", "--for=condition=complete", "job/now", "--timeout=60s")
    (pod,) = namespace.all("pods", "job-name=now")
    assert pod["status"]["phase"] == "Succeeded"
    answered(namespace, [pod])


def test_a_workload_that_says_nothing_of_mimic_is_selected(namespace: Cluster):
    applied(namespace, "demo.yaml", "python/selected.yaml")

    def injected() -> bool:
        counted = namespace.get("mimicbackend", "selecting").get("status", {}).get("injected", {})
        return (counted.get("current"), counted.get("total")) == (2, 2)

    eventually("both pods carry the sidecar", injected)
    namespace.settled("deployment/chat-selected")
    answered(namespace, namespace.pods("chat-selected"))
