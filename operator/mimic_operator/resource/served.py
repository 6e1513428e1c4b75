"""Whether the cluster's CustomResourceDefinition knows all that this operator does. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from mimic_operator.resource.crd import schema
from mimic_operator.resource.naming import VERSION


def missing_fields(definition: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of fields that the served schema lacks; it is older then, and the API server would prune them silently.

    definition: the CustomResourceDefinition as the API server has it.
    """
    versions = (definition.get("spec") or {}).get("versions") or ()
    served: Mapping[str, Any] = next(
        (each for each in versions if each.get("name") == VERSION and each.get("served")), {}
    )
    known = (served.get("schema") or {}).get("openAPIV3Schema") or {}
    return tuple(_missing(schema(), known, ""))


def _missing(wanted: Mapping[str, Any], known: Mapping[str, Any], path: str) -> Iterator[str]:
    properties = known.get("properties") or {}
    for name, inner in (wanted.get("properties") or {}).items():
        below = f"{path}.{name}" if path else name
        if name not in properties:
            yield below
        else:
            yield from _missing(inner, properties[name], below)
    if "items" in wanted:
        yield from _missing(wanted["items"], known.get("items") or {}, f"{path}[]")
