"""What the rendered roles allow, and what they must not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.helm import CHART, CI_VALUES, Manifest, Rendering, of_kind, one, pods, render

values_file = pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)
WRITES = {"create", "update", "patch", "delete", "deletecollection", "*"}


def rules(manifests: list[Manifest]) -> Iterator[tuple[Manifest, dict[str, Any]]]:
    for role in of_kind(manifests, "Role", "ClusterRole"):
        for rule in role["rules"]:
            yield role, rule


@values_file
def test_no_role_has_a_wildcard_nor_more_rights_than_it_gives(file: Path):
    for role, rule in rules(render(Rendering(values=[file]))):
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"], *rule.get("resourceNames", [])}
        assert words & {"*", "escalate", "bind", "impersonate"} == set(), role["metadata"]["name"]


@values_file
def test_secrets_are_the_reconcilers_own_one_by_name(file: Path):
    found = [
        (role["kind"], role["metadata"].get("namespace"), rule)
        for role, rule in rules(render(Rendering(values=[file])))
        if any(resource.split("/")[0] == "secrets" for resource in rule["resources"])
    ]
    for kind, namespace, rule in found:
        assert (kind, namespace) == ("Role", "mimic-system")
        assert rule["resourceNames"] == ["mimic-webhook-tls"]
        assert set(rule["verbs"]) == {"get", "create", "patch"}
    # Where another makes the certificate, there is none at all.
    assert len(found) == (0 if file.stem.split("-")[0] in {"cert", "self", "external"} else 1)


def test_the_webhook_writes_nothing_but_events():
    roles = [entry for entry in rules(render()) if entry[0]["metadata"]["labels"]["mimic.dev/component"] == "webhook"]
    assert roles
    for _, rule in roles:
        if set(rule["verbs"]) & WRITES:
            assert (rule["resources"], rule["verbs"]) == (["events"], ["create"])


def test_a_namespaced_install_asks_the_cluster_for_nothing_but_named_objects():
    manifests = render(Rendering(values=[CHART / "ci" / "namespaced-values.yaml"]))
    for role, rule in rules(manifests):
        if role["kind"] == "ClusterRole":
            assert rule["resourceNames"], role["metadata"]["name"]
    namespaces = {role["metadata"]["namespace"] for role in of_kind(manifests, "Role")}
    assert namespaces == {"shop", "search", "mimic-system"}


def test_every_binding_names_a_role_and_an_account_of_the_release():
    for file in CI_VALUES:
        manifests = render(Rendering(values=[file]))
        accounts = {entry["metadata"]["name"] for entry in of_kind(manifests, "ServiceAccount")}
        for binding in of_kind(manifests, "RoleBinding", "ClusterRoleBinding"):
            assert one_of_those(manifests, binding)
            assert {subject["name"] for subject in binding["subjects"]} <= accounts


def one_of_those(manifests: list[Manifest], binding: Manifest) -> bool:
    wanted = (binding["roleRef"]["kind"], binding["roleRef"]["name"], binding["metadata"].get("namespace"))
    return any(
        (role["kind"], role["metadata"]["name"], role["metadata"].get("namespace")) == wanted
        for role in of_kind(manifests, "Role", "ClusterRole")
    )


def test_who_may_edit_a_namespace_writes_backends_and_who_views_reads_them():
    manifests = render()
    edit = one(manifests, "ClusterRole", "mimic:mimic-system:mimic:edit")
    view = one(manifests, "ClusterRole", "mimic:mimic-system:mimic:view")
    aggregate = "rbac.authorization.k8s.io/aggregate-to-"
    assert {key for key in edit["metadata"]["labels"] if key.startswith(aggregate)} == {
        f"{aggregate}admin",
        f"{aggregate}edit",
    }
    assert f"{aggregate}view" in view["metadata"]["labels"]
    for rule in view["rules"]:
        assert set(rule["verbs"]) & WRITES == set()


def test_roles_and_accounts_are_left_to_whoever_has_their_own():
    manifests = render(Rendering(values=[CHART / "ci" / "external-values.yaml"]))
    kinds = {manifest["kind"] for manifest in manifests}
    assert kinds & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount"} == set()
    accounts = {spec["serviceAccountName"] for name, spec in pods(manifests) if name.startswith("Deployment")}
    assert accounts == {"own-webhook", "own-reconciler"}
