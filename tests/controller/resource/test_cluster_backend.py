"""A ClusterMimicBackend: what it admits, what each namespace gets, what it reports, and which pods it serves."""

from copy import deepcopy
from typing import Any

import pytest

from fakes.bad_backends import good
from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import parse
from mimic_operator.resource.cluster_backend import Created, backends_of, invalid_status, parse_cluster, status_of
from mimic_operator.resource.selection import (
    Candidate,
    Key,
    Unselected,
    backend_of,
    candidate,
    cluster_candidate,
)
from mimic_operator.resource.spec import AllowedNamespaces

TENANTS = {"selector": {"matchLabels": {"llm": "yes"}}}
LABELS: dict[str, dict[str, str]] = {"shop": {"llm": "yes"}, "search": {}, "llm": {}, "kube-system": {"llm": "yes"}}
NOW = "2026-11-24T10:00:00Z"


def cluster(base: str = "sidecar", namespaces: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    backend = deepcopy(good(base)["spec"]) | spec.pop("backend", {})
    spec = {"namespaces": TENANTS if namespaces is None else namespaces, "backend": backend, **spec}
    if base == "deployment":
        spec.setdefault("deploymentNamespace", "llm")
    return {
        "apiVersion": "mimic.dev/v1alpha1",
        "kind": "ClusterMimicBackend",
        "metadata": {"name": "corp", "uid": "0123", "generation": 3},
        "spec": spec,
    }


def problems_of(manifest: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidBackend) as refused:
        parse_cluster(manifest, strict=True)
    return dict(refused.value.problems)


@pytest.mark.parametrize(
    ("namespaces", "admitted"),
    [
        (TENANTS, ["shop"]),
        ({"names": ["search"]}, ["search"]),
        ({"names": ["search"], **TENANTS}, ["search", "shop"]),
        ({"selector": {}}, ["llm", "search", "shop"]),
        ({"names": ["kube-system"]}, []),
    ],
    ids=str,
)
def test_every_admitted_namespace_gets_a_backend_of_its_own(namespaces: dict[str, Any], admitted: list[str]):
    found = backends_of(parse_cluster(cluster(namespaces=namespaces), strict=True), LABELS)
    assert list(found) == admitted
    for name, manifest in found.items():
        backend = parse(manifest, strict=True)
        assert (backend.namespace, backend.name, backend.spec) == (name, "corp", parse(good("sidecar")).spec)
        (owner,) = manifest["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("ClusterMimicBackend", "corp", "0123")
        assert manifest["metadata"]["labels"] == {"mimic.dev/cluster-backend": "corp"}
        assert "suspend" not in manifest["spec"], "a namespace may suspend its own"


def test_a_shared_proxy_is_in_one_namespace_and_admits_the_others():
    names = {"names": ["search"], **TENANTS}
    found = backends_of(parse_cluster(cluster("deployment", names), strict=True), LABELS)
    assert list(found) == ["llm"]
    allowed = parse(found["llm"], strict=True).deployment.allowed_namespaces
    assert [name for name in LABELS if allowed.admits({"kubernetes.io/metadata.name": name, **LABELS[name]})] == [
        "shop",
        "search",
        "kube-system",
    ]
    assert backends_of(parse_cluster(cluster("deployment")), {"shop": {}}) == {}, "its namespace does not exist yet"


@pytest.mark.parametrize(
    ("manifest", "path"),
    [
        (cluster(namespaces={}), "spec.namespaces.names"),
        (cluster(namespaces={"names": ["A"]}), "spec.namespaces.names[0]"),
        (cluster(deploymentNamespace="llm"), "spec.deploymentNamespace"),
        (cluster("deployment", deploymentNamespace=None), "spec.deploymentNamespace"),
        (cluster(backend={"chat": {"url": "http://llm.corp.example"}}), "spec.backend.chat.url"),
        (cluster(backend={"limits": {}}), "spec.backend.limits"),
        (cluster(backend={"colour": "red"}), "spec.backend.colour"),
        (
            cluster("deployment", backend={"deployment": {"access": "Open", "allowedNamespaces": {"from": "All"}}}),
            "spec.backend.deployment.allowedNamespaces.from",
        ),
        ({**cluster(), "kind": "MimicBackend"}, "kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_names_the_field(manifest: dict[str, Any], path: str):
    assert list(problems_of(manifest)) == [path]


READY, WAITING = Created(ready="True", reason="Ready", pods=3), Created(ready="False", reason="SecretMissing", pods=1)


@pytest.mark.parametrize(
    ("created", "failed", "verdict", "message"),
    [
        ({"a": READY, "b": READY}, {}, ("True", "Ready"), ""),
        ({"a": READY, "b": WAITING}, {}, ("False", "NotReady"), "not ready: b (SecretMissing)"),
        ({"a": READY}, {"b": "Conflict"}, ("False", "Conflict"), "not ready: b (Conflict)"),
        ({name: Created() for name in "abcdefg"}, {}, ("False", "NotReady"), "not ready: a (NotReconciled), b"),
    ],
)
def test_its_status_counts_namespaces_and_names_those_that_are_not_ready(
    created: dict[str, Created], failed: dict[str, str], verdict: tuple[str, str], message: str
):
    status = status_of(parse_cluster(cluster()), [*created, *failed], created, failed, {}, NOW)
    ready = {each["type"]: each for each in status["conditions"]}["Ready"]
    assert (ready["status"], ready["reason"]) == verdict
    assert ready["message"].startswith(message)
    assert status["namespaces"]["admitted"] == len(created) + len(failed)
    assert status["namespaces"]["failed"] == len(failed)
    assert status["pods"] == sum(each.pods for each in created.values())
    later = status_of(parse_cluster(cluster()), [*created, *failed], created, failed, status, "2026-11-25T00:00:00Z")
    assert later == status, "the same state is written once"


def test_what_selects_nothing_or_is_invalid_says_so():
    status = status_of(parse_cluster(cluster()), [], {}, {}, {}, NOW)
    assert status["conditions"][1]["message"] == "no namespace is selected: those with llm=yes"
    with pytest.raises(InvalidBackend) as refused:
        parse_cluster(cluster(namespaces={}))
    invalid = invalid_status(4, refused.value.problems, status, NOW)
    assert [each["reason"] for each in invalid["conditions"]] == ["Invalid", "Invalid"]
    assert invalid["namespaces"] == status["namespaces"]


CORP = cluster_candidate(cluster())
SHARED = cluster_candidate(cluster("deployment"))
PROXY = Candidate(
    namespace="llm",
    name="corp",
    mode="Deployment",
    default=False,
    allowed=AllowedNamespaces(from_="Selector", selector=SHARED.namespaces.selector),
)


@pytest.mark.parametrize(
    ("named", "namespace", "clusters", "candidates", "wanted"),
    [
        ("corp", "shop", [CORP], [], Unselected("NotCreated", "corp")),
        ("corp", "search", [CORP], [], Unselected("NotAdmitted", "corp", problem="those with llm=yes")),
        ("corp", "shop", [SHARED], [PROXY], PROXY),
        ("corp", "search", [SHARED], [PROXY], Unselected("NotAdmitted", "corp", problem="those with llm=yes")),
        ("corp", "shop", [SHARED], [], Unselected("NotCreated", "corp")),
        (None, "shop", [SHARED], [PROXY], PROXY),
        (None, "search", [SHARED], [PROXY], Unselected("NoBackend")),
        (None, "shop", [CORP], [], Unselected("NoBackend")),
        ("other", "shop", [CORP], [], Unselected("UnknownBackend", "other")),
        ("llm/corp", "search", [SHARED], [PROXY], Unselected("NotAllowed", "llm/corp")),
    ],
)
def test_a_pod_gets_it_where_its_namespace_is_admitted(
    named: str | None, namespace: str, clusters: list[Any], candidates: list[Candidate], wanted: Any
):
    assert backend_of(named, namespace, LABELS[namespace], candidates, clusters) == wanted


def test_a_namespaces_own_backend_comes_first():
    own = candidate({**good("sidecar"), "metadata": {"name": "corp", "namespace": "search"}})
    assert backend_of("corp", "search", {}, [own], [CORP]) == own
    assert Key("search", "corp") == own.key


def test_an_invalid_one_serves_no_pod():
    broken = cluster_candidate(cluster(namespaces={}))
    found = backend_of("corp", "shop", LABELS["shop"], [], [broken])
    assert isinstance(found, Unselected)
    assert (found.why, found.problem.startswith("spec.namespaces.names or selector is required")) == (
        "InvalidClusterBackend",
        True,
    )
