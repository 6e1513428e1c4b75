"""Wrong values are refused by name, before anything reaches a cluster."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from fakes.helm import CHART, HelmFailed, Rendering, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
FREE = {"#/affinity", "#/global", "#/valueFrom", "#/securityContext"}
"""Objects of Kubernetes, which have schemas of their own."""

WRONG = {
    "imag": ('{"repository": "x"}', "imag"),
    "image.repo": ('"x"', "repo"),
    "image.repository": ('""', "/image/repository"),
    "image.tag": ('"a b"', "/image/tag"),
    "image.digest": ('"sha256:12"', "/image/digest"),
    "image.pullPolicy": ('"Sometimes"', "/image/pullPolicy"),
    "imagePullSecrets": ('["registry"]', "/imagePullSecrets/0"),
    "commonLabels": ('{"a": 1}', "/commonLabels/a"),
    "podSecurityContext": ("[]", "/podSecurityContext"),
    "fullnameOverride": ('"Upper"', "/fullnameOverride"),
    "crds.enabled": ('"yes"', "/crds/enabled"),
    "watchNamespaces": ('["a", "a"]', "/watchNamespaces"),
    "logging.level": ('"TRACE"', "/logging/level"),
    "proxy.resources.limits.memory": ('"lots"', "/proxy/resources/limits/memory"),
    "webhook.replicaCount": ("0", "/webhook/replicaCount"),
    "webhook.service.ipFamilyPolicy": ('"Both"', "/webhook/service/ipFamilyPolicy"),
    "webhook.extraVolumes": ('[{"configMap": {}}]', "/webhook/extraVolumes/0"),
    "webhook.topologySpreadConstraints": ('[{"maxSkew": 1}]', "/webhook/topologySpreadConstraints/0"),
    "reconciler.serviceAccount.create": ('"no"', "/reconciler/serviceAccount/create"),
    "rbac.create": ("1", "/rbac/create"),
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
    "demo.tokenLifetimeSeconds": ("0", "/demo/tokenLifetimeSeconds"),
    "networkPolicy.egress.apiServerPorts": ("[]", "/networkPolicy/egress/apiServerPorts"),
    "helmTest.resource": ("{}", "resource"),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_value_is_refused_and_named(key: str):
    value, place = WRONG[key]
    with pytest.raises(HelmFailed) as raised:
        render(Rendering(sets={key: value}))
    assert place in str(raised.value)


RENAMED = {
    "runAsUser": ("1000", "podSecurityContext.runAsUser"),
    "webhook.replicas": ("3", "webhook.replicaCount"),
    "reconciler.replicas": ("1", "reconciler.replicaCount"),
    "hooks.removeWebhooks": ("false", "an uninstall needs no job any more"),
    "hooks.nodeSelector": ('{"a": "b"}', "helmTest.nodeSelector"),
    "hooks.tolerations": ('[{"operator": "Exists"}]', "helmTest.tolerations"),
    "hooks.resources": ('{"requests": {"cpu": "1"}}', "helmTest.resources"),
    "backends": ('[{"name": "corp", "spec": {}}]', "helm/mimic-backends"),
}


@pytest.mark.parametrize("key", RENAMED)
def test_a_value_of_an_earlier_chart_is_refused_with_its_replacement(key: str):
    value, replacement = RENAMED[key]
    with pytest.raises(HelmFailed) as raised:
        render(Rendering(sets={key: value}))
    assert f"  {key}: replaced by " in str(raised.value)
    assert replacement in str(raised.value)


def test_all_renamed_values_are_reported_at_once():
    with pytest.raises(HelmFailed) as raised:
        render(Rendering(sets={key: value for key, (value, _) in RENAMED.items()}))
    for key in RENAMED:
        assert f"  {key}: replaced by " in str(raised.value)


@pytest.mark.parametrize("role", ["webhook", "reconciler"])
def test_an_account_that_is_not_created_has_to_be_named(role: str):
    with pytest.raises(HelmFailed, match=f"{role}.serviceAccount: create is false, so name has to name"):
        render(Rendering(sets={f"{role}.serviceAccount.create": "false"}))


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
    renamed = {key for key, inner in schema["properties"].items() if inner.get("deprecated")}
    known = schema["properties"].keys() - {"global"} - renamed
    wrong = [f"{place}/{key}" for key in known ^ values.keys()]
    if place.endswith(("/issuerRef", "resources")) or schema.get("description", "").startswith("Kubernetes"):
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
