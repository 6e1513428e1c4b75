"""Wrong values are refused by name, before anything reaches a cluster."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from fakes.helm import CHART, HelmFailed, Rendering, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
FREE = {"#/affinity", "#/global", "#/spec", "#/valueFrom"}
"""Objects of Kubernetes', or of the CRD, which have schemas of their own."""

WRONG = {
    "imag": ('{"repository": "x"}', "imag"),
    "image.repo": ('"x"', "repo"),
    "image.repository": ('""', "/image/repository"),
    "image.tag": ('"a b"', "/image/tag"),
    "image.digest": ('"sha256:12"', "/image/digest"),
    "image.pullPolicy": ('"Sometimes"', "/image/pullPolicy"),
    "imagePullSecrets": ('["registry"]', "/imagePullSecrets/0"),
    "runAsUser": ("0", "/runAsUser"),
    "fullnameOverride": ('"Upper"', "/fullnameOverride"),
    "crds.enabled": ('"yes"', "/crds/enabled"),
    "watchNamespaces": ('["a", "a"]', "/watchNamespaces"),
    "logging.level": ('"TRACE"', "/logging/level"),
    "proxy.resources.limits.memory": ('"lots"', "/proxy/resources/limits/memory"),
    "webhook.replicas": ("0", "/webhook/replicas"),
    "webhook.port": ("8080", "/webhook/port"),
    "webhook.failurePolicy": ('"Retry"', "/webhook/failurePolicy"),
    "webhook.timeoutSeconds": ("31", "/webhook/timeoutSeconds"),
    "webhook.podLabels": ('{"a": 1}', "/webhook/podLabels"),
    "webhook.extraEnv": ('[{"name": "A", "vlaue": "x"}]', "vlaue"),
    "reconciler.maxConcurrentRollouts": ("0", "/reconciler/maxConcurrentRollouts"),
    "certificates.mode": ('"manual"', "/certificates/mode"),
    "certificates": ('{"mode": "external"}', "/certificates/external/secretName"),
    "certificates.certManager.issuerRef": ('{"nam": "x"}', "nam"),
    "policy.hosts": ('["https://x"]', "/policy/hosts"),
    "policy.images": ('["a\'b"]', "/policy/images"),
    "policy.confineReconciler": ('"perhaps"', "/policy/confineReconciler"),
    "monitoring.rules": ('"on"', "/monitoring/rules"),
    "monitoring.interval": ('"often"', "/monitoring/interval"),
    "backends": ('[{"name": "x"}]', "spec"),
    "demo.tokenLifetimeSeconds": ("0", "/demo/tokenLifetimeSeconds"),
    "networkPolicy.egress.apiServerPorts": ("[]", "/networkPolicy/egress/apiServerPorts"),
    "hooks.removeWebhook": ("false", "removeWebhook"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_value_is_refused_and_named(key: str):
    value, place = WRONG[key]
    with pytest.raises(HelmFailed) as raised:
        render(Rendering(sets={key: value}))
    assert place in str(raised.value)


def test_a_backend_outside_of_the_watched_namespaces_is_refused():
    backend = '[{"name": "corp", "namespace": "else", "spec": {"chat": {"url": "https://x.example"}}}]'
    with pytest.raises(HelmFailed, match=r"else/corp is in no namespace of watchNamespaces"):
        render(Rendering(sets={"watchNamespaces": '["shop"]', "backends": backend}))


def test_no_object_takes_unknown_keys():
    for place, schema in _objects(SCHEMA, "#"):
        closed = schema.get("additionalProperties") not in (None, True)
        assert closed or any(place.endswith(name.removeprefix("#")) for name in FREE) or "items" in place, place


def test_the_schema_knows_exactly_the_values():
    assert _keys(VALUES, SCHEMA) == []


def _keys(values: dict[str, Any], schema: dict[str, Any], place: str = "") -> list[str]:
    """Where the keys of values and schema differ."""
    schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    if "properties" not in schema:
        return []
    known = schema["properties"].keys() - {"global"}
    wrong = [f"{place}/{key}" for key in known ^ values.keys()]
    if place.endswith(("/issuerRef", "resources")):
        return []
    for key, value in values.items():
        if isinstance(value, dict) and key in known:
            wrong += _keys(value, schema["properties"][key], f"{place}/{key}")
    return wrong


def _objects(schema: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, list):
        for index, entry in enumerate(schema):
            yield from _objects(entry, f"{place}/{index}")
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        yield place, schema
    for key, value in schema.items():
        if key not in {"if", "then"}:
            yield from _objects(value, f"{place}/{key}")
