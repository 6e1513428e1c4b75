"""All rules between the fields of one resource. tests/cluster/test_schema.py holds both languages of them against the
same resources."""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, cast

from mimic_operator.errors import Problem
from mimic_operator.resource.fields import Rule, key_of
from mimic_operator.resource.spec import Spec, auth, deployment, injection, proxy, upstream


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


def _one_replica(spec: Spec) -> bool:
    if not spec.auth.single_use:
        return True
    deployment = spec.deployment
    return deployment is not None and deployment.autoscaling is None and deployment.replicas <= 1


MODES = (
    Rule(
        (),
        ("deployment",),
        "has(self.deployment) == (self.mode == 'Deployment')",
        lambda spec: (spec.deployment is not None) == (spec.mode == "Deployment"),
        "is required in mode Deployment, and forbidden in mode Sidecar",
    ),
    Rule(
        (),
        ("injection", "workloads"),
        "self.mode == 'Sidecar' || !has(self.injection.workloads)",
        lambda spec: spec.mode == "Sidecar" or spec.injection.workloads is None,
        "is only for mode Sidecar; pods that use a shared Deployment need the label mimic.dev/inject",
    ),
    Rule(
        (),
        ("embedding",),
        "self.dialect.type == 'OpenAI' || has(self.embedding)",
        lambda spec: spec.dialect.type == "OpenAI" or spec.embedding is not None,
        "is required on the Envelope dialect, where Mimic calls URLs exactly as they are",
    ),
    Rule(
        ("dialect",),
        ("envelope",),
        "!has(self.envelope) || self.type == 'Envelope'",
        lambda dialect: dialect.envelope is None or dialect.type == "Envelope",
        "is only for type Envelope",
    ),
    Rule(
        (),
        ("auth", "single_use"),
        "!self.auth.singleUse || (has(self.deployment) && !has(self.deployment.autoscaling)"
        " && self.deployment.replicas <= 1)",
        _one_replica,
        "needs mode Deployment with deployment.replicas: 1, since two pods would use up each other's credential",
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
RULES = (*MODES, *URLS, *auth.RULES, *proxy.RULES, *injection.RULES, *upstream.RULES, *deployment.RULES)
