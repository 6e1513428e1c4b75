"""What becomes of backends and workloads, step by step."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import SELECTED, Cluster, image, settled, versions
from fakes.reconcilers import Reconciler, at_work, conditions, eventually

pytestmark = pytest.mark.timeout(180)


def test_a_backend_becomes_a_revision_and_its_configuration(cluster: Cluster, operator: Reconciler):
    cluster.backend()
    status = eventually(cluster.status, operator.log.read_text)
    assert conditions(cluster.seen())["Ready"] == ("True", "Ready")
    name = status["currentRevision"]
    assert cluster.get("controllerrevisions", name)["data"]["name"] == name
    assert "llm.example" in cluster.get("configmaps", name, "v1")["data"]["mimic.yaml"]


def test_selected_workloads_take_the_sidecar_one_after_another(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    for name in ("a", "b", "c"):
        cluster.workload(name)
    cluster.workload("other", labels={"ai": "no"})
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    eventually(lambda: cluster.phase() == "Complete", lambda: (cluster.status(), operator.log.read_text()), 60)
    target = cluster.status()["updateRevision"]
    assert [cluster.revision(name) for name in ("a", "b", "c", "other")] == [target, target, target, None]
    assert cluster.status()["rollout"] == {"phase": "Complete", "done": 3, "total": 3}
    eventually(lambda: cluster.status()["injected"]["current"] == 6, cluster.status)


def test_a_restarted_operator_changes_nothing(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    cluster.workload("web")
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    cluster.backend("shared", mode="Deployment", deployment={"access": "Open"})
    settled(cluster, operator)
    settled(cluster, operator, "shared")
    eventually(lambda: cluster.status()["injected"]["current"] == 2, cluster.status)
    eventually(lambda: conditions(cluster.seen("shared"))["Ready"][0] == "True", lambda: cluster.status("shared"))
    generation = cluster.get("deployments", "web")["metadata"]["generation"]
    before = versions(cluster)
    operator.stop()
    with at_work(control_plane.kubeconfig, tmp_path, "second"):
        assert versions(cluster) == before
        assert cluster.get("deployments", "web")["metadata"]["generation"] == generation


def test_repairs_what_others_change_and_keeps_what_they_add(cluster: Cluster, operator: Reconciler):
    cluster.backend("shared", mode="Deployment", deployment={"access": "Open"})
    settled(cluster, operator, "shared")
    service, budget = cluster.path("services", "mimic-shared", "v1"), "mimic-shared"
    cluster.patch(
        service, {"metadata": {"annotations": {"team": "a"}}, "spec": {"selector": {"mimic.dev/backend": "no"}}}
    )
    cluster.delete("poddisruptionbudgets", budget, "policy/v1")
    selector = {"mimic.dev/backend": "shared", "mimic.dev/component": "proxy"}
    eventually(
        lambda: cluster.get("services", "mimic-shared", "v1")["spec"]["selector"] == selector, operator.log.read_text
    )
    eventually(lambda: cluster.get("poddisruptionbudgets", budget, "policy/v1"), operator.log.read_text)
    assert cluster.get("services", "mimic-shared", "v1")["metadata"]["annotations"]["team"] == "a"


def test_deletes_what_is_no_longer_wanted(cluster: Cluster, operator: Reconciler):
    cluster.backend("shared", mode="Deployment", deployment={"access": "Open"})
    settled(cluster, operator, "shared")
    cluster.backend(
        "shared", mode="Deployment", deployment={"access": "Open", "podDisruptionBudget": {"enabled": False}}
    )
    eventually(lambda: cluster.get("poddisruptionbudgets", group="policy/v1")["items"] == [], operator.log.read_text)
    cluster.backend("shared", mode="Sidecar")
    eventually(lambda: cluster.get("deployments")["items"] == [], operator.log.read_text)
    eventually(lambda: cluster.get("services", group="v1")["items"] == [], operator.log.read_text)


def test_nothing_is_stuck_when_the_operator_is_gone(cluster: Cluster, operator: Reconciler):
    cluster.backend("shared", mode="Deployment", deployment={"access": "Open"})
    cluster.backend()
    settled(cluster, operator, "shared")
    revision = settled(cluster, operator)
    operator.kill()
    assert "finalizers" not in cluster.seen()["metadata"]
    for name in ("shared", "corp"):
        cluster.delete("mimicbackends", name, "mimic.dev/v1alpha1")
        assert cluster.seen(name) == {}
    eventually(lambda: cluster.get("deployments")["items"] == [], seconds=60)
    eventually(lambda: cluster.get("controllerrevisions", revision) is None, seconds=60)
    eventually(lambda: cluster.get("configmaps", revision, "v1") is None, seconds=60)


def test_a_configuration_change_reaches_the_pods_without_a_restart(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("web")
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    revision = settled(cluster, operator)
    generation = cluster.get("deployments", "web")["metadata"]["generation"]
    cluster.backend(chat={"url": "https://other.example/v1"}, injection={"workloads": {"selector": SELECTED}})

    def text():
        return cluster.get("configmaps", revision, "v1")["data"]["mimic.yaml"]

    eventually(lambda: "other.example" in text(), operator.log.read_text)
    assert settled(cluster, operator) == revision
    assert cluster.get("deployments", "web")["metadata"]["generation"] == generation


def test_an_image_that_does_not_start_halts_at_the_first_workload_and_a_fix_resumes(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    spec = {"injection": {"workloads": {"selector": SELECTED}}, "rollout": {"progressTimeout": "10s"}}
    for name in ("a", "b", "c"):
        cluster.workload(name)
    cluster.backend(proxy=image("1"), **spec)
    old = settled(cluster, operator)
    kubelet.fine = {old}
    cluster.backend(proxy=image("broken"), **spec)
    broken = eventually(lambda: (found := cluster.status()["updateRevision"]) != old and found, operator.log.read_text)
    eventually(lambda: cluster.phase() == "Halted", lambda: (cluster.status(), operator.log.read_text()), 60)
    seen = cluster.seen()
    assert conditions(seen)["Degraded"] == ("True", "ProgressTimeout")
    degraded = next(each for each in seen["status"]["conditions"] if each["type"] == "Degraded")
    assert "Deployment/a" in degraded["message"]
    assert [cluster.revision(name) for name in ("a", "b", "c")] == [broken, old, old]
    assert seen["status"]["currentRevision"] == old

    def halted() -> bool:
        events = cluster.get("events", group="v1")["items"]
        return any(each["reason"] == "Halted" and "Deployment/a" in each["message"] for each in events)

    eventually(halted, operator.log.read_text)

    cluster.patch(cluster.path("deployments", "b"), {"spec": {"replicas": 4}})

    def pods():
        return [
            each["metadata"]["annotations"]["mimic.dev/revision"]
            for each in cluster.get("pods", group="v1")["items"]
            if each["metadata"]["labels"]["app"] == "b"
        ]

    eventually(lambda: len(pods()) == 4)
    assert set(pods()) == {old}

    kubelet.fine = None
    cluster.backend(proxy=image("2"), **spec)
    fixed = settled(cluster, operator)
    assert [cluster.revision(name) for name in ("a", "b", "c")] == [fixed] * 3
    assert conditions(cluster.seen())["Degraded"][0] == "False"


def test_a_backend_deleted_while_the_operator_was_down_releases_its_workloads(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    for name in ("a", "b"):
        cluster.workload(name)
    cluster.patch(
        cluster.path("deployments", "a"),
        {"spec": {"template": {"metadata": {"annotations": {"team": "x"}}}}},
    )
    before = {name: cluster.get("deployments", name)["spec"]["template"] for name in ("a", "b")}
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    settled(cluster, operator)
    operator.stop()
    cluster.delete("mimicbackends", "corp", "mimic.dev/v1alpha1")
    second = Reconciler(control_plane.kubeconfig, tmp_path, "second").start()
    try:

        def after():
            return {name: cluster.get("deployments", name)["spec"]["template"] for name in ("a", "b")}

        eventually(lambda: after() == before, second.log.read_text, 60)
    finally:
        second.stop()


def test_a_deselected_workload_is_left_as_it_was(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    cluster.workload("batch", "cronjobs")
    before = cluster.get("deployments", "web")["spec"]
    job = cluster.get("cronjobs", "batch", "batch/v1")["spec"]
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    settled(cluster, operator)
    assert cluster.get("cronjobs", "batch", "batch/v1")["spec"] != job
    cluster.patch(cluster.path("deployments", "web"), {"metadata": {"labels": {"ai": "no"}}})
    cluster.patch(cluster.path("cronjobs", "batch", "batch/v1"), {"metadata": {"labels": {"ai": "no"}}})
    eventually(lambda: cluster.get("deployments", "web")["spec"] == before, operator.log.read_text)
    eventually(lambda: cluster.get("cronjobs", "batch", "batch/v1")["spec"] == job, operator.log.read_text)


def test_manual_only_reports_until_its_user_restarts_the_workload(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    spec = {"injection": {"workloads": {"selector": SELECTED}}}
    cluster.workload("web")
    cluster.backend(proxy=image("1"), **spec)
    old = settled(cluster, operator)
    cluster.backend(proxy=image("2"), rollout={"policy": "Manual"}, **spec)
    eventually(lambda: cluster.phase() == "Manual", operator.log.read_text)
    eventually(lambda: cluster.status()["injected"]["outdated"] == 2, cluster.status)
    assert "Deployment/web" in cluster.status()["rollout"]["message"]
    assert cluster.revision("web") == old
    restarted = {"kubectl.kubernetes.io/restartedAt": "2099-01-01T00:00:00Z"}
    cluster.patch(cluster.path("deployments", "web"), {"spec": {"template": {"metadata": {"annotations": restarted}}}})
    assert settled(cluster, operator) != old
    assert cluster.revision("web") == cluster.status()["updateRevision"]


def test_one_workload_has_one_backend_the_oldest(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    cluster.backend("first", injection={"workloads": {"selector": SELECTED}})
    first = settled(cluster, operator, "first")
    cluster.backend("a-second", injection={"workloads": {"selector": SELECTED}})
    eventually(lambda: conditions(cluster.seen("a-second")).get("Injectable") == ("False", "Conflict"))
    assert cluster.revision("web") == first


def test_a_workload_opts_out_by_its_label(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    label = {"spec": {"template": {"metadata": {"labels": {"mimic.dev/inject": "false"}}}}}
    cluster.patch(cluster.path("deployments", "web"), label)
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    said = "opted out: Deployment/web"
    eventually(lambda: said in cluster.status().get("rollout", {}).get("message", ""), operator.log.read_text)
    assert (cluster.phase(), cluster.revision("web")) == ("Idle", None)


def test_gives_up_on_a_workload_whose_fields_somebody_takes_off_each_time(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("web")
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    settled(cluster, operator)
    bare = {"labels": {"mimic.dev/inject": None}, "annotations": None}
    for _ in range(3):
        eventually(lambda: cluster.revision("web"), operator.log.read_text)
        cluster.patch(cluster.path("deployments", "web"), {"spec": {"template": {"metadata": bare}}})
        eventually(lambda: cluster.revision("web") or conditions(cluster.seen())["Degraded"][0] == "True")
    eventually(lambda: conditions(cluster.seen())["Degraded"] == ("True", "Contended"), operator.log.read_text)
    assert cluster.revision("web") is None


def test_paused_and_empty_workloads_are_written_and_hold_nobody_up(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("a-paused", paused=True)
    cluster.workload("b-empty", replicas=0)
    cluster.workload("c-waits", "statefulsets", serviceName="c", updateStrategy={"type": "OnDelete"})
    cluster.workload("web")
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    target = settled(cluster, operator)
    assert cluster.revision("web") == target
    assert cluster.revision("a-paused") == cluster.revision("b-empty") == target
    assert cluster.revision("c-waits", "statefulsets") == target


def test_a_suspended_backend_changes_nothing(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    cluster.workload("web")
    cluster.backend(suspend=True, injection={"workloads": {"selector": SELECTED}})
    eventually(lambda: cluster.phase() == "Suspended", operator.log.read_text)
    assert cluster.revision("web") is None
    assert cluster.status()["currentRevision"]


def test_release_takes_everything_off_while_the_operator_runs(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet
):
    for name in ("a", "b"):
        cluster.workload(name)
    before = {name: cluster.get("deployments", name)["spec"]["template"] for name in ("a", "b")}
    cluster.backend(injection={"workloads": {"selector": SELECTED}})
    settled(cluster, operator)
    environ = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig), "WATCH_NAMESPACES": cluster.namespace}
    command = [sys.executable, "-m", "mimic_operator", "release", "--all"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "released Deployment/a" in ended.stdout
    assert {name: cluster.get("deployments", name)["spec"]["template"] for name in ("a", "b")} == before
    eventually(lambda: cluster.phase() in ("Suspended", "Idle"), cluster.status)
    assert {name: cluster.get("deployments", name)["spec"]["template"] for name in ("a", "b")} == before


@contextmanager
def webhook_away(cluster: Cluster) -> Iterator[None]:
    """Nobody listens at the address that the configuration names, until the block is left."""
    configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    webhook = {
        "name": "pods.mimic.dev",
        "clientConfig": {"url": "https://127.0.0.1:1/pods"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": cluster.namespace},
        "webhooks": [webhook],
    }
    assert cluster.http.post(configurations, json=manifest).status_code == 201
    try:
        yield
    finally:
        cluster.http.delete(f"{configurations}/{cluster.namespace}")


def test_pods_that_were_refused_while_the_webhook_was_away_are_tried_again(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    with webhook_away(cluster):
        cluster.workload("web", labels={})

        def retried():
            return cluster.get("deployments", "web")["metadata"].get("annotations", {}).get("mimic.dev/retry-at")

        eventually(retried, operator.log.read_text, 60)
    eventually(lambda: len(cluster.get("pods", group="v1")["items"]) == 2, operator.log.read_text, 60)


def test_pods_of_a_job_that_were_refused_come_without_anybodys_doing(cluster: Cluster):
    """The reason for which Jobs are not touched: no operator runs here."""
    pods = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": {"template": pods}}

    def refused() -> bool:
        events = cluster.get("events", group="v1")["items"]
        return any(each["reason"] == "FailedCreate" and "pods.mimic.dev" in each["message"] for each in events)

    with webhook_away(cluster):
        where = cluster.path("jobs", "", "batch/v1").rstrip("/")
        assert cluster.http.post(where, json=job).status_code == 201
        eventually(refused)
        assert cluster.get("pods", group="v1")["items"] == []
    eventually(lambda: len(cluster.get("pods", group="v1")["items"]) == 1, seconds=30)
