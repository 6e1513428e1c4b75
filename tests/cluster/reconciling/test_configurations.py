"""The configuration of pods that still run an older revision, while their backend changes."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import APPLY, MERGE, SELECTED, Cluster, image, settled, versions
from fakes.reconcilers import Reconciler, at_work, eventually

pytestmark = pytest.mark.timeout(180)
MANUAL = {"injection": {"workloads": {"selector": SELECTED}}, "rollout": {"policy": "Manual"}}
MOVED = {"url": "https://moved.example/v1"}


def text(cluster: Cluster, revision: str) -> str:
    """The configuration file of a revision; empty while there is none."""
    found = cluster.get("configmaps", revision, "v1")
    return found["data"]["mimic.yaml"] if found else ""


def generation(cluster: Cluster) -> int:
    found: int = cluster.get("deployments", "web")["metadata"]["generation"]
    return found


def children(cluster: Cluster) -> dict[str, str]:
    """Their resourceVersions."""
    return {name: version for name, version in versions(cluster).items() if not name.startswith("mimicbackends")}


def turns(operator: Reconciler) -> float:
    """Looks at backends so far."""
    line = r'^mimic_operator_reconciles_total{reason="",result="ok"} (\S+)$'
    found = re.search(line, operator.metrics(), re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.fixture
def waiting(cluster: Cluster, operator: Reconciler, kubelet: Kubelet) -> tuple[str, str]:
    """A workload on an older revision, which waits for its user: the revision that it has, and the newest."""
    cluster.workload("web")
    cluster.backend(proxy=image("1"), injection=MANUAL["injection"])
    old = settled(cluster, operator)
    eventually(lambda: cluster.status()["injected"]["current"] == 2, cluster.status, 15)
    cluster.backend(proxy=image("2"), **MANUAL)
    eventually(lambda: cluster.phase() == "Manual", operator.log.read_text)
    return old, cluster.status()["updateRevision"]


def test_a_moved_backend_reaches_pods_that_wait_for_their_restart(
    cluster: Cluster, operator: Reconciler, waiting: tuple[str, str]
):
    old, new = waiting
    before = generation(cluster)
    cluster.backend(proxy=image("2"), chat=MOVED, **MANUAL)
    for revision in (old, new):
        eventually(lambda name=revision: "moved.example" in text(cluster, name), operator.log.read_text)
    assert (generation(cluster), cluster.revision("web")) == (before, old)
    settled_on = cluster.seen()["metadata"]["generation"]
    eventually(lambda: cluster.status()["observedGeneration"] == settled_on, cluster.status)
    eventually(lambda: cluster.status()["injected"]["outdated"] == 2, cluster.status, 15)
    before_turns, still = turns(operator), children(cluster)
    # The workload changes in what is nobody's business: the backend is looked at anew.
    cluster.patch(cluster.path("deployments", "web"), {"metadata": {"annotations": {"team": "search"}}})
    eventually(lambda: turns(operator) > before_turns, operator.log.read_text)
    assert children(cluster) == still


def test_pods_without_the_new_credential_keep_their_configuration_and_the_status_says_so(
    cluster: Cluster, operator: Reconciler, waiting: tuple[str, str]
):
    old, _ = waiting
    before = text(cluster, old)
    auth = {"grant": "Static", "secretRef": {"name": "corp-llm"}}
    cluster.backend(proxy=image("2"), chat=MOVED, auth=auth, **MANUAL)
    said = f"pods keep their configuration until they restart: those of {old}"
    eventually(lambda: said in cluster.status()["rollout"].get("message", ""), operator.log.read_text)
    assert text(cluster, old) == before
    assert "moved.example" in text(cluster, cluster.status()["updateRevision"])
    # The credential as it was: now they can have the rest.
    cluster.backend(proxy=image("2"), chat=MOVED, **MANUAL)
    eventually(lambda: "moved.example" in text(cluster, old), operator.log.read_text)
    eventually(lambda: said not in cluster.status()["rollout"].get("message", ""), cluster.status)
    assert operator.log.read_text().count("keep their configuration until they restart") == 1


def test_what_somebody_deletes_of_an_older_revision_is_made_again(
    cluster: Cluster, operator: Reconciler, waiting: tuple[str, str]
):
    old, _ = waiting
    data = cluster.get("controllerrevisions", old)["data"]
    cluster.delete("configmaps", old, "v1")
    eventually(lambda: text(cluster, old), operator.log.read_text)
    cluster.delete("controllerrevisions", old, "apps/v1")
    found = eventually(lambda: cluster.get("controllerrevisions", old), operator.log.read_text)
    assert found["data"] == data
    assert text(cluster, old)
    assert cluster.status()["currentRevision"] == old


def of_an_older_operator(cluster: Cluster, made: str) -> str:
    """As if another version had made the container: same mounts, other probes. The revision's name."""
    name = "mimic-corp-0123456789"
    for kind, group in (("controllerrevisions", "apps/v1"), ("configmaps", "v1")):
        manifest = copy.deepcopy(cluster.get(kind, made, group))
        annotations = {key: value for key, value in manifest["metadata"]["annotations"].items() if "hash" not in key}
        kept = ("labels", "ownerReferences")
        manifest["metadata"] = {"name": name, "annotations": annotations} | {
            key: manifest["metadata"][key] for key in kept
        }
        if kind == "controllerrevisions":
            manifest["data"] = json.loads(json.dumps(manifest["data"]).replace(made, name)) | {"hash": "0123456789"}
            manifest["data"]["container"]["livenessProbe"]["periodSeconds"] = 11
        answer = cluster.http.post(cluster.path(kind, "", group).rstrip("/"), json=manifest)
        assert answer.status_code == 201, answer.text
    status = {"status": {"updateRevision": name, "currentRevision": name}}
    path = cluster.path("mimicbackends", "corp/status", "mimic.dev/v1alpha1")
    assert cluster.http.patch(path, json=status, headers=MERGE).is_success
    fields = {
        "labels": {"mimic.dev/inject": "true", "mimic.dev/managed": "true"},
        "annotations": {"mimic.dev/backend": "corp", "mimic.dev/revision": name},
    }
    workload: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    workload["spec"] = {"template": {"metadata": fields}}
    path = f"{cluster.path('deployments', 'web')}?fieldManager=mimic-operator-workloads&force=true"
    assert cluster.http.patch(path, json=workload, headers=APPLY).is_success
    return name


def test_an_upgrade_that_waits_leaves_the_configuration_and_lets_hot_changes_through(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    cluster.workload("web")
    cluster.backend(injection=MANUAL["injection"])
    made = settled(cluster, operator)
    operator.stop()
    older = of_an_older_operator(cluster, made)
    before, pods = text(cluster, older), generation(cluster)
    settings = {"MIMIC_IMAGE": "registry.example/mimic:2"}
    with at_work(control_plane.kubeconfig, tmp_path, "upgraded", **settings) as upgraded:
        said = "of the upgraded operator waits for the next change"
        eventually(lambda: said in cluster.status()["rollout"].get("message", ""), upgraded.log.read_text)
        assert text(cluster, older) == before
        cluster.backend(chat=MOVED, injection=MANUAL["injection"])
        eventually(lambda: "moved.example" in text(cluster, older), upgraded.log.read_text)
        assert settled(cluster, upgraded) == older
        assert (generation(cluster), cluster.revision("web")) == (pods, older)
