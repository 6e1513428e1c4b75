"""Which backend a pod or a workload gets. What a pod is told then, test_injection_outcomes.py has."""

from dataclasses import replace
from typing import Any

import pytest

from fakes.manifests import backend, shared
from mimic_operator.resource.selection import (
    Candidate,
    Key,
    Unselected,
    candidate,
    default_of,
    named_key,
    owner_of,
)
from mimic_operator.resource.spec import LabelSelector

ALL = LabelSelector(match_labels={"ai": "yes"})
NEW = Candidate(namespace="team", name="a-younger", mode="Sidecar", default=False, created="2026-02-01", selector=ALL)
OLD = replace(NEW, name="older", created="2026-01-01")
ELSE = replace(NEW, name="else", created="2025-01-01", selector=LabelSelector(match_labels={"ai": "no"}))
BROKEN = replace(NEW, name="broken", selector=None, problem="spec.chat.url is required")


@pytest.mark.parametrize(
    ("candidates", "said", "owner"),
    [
        ([NEW, OLD, ELSE], {}, "older"),
        ([NEW], {}, "a-younger"),
        ([ELSE], {}, None),
        ([replace(OLD, name="b"), replace(OLD, name="a")], {}, "a"),
        ([OLD, NEW], {"named": "a-younger"}, "a-younger"),
        ([OLD, ELSE], {"named": "else"}, None),
        ([OLD], {"named": "mine"}, None),
        ([OLD], {"named": "other/older"}, None),
        ([OLD, NEW], {"written": "a-younger"}, "a-younger"),
        ([OLD], {"written": "gone"}, "older"),
        ([ELSE], {"written": "gone"}, None),
        ([OLD, BROKEN], {"written": "broken"}, "broken"),
        ([OLD, BROKEN], {"named": "broken"}, None),
    ],
)
def test_a_workload_has_one_backend(candidates: list[Candidate], said: dict[str, str], owner: str | None):
    assert owner_of({"ai": "yes"}, candidates, **said) == owner


@pytest.mark.parametrize(
    ("annotation", "key"),
    [
        (None, None),
        ("corp", Key("shop", "corp")),
        ("platform/central", Key("platform", "central")),
        ("a" * 253, Key("shop", "a" * 253)),
    ],
)
def test_an_annotation_names_one_backend(annotation: str | None, key: Key | None):
    assert named_key(annotation, "shop") == key


@pytest.mark.parametrize(
    "annotation",
    [
        "../../../../../../api/v1/namespaces/mimic-system/secrets/mimic-webhook-tls",
        *("", "/", "a/", "/a", "a/b/c", "Corp", "corp ", "corp?watch=1", "%2e%2e", ".", "..", "corp\n", "a" * 254),
    ],
)
def test_only_names_of_objects_become_keys(annotation: str):
    """Whatever else stands there would become a path of the API, read with the operator's account."""
    with pytest.raises(match="NAME or NAMESPACE/NAME"):
        named_key(annotation, "shop")


def as_default(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest | {"spec": {**manifest["spec"], "injection": {"default": True}}}


@pytest.mark.parametrize(
    ("manifests", "found"),
    [
        ([backend("a")], "a"),
        ([backend("a"), as_default(backend("b"))], "b"),
        ([backend("a"), shared("b", namespace="shop")], "a"),
        ([backend("a"), as_default(shared("b", namespace="shop"))], "b"),
        ([backend("a"), backend("b", chat={"url": "ftp://x"}, injection={"default": True})], "b"),
        ([backend("a"), backend("b", namespace="other")], "a"),
        ([], "NoBackend"),
        ([shared("a", namespace="shop")], "NoBackend"),
        ([backend("b"), backend("a")], "SeveralBackends"),
        ([as_default(backend("a")), as_default(backend("b"))], "TwoDefaults"),
    ],
)
def test_a_pod_that_names_none_gets_the_default_or_the_only_one(manifests: list[dict[str, Any]], found: str):
    """An invalid backend counts as well: its last valid revision is good."""
    chosen = default_of("shop", map(candidate, manifests))
    assert (chosen.why if isinstance(chosen, Unselected) else chosen.name) == found
