"""The policies of the chart, as the API server judges by them."""

import copy
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from fakes.applied import Cluster
from fakes.chart_release import Release, eventually, released
from fakes.control_plane import ControlPlane

MERGE = {"content-type": "application/merge-patch+json"}
CONTAINERS = [{"name": "application", "image": "application:1"}]
TEMPLATE = {
    "metadata": {"labels": {"app": "shop"}, "annotations": {"note": "mine"}},
    "spec": {"restartPolicy": "Always", "containers": CONTAINERS},
}
Manifest = dict[str, Any]


def workload(kind: str, namespace: str) -> Manifest:
    """The user's, with labels and annotations in both places."""
    metadata = {"name": "shop", "namespace": namespace, "labels": {"team": "shop"}, "annotations": {"note": "mine"}}
    if kind == "CronJob":
        template = copy.deepcopy(TEMPLATE)
        template["spec"]["restartPolicy"] = "Never"
        jobs = {"metadata": {"labels": {"job": "mine"}}, "spec": {"backoffLimit": 2, "template": template}}
        return {
            "apiVersion": "batch/v1",
            "kind": kind,
            "metadata": metadata,
            "spec": {"schedule": "@daily", "jobTemplate": jobs},
        }
    spec: Manifest = {"selector": {"matchLabels": {"app": "shop"}}, "template": copy.deepcopy(TEMPLATE)}
    if kind == "StatefulSet":
        spec["serviceName"] = "shop"
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


def at_template(kind: str, patch: Manifest) -> Manifest:
    """A patch of the pod's template."""
    spec = {"template": patch}
    return {"spec": {"jobTemplate": {"spec": spec}} if kind == "CronJob" else spec}


KINDS = ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
OURS = {"labels": {"mimic.dev/inject": "true"}, "annotations": {"mimic.dev/backend": "corp"}}
ALLOWED = {
    "retry on the workload": lambda kind: {"metadata": {"annotations": {"mimic.dev/retry-at": "now"}}},
    "label and annotations on the template": lambda kind: at_template(kind, {"metadata": OURS}),
    "both at once": lambda kind: {"metadata": OURS, **at_template(kind, {"metadata": OURS})},
    "nothing": lambda kind: {},
}
FORBIDDEN = {
    "the image": lambda kind: at_template(kind, {"spec": {"containers": [{"name": "application", "image": "evil"}]}}),
    "a volume with a Secret": lambda kind: at_template(
        kind, {"spec": {"volumes": [{"name": "s", "secret": {"secretName": "s"}}]}}
    ),
    "the account": lambda kind: at_template(kind, {"spec": {"serviceAccountName": "admin"}}),
    "a label of the pod": lambda kind: at_template(
        kind, {"metadata": {"labels": {"sidecar.istio.io/inject": "false"}}}
    ),
    "an annotation of the pod": lambda kind: at_template(kind, {"metadata": {"annotations": {"note": "yours"}}}),
    "an annotation taken away": lambda kind: at_template(kind, {"metadata": {"annotations": {"note": None}}}),
    "a label of the workload": lambda kind: {"metadata": {"labels": {"team": "other"}}},
    "a label taken away": lambda kind: {"metadata": {"labels": {"team": None}}},
    "a finalizer": lambda kind: {"metadata": {"finalizers": ["mimic.dev/stuck"]}},
    "an owner": lambda kind: {
        "metadata": {
            "ownerReferences": [
                {
                    "apiVersion": "mimic.dev/v1alpha1",
                    "kind": "MimicBackend",
                    "name": "x",
                    "uid": "x",
                    "controller": True,
                }
            ]
        }
    },
    "a name that only begins like ours": lambda kind: {"metadata": {"labels": {"mimic.devil/x": "y"}}},
}
SPECS = {
    "Deployment": {"spec": {"replicas": 0}},
    "StatefulSet": {"spec": {"replicas": 0}},
    "DaemonSet": {"spec": {"minReadySeconds": 5}},
    "CronJob": {"spec": {"suspend": True}},
}


@pytest.fixture(scope="module")
def release(policies: None, control_plane: ControlPlane, admin: httpx2.Client) -> Iterator[Release]:
    """With its policies in force: the last one to take effect is waited for."""
    with released(control_plane, admin) as made:
        cluster = Cluster(admin)
        probe = workload("Deployment", made.namespace)
        cluster.apply_all([probe])
        confined = {"metadata": {"labels": {"team": "other"}}}

        def refused() -> bool:
            answer = made.reconciler.patch(cluster.path(probe), json=confined, headers=MERGE, params={"dryRun": "All"})
            return answer.status_code == 422

        eventually("the reconciler is confined", refused)
        yield made


@pytest.fixture
def made(admin: httpx2.Client, namespace: str, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Kind and path of a workload of the user's."""
    cluster = Cluster(admin)
    manifest = workload(request.param, namespace)
    cluster.apply_all([manifest])
    return request.param, cluster.path(manifest)


each_kind = pytest.mark.parametrize("made", KINDS, indirect=True)


@each_kind
def test_on_workloads_of_others_the_reconciler_writes_our_labels_and_annotations(
    release: Release, made: tuple[str, str]
):
    kind, path = made
    for what, patch in ALLOWED.items():
        answer = release.reconciler.patch(path, json=patch(kind), headers=MERGE)
        assert answer.status_code == 200, f"{what}: {answer.text}"
    gone = {"labels": {"mimic.dev/inject": None}, "annotations": {"mimic.dev/backend": None}}
    assert release.reconciler.patch(path, json=at_template(kind, {"metadata": gone}), headers=MERGE).status_code == 200


@each_kind
def test_on_workloads_of_others_the_reconciler_writes_nothing_else(
    release: Release, admin: httpx2.Client, made: tuple[str, str]
):
    kind, path = made
    patches = {what: patch(kind) for what, patch in FORBIDDEN.items()} | {"the spec": SPECS[kind]}
    if kind == "CronJob":
        patches["the job's spec"] = {"spec": {"jobTemplate": {"spec": {"backoffLimit": 6}}}}
        patches["the job's labels"] = {"spec": {"jobTemplate": {"metadata": {"labels": {"job": "yours"}}}}}
    for what, patch in patches.items():
        answer = release.reconciler.patch(path, json=patch, headers=MERGE, params={"dryRun": "All"})
        assert answer.status_code == 422, f"{what}: {answer.status_code} {answer.text}"
        assert "Mimic's reconciler" in answer.json()["message"], f"{what}: {answer.text}"
        # Who owns the workload may.
        allowed = admin.patch(path, json=patch, headers=MERGE, params={"dryRun": "All"})
        assert allowed.status_code == 200, f"{what}: {allowed.text}"


def test_it_makes_and_removes_workloads_of_a_backend_only(release: Release, namespace: str):
    cluster = Cluster(release.reconciler)
    foreign = workload("Deployment", namespace)
    answer = cluster.apply(foreign)
    assert answer.status_code == 422
    assert "creates and deletes no workload" in answer.text
    owner = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "name": "corp", "uid": "1", "controller": True}
    own = workload("Deployment", namespace)
    own["metadata"] |= {"name": "mimic-corp", "ownerReferences": [owner]}
    assert cluster.apply(own).status_code == 201
    changed = copy.deepcopy(own)
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "proxy:2"
    assert cluster.apply(changed).status_code == 200
    assert release.reconciler.delete(cluster.path(own)).status_code == 200


def test_it_removes_no_workload_of_others(release: Release, admin: httpx2.Client, namespace: str):
    foreign = workload("Deployment", namespace)
    Cluster(admin).apply_all([foreign])
    answer = release.reconciler.delete(Cluster(admin).path(foreign))
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("kind", ["mutating", "validating"])
def test_of_a_webhook_it_changes_the_bundle_alone(release: Release, admin: httpx2.Client, kind: str):
    path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/{release.configuration}"
    webhooks = admin.get(path).json()["webhooks"]
    bundled = copy.deepcopy(webhooks)
    for entry in bundled:
        entry["clientConfig"]["caBundle"] = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"
    changes = {
        "policy": [{**webhooks[0], "failurePolicy": "Ignore" if webhooks[0]["failurePolicy"] == "Fail" else "Fail"}],
        "none left": [],
        "path": [
            {**entry, "clientConfig": {"service": entry["clientConfig"]["service"] | {"path": "/else"}}}
            for entry in webhooks
        ],
        "url": [{**entry, "clientConfig": {"url": "https://evil.example"}} for entry in webhooks],
        "selector": [{**entry, "objectSelector": {"matchLabels": {"a": "b"}}} for entry in webhooks],
        "rules": [{**entry, "rules": [{**entry["rules"][0], "resources": ["secrets"]}]} for entry in webhooks],
    }
    options = {"dryRun": "All"}

    def patched(entries: list[Manifest]) -> httpx2.Response:
        return release.reconciler.patch(path, json={"webhooks": entries}, headers=MERGE, params=options)

    for what, entries in changes.items():
        eventually(f"{what} is refused", lambda entries=entries: patched(entries).status_code in {403, 422})
    answer = release.reconciler.patch(path, json={"webhooks": bundled}, headers=MERGE)
    assert answer.status_code == 200, answer.text


def test_of_a_backend_it_changes_spec_suspend_alone(release: Release, admin: httpx2.Client, namespace: str):
    cluster = Cluster(admin)
    backend = {
        "apiVersion": "mimic.dev/v1alpha1",
        "kind": "MimicBackend",
        "metadata": {"name": "corp", "namespace": namespace, "labels": {"team": "shop"}},
        "spec": {"chat": {"url": "https://llm.example.com/v1"}, "auth": {"grant": "None"}},
    }
    cluster.apply_all([backend])
    path = cluster.path(backend)
    changes: dict[str, Manifest] = {
        "image": {"spec": {"suspend": True, "proxy": {"image": {"repository": "evil.example/proxy"}}}},
        "url": {"spec": {"chat": {"url": "https://evil.example/v1"}}},
        "label": {"metadata": {"labels": {"team": None}}},
        "annotation": {"metadata": {"annotations": {"a": "b"}}},
    }

    def refused(patch: Manifest) -> bool:
        answer = release.reconciler.patch(path, json=patch, headers=MERGE, params={"dryRun": "All"})
        return answer.status_code == 422 and "a MimicBackend but spec.suspend" in answer.json()["message"]

    for what, patch in changes.items():
        eventually(f"{what} is refused", lambda patch=patch: refused(patch))
    # It creates and deletes those of a ClusterMimicBackend, and no others.
    own = {"apiVersion": "mimic.dev/v1alpha1", "kind": "ClusterMimicBackend", "name": "corp", "uid": "0123"}
    reconciler, options = Cluster(release.reconciler), {"dryRun": "All"}
    for owner, allowed in (({**own, "controller": True}, True), ({**own, "controller": False}, False)):
        other = {**backend, "metadata": {"name": "other", "namespace": namespace, "ownerReferences": [owner]}}
        other["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = False
        collection = reconciler.path(other).rpartition("/")[0]
        answer = release.reconciler.post(collection, json=other, params=options)
        assert answer.is_success == allowed, answer.text
    answer = release.reconciler.delete(path, params=options)
    assert "no MimicBackend but those of a ClusterMimicBackend" in answer.json()["message"]
    for value in (True, False):
        answer = release.reconciler.patch(path, json={"spec": {"suspend": value}}, headers=MERGE)
        assert answer.status_code == 200, answer.text
        assert answer.json()["spec"]["suspend"] is value
