"""What changes under load: secrets and settings without a restart, images one workload after another."""

from pathlib import Path
from typing import Any

import pytest

from e2e.applications import COMPANY, LOAD, backend, company, deployment, secret
from e2e.calls import Calls, followed
from e2e.cluster import Cluster, eventually, name_of, proxy_of, proxy_status
from e2e.release import IMAGE, NEXT_IMAGE

pytestmark = pytest.mark.timeout(400)

TEAM = {"team": "search"}
SELECTED = {"workloads": {"selector": {"matchLabels": TEAM}}}
RELOADS = 'mimic_config_reloads_total{result="success"}'


def refreshes(metrics: dict[str, float]) -> float:
    """Tokens that came so far, whatever they were asked for."""
    wanted = ("mimic_token_refresh_total", 'result="success"')
    return sum(value for series, value in metrics.items() if all(part in series for part in wanted))


def test_a_rotated_secret_reaches_running_pods_without_a_failed_call(namespace: Cluster, tmp_path: Path):
    namespace.apply(*company("the-old-code", 60, IMAGE), secret(AUTH_CODE="the-old-code"), backend(**COMPANY))
    namespace.settled("deployment/tokens")
    namespace.settled("deployment/model")
    namespace.apply(deployment("chat", LOAD))
    namespace.settled("deployment/chat")
    with followed(namespace, "chat", tmp_path) as calls:
        calls.goes_on()
        pod = namespace.pod("chat")
        assert namespace.metrics(pod).get(RELOADS, 0) == 0
        namespace.apply(*company("the-new-code", 60, IMAGE), secret(AUTH_CODE="the-new-code"))
        namespace.settled("deployment/tokens")
        eventually("the secret was read again", lambda: namespace.metrics(pod)[RELOADS] >= 1, 130)
        eventually("the old token service has gone", lambda: len(namespace.all("pods", "app=tokens")) == 1)
        before = refreshes(namespace.metrics(pod))
        eventually("a token for the new code", lambda: refreshes(namespace.metrics(pod)) > before, 130, every=1)
        calls.goes_on()
    calls.judge()
    (now,) = namespace.pods("chat")
    assert name_of(now) == pod
    assert proxy_status(now)["restartCount"] == 0


def test_a_changed_setting_is_taken_into_use_without_a_restart(demo: Cluster, tmp_path: Path):
    demo.apply(deployment("chat", LOAD))
    demo.settled("deployment/chat")
    pod = demo.pod("chat")
    with followed(demo, "chat", tmp_path) as calls:
        calls.goes_on()
        demo.apply(backend(models={"static": ["company/large"]}))
        eventually("it was read again", lambda: demo.metrics(pod).get(RELOADS, 0) >= 1, 130)
        calls.goes_on()
        listed = "import openai; print([model.id for model in openai.OpenAI().models.list()])"
        assert "company/large" in demo.execute(pod, "python", "-c", listed)
    calls.judge()
    assert [name_of(entry) for entry in demo.pods("chat")] == [pod]


def image(reference: str, **more: Any) -> dict[str, Any]:
    """A backend's spec with this image for its proxies."""
    repository, tag = reference.rsplit(":", 1)
    named = {"image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}}
    rollout = {"progressTimeout": "20s"}
    return {"proxy": named, "injection": SELECTED, "rollout": rollout, **more}


def images(cluster: Cluster, app: str) -> list[str]:
    return sorted({proxy_of(pod)["image"] for pod in cluster.pods(app)})


def rolled(cluster: Cluster, phase: str) -> bool:
    status = cluster.get("mimicbackend", "demo").get("status", {})
    observed = status.get("observedGeneration") == cluster.get("mimicbackend", "demo")["metadata"]["generation"]
    return observed and status.get("rollout", {}).get("phase") == phase


@pytest.fixture
def selected(namespace: Cluster) -> Cluster:
    """Two workloads under load, which a backend selects."""
    apps = [deployment(app, LOAD, inject=False, labels=TEAM) for app in ("one", "two")]
    namespace.apply(secret(), backend(**image(IMAGE)))
    eventually("a revision", lambda: namespace.condition("demo", "Ready").get("status") == "True")
    namespace.apply(*apps)
    eventually("both carry the proxy", lambda: rolled(namespace, "Complete") and covered(namespace), 120)
    return namespace


def covered(cluster: Cluster) -> bool:
    pods = [pod for app in ("one", "two") for pod in cluster.pods(app)]
    return len(pods) == 2 and all("initContainers" in pod["spec"] for pod in pods)


def goes_on(*applications: Calls) -> None:
    for calls in applications:
        calls.goes_on()


def test_a_new_image_is_rolled_out_one_by_one_and_a_broken_one_halts_at_the_first(selected: Cluster, tmp_path: Path):
    with followed(selected, "one", tmp_path) as one, followed(selected, "two", tmp_path) as two:
        goes_on(one, two)
        selected.apply(backend(**image(NEXT_IMAGE)))
        moving: set[str] = set()

        def ended() -> bool:
            moving.add(selected.get("mimicbackend", "demo")["status"].get("rollout", {}).get("current", ""))
            return rolled(selected, "Complete") and images(selected, "one") == images(selected, "two") == [NEXT_IMAGE]

        eventually("both have the next image", ended, 150)
        assert moving <= {"", "Deployment/one", "Deployment/two"}
        goes_on(one, two)

        selected.apply(backend(**image("mimic.invalid/broken:none")))
        eventually("the rollout halts", lambda: rolled(selected, "Halted"), 120)
        assert selected.condition("demo", "Degraded")["status"] == "True"
        touched = [app for app in ("one", "two") if len(selected.pods(app)) == 2]
        assert len(touched) == 1, touched
        goes_on(one, two)

        selected.apply(backend(**image(NEXT_IMAGE)))
        eventually("it is healed", lambda: rolled(selected, "Complete"), 120)
        eventually("the broken pod is gone", lambda: covered(selected))
        assert images(selected, "one") == images(selected, "two") == [NEXT_IMAGE]
        goes_on(one, two)
    one.judge()
    two.judge()
