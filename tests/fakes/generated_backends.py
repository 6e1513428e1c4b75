"""MimicBackends made by hypothesis from the declarations of their fields, valid as far as one field goes and more."""

import re
from typing import Any

from hypothesis import strategies as st

from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.fields import (
    Duration,
    Flag,
    Foreign,
    IntOrPercent,
    Items,
    Kind,
    OneOf,
    Quantity,
    Ratio,
    Section,
    Table,
    Text,
    Whole,
    amount,
    declared,
    key_of,
    seconds_text,
)
from mimic_operator.resource.naming import API_VERSION, KIND
from mimic_operator.resource.spec import Spec
from mimic_operator.resource.spec.auth import REQUESTING, WITH_CLIENT_TYPE, WITH_SECRET
from mimic_operator.resource.spec.common import URL, Requirement
from mimic_operator.resource.spec.dialect import EnvelopeRequest
from mimic_operator.resource.spec.proxy import LEAST_MEMORY_BYTES

URLS = [
    "https://llm.corp.example/v1",
    "https://a",
    "https://[2001:db8::1]:8443/v1?api-version=1",
    "http://10.0.0.1:80/",
]
SMALL = 3
"""Entries of a list or table: enough to differ."""


def backends() -> st.SearchStrategy[Backend]:
    """Valid ones, read."""
    return manifests().map(_parsed).filter(lambda backend: backend is not None)  # type: ignore[return-value]


def manifests() -> st.SearchStrategy[dict[str, Any]]:
    """Most of them are valid: what one field asks of another is mended, what is left may still be refused."""
    names = st.from_regex(r"[a-z]([a-z0-9-]{0,60}[a-z0-9])?", fullmatch=True)
    return st.builds(_manifest, names, of_section(Spec).map(_mended))


def of_kind(kind: Kind) -> st.SearchStrategy[Any]:
    """Values that a field of this kind accepts."""
    match kind:
        case Text():
            return _texts(kind)
        case OneOf():
            return st.sampled_from(kind.words)
        case Flag():
            return st.booleans()
        case Whole() | Ratio() | IntOrPercent() | Duration() | Quantity():
            return _numbers(kind)
        case Items():
            return st.lists(of_kind(kind.of), min_size=kind.least, max_size=SMALL, unique=kind.unique)
        case Table():
            return st.dictionaries(_keys(kind), of_kind(kind.of), max_size=SMALL)
        case Foreign():
            values = st.text(max_size=5) | st.integers()
            found = st.dictionaries(st.sampled_from(["a", "b-c"]), values, min_size=kind.least, max_size=2)
            return found.map(lambda fields: fields | dict.fromkeys(kind.texts, "/own"))
        case Section():
            section = of_section(kind.of)
            if kind.of is Requirement:
                return section.map(_mended_requirement)
            return section.map(_renamed_apart) if kind.of is EnvelopeRequest else section
        case _:
            raise AssertionError(f"no values for {kind}")


def of_section(section: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A section with any of its fields left out."""
    fields = {key_of(entry.name): of_kind(kind) for entry, kind in declared(section)}
    return st.fixed_dictionaries({}, optional=fields)


def _numbers(kind: Whole | Ratio | IntOrPercent | Duration | Quantity) -> st.SearchStrategy[Any]:
    match kind:
        case Whole():
            numbers: st.SearchStrategy[Any] = st.integers(kind.least, kind.most)
            return numbers | st.none() if kind.nullable else numbers
        case Ratio():
            return st.integers(0, 1000).map(lambda thousandths: f"{thousandths / 1000:g}")
        case IntOrPercent():
            return st.integers(0, kind.most) | st.sampled_from(["0%", "33%", "100%"])
        case Duration():
            return st.integers(int(kind.least * 1000), int(kind.most * 1000)).map(lambda ms: seconds_text(ms / 1000))
        case Quantity():
            return st.sampled_from(["500m", "1", 2, "64Mi", "1.5Gi", "300M", "8Gi"])


def _texts(kind: Text) -> st.SearchStrategy[str]:
    def fits(text: str) -> bool:
        return kind.least <= len(text) <= kind.most and all(match.allows(text) for match in kind.matches)

    wanted = [match.pattern for match in kind.matches if not match.never and match.pattern.endswith("$")]
    if kind.matches == URL:
        return st.sampled_from(URLS) | st.from_regex(re.compile(URL[-1].pattern, re.ASCII), fullmatch=True).filter(fits)
    if not wanted:
        return st.text(min_size=kind.least, max_size=min(kind.most, 20)).filter(fits)
    examples = ("a", "data.content", "Bearer {token}", "x {secret}", "jwt", "sha256:" + "0" * 64)
    generated = st.from_regex(re.compile(wanted[-1], re.ASCII), fullmatch=True)
    return (st.sampled_from([text for text in examples if fits(text)] or ["A"]) | generated).filter(fits)


def _keys(table: Table) -> st.SearchStrategy[str]:
    if isinstance(table.of, Quantity):
        return st.sampled_from(["cpu", "memory", "ephemeral-storage"])
    if not table.keys:
        return st.sampled_from(["a", "b"])
    named = st.from_regex(re.compile(table.keys[0].pattern, re.ASCII), fullmatch=True)
    return named.filter(lambda key: len(key) <= 317 and all(match.allows(key) for match in table.keys))


def _mended_requirement(expression: dict[str, Any]) -> dict[str, Any]:
    expression = {"key": "tier", "operator": "In", **expression}
    if expression["operator"] in ("In", "NotIn"):
        return {**expression, "values": expression.get("values") or ["a"]}
    return {key: value for key, value in expression.items() if key != "values"}


def _renamed_apart(request: dict[str, Any]) -> dict[str, Any]:
    names = {name: f"{number}" for number, name in enumerate(request.get("rename", {}))}
    return {**request, "rename": names} if names else request


def _mended(spec: dict[str, Any]) -> dict[str, Any]:
    """Required fields added, and what the rules between fields refuse taken away."""
    deployment = spec.pop("deployment", {})
    shared = spec.get("mode") == "Deployment"
    spec.setdefault("chat", {}).setdefault("url", URLS[0])
    if "embedding" in spec or spec.get("dialect", {}).get("type") == "Envelope":
        spec.setdefault("embedding", {}).setdefault("url", URLS[1])
    if spec.get("dialect", {}).get("type") != "Envelope":
        spec.get("dialect", {}).pop("envelope", None)
    spec["auth"] = _mended_auth(spec.get("auth", {}), alone=shared)
    spec.setdefault("tls", {})["insecure"] = True
    _mend_bundle(spec["tls"])
    _mend_injection(spec.get("injection", {}), shared)
    _mend_proxy(spec.get("proxy", {}))
    if shared:
        spec["deployment"] = _mended_deployment(deployment, alone=bool(spec["auth"].get("singleUse")))
    return spec


def _mended_auth(auth: dict[str, Any], *, alone: bool) -> dict[str, Any]:
    grant = auth.setdefault("grant", "AuthCode")
    recipe = auth.get("recipe", {})
    for place in ("tokenURL", "secretRef", "serviceAccountToken", "clientType", "tokenStore"):
        auth.pop(place, None) if place != "secretRef" or grant == "None" else None
    if grant in REQUESTING:
        auth["tokenURL"] = URLS[2]
    else:
        for name in ("clientID", "scope", "audience", "resource"):
            auth.pop(name, None)
        auth["recipe"] = {name: recipe[name] for name in ("header", "format") if name in recipe}
    if grant in WITH_SECRET or auth.get("secretRef") == {}:
        auth["secretRef"] = {**auth.get("secretRef", {}), "name": "corp-llm"}
    if grant == "TokenExchange" and "secretRef" not in auth:
        auth["serviceAccountToken"] = {"audience": "https://login"}
    if grant == "ClientCredentials" and auth.get("clientID"):
        auth["serviceAccountToken"] = {"audience": "https://login"}
        del auth["secretRef"]
    if grant in WITH_CLIENT_TYPE and "secretRef" in auth and auth.get("clientID"):
        auth["clientType"] = "Confidential"
    if grant not in ("AuthCode", "RefreshToken") or not alone:
        auth.pop("singleUse", None)
    return _mended_recipe(auth)


def _mended_recipe(auth: dict[str, Any]) -> dict[str, Any]:
    recipe, grant = auth.get("recipe", {}), auth["grant"]
    if grant != "PrivateKeyJwt":
        recipe.pop("assertion", None)
    if grant != "TokenExchange":
        recipe.pop("subjectTokenType", None)
        recipe.pop("requestedTokenType", None)
    if recipe.get("method") == "GET":
        recipe.pop("encoding", None)
    if recipe.get("secretIn") in ("Header", "Basic"):
        recipe["secretAs"] = "x-secret"
    return auth


def _mend_bundle(tls: dict[str, Any]) -> None:
    if "caBundle" in tls:
        tls["caBundle"] = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
        tls.pop("caBundleFrom", None)
    if "caBundleFrom" in tls:
        tls["caBundleFrom"] = {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}
    if "clientCertSecretRef" in tls:
        tls["clientCertSecretRef"] = {"name": "pair"}


def _mend_injection(injection: dict[str, Any], shared: bool) -> None:
    if "workloads" in injection:
        injection["workloads"].setdefault("selector", {})
    if shared:
        injection.pop("workloads", None)
    if injection.get("containers", {}).get("include"):
        injection["containers"].pop("exclude", None)
    env = injection.get("env", {})
    if "extra" in env:
        named = {entry.setdefault("name", "A"): entry for entry in env["extra"]}
        env["extra"] = [entry for name, entry in named.items() if name not in env.get("names", ())]


def _mend_proxy(proxy: dict[str, Any]) -> None:
    for entry in proxy.get("env", []):
        entry.setdefault("name", "A")
    if "imagePullSecrets" in proxy:
        secrets = {entry.setdefault("name", "registry"): entry for entry in proxy["imagePullSecrets"]}
        proxy["imagePullSecrets"] = list(secrets.values())
    resources = proxy.get("resources", {})
    resources.pop("requests", None)
    if amount(str(resources.get("limits", {}).get("memory", "64Mi"))) < LEAST_MEMORY_BYTES:
        resources["limits"]["memory"] = "64Mi"


def _mended_deployment(deployment: dict[str, Any], *, alone: bool) -> dict[str, Any]:
    if alone:
        deployment.pop("autoscaling", None)
        deployment["replicas"] = 1
    if "autoscaling" in deployment:
        scaling = deployment["autoscaling"]
        scaling["maxReplicas"] = max(scaling.get("maxReplicas", 2), scaling.get("minReplicas", 2))
        scaling.setdefault("targetCPUUtilization", 80)
    allowed = deployment.get("allowedNamespaces", {})
    if allowed.get("from") == "Selector":
        allowed.setdefault("selector", {})
    else:
        allowed.pop("selector", None)
    if not deployment.get("networkPolicy", {}).get("enabled"):
        deployment.get("networkPolicy", {}).pop("allowFrom", None)
        deployment["access"] = "Open"
    if "minAvailable" in deployment.get("podDisruptionBudget", {}):
        deployment["podDisruptionBudget"].pop("maxUnavailable", None)
    if "clientAuth" in deployment:
        deployment["clientAuth"] = {"keysSecretRef": {"name": "keys"}}
    return deployment


def _manifest(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "namespace": "apps"}, "spec": spec}


def _parsed(manifest: dict[str, Any]) -> Backend | None:
    try:
        return parse(manifest, strict=True)
    except InvalidBackend:
        return None
