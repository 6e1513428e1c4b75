"""Whose a workload is: of one backend among several, of its user, or of nobody any more."""

from pathlib import Path
from typing import Any

import pytest

from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import MERGE, SELECTED, Cluster, image, settled
from fakes.reconcilers import Reconciler, at_work, conditions, eventually

pytestmark = pytest.mark.timeout(180)
SELECTING = {"injection": {"workloads": {"selector": SELECTED}}}
JSON_PATCH = {"content-type": "application/json-patch+json"}


def template(cluster: Cluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("deployments", name)["spec"]["template"]
    return found


def backend_of(cluster: Cluster, name: str) -> str | None:
    found: str | None = template(cluster, name)["metadata"].get("annotations", {}).get("mimic.dev/backend")
    return found


def test_of_two_backends_the_older_has_the_workload_until_it_goes(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    """Neither was there when the operator started, and nothing is written for ever."""
    operator.stop()
    cluster.workload("web")
    older = cluster.backend("z-older", proxy=image("1"), **SELECTING)["metadata"]["creationTimestamp"]
    younger = ""
    while younger in ("", older):  # timestamps are of whole seconds
        if younger:
            cluster.delete("mimicbackends", "a-younger", "mimic.dev/v1alpha1")
        younger = cluster.backend("a-younger", proxy=image("2"), **SELECTING)["metadata"]["creationTimestamp"]
    second = Reconciler(control_plane.kubeconfig, tmp_path, "second").start()
    try:
        settled(cluster, second, "z-older")
        eventually(lambda: conditions(cluster.seen("a-younger")).get("Injectable") == ("False", "Conflict"))
        assert conditions(cluster.seen("a-younger"))["Ready"] == ("False", "Conflict")
        generation = cluster.get("deployments", "web")["metadata"]["generation"]
        # Both are looked at again and again, and say the same.
        for number in range(3):
            for name, tag in (("z-older", "1"), ("a-younger", "2")):
                cluster.backend(name, proxy=image(tag), models={"static": [str(number)]}, **SELECTING)
            for name in ("z-older", "a-younger"):
                wanted = cluster.seen(name)["metadata"]["generation"]
                eventually(lambda n=name, w=wanted: cluster.status(n)["observedGeneration"] == w, second.log.read_text)
        assert backend_of(cluster, "web") == "z-older"
        assert cluster.get("deployments", "web")["metadata"]["generation"] == generation

        choice = {"metadata": {"annotations": {"mimic.dev/backend": "a-younger"}}}
        cluster.patch(cluster.path("deployments", "web"), choice)
        eventually(lambda: backend_of(cluster, "web") == "a-younger", second.log.read_text)
        eventually(lambda: conditions(cluster.seen("z-older"))["Injectable"] == ("False", "Conflict"))
        cluster.patch(cluster.path("deployments", "web"), {"metadata": {"annotations": {"mimic.dev/backend": None}}})
        cluster.delete("mimicbackends", "a-younger", "mimic.dev/v1alpha1")
        eventually(lambda: backend_of(cluster, "web") == "z-older", second.log.read_text)
        settled(cluster, second, "z-older")
        eventually(lambda: conditions(cluster.seen("z-older"))["Injectable"][0] == "True")
    finally:
        second.stop()


def test_what_a_rollback_brings_back_is_written_over(cluster: Cluster, operator: Reconciler, kubelet: Kubelet):
    """`kubectl rollout undo` replaces the template by a JSON patch, and owns our annotations from then on."""
    cluster.workload("web")
    cluster.backend(proxy=image("1"), **SELECTING)
    settled(cluster, operator)
    earlier = template(cluster, "web")
    cluster.backend(proxy=image("2"), **SELECTING)
    target = settled(cluster, operator)
    undo = [{"op": "replace", "path": "/spec/template", "value": earlier}]
    path = f"{cluster.path('deployments', 'web')}?fieldManager=kubectl-rollout"
    assert cluster.http.patch(path, json=undo, headers=JSON_PATCH).is_success
    eventually(lambda: cluster.revision("web") == target, operator.log.read_text)
    assert settled(cluster, operator) == target
    assert conditions(cluster.seen())["Degraded"][0] == "False"


def test_a_label_that_its_user_sets_to_no_stands_even_after_ours(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    cluster.workload("web")
    cluster.backend(**SELECTING)
    settled(cluster, operator)
    no = {"spec": {"template": {"metadata": {"labels": {"mimic.dev/inject": "false"}}}}}
    cluster.patch(f"{cluster.path('deployments', 'web')}?fieldManager=person", no)
    eventually(lambda: "opted out: Deployment/web" in cluster.status()["rollout"].get("message", ""))
    changed = cluster.backend(proxy=image("2"), **SELECTING)["metadata"]["generation"]
    eventually(lambda: cluster.status()["observedGeneration"] == changed, operator.log.read_text)
    assert cluster.phase() == "Idle"
    assert template(cluster, "web")["metadata"]["labels"]["mimic.dev/inject"] == "false"


def policy(cluster: Cluster, name: str) -> list[str]:
    """Somebody's, that lets nobody change a Deployment of this name; the paths of what was made."""
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": ["apps"],
                    "apiVersions": ["v1"],
                    "operations": ["UPDATE"],
                    "resources": ["deployments"],
                }
            ]
        },
        "matchConditions": [{"name": "it", "expression": f"object.metadata.name == '{name}'"}],
        "validations": [{"expression": "false", "message": "frozen until the audit has ended"}],
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}}
    bound = {
        "policyName": cluster.namespace,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": selector},
    }
    root, paths = "/apis/admissionregistration.k8s.io/v1", []
    for kind, body in (("ValidatingAdmissionPolicyBinding", bound), ("ValidatingAdmissionPolicy", spec)):
        manifest = {"apiVersion": root.removeprefix("/apis/"), "kind": kind, "metadata": {"name": cluster.namespace}}
        plural = "validatingadmissionpolicies" if kind.endswith("Policy") else "validatingadmissionpolicybindings"
        assert cluster.http.post(f"{root}/{plural}", json={**manifest, "spec": body}).status_code == 201
        paths.append(f"{root}/{plural}/{cluster.namespace}")
    tried = {"metadata": {"annotations": {"tried": "yes"}}}
    where = f"{cluster.path('deployments', name)}?dryRun=All"
    eventually(lambda: cluster.http.patch(where, json=tried, headers=MERGE).status_code == 422)
    return paths


def test_a_workload_that_a_policy_protects_is_told_and_holds_nobody_up(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    for name in ("a", "b", "c"):
        cluster.workload(name)
    paths = policy(cluster, "b")
    try:
        cluster.backend(**SELECTING)
        target = settled(cluster, operator)
        assert [cluster.revision(name) for name in ("a", "b", "c")] == [target, None, target]
        assert conditions(cluster.seen())["Degraded"] == ("True", "Refused")
        (said,) = [each["message"] for each in cluster.status()["conditions"] if each["type"] == "Degraded"]
        assert said.startswith("Deployment/b cannot be written: ")
        assert "frozen until the audit has ended" in said
    finally:
        for path in paths:
            cluster.http.delete(path)
    tried = {"metadata": {"annotations": {"tried": "yes"}}}
    where = f"{cluster.path('deployments', 'b')}?dryRun=All"
    eventually(lambda: cluster.http.patch(where, json=tried, headers=MERGE).is_success)
    cluster.backend(models={"static": ["a"]}, **SELECTING)
    eventually(lambda: cluster.revision("b") == target, operator.log.read_text)
    settled(cluster, operator)
    assert conditions(cluster.seen())["Degraded"][0] == "False"
    assert operator.log.read_text().count("cannot be written") == 1


def test_a_backend_that_is_deleted_releases_its_workloads_one_after_another(
    cluster: Cluster, operator: Reconciler, kubelet: Kubelet
):
    for name in ("a", "b", "c"):
        cluster.workload(name)
    before = {name: template(cluster, name) for name in ("a", "b", "c")}
    cluster.backend(**SELECTING)
    settled(cluster, operator)
    kubelet.stuck = {"a"}
    cluster.delete("mimicbackends", "corp", "mimic.dev/v1alpha1")
    eventually(lambda: template(cluster, "a") == before["a"], operator.log.read_text)
    # The first one does not settle: the others wait.
    eventually(lambda: cluster.get("deployments", "a")["status"].get("updatedReplicas") == 1, operator.log.read_text)
    assert [backend_of(cluster, name) for name in ("b", "c")] == ["corp", "corp"]
    kubelet.stuck = set()
    eventually(lambda: {name: template(cluster, name) for name in before} == before, operator.log.read_text, 60)


def test_over_all_backends_no_more_workloads_restart_than_the_operator_may(
    cluster: Cluster, control_plane: ControlPlane, operator: Reconciler, kubelet: Kubelet, tmp_path: Path
):
    operator.stop()
    kubelet.stuck = {"a", "b", "c"}
    for name in ("a", "b", "c"):
        cluster.workload(name, labels={"ai": name})
        own = {"injection": {"workloads": {"selector": {"matchLabels": {"ai": name}}}}}
        cluster.backend(name, rollout={"progressTimeout": "1h"}, **own)
    with at_work(control_plane.kubeconfig, tmp_path, "second", MAX_CONCURRENT_ROLLOUTS="2") as second:

        def written() -> list[str]:
            return [name for name in ("a", "b", "c") if cluster.revision(name)]

        first = eventually(lambda: len(found := written()) == 2 and found, second.log.read_text)
        (rest,) = {"a", "b", "c"} - set(first)
        kubelet.stuck = {first[1], rest}
        settled(cluster, second, first[0])
        eventually(lambda: cluster.revision(rest), second.log.read_text)
        kubelet.stuck = set()
        for name in ("a", "b", "c"):
            settled(cluster, second, name)
