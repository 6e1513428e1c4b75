"""An instance that satisfies a JSON schema: the arguments of a tool call, the answer in a structured format.

Obeyed are type, properties, required, items, prefixItems, enum, const, $ref, anyOf, oneOf, allOf and the limits of
strings, numbers, arrays and objects. Not obeyed: not, contains, if/then/else, dependentRequired, patternProperties.
The same schema and text give the same instance.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from mimic_proxy.demo.hints import Hints
from mimic_proxy.demo.pattern import example
from mimic_proxy.demo.refusals import Refusal

Schema = dict[str, Any]

_OPTIONAL_DEPTH: Final = 4
"""How deep optional properties and unasked array items are filled in; a recursive schema ends there."""
_DEEPEST: Final = 60
_LONGEST_STRETCH: Final = 1000
_LONGEST_TEXT: Final = 1_000_000
_MOST_ITEMS: Final = 10_000
_NO_LIMIT: Final = float("inf")

_FORMATS: Final = {
    "date-time": "2025-01-{day:02d}T12:00:00Z",
    "date": "2025-01-{day:02d}",
    "time": "12:00:{day:02d}Z",
    "duration": "P{n}D",
    "email": "user{n}@example.com",
    "hostname": "host{n}.example.com",
    "uri": "https://example.com/{n}",
    "ipv4": "192.0.2.{n}",
    "ipv6": "2001:db8::{n}",
    "uuid": "00000000-0000-4000-8000-{n:012d}",
}


def instance(schema: object, hints: Hints) -> Any:
    """A value that satisfies `schema`, with the texts and numbers of `hints` where they fit.

    Raises Refusal (400) if the schema cannot be satisfied or uses a pattern that is not understood.
    """
    try:
        return _Builder(schema if isinstance(schema, dict) else {}, hints).value(schema, "value", 0, 0)
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        raise Refusal(
            "Invalid schema: one of its keywords has a value of the wrong type.", code="invalid_schema"
        ) from None


@dataclass(slots=True)
class _Builder:
    root: Schema
    hints: Hints

    def value(self, schema: object, name: str, depth: int, nth: int) -> Any:
        if depth > _DEEPEST:
            raise Refusal("Invalid schema: it is nested without an end.", code="invalid_schema")
        flat = self.flat(schema, depth)
        if "const" in flat:
            return flat["const"]
        if choices := flat.get("enum"):
            said = self.hints.mentioned(choices) if nth == 0 else None
            return choices[nth % len(choices)] if said is None else said
        match _kind(flat):
            case "object":
                return self.object(flat, depth, nth)
            case "array":
                return self.array(flat, name, depth, nth)
            case "integer":
                return self.integer(flat, nth)
            case "number":
                return self.number(flat, nth)
            case "boolean":
                return nth % 2 == 0
            case "null":
                return None
            case _:
                return self.string(flat, name, nth)

    def flat(self, schema: object, depth: int) -> Schema:
        """The schema with its references, allOf and the chosen branch of anyOf or oneOf merged into it."""
        flat = dict(schema) if isinstance(schema, dict) else {}
        for _ in range(_DEEPEST):
            if "$ref" in flat:
                flat = _merged(self.resolve(flat.pop("$ref")), flat)
            elif "allOf" in flat:
                for part in flat.pop("allOf"):
                    flat = _merged(flat, self.flat(part, depth))
            elif branches := flat.pop("anyOf", None) or flat.pop("oneOf", None):
                flat = _merged(flat, _branch(branches, depth))
            else:
                return flat
        raise Refusal("Invalid schema: a reference that leads to itself.", code="invalid_schema")

    def resolve(self, reference: object) -> Schema:
        """What a pointer into this document stands for (RFC 6901)."""
        found: Any = self.root
        for part in str(reference).removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                raise Refusal(f"Invalid schema: '{reference}' stands for nothing.", code="invalid_schema")
            found = found[key]
        return found if isinstance(found, dict) else {}

    def object(self, flat: Schema, depth: int, nth: int) -> dict[str, Any]:
        properties = flat.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        names = list(flat.get("required") or ())
        if not all(isinstance(key, str) for key in names):
            raise TypeError("required names no property")
        if not names and depth < _OPTIONAL_DEPTH:
            names = list(properties)
        built = {key: self.value(properties.get(key, {}), key, depth + 1, nth) for key in names}
        others = flat.get("additionalProperties")
        while len(built) < flat.get("minProperties", 0):
            key = next((key for key in properties if key not in built), f"key{len(built) + 1}")
            built[key] = self.value(properties.get(key, others), key, depth + 1, len(built))
        return built

    def array(self, flat: Schema, name: str, depth: int, nth: int) -> list[Any]:
        first = flat.get("prefixItems") or []
        wanted = len(first) or (1 if depth < _OPTIONAL_DEPTH else 0)
        count = min(max(flat.get("minItems", 0), wanted), flat.get("maxItems", _NO_LIMIT))
        if count > _MOST_ITEMS:
            raise Refusal(f"Invalid schema: more than {_MOST_ITEMS} items.", code="invalid_schema")
        items = flat.get("items")
        single = name.removesuffix("s") or name
        return [
            self.value(first[at] if at < len(first) else items, single, depth + 1, nth + at) for at in range(int(count))
        ]

    def integer(self, flat: Schema, nth: int) -> int:
        fits = _number_fits(flat)
        said = self.hints.integer(fits)
        return said if said is not None else int(_nth(_integers(flat), fits, nth))

    def number(self, flat: Schema, nth: int) -> float:
        fits = _number_fits(flat)
        said = self.hints.number(fits)
        return said if said is not None else _nth(_numbers(flat), fits, nth)

    def string(self, flat: Schema, name: str, nth: int) -> str:
        shape = _FORMATS.get(str(flat.get("format")))
        if shape:
            return shape.format(n=1 + nth, day=1 + nth % 28)
        fits = _text_fits(flat)
        said = self.hints.text(fits)
        return said if said is not None else _nth(_texts(flat, name, nth), fits, 0)


def _merged(one: Schema, other: Schema) -> Schema:
    both = {**one, **other}
    if "properties" in one and "properties" in other:
        both["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        both["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    return both


def _branch(branches: list[Schema], depth: int) -> Schema:
    nulls = [branch for branch in branches if isinstance(branch, dict) and branch.get("type") == "null"]
    others = [branch for branch in branches if isinstance(branch, dict) and branch.get("type") != "null"]
    if depth >= _OPTIONAL_DEPTH:
        others.sort(key=lambda branch: "$ref" in branch)
        return (nulls or others or [{}])[0]
    return (others or nulls or [{}])[0]


def _kind(flat: Schema) -> str:
    kind = flat.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        telling = {"properties": "object", "required": "object", "items": "array", "prefixItems": "array"}
        telling |= {"minimum": "number", "maximum": "number", "multipleOf": "number"}
        kind = next((telling[key] for key in telling if key in flat), "string")
    return str(kind)


def _nth(candidates: Iterator[Any], fits: Callable[[Any], bool], nth: int) -> Any:
    """The nth fitting candidate, the last one if there are fewer."""
    found: list[Any] = []
    for candidate in candidates:
        if candidate not in found and fits(candidate):
            found.append(candidate)
            if len(found) > nth:
                break
    if not found:
        raise Refusal("Invalid schema: no value can satisfy it here.", code="invalid_schema")
    return found[-1]


def _bounds(flat: Schema) -> tuple[float, float, bool, bool]:
    """Lowest and highest value, and whether each of them is itself excluded (draft 4 says so with a boolean)."""
    low, high = flat.get("minimum", -_NO_LIMIT), flat.get("maximum", _NO_LIMIT)
    above, below = flat.get("exclusiveMinimum", False), flat.get("exclusiveMaximum", False)
    if not isinstance(above, bool):
        low, above = (above, True) if above >= low else (low, False)
    if not isinstance(below, bool):
        high, below = (below, True) if below <= high else (high, False)
    return low, high, above, below


def _number_fits(flat: Schema) -> Callable[[float], bool]:
    low, high, above, below = _bounds(flat)
    step = flat.get("multipleOf")

    def fits(value: float) -> bool:
        inside = (low < value if above else low <= value) and (value < high if below else value <= high)
        return inside and (not step or abs(value / step - round(value / step)) < 1e-9)

    return fits


def _integers(flat: Schema) -> Iterator[int]:
    low, high, _, _ = _bounds(flat)
    step = max(1, int(flat.get("multipleOf", 1)))
    yield from range(1, 100)
    if low > -_NO_LIMIT:
        first = -(-int(low) // step) * step
        yield from range(first, first + 100 * step, step)
    if high < _NO_LIMIT:
        last = int(high) // step * step
        yield from range(last, last - 100 * step, -step)
    yield from (at * step for at in range(100))


def _numbers(flat: Schema) -> Iterator[float]:
    low, high, _, _ = _bounds(flat)
    step = flat.get("multipleOf")
    yield from (at + 0.5 for at in range(1, 100))
    yield from map(float, _integers(flat))
    if step:
        first = 0 if low == -_NO_LIMIT else int(low // step)
        yield from ((first + at) * step for at in range(100))
        yield from (-at * step for at in range(100))
    if low > -_NO_LIMIT and high < _NO_LIMIT:
        yield from (low + (high - low) * at / 101 for at in range(1, 101))


def _text_fits(flat: Schema) -> Callable[[str], bool]:
    shortest, longest = flat.get("minLength", 0), flat.get("maxLength", _NO_LIMIT)
    if shortest > _LONGEST_TEXT:
        raise Refusal(f"Invalid schema: a text of more than {_LONGEST_TEXT} characters.", code="invalid_schema")
    try:
        pattern = re.compile(flat.get("pattern") or "")
    except re.error:
        raise Refusal("Invalid schema: its pattern is no regular expression.", code="invalid_schema") from None
    return lambda text: shortest <= len(text) <= longest and pattern.search(text) is not None


def _texts(flat: Schema, name: str, nth: int) -> Iterator[str]:
    text = f"example {name}" + (f" {nth + 1}" if nth else "")
    shortest, longest = flat.get("minLength", 0), flat.get("maxLength")
    yield text.ljust(shortest, ".")[:longest]
    yield str(nth + 1).rjust(shortest, "x")[:longest]
    if pattern := flat.get("pattern"):
        for stretch in range(min(shortest, _LONGEST_STRETCH) + 2):
            yield example(pattern, stretch=stretch, nth=nth) or ""
