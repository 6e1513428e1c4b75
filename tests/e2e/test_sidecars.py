"""Applications on real pods get answers through a sidecar that they know nothing of."""

import json

import pytest

from e2e.applications import ANSWERS, backend, container, deployment, secret
from e2e.cluster import Cluster, eventually, is_ready, proxy_of, proxy_status

pytestmark = pytest.mark.timeout(300)

ENVIRONMENT = {
    "OPENAI_BASE_URL": "http://127.0.0.1:18480/v1",
    "OPENAI_API_BASE": "http://127.0.0.1:18480/v1",
    "OPENAI_API_KEY": "mimic",
}


REFUSED = """
import openai
try:
    openai.OpenAI(max_retries=0).models.retrieve("demo/chat-small")
except openai.APIStatusError as error:
    print(error.status_code, error.response.text)
"""
"""Prints how a call is refused."""


def judge(printed: str, environment: dict[str, str] = ENVIRONMENT) -> None:
    """What answers.py has printed."""
    seen = json.loads(printed)
    assert seen["environment"] == environment
    assert seen["streamed"] == seen["answer"]
    assert "Are you there?" in seen["answer"]
    assert seen["chunks"] > 2
    assert seen["finish"] == "stop"
    assert seen["tool"] == ["get_weather", {"city": "Paris"}]
    assert "demo/chat-small" in seen["models"]


def test_a_labelled_deployment_gets_answers_streams_and_tools(demo: Cluster):
    demo.apply(deployment("chat"))
    demo.settled("deployment/chat")
    judge(demo.execute(demo.pod("chat"), *ANSWERS))
    (pod,) = demo.pods("chat")
    assert [entry["name"] for entry in pod["spec"]["containers"]] == ["application"]
    assert proxy_of(pod)["restartPolicy"] == "Always"
    assert proxy_status(pod)["restartCount"] == 0


def test_a_workload_that_is_selected_gets_the_proxy_by_a_rollout(namespace: Cluster):
    namespace.apply(secret(), deployment("chat", inject=False, labels={"team": "search"}))
    namespace.settled("deployment/chat")
    (before,) = namespace.pods("chat")
    assert "initContainers" not in before["spec"]
    namespace.apply(backend(injection={"workloads": {"selector": {"matchLabels": {"team": "search"}}}}))
    eventually("all selected pods carry it", lambda: injected(namespace) == (1, 1))
    namespace.settled("deployment/chat")
    judge(namespace.execute(namespace.pod("chat"), *ANSWERS))


def injected(cluster: Cluster) -> tuple[int, int]:
    """Pods with the current sidecar, and all that shall have it."""
    counted = cluster.get("mimicbackend", "demo").get("status", {}).get("injected", {})
    return counted.get("current", 0), counted.get("total", 0)


def test_an_init_container_can_call_the_model(demo: Cluster):
    before = container("before", ANSWERS)
    demo.apply(deployment("chat", spec={"template": {"spec": {"initContainers": [before]}}}))
    demo.settled("deployment/chat")
    judge(demo.kubectl("logs", demo.pod("chat"), "-c", "before"))


def test_a_pod_without_its_secret_starts_says_what_is_missing_and_is_healed(namespace: Cluster):
    namespace.apply(backend(), deployment("chat"))
    namespace.settled("deployment/chat")
    pod = namespace.pod("chat")
    said = namespace.execute(pod, "python", "-c", REFUSED)
    status, body = said.split(" ", 1)
    error = json.loads(body)["error"]
    assert (int(status), error["code"]) == (503, "token_unavailable")
    assert "secret/demo/AUTH_CODE does not exist" in error["message"]
    namespace.apply(secret())

    def heals() -> bool:
        return "Are you there?" in json.loads(namespace.execute(pod, *ANSWERS))["answer"]

    eventually("calls are answered", heals, 130, every=2)
    (now,) = namespace.pods("chat")
    assert is_ready(now)
    assert proxy_status(now)["restartCount"] == 0
