"""What is read of workloads, and what is applied to them."""

from typing import Any

import pytest

from mimic_operator.reconcile.rollout import fields_for
from mimic_operator.reconcile.workload import Counts, fields_to_apply, hindrance_of, read

STATUS = {"observedGeneration": 4, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}


def manifest(kind: str = "Deployment", **spec: Any) -> dict[str, Any]:
    inner = {"replicas": 3, "template": {"metadata": {}, "spec": {}}, **spec}
    if kind == "CronJob":
        inner = {"jobTemplate": {"spec": inner}}
    metadata = {"name": "web", "namespace": "team", "uid": "u", "resourceVersion": "7", "generation": 4}
    return {"kind": kind, "metadata": metadata, "spec": inner, "status": STATUS}


@pytest.mark.parametrize(
    ("given", "inert"),
    [
        (manifest(), None),
        (manifest(paused=True), "Paused"),
        (manifest("DaemonSet", updateStrategy={"type": "OnDelete"}), "OnDelete"),
        (manifest("StatefulSet", updateStrategy={"rollingUpdate": {"partition": 1}}), "Partitioned"),
        (manifest("StatefulSet", updateStrategy={"rollingUpdate": {"partition": 0}}), None),
        ({**manifest(replicas=0), "status": {}}, "Zero"),
        (manifest("CronJob"), "CronJob"),
    ],
)
def test_tells_where_a_written_template_restarts_nothing(given: dict[str, Any], inert: str | None):
    assert read(given).inert == inert


@pytest.mark.parametrize(
    ("changed", "rolled"),
    [
        ({}, True),
        ({"observedGeneration": 3}, False),
        ({"updatedReplicas": 2}, False),
        ({"availableReplicas": 2}, False),
        ({"replicas": 4}, False),
    ],
)
def test_has_rolled_when_all_pods_are_new_and_available(changed: dict[str, int], rolled: bool):
    assert read({**manifest(), "status": {**STATUS, **changed}}).rolled is rolled


def test_a_daemon_set_counts_nodes():
    status = {
        "desiredNumberScheduled": 5,
        "currentNumberScheduled": 5,
        "updatedNumberScheduled": 4,
        "numberAvailable": 3,
    }
    counts = read({**manifest("DaemonSet"), "status": status}).counts
    assert counts == Counts(desired=5, total=5, updated=4, ready=0, available=3)


@pytest.mark.parametrize(
    ("pod", "unfit"),
    [
        ({}, ""),
        ({"hostNetwork": True}, "it uses the network of its host"),
        ({"os": {"name": "windows"}}, "it runs on Windows"),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, "it runs on Windows"),
    ],
)
def test_tells_pods_that_cannot_have_the_sidecar(pod: dict[str, Any], unfit: str):
    assert read(manifest(template={"spec": pod})).unfit == unfit


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_what_is_applied_is_what_is_read_and_names_the_uid(kind: str):
    fields = fields_for("corp", "mimic-corp-1")
    applied = fields_to_apply(read(manifest(kind)), fields)
    note = {"mimic.dev/written": "mimic-corp-1 0 1970-01-01T00:00:00Z"}
    assert applied["metadata"] == {"name": "web", "namespace": "team", "uid": "u", "annotations": note}
    merged = {**manifest(kind), "spec": applied["spec"]}
    assert read(merged).fields == fields
    assert "spec" not in fields_to_apply(read(manifest(kind)), None)


def test_nothing_of_the_pods_specification_is_kept():
    spec = {"containers": [{"name": "web", "env": [{"name": "K", "value": "hush-hush"}]}]}
    assert "hush-hush" not in repr(read(manifest(template={"spec": spec})))


def waiting(reason: str, name: str = "web") -> dict[str, Any]:
    return {"name": name, "image": "registry.example/web:2", "state": {"waiting": {"reason": reason}}}


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}


@pytest.mark.parametrize(
    ("status", "hindrance"),
    [
        (
            {"containerStatuses": [waiting("ImagePullBackOff")]},
            "container web waits for its image registry.example/web:2 (ImagePullBackOff)",
        ),
        (
            {
                "initContainerStatuses": [waiting("ErrImagePull", "mimic-proxy")],
                "containerStatuses": [waiting("PodInitializing")],
            },
            "container mimic-proxy waits for its image registry.example/web:2 (ErrImagePull)",
        ),
        ({"containerStatuses": [waiting("CrashLoopBackOff")]}, "container web waits (CrashLoopBackOff)"),
        (
            {"conditions": [UNSCHEDULED]},
            "no node takes its pod: 0/3 nodes are available: 3 Insufficient cpu.",
        ),
        (
            {"containerStatuses": [{"name": "web", "ready": False, "state": {"running": {}}}]},
            "container web is not ready",
        ),
        ({"containerStatuses": [{"name": "web", "ready": True, "state": {"running": {}}}]}, ""),
        ({}, ""),
    ],
)
def test_fault_17_names_the_container_that_waits_and_its_image(status: dict[str, Any], hindrance: str):
    assert hindrance_of({"status": status}) == hindrance
