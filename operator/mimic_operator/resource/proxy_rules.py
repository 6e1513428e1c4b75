"""The rules of `spec.proxy`: what its environment may hold, and amounts that have to fit each other."""

from mimic_operator.resource.owned import OWNED, OWNED_PREFIX, is_owned
from mimic_operator.resource.quantity import amount, cel_amount
from mimic_operator.resource.rule import Rule, words
from mimic_operator.resource.spec import Proxy

LEAST_MEMORY_BYTES = 2**26
ALIKE = 1.000000001
"""CEL counts in floating point: what is so near is equal."""
MEMORY = cel_amount("self.limits['memory']")


def _names_of(proxy: Proxy) -> set[str]:
    return {entry.name for entry in proxy.env}


def _within_limit(name: str) -> Rule:
    """One rule for each resource: Kubernetes 1.29 finds one for all of them too costly."""
    requested, limited = (cel_amount(f"self.{kind}['{name}']") for kind in ("requests", "limits"))
    return Rule(
        ("proxy", "resources"),
        ("requests",),
        f"!('{name}' in self.requests) || !('{name}' in self.limits) || {requested} <= {limited} * {ALIKE}",
        lambda resources: (
            name not in resources.requests
            or amount(resources.requests[name]) <= amount(resources.limits.get(name, resources.requests[name]))
        ),
        "must not be more than the limit",
    )


PROXY = (
    Rule(
        ("proxy",),
        ("env",),
        f"self.env.all(entry, !(entry.name in {words(OWNED)}) && !entry.name.startsWith('{OWNED_PREFIX}'))",
        lambda proxy: not any(map(is_owned, _names_of(proxy))),
        "sets what this resource decides, or a secret, which belongs into the Secret",
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
        ("image_pull_secrets",),
        "self.imagePullSecrets.all(one, self.imagePullSecrets.exists_one(other, other.name == one.name))",
        lambda proxy: len(set(proxy.image_pull_secrets)) == len(proxy.image_pull_secrets),
        "must not name a Secret twice",
    ),
    *(_within_limit(name) for name in ("cpu", "memory", "ephemeral-storage")),
    Rule(
        ("proxy", "resources"),
        ("limits",),
        f"!('memory' in self.limits) || {MEMORY} >= {LEAST_MEMORY_BYTES}000.0",
        lambda resources: amount(resources.limits.get("memory", str(LEAST_MEMORY_BYTES))) >= LEAST_MEMORY_BYTES,
        "must leave memory at least 64Mi, which the proxy takes before the first call",
    ),
    Rule(
        (),
        ("limits", "max_body_bytes"),
        "!has(self.limits.maxBodyBytes) || !('memory' in self.proxy.resources.limits)"
        f" || double(self.limits.maxBodyBytes) * 4000.0 <= {MEMORY.replace('self', 'self.proxy.resources')} * {ALIKE}",
        lambda spec: (
            spec.limits.max_body_bytes is None
            or 4 * spec.limits.max_body_bytes <= amount(spec.proxy.resources.limits.get("memory", f"{2**40}"))
        ),
        "must fit four times into proxy.resources.limits.memory",
    ),
)
