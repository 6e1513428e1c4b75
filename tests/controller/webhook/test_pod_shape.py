"""Pods that no API server sends: named by the first field that is wrong, and never a crash."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from fakes.injection import admit
from fakes.manifests import Manifest, backend, container, pod, shared
from mimic_operator.webhook.pods import POD, malformed

REQUIRED = {
    "spec": {"spec": None},
    "spec.containers": {"spec": {}},
    "spec.containers[0].name": {"spec": {"containers": [{"image": "a"}]}},
    "spec.initContainers[0].name": {"spec": {"containers": [{"name": "a"}], "initContainers": [{}]}},
    "spec.containers[0].env[0].name": {"spec": {"containers": [{"name": "a", "env": [{"value": "x"}]}]}},
}
WRONG: tuple[Any, ...] = (5, 1.5, True, "x", [], ["x"], [5], [None], {}, {"a": "b"}, {5: "x"}, [{}], [{5: 5}])


@pytest.mark.parametrize("path", REQUIRED)
def test_what_is_missing_is_named(path: str):
    assert malformed(REQUIRED[path]) == f"{path} is required"


def test_the_path_is_told_from_where_the_pod_stands():
    given = {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": "http"}]}]}}
    said = malformed(given, path="spec.template")
    assert said == "spec.template.spec.containers[0].ports[0].containerPort must be a whole number"
    assert malformed({"spec": None}, path="spec.template") == "spec.template.spec is required"


def test_no_value_is_repeated():
    given = pod(container(env={"A": "b"}))
    given["spec"]["containers"][0]["env"][0]["value"] = {"planted": "secret"}
    assert "planted" not in malformed(given)


def places(shape: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to all that is read, a list by its first entry."""
    if way:
        yield way
    if isinstance(shape, dict):
        for key, inner in shape.items():
            yield from places(inner, (*way, "any" if key is ... else key))
    elif isinstance(shape, list):
        yield from places(shape[0], (*way, 0))


def planted(way: tuple[Any, ...], value: Any) -> Manifest:
    """A pod with this at the end of the way."""
    given: Any = deepcopy(pod(container(env={"HTTP_PROXY": "x"}), init=[container("i")], annotations={}))
    at = given
    for step, key in enumerate(way[:-1]):
        empty: Any = [] if way[step + 1] == 0 else {}
        if key == 0 and not at:
            at.append({"name": "n"})
        at = at[0] if key == 0 else at.setdefault(key, empty)
    if way[-1] == 0:
        at[:] = [value]
    else:
        at[way[-1]] = value
    return dict(given)


@pytest.mark.parametrize("way", list(places(POD)), ids=lambda way: ".".join(map(str, way)))
def test_whatever_stands_in_a_pod_is_told_or_decided(way: tuple[Any, ...]):
    """Here and in Deployment mode; with what is right the decision holds, with what is not it is never reached."""
    told = 0
    for value in (*WRONG, None):
        given = planted(way, value)
        if malformed(given):
            told += 1
            continue
        admit(given, backend())
        admit(given, shared(namespace="shop"))
    assert told >= 3
