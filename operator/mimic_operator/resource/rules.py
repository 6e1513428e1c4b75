"""Rules between the fields of one resource, each in both languages: CEL for the API server, Python for `parse`.

CEL sees what stands in the resource, defaults filled in; fields without a default have to be asked for by `has`.
Python sees the same as read. tests/cluster/test_schema.py holds both against the same resources.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

from mimic_operator.errors import Problem
from mimic_operator.resource.patterns import HEADER
from mimic_operator.resource.quantity import amount
from mimic_operator.resource.shape import key_of
from mimic_operator.resource.spec import (
    AllowedNamespaces,
    Auth,
    Autoscaling,
    CaBundle,
    Deployment,
    Injection,
    Proxy,
    Spec,
)
from mimic_operator.resource.spec.auth import Recipe

DEFAULT_PORT, DEFAULT_ADMIN_PORT = 18480, 18481
ASKING = ("AuthCode", "ClientCredentials", "PrivateKeyJwt", "TokenExchange", "RefreshToken")
"""Grants that ask a token service."""
KEEPING = ("AuthCode", "ClientCredentials", "PrivateKeyJwt", "RefreshToken", "Static")
"""Grants that need a stored secret."""
CHOOSING = ("AuthCode", "TokenExchange", "RefreshToken")
"""Grants of clients with or without a secret of their own."""
REQUEST = (
    "method",
    "encoding",
    "secret_in",
    "secret_as",
    "secret_format",
    "refresh_as",
    "pointers",
    "default_lifetime",
    "timeout",
)
"""Of the recipe: what is said of token requests."""
OWNED = (
    *("ACCESS_TOKEN", "ADMIN_HOST", "ADMIN_PORT", "ALLOWED_HOSTS", "AUTH_CODE", "CLIENT_ID", "CLIENT_SECRET"),
    *("HOST", "MIMIC_CONFIG", "PORT", "PRIVATE_KEY", "REFRESH_TOKEN", "SUBJECT_TOKEN", "TMPDIR"),
    *("POD_NAME", "POD_NAMESPACE", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_RESOURCE_ATTRIBUTES"),
)
"""Variables that no `proxy.env` may set."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold in a section.

    section: attributes that lead to it, from the spec on; empty for the spec. field: the field that is to blame, below
    the section, by attributes. cel: over `self`, the section. holds: over the section as read.
    """

    section: tuple[str, ...]
    field: tuple[str, ...]
    cel: str | None
    """None where CEL of Kubernetes 1.29 cannot say it: such a resource is accepted, and ConfigValid tells."""
    holds: Callable[[Any], bool]
    sentence: str

    @property
    def path(self) -> str:
        return ".".join(("spec", *map(key_of, (*self.section, *self.field))))

    def as_cel(self) -> dict[str, str]:
        assert self.cel is not None
        found = {"rule": self.cel, "message": self.sentence}
        return found | ({"fieldPath": "".join(f".{key_of(name)}" for name in self.field)} if self.field else {})


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


def _words(words: Sequence[str]) -> str:
    return f"[{', '.join(repr(word) for word in words)}]"


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


def _auth(field: str, cel: str, holds: Callable[[Auth], bool], sentence: str) -> Rule:
    return Rule(("auth",), (field,), cel, holds, sentence)


def _of_askers(field: str) -> Rule:
    return _auth(
        field,
        f"!has(self.{key_of(field)}) || self.grant in {_words(ASKING)}",
        lambda auth: getattr(auth, field) is None or auth.grant in ASKING,
        "is not used by the grants Static and None, which ask nobody",
    )


def _of_exchange(field: str, value: Callable[[Recipe], str | None]) -> Rule:
    return Rule(
        ("auth",),
        ("recipe", field),
        f"!has(self.recipe.{key_of(field)}) || self.grant == 'TokenExchange'",
        lambda auth: value(auth.recipe) is None or auth.grant == "TokenExchange",
        "is for grant TokenExchange alone",
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


def _any_of(path: str, names: Sequence[str]) -> str:
    return " || ".join(f"has({path}.{key_of(name)})" for name in names)


def _asks(recipe: Recipe) -> bool:
    return bool(recipe.fields or recipe.headers) or any(getattr(recipe, name) is not None for name in REQUEST)


def _names_of(proxy: Proxy) -> set[str]:
    return {entry.name for entry in proxy.env}


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
)
AUTH = (
    _auth(
        "token_url",
        f"has(self.tokenURL) == (self.grant in {_words(ASKING)})",
        lambda auth: (auth.token_url is not None) == (auth.grant in ASKING),
        "is required by every grant but Static and None, which ask nobody",
    ),
    _auth(
        "secret_ref",
        f"has(self.secretRef) || !(self.grant in {_words(KEEPING)})",
        lambda auth: auth.secret_ref is not None or auth.grant not in KEEPING,
        "is required by this grant: it names the Secret with the credential",
    ),
    _auth(
        "secret_ref",
        "!has(self.secretRef) || self.grant != 'None'",
        lambda auth: auth.secret_ref is None or auth.grant != "None",
        "is not used by grant None",
    ),
    _auth(
        "service_account_token",
        "self.grant != 'TokenExchange' || has(self.serviceAccountToken) || has(self.secretRef)",
        lambda auth: auth.grant != "TokenExchange" or bool(auth.service_account_token or auth.secret_ref),
        "is required by grant TokenExchange, unless secretRef holds a SUBJECT_TOKEN",
    ),
    _auth(
        "service_account_token",
        "!has(self.serviceAccountToken) || self.grant == 'TokenExchange'",
        lambda auth: auth.service_account_token is None or auth.grant == "TokenExchange",
        "is for grant TokenExchange alone",
    ),
    *(_of_askers(name) for name in ("client_id", "scope", "audience", "resource")),
    _auth(
        "client_type",
        f"!has(self.clientType) || self.grant in {_words(CHOOSING)}",
        lambda auth: auth.client_type is None or auth.grant in CHOOSING,
        "is for the grants AuthCode, TokenExchange and RefreshToken; the others leave no choice",
    ),
    _auth(
        "client_type",
        "!has(self.clientType) || self.clientType == 'Public' || has(self.secretRef)",
        lambda auth: auth.client_type != "Confidential" or auth.secret_ref is not None,
        "is Confidential, and no secretRef names the Secret with CLIENT_SECRET",
    ),
    _auth(
        "single_use",
        "!self.singleUse || self.grant in ['AuthCode', 'RefreshToken']",
        lambda auth: not auth.single_use or auth.grant in ("AuthCode", "RefreshToken"),
        "is for the grants AuthCode and RefreshToken",
    ),
    _auth(
        "token_store",
        "!has(self.tokenStore) || self.singleUse",
        lambda auth: auth.token_store is None or auth.single_use,
        "is for credentials that work once: set singleUse",
    ),
)
RECIPE = (
    Rule(
        ("auth",),
        ("recipe",),
        f"self.grant in {_words(ASKING)} || !({_any_of('self.recipe', REQUEST)}"
        " || self.recipe.fields.size() > 0 || self.recipe.headers.size() > 0)",
        lambda auth: auth.grant in ASKING or not _asks(auth.recipe),
        "can have nothing but header and format with the grants Static and None, which ask nobody",
    ),
    Rule(
        ("auth",),
        ("recipe", "assertion"),
        "!has(self.recipe.assertion) || self.grant == 'PrivateKeyJwt'",
        lambda auth: auth.recipe.assertion is None or auth.grant == "PrivateKeyJwt",
        "is for grant PrivateKeyJwt alone",
    ),
    _of_exchange("subject_token_type", lambda recipe: recipe.subject_token_type),
    _of_exchange("requested_token_type", lambda recipe: recipe.requested_token_type),
    Rule(
        ("auth", "recipe"),
        ("encoding",),
        "!has(self.method) || self.method != 'GET' || !has(self.encoding) || self.encoding == 'Query'",
        lambda recipe: recipe.method != "GET" or recipe.encoding in (None, "Query"),
        "must be Query with method GET, which has no body",
    ),
    Rule(
        ("auth", "recipe"),
        ("secret_as",),
        "!has(self.secretIn) || self.secretIn != 'Header' || (has(self.secretAs)"
        f' && self.secretAs.matches(r"{HEADER[0].pattern}") && !self.secretAs.matches(r"{HEADER[1].pattern}"))',
        lambda recipe: recipe.secret_in != "Header" or all(wanted.allows(recipe.secret_as or "") for wanted in HEADER),
        "must name the header field for the secret, which secretIn puts there; none that frames or routes the request",
    ),
    Rule(
        ("auth",),
        ("recipe", "secret_as"),
        "self.grant != 'AuthCode' || !has(self.recipe.secretIn) || self.recipe.secretIn != 'Basic'"
        " || has(self.recipe.secretAs) || has(self.clientID)"
        " || (has(self.clientType) && self.clientType == 'Confidential')",
        lambda auth: (
            auth.grant != "AuthCode"
            or auth.recipe.secret_in != "Basic"
            or bool(auth.recipe.secret_as or auth.client_id or auth.client_type == "Confidential")
        ),
        "must name a user for basic authentication, or clientID",
    ),
)
PROXY = (
    Rule(
        ("proxy",),
        ("env",),
        f"self.env.all(entry, !(entry.name in {_words(OWNED)}))",
        lambda proxy: not _names_of(proxy) & set(OWNED),
        "sets what this resource has a field for, or a secret, which belongs into the Secret",
    ),
    Rule(
        ("proxy",),
        ("env",),
        "self.env.all(entry, self.env.exists_one(other, other.name == entry.name))",
        lambda proxy: len(_names_of(proxy)) == len(proxy.env),
        "must not name a variable twice",
    ),
    Rule(
        ("proxy",),
        ("resources",),
        None,
        lambda proxy: (
            not any(
                amount(request) > amount(proxy.resources.limits.get(name, request))
                for name, request in proxy.resources.requests.items()
            )
        ),
        "must not request more than the limit",
    ),
    Rule(
        (),
        ("limits", "max_body_bytes"),
        None,
        lambda spec: (
            spec.limits.max_body_bytes is None
            or 4 * spec.limits.max_body_bytes <= amount(spec.proxy.resources.limits.get("memory", f"{2**40}"))
        ),
        "must fit four times into proxy.resources.limits.memory",
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
RULES = (*MODES, *URLS, *AUTH, *RECIPE, *PROXY, *INJECTION, *TLS, *DEPLOYMENT)
