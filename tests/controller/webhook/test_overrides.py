"""What a pod sets for its own sidecar, as far as its backend allows it."""

from typing import Any

import pytest

from fakes.injection import Admitted, admit
from fakes.manifests import backend, container, pod

ALL = backend(injection={"overrides": ["Resources", "LogLevel", "Ports"]})


def asking(given: dict[str, Any] = ALL, **annotations: str) -> Admitted:
    """A pod with these annotations: `cpu_limit` is mimic.dev/cpu-limit."""
    named = {f"mimic.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return admit(pod(annotations=named), given)


def env(found: Admitted) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in found.container()["env"]}


@pytest.mark.parametrize(
    ("annotations", "requests", "limits"),
    [
        ({}, {"cpu": "25m", "memory": "96Mi"}, {"memory": "256Mi"}),
        ({"cpu_request": "100m"}, {"cpu": "100m", "memory": "96Mi"}, {"memory": "256Mi"}),
        ({"cpu_limit": "2"}, {"cpu": "25m", "memory": "96Mi"}, {"memory": "256Mi", "cpu": "2"}),
        ({"cpu_limit": "10m"}, {"cpu": "10m", "memory": "96Mi"}, {"memory": "256Mi", "cpu": "10m"}),
        (
            {"memory_request": "512Mi", "memory_limit": "1Gi"},
            {"cpu": "25m", "memory": "512Mi"},
            {"memory": "1Gi"},
        ),
        ({"memory_limit": "64Mi"}, {"cpu": "25m", "memory": "64Mi"}, {"memory": "64Mi"}),
    ],
)
def test_a_pod_sets_the_resources_of_its_sidecar(
    annotations: dict[str, str], requests: dict[str, str], limits: dict[str, str]
):
    assert asking(**annotations).container()["resources"] == {"requests": requests, "limits": limits}


def test_what_may_be_buffered_follows_the_memory():
    assert env(asking(memory_limit="1Gi"))["MAX_BUFFERED_BYTES"] == str(2**28)
    assert env(asking(memory_limit="64Mi"))["MAX_BUFFERED_BYTES"] == str(2**25), "the largest body has to pass"
    assert "MAX_BUFFERED_BYTES" not in env(asking(memory_request="100Mi"))


def test_a_pod_sets_the_log_level_and_the_ports():
    found = asking(log_level="DEBUG", port="9000", admin_port="9001")
    assert env(found)["LOG_LEVEL"] == "DEBUG"
    assert (env(found)["PORT"], env(found)["ADMIN_PORT"]) == ("9000", "9001")
    assert found.env()["OPENAI_BASE_URL"] == "http://127.0.0.1:9000/v1"
    assert found.pod["metadata"]["annotations"]["mimic.dev/port"] == "9000"
    assert admit(found.pod, ALL).reason == "AlreadyInjected"
    assert admit(found.pod, ALL).operations == []


def test_a_port_that_the_pod_chose_is_not_moved():
    busy = pod(container("api", ports=[{"containerPort": 9000}]), annotations={"mimic.dev/port": "9000"})
    assert admit(busy, ALL).reason == "PortTaken"


@pytest.mark.parametrize("group", ["Resources", "LogLevel", "Ports"])
def test_what_the_backend_does_not_allow_has_no_effect_and_warns(group: str):
    given = {"Resources": "memory_limit", "LogLevel": "log_level", "Ports": "port"}
    others = [each for each in given if each != group]
    values = {"memory_limit": "1Gi", "log_level": "DEBUG", "port": "9000"}
    found = asking(backend(injection={"overrides": others}), **values)
    (told,) = [each for each in found.decision.notes if each.word == "OverrideIgnored"]
    assert told.warns
    assert f"Add {group} to its spec.injection.overrides" in told.sentence
    assert (found.container()["resources"]["limits"]["memory"] == "256Mi") == (group == "Resources")
    assert ("LOG_LEVEL" not in env(found)) == (group == "LogLevel")
    assert (env(found)["PORT"] == "18480") == (group == "Ports")


@pytest.mark.parametrize(
    ("annotation", "value", "says"),
    [
        ("cpu_request", "many", "must be a quantity like 250m"),
        ("cpu_limit", "-1", "must be a quantity like 250m"),
        ("memory_limit", "32Mi", "it must be at least 64Mi."),
        ("memory_request", "1Gi", "it must not be more than the limit."),
        ("log_level", "verbose", "it must be one of DEBUG, INFO, WARNING, ERROR."),
        ("port", "80", "it must be a port from 1024 to 65535."),
        ("port", "http", "it must be a port from 1024 to 65535."),
        ("admin_port", "99999", "it must be a port from 1024 to 65535."),
        ("port", "18481", "it is the admin port as well."),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_annotation(annotation: str, value: str, says: str):
    found = asking(**{annotation: value})
    assert found.reason == "BadAnnotation"
    assert f"mimic.dev/{annotation.replace('_', '-')} is invalid: " in found.decision.sentence
    assert says in found.decision.sentence


def test_a_backend_that_allows_overrides_restarts_nothing():
    """Which pods may override what is no part of a revision."""
    both = admit(pod(), ALL), admit(pod(), backend())
    assert len({each.pod["metadata"]["annotations"]["mimic.dev/template-hash"] for each in both}) == 1
