"""Resources that the operator cannot use, and definitions that let them in or cut them short."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import BACKENDS, SELECTED, Cluster, settled, versions
from fakes.reconcilers import Reconciler, at_work, conditions, eventually
from mimic_operator.resource.crd import NAME, definition

pytestmark = pytest.mark.timeout(180)
SELECTING = {"injection": {"workloads": {"selector": SELECTED}}}
PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAME}"
INVALID = {"chat": {"url": "http://llm.example/v1"}, "auth": {"grant": "None", "scope": "nobody is asked"}}


def without_rules(schema: Any) -> Any:
    """As an older definition may be: it refuses little."""
    if isinstance(schema, dict):
        kept = {key: value for key, value in schema.items() if key != "x-kubernetes-validations"}
        return {key: without_rules(value) for key, value in kept.items()}
    return [without_rules(entry) for entry in schema] if isinstance(schema, list) else schema


@contextmanager
def defined(admin: httpx2.Client, schema: Any, works: dict[str, Any]) -> Iterator[None]:
    """With this schema, until the block is left. works: a specification that tells the one from the other."""

    def put(new: Any) -> None:
        there = admin.get(PATH).json()
        there["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = new
        answer = admin.put(PATH, json=there)
        assert answer.is_success, answer.text

    def accepted() -> bool:
        head = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": {"name": "tried"}}
        path = f"{BACKENDS.format('default')}?dryRun=All&fieldValidation=Strict"
        return admin.post(path, json={**head, "spec": works}).is_success

    own = copy.deepcopy(definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    before = accepted()
    put(schema)
    try:
        eventually(lambda: accepted() != before)
        yield
    finally:
        put(own)
        eventually(lambda: accepted() == before)


def passes(operator: Reconciler) -> float:
    """Over backends so far."""
    found = re.search(
        r'^mimic_operator_reconciles_total{reason="",result="ok"} (\S+)$', operator.metrics(), re.MULTILINE
    )
    assert found is not None
    return float(found[1])


@pytest.fixture
def loose(installed: httpx2.Client) -> Iterator[None]:
    with defined(installed, without_rules(definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]), INVALID):
        yield


def test_an_invalid_edit_is_told_by_its_fields_and_changes_nothing(
    cluster: Cluster, loose: None, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("web")
    cluster.backend(**SELECTING)
    revision = settled(cluster, operator)
    eventually(lambda: cluster.status()["injected"]["current"] == 2, cluster.status, 15)
    before = {name: version for name, version in versions(cluster).items() if "mimicbackends" not in name}
    generation = cluster.get("deployments", "web")["metadata"]["generation"]
    cluster.backend(**INVALID, **SELECTING)
    eventually(lambda: conditions(cluster.seen())["ConfigValid"] == ("False", "Invalid"), operator.log.read_text)
    assert conditions(cluster.seen())["Ready"] == ("False", "Invalid")
    (said,) = [each["message"] for each in cluster.status()["conditions"] if each["type"] == "ConfigValid"]
    assert "spec.chat.url: must begin with https://" in said
    assert "spec.auth.scope: " in said
    assert {name: version for name, version in versions(cluster).items() if "mimicbackends" not in name} == before
    assert (cluster.revision("web"), cluster.status()["currentRevision"]) == (revision, revision)
    # A workload that comes meanwhile is not selected by what nobody can read.
    cluster.workload("later")
    cluster.backend(**SELECTING)
    assert settled(cluster, operator) == revision
    assert conditions(cluster.seen())["Ready"] == ("True", "Ready")
    assert cluster.revision("later") == revision
    assert cluster.get("deployments", "web")["metadata"]["generation"] == generation


def test_one_that_was_never_valid_has_no_revision_and_holds_no_other_up(
    cluster: Cluster, control_plane: ControlPlane, loose: None, operator: Reconciler, tmp_path: Path
):
    cluster.backend("bad", **INVALID)
    cluster.backend("good")
    settled(cluster, operator, "good")
    eventually(lambda: conditions(cluster.seen("bad")).get("Ready") == ("False", "Invalid"), operator.log.read_text)
    assert "currentRevision" not in cluster.status("bad")
    operator.stop()
    before = versions(cluster)
    with at_work(control_plane.kubeconfig, tmp_path, "second"):
        assert versions(cluster) == before


def test_fault_17_an_older_definition_stops_nothing_but_reconciling(
    cluster: Cluster, control_plane: ControlPlane, installed: httpx2.Client, tmp_path: Path
):
    """It ended the leader, and the webhook's certificate was renewed no more."""
    older = copy.deepcopy(definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    del older["properties"]["spec"]["properties"]["suspend"]
    works = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}, "suspend": True}
    own = {"CERT_MODE": "self", "CERT_SECRET": f"cert-{cluster.namespace}", "DEFINITION_POLL_SECONDS": "0.5"}
    secret = f"/api/v1/namespaces/default/secrets/cert-{cluster.namespace}"
    operator = Reconciler(control_plane.kubeconfig, tmp_path, **own)
    try:
        with defined(installed, older, works):
            cluster.backend()
            operator.start()
            eventually(lambda: operator.said("lacks spec.suspend: apply the chart's CRD"), operator.log.read_text)
            eventually(lambda: installed.get(secret).status_code == 200, operator.log.read_text)
            assert operator.status() is None
            assert cluster.status() == {}
            assert cluster.get("controllerrevisions")["items"] == []
        settled(cluster, operator)
    finally:
        operator.stop()


def test_of_two_operators_one_has_a_backend_and_the_other_says_so(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    """A release for some namespaces beside a cluster-wide one: they do not write over each other for ever."""
    cluster.workload("web")
    cluster.backend(**SELECTING)
    settled(cluster, operator)
    other = {
        "WATCH_NAMESPACES": cluster.namespace,
        "LEASE_NAME": "mimic-other",
        "MIMIC_IMAGE": "registry.example/other",
    }
    with at_work(control_plane.kubeconfig, tmp_path, "narrow", **other) as narrow:
        eventually(lambda: cluster.status()["operator"] == "namespaces:default/mimic-other", narrow.log.read_text)
        eventually(lambda: operator.said("leaves it to namespaces:default/mimic-other"), operator.log.read_text)
        eventually(
            lambda: "ManagedElsewhere" in {each["reason"] for each in cluster.get("events", group="v1")["items"]}
        )
        settled(cluster, narrow)
        eventually(lambda: cluster.status()["injected"]["current"] == 2, cluster.status, 15)
        before, counted = versions(cluster), [passes(each) for each in (operator, narrow)]
        cluster.patch(cluster.path("deployments", "web"), {"metadata": {"annotations": {"team": "search"}}})
        eventually(lambda: all(passes(each) > n for each, n in zip((operator, narrow), counted, strict=True)))
        assert versions(cluster) == before


def test_a_namespaced_one_looks_at_its_namespaces_alone(
    cluster: Cluster, control_plane: ControlPlane, installed: httpx2.Client, tmp_path: Path
):
    made = installed.post("/api/v1/namespaces", json={"metadata": {"generateName": "other-"}})
    other = Cluster(installed, made.json()["metadata"]["name"])
    other.backend()
    with at_work(control_plane.kubeconfig, tmp_path, WATCH_NAMESPACES=cluster.namespace) as operator:
        other.backend(models={"static": ["a"]})
        cluster.backend()
        settled(cluster, operator)
        assert other.status() == {}
        assert other.get("controllerrevisions")["items"] == []
