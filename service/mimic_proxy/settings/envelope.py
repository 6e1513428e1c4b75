"""Reading the settings that say where things stand in the bodies of a gateway."""

import json
from typing import Any

from mimic_proxy import pointer
from mimic_proxy.settings.values import comma_list, pointers, text


def one_pointer(value: object) -> str:
    """One place in a JSON document as `mimic_proxy.pointer` reads it, as it was written."""
    written = text(value)
    if not written:
        raise ValueError("must name a place in the JSON, for example data.content")
    try:
        pointer.parse(written)
    except ValueError as wrong:
        raise ValueError(str(wrong)) from None
    return written


def some_pointers(value: object) -> tuple[str, ...]:
    """At least one place in a JSON document."""
    found = pointers(value)
    if not found:
        raise ValueError("must name at least one place in the JSON, for example data.content")
    return found


def renames(value: object) -> tuple[str, ...]:
    """`name=other` for each top-level field that has another name, separated by commas; a mapping in YAML."""
    pairs = [f"{name}={other}" for name, other in value.items()] if isinstance(value, dict) else comma_list(value)
    names = [pair.partition("=")[::2] for pair in pairs]
    if not all(name.strip() and other.strip() for name, other in names):
        raise ValueError("must be pairs like messages=conversation, separated by commas")
    if len({name for name, _ in names}) < len(names) or len({other for _, other in names}) < len(names):
        raise ValueError("must not name a field twice")
    return tuple(f"{name.strip()}={other.strip()}" for name, other in names)


def json_object(value: object) -> str:
    """A JSON object as compact text; a mapping in YAML."""
    wanted = 'must be a JSON object, for example {"application": "crm"}'
    try:
        found: Any = json.loads(value) if isinstance(value, str) else value
        if not isinstance(found, dict):
            raise ValueError(wanted)
        return json.dumps(found, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(wanted) from None
