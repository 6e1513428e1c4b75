"""All rules between the fields of one resource. tests/cluster/test_schema.py holds both languages of them against the
same resources."""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, cast

from mimic_operator.errors import Problem
from mimic_operator.resource.auth_rules import AUTH, RECIPE
from mimic_operator.resource.proxy_rules import PROXY
from mimic_operator.resource.rule import Rule
from mimic_operator.resource.shape import key_of
from mimic_operator.resource.spec import (
    AllowedNamespaces,
    Autoscaling,
    CaBundle,
    Deployment,
    InjectedEnv,
    Injection,
    Spec,
)

DEFAULT_PORT, DEFAULT_ADMIN_PORT = 18480, 18481


def broken(spec: Spec, refused: Sequence[Problem]) -> Iterator[Problem]:
    """The rules that do not hold; those that blame a field which is `refused` already, or one in it, are left out."""
    paths = [problem.path for problem in refused]
    for rule in RULES:
        section: Any = reduce(lambda found, name: getattr(found, name, None), rule.section, cast(Any, spec))
        if section is None or rule.holds(section):
            continue
        if not any(_within(path, rule.path) or _within(rule.path, path) for path in paths):
            yield Problem(rule.path, rule.sentence)


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith((f"{other}.", f"{other}["))


def _secure(url: str | None) -> bool:
    return url is None or url.startswith("https://")


def _https(field: tuple[str, ...], has: str, url: Callable[[Spec], str | None]) -> Rule:
    path = "self." + ".".join(map(key_of, field))
    return Rule(
        (),
        field,
        f"self.tls.insecure || {has}{path}.startsWith('https://')",
        lambda spec: spec.tls.insecure or _secure(url(spec)),
        "must begin with https://, or spec.tls.insecure must be true",
    )


def _deployment(field: str, cel: str, holds: Callable[[Deployment], bool], sentence: str) -> Rule:
    return Rule(("deployment",), (field,), cel, holds, sentence)


def _autoscaling(field: str, cel: str, holds: Callable[[Autoscaling], bool], sentence: str) -> Rule:
    return Rule(("deployment", "autoscaling"), (field,), cel, holds, sentence)


def _ports_differ(injection: Injection) -> bool:
    return (injection.port or DEFAULT_PORT) != (injection.admin_port or DEFAULT_ADMIN_PORT)


def _one_source(bundle: CaBundle) -> bool:
    return (bundle.config_map_ref is None) != (bundle.secret_ref is None)


def _one_replica(spec: Spec) -> bool:
    if not spec.auth.single_use:
        return True
    deployment = spec.deployment
    return deployment is not None and deployment.autoscaling is None and deployment.replicas in (None, 0, 1)


def _extra_names(env: InjectedEnv) -> list[str]:
    return [entry.name for entry in env.extra]


def _selector_fits(allowed: AllowedNamespaces) -> bool:
    return (allowed.selector is not None) == (allowed.from_ == "Selector")


def _guarded(deployment: Deployment) -> bool:
    return deployment.open or deployment.client_auth is not None or deployment.network_policy.enabled


MODES = (
    Rule(
        (),
        ("deployment",),
        "has(self.deployment) == (self.mode == 'Deployment')",
        lambda spec: (spec.deployment is not None) == (spec.mode == "Deployment"),
        "is required in mode Deployment and forbidden in mode Sidecar",
    ),
    Rule(
        (),
        ("injection", "workloads"),
        "self.mode == 'Sidecar' || !has(self.injection.workloads)",
        lambda spec: spec.mode == "Sidecar" or spec.injection.workloads is None,
        "is for mode Sidecar; pods that use a Deployment carry the label themselves",
    ),
    Rule(
        (),
        ("embedding",),
        "self.dialect.type == 'OpenAI' || has(self.embedding)",
        lambda spec: spec.dialect.type == "OpenAI" or spec.embedding is not None,
        "is required on the Envelope dialect, where URLs are called as they are",
    ),
    Rule(
        ("dialect",),
        ("envelope",),
        "!has(self.envelope) || self.type == 'Envelope'",
        lambda dialect: dialect.envelope is None or dialect.type == "Envelope",
        "is for type Envelope",
    ),
    Rule(
        (),
        ("auth", "single_use"),
        "!self.auth.singleUse || (has(self.deployment) && !has(self.deployment.autoscaling)"
        " && (!has(self.deployment.replicas) || self.deployment.replicas <= 1))",
        _one_replica,
        "needs mode Deployment with one replica: two pods would spend each other's credential",
    ),
)
URLS = (
    _https(("chat", "url"), "", lambda spec: spec.chat.url),
    _https(
        ("embedding", "url"), "!has(self.embedding) || ", lambda spec: spec.embedding.url if spec.embedding else None
    ),
    _https(("auth", "token_url"), "!has(self.auth.tokenURL) || ", lambda spec: spec.auth.token_url),
    _https(
        ("dialect", "envelope", "models", "url"),
        "!has(self.dialect.envelope) || !has(self.dialect.envelope.models.url) || ",
        lambda spec: spec.dialect.envelope.models.url if spec.dialect.envelope else None,
    ),
)
INJECTION = (
    Rule(
        ("injection",),
        ("admin_port",),
        f"(has(self.port) ? self.port : {DEFAULT_PORT})"
        f" != (has(self.adminPort) ? self.adminPort : {DEFAULT_ADMIN_PORT})",
        _ports_differ,
        "must differ from the port",
    ),
    Rule(
        ("injection", "containers"),
        ("exclude",),
        "self.include.size() == 0 || self.exclude.size() == 0",
        lambda containers: not (containers.include and containers.exclude),
        "cannot stand beside include: what is not included is excluded",
    ),
)
ENVIRONMENT = (
    Rule(
        ("injection", "env"),
        ("extra",),
        "self.extra.all(entry, self.extra.exists_one(other, other.name == entry.name))",
        lambda env: len(set(_extra_names(env))) == len(env.extra),
        "must not name a variable twice",
    ),
    Rule(
        ("injection", "env"),
        ("extra",),
        "self.extra.all(entry, !(entry.name in self.names))",
        lambda env: not set(_extra_names(env)) & set(env.names),
        "names a variable that gets the base URL or the key: take it out of injection.env.names first",
    ),
)
TLS = (
    Rule(
        ("tls", "ca_bundle"),
        (),
        "has(self.configMapRef) != has(self.secretRef)",
        _one_source,
        "must have one of configMapRef and secretRef",
    ),
)
DEPLOYMENT = (
    _deployment(
        "open",
        "self.open || has(self.clientAuth) || self.networkPolicy.enabled",
        _guarded,
        "must be true where neither clientAuth nor networkPolicy guards the Service: anybody could use the credential",
    ),
    _deployment(
        "replicas",
        "!has(self.replicas) || !has(self.autoscaling)",
        lambda deployment: deployment.replicas is None or deployment.autoscaling is None,
        "is the autoscaler's where autoscaling is set: use minReplicas",
    ),
    Rule(
        ("deployment", "allowed_namespaces"),
        ("selector",),
        "has(self.selector) == (self.from == 'Selector')",
        _selector_fits,
        "is required with `from: Selector`, and forbidden without it",
    ),
    Rule(
        ("deployment", "network_policy"),
        ("allow_from",),
        "self.enabled || self.allowFrom.size() == 0",
        lambda policy: policy.enabled or not policy.allow_from,
        "has no effect unless enabled is true",
    ),
    _autoscaling(
        "max_replicas",
        "self.maxReplicas >= self.minReplicas",
        lambda scaling: scaling.max_replicas >= scaling.min_replicas,
        "must be at least minReplicas",
    ),
    _autoscaling(
        "target_in_flight",
        "has(self.targetInFlight) != has(self.targetCPUUtilization)",
        lambda scaling: (scaling.target_in_flight is None) != (scaling.target_cpu_utilization is None),
        "must be set, or targetCPUUtilization; not both",
    ),
)
RULES = (*MODES, *URLS, *AUTH, *RECIPE, *PROXY, *INJECTION, *ENVIRONMENT, *TLS, *DEPLOYMENT)
