"""Reads what a pod sets for its own sidecar by annotations, and applies it; the backend says what is allowed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mimic_operator.errors import Problem
from mimic_operator.resource import naming
from mimic_operator.resource.config import DEFAULT_BODY_BYTES
from mimic_operator.resource.fields import Quantity, amount

OVERRIDES: Mapping[str, str] = {
    naming.ANNOTATION_CPU_REQUEST: "Resources",
    naming.ANNOTATION_CPU_LIMIT: "Resources",
    naming.ANNOTATION_MEMORY_REQUEST: "Resources",
    naming.ANNOTATION_MEMORY_LIMIT: "Resources",
    naming.ANNOTATION_LOG_LEVEL: "LogLevel",
    naming.ANNOTATION_PORT: "Ports",
    naming.ANNOTATION_ADMIN_PORT: "Ports",
}
"""Annotations, and the group of `spec.injection.overrides` that allows them."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
PORTS = range(1024, 65_536)
LEAST_MEMORY = "64Mi"
"""The proxy takes so much before the first call."""
Resources = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Overrides:
    """resources: by `requests` and `limits`, only what the pod sets."""

    resources: Resources = field(default_factory=dict)
    log_level: str = ""
    port: int | None = None
    admin_port: int | None = None


NO_OVERRIDES = Overrides()


class BadOverride(ValueError):
    """An annotation whose value cannot be used; the message says what it may hold."""

    def __init__(self, annotation: str, remedy: str) -> None:
        super().__init__(remedy)
        self.annotation = annotation


def refused_overrides(annotations: Mapping[str, str], allowed: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Annotations that the backend does not allow, each with the group that would allow it."""
    return ((key, group) for key, group in OVERRIDES.items() if key in annotations and group not in allowed)


def read_overrides(annotations: Mapping[str, str], allowed: Sequence[str], resources: Resources) -> Overrides:
    """What the pod sets and may set. resources: of the sidecar without it. Raises BadOverride."""
    given = {key: annotations[key] for key, group in OVERRIDES.items() if key in annotations and group in allowed}
    found: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for field_, kind, name in (
        (naming.ANNOTATION_CPU_REQUEST, "requests", "cpu"),
        (naming.ANNOTATION_CPU_LIMIT, "limits", "cpu"),
        (naming.ANNOTATION_MEMORY_REQUEST, "requests", "memory"),
        (naming.ANNOTATION_MEMORY_LIMIT, "limits", "memory"),
    ):
        if field_ in given:
            found[kind][name] = _quantity(field_, given[field_])
    memory = found["limits"].get("memory")
    if memory is not None and amount(memory) < amount(LEAST_MEMORY):
        raise BadOverride(naming.ANNOTATION_MEMORY_LIMIT, f"it must be at least {LEAST_MEMORY}.")
    for name, annotation in (("cpu", naming.ANNOTATION_CPU_REQUEST), ("memory", naming.ANNOTATION_MEMORY_REQUEST)):
        limit = found["limits"].get(name) or resources.get("limits", {}).get(name)
        if name in found["requests"] and limit is not None and amount(found["requests"][name]) > amount(limit):
            raise BadOverride(annotation, "it must not be more than the limit.")
    level = given.get(naming.ANNOTATION_LOG_LEVEL, "")
    if level and level not in LEVELS:
        raise BadOverride(naming.ANNOTATION_LOG_LEVEL, f"it must be one of {', '.join(LEVELS)}.")
    return Overrides(
        {kind: amounts for kind, amounts in found.items() if amounts},
        level,
        _port(given, naming.ANNOTATION_PORT),
        _port(given, naming.ANNOTATION_ADMIN_PORT),
    )


def apply_overrides(container: dict[str, Any], own: Overrides) -> dict[str, Any]:
    """The sidecar's container with what the pod sets. A request that is above a lower limit becomes that limit."""
    requests = {**container["resources"].get("requests", {}), **own.resources.get("requests", {})}
    limits = {**container["resources"].get("limits", {}), **own.resources.get("limits", {})}
    for name, limit in own.resources.get("limits", {}).items():
        if name in requests and amount(requests[name]) > amount(limit):
            requests[name] = limit
    env = {}
    if own.log_level:
        env["LOG_LEVEL"] = own.log_level
    if "memory" in own.resources.get("limits", {}):
        env["MAX_BUFFERED_BYTES"] = str(max(int(amount(limits["memory"]) / 4), DEFAULT_BODY_BYTES))
    kept = [entry for entry in container["env"] if entry["name"] not in env]
    return {
        **container,
        "env": [*kept, *({"name": name, "value": value} for name, value in env.items())],
        "resources": {kind: each for kind, each in (("requests", requests), ("limits", limits)) if each},
    }


def _quantity(annotation: str, text: str) -> str:
    problems: list[Problem] = []
    found = Quantity("").read(text, "", problems)
    if problems:
        raise BadOverride(annotation, f"it {problems[0].sentence}.")
    return found


def _port(given: Mapping[str, str], annotation: str) -> int | None:
    text = given.get(annotation)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 5 or int(text) not in PORTS:
        raise BadOverride(annotation, f"it must be a port from {PORTS[0]} to {PORTS[-1]}.")
    return int(text)
