"""Pods and processes that end under load, and what their callers see of it: nothing."""

from pathlib import Path

import pytest

from e2e.applications import LOAD, backend, deployment, secret
from e2e.calls import followed
from e2e.cluster import Cluster, eventually, is_ready, name_of, proxy_status

pytestmark = pytest.mark.timeout(300)


def test_a_deleted_pod_brings_its_open_streams_to_their_end(demo: Cluster, tmp_path: Path):
    demo.apply(deployment("chat", LOAD))
    demo.settled("deployment/chat")
    with followed(demo, "chat", tmp_path) as calls:
        calls.goes_on()
        pod = demo.pod("chat")
        demo.kubectl("delete", "pod", pod)
        eventually("the application ended of itself", lambda: {"end": "asked to", "pod": pod} in calls.lines())
        demo.settled("deployment/chat")
        calls.goes_on()
    calls.judge()


def test_a_killed_proxy_is_started_again_and_its_application_is_not(demo: Cluster, tmp_path: Path):
    # The first process of a process namespace is deaf to KILL from within; in a shared one the proxy is not the first.
    demo.apply(deployment("chat", LOAD, spec={"template": {"spec": {"shareProcessNamespace": True}}}))
    demo.settled("deployment/chat")
    pod = demo.pod("chat")
    with followed(demo, "chat", tmp_path) as calls:
        calls.goes_on()
        demo.execute(pod, "python", "-c", KILL)

        def again() -> bool:
            (now,) = demo.pods("chat")
            return proxy_status(now)["restartCount"] == 1 and is_ready(now)

        eventually("the proxy runs again", again)
        calls.goes_on()
    (now,) = demo.pods("chat")
    assert name_of(now) == pod
    assert now["status"]["containerStatuses"][0]["restartCount"] == 0


KILL = """
import os, pathlib, signal
for found in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if b"mimic-proxy" in found.read_bytes() and int(found.parent.name) != os.getpid():
        os.kill(int(found.parent.name), signal.SIGKILL)
"""
SHARED = {"mode": "Deployment", "deployment": {"replicas": 2, "access": "Open"}}


def test_pods_of_a_shared_proxy_end_without_a_failed_call(namespace: Cluster, tmp_path: Path):
    namespace.apply(secret(), backend(**SHARED))
    eventually("it serves", lambda: namespace.condition("demo", "Available").get("status") == "True")
    annotations = {"mimic.dev/backend": "demo"}
    namespace.apply(deployment("chat", LOAD, spec={"template": {"metadata": {"annotations": annotations}}}))
    namespace.settled("deployment/chat")
    with followed(namespace, "chat", tmp_path) as calls:
        calls.goes_on()
        for _ in range(2):
            namespace.kubectl("delete", "pod", name_of(shared(namespace)[0]))
            namespace.settled("deployment/mimic-demo")
            calls.goes_on()
    calls.judge()


def shared(cluster: Cluster) -> list[dict]:
    """The pods of the shared proxy."""
    found = cluster.get("deployment", "mimic-demo")["spec"]["selector"]["matchLabels"]
    return cluster.all("pods", ",".join(f"{key}={value}" for key, value in found.items()))
