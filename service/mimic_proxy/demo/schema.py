"""An instance of a JSON schema: the arguments of a tool call, the answer in a structured format.

Obeyed are type, properties, required, items, enum, const, $ref, allOf, anyOf, oneOf, and the limits of numbers, lengths
of texts and of arrays. What the user has said is used where it fits. A schema that asks for more is refused.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from mimic_proxy.demo.refusals import Refusal

Schema = dict[str, Any]

_OPTIONAL_DEPTH: Final = 4
"""How deep optional properties and items are filled in; a recursive schema ends there."""
_DEEPEST: Final = 60
_MOST: Final = 10_000
_FORMATS: Final = {
    "date-time": "2025-01-01T12:00:00Z",
    "date": "2025-01-01",
    "time": "12:00:00Z",
    "email": "user@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000001",
}
_QUOTED = re.compile(r"\"([^\"]{1,200})\"|'([^'\s][^']{0,200})'(?!\w)|\u201c([^\u201d]{1,200})\u201d")
_NAMES = re.compile(r"(?<!^)(?<![.!?]\s)\b[^\W\d_a-z]\w+(?:\s+[^\W\d_a-z]\w+)*")
_NUMBERS = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,15})?(?![\w])")
_MOST_CHARACTERS: Final = 10_000


class Hints:
    """What a text says that can fill arguments: names, quoted texts, numbers. Each is used once, in their order."""

    def __init__(self, text: str) -> None:
        text = text[:_MOST_CHARACTERS]
        self.texts = ["".join(found) for found in _QUOTED.findall(text)] or _NAMES.findall(text)
        self.numbers = list(map(float, _NUMBERS.findall(text)))
        self._said = text.lower()

    def mentioned(self, values: list[Any]) -> Any:
        """The first of `values` that the text names as a word, else the first."""
        words = (value for value in values if isinstance(value, str) and value)
        return next((word for word in words if re.search(rf"(?<!\w){re.escape(word.lower())}(?!\w)", self._said)), None)


def instance(schema: object, hints: Hints) -> Any:
    """A value that satisfies `schema`. Raises Refusal (400) if none is found."""
    try:
        return _Builder(schema if isinstance(schema, dict) else {}, hints).value(schema, "value", 0)
    except (TypeError, ValueError, AttributeError, KeyError, ArithmeticError, re.error):
        raise _invalid("one of its keywords has a value that cannot be used") from None


@dataclass(slots=True)
class _Builder:
    root: Schema
    hints: Hints

    def value(self, schema: object, name: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise _invalid("it is nested without an end")
        flat = self.flat(schema, depth)
        if "const" in flat:
            return flat["const"]
        if choices := flat.get("enum"):
            said = self.hints.mentioned(choices)
            return choices[0] if said is None else said
        kind = flat.get("type") or ("object" if "properties" in flat else "array" if "items" in flat else "string")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        match kind:
            case "object":
                return self.object(flat, depth)
            case "array":
                return self.array(flat, name, depth)
            case "integer" | "number":
                return self.number(flat, whole=kind == "integer")
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self.text(flat, name)

    def flat(self, schema: object, depth: int) -> Schema:
        """The schema with its references, allOf and the chosen branch of anyOf or oneOf merged into it."""
        flat = dict(schema) if isinstance(schema, dict) else {}
        for _ in range(_DEEPEST):
            if "$ref" in flat:
                found: Any = self.root
                for part in str(flat.pop("$ref")).removeprefix("#").split("/")[1:]:
                    found = found[part.replace("~1", "/").replace("~0", "~")]
                flat = _merged(found, flat)
            elif "allOf" in flat:
                for part in flat.pop("allOf"):
                    flat = _merged(flat, self.flat(part, depth))
            elif branches := flat.pop("anyOf", None) or flat.pop("oneOf", None):
                ends = [branch for branch in branches if branch.get("type") == "null"]
                others = [branch for branch in branches if branch.get("type") != "null"]
                flat = _merged(flat, (ends or others if depth >= _OPTIONAL_DEPTH else others or ends)[0])
            else:
                return flat
        raise _invalid("a reference that leads to itself")

    def object(self, flat: Schema, depth: int) -> Schema:
        properties = flat.get("properties") or {}
        names = list(flat.get("required") or (properties if depth < _OPTIONAL_DEPTH else ()))
        if not all(isinstance(key, str) for key in names):
            raise TypeError("required names no property")
        return {key: self.value(properties.get(key, {}), key, depth + 1) for key in names}

    def array(self, flat: Schema, name: str, depth: int) -> list[Any]:
        count = max(flat.get("minItems", 0), 1 if depth < _OPTIONAL_DEPTH else 0)
        count = min(count, flat.get("maxItems", count))
        if count > _MOST:
            raise _invalid(f"more than {_MOST} items")
        return [self.value(flat.get("items"), name.removesuffix("s") or name, depth + 1) for _ in range(count)]

    def number(self, flat: Schema, *, whole: bool) -> float:
        low, high = flat.get("minimum", -math.inf), flat.get("maximum", math.inf)
        stepped = "multipleOf" in flat
        step = flat["multipleOf"] if stepped else 1 if whole else 0.5
        above, below = flat.get("exclusiveMinimum", -math.inf), flat.get("exclusiveMaximum", math.inf)

        def fits(value: float) -> bool:
            inside = low <= value <= high and above < value < below
            return inside and (value / step).is_integer() if stepped else inside and (not whole or value == int(value))

        least, most = max(low, above), min(high, below)
        near = 0.0 if least == -math.inf else math.ceil(least / step) * step
        middle = (least + most) / 2 if math.isfinite(least) and math.isfinite(most) else near
        candidates = (*self.hints.numbers, 1.0, near, near + step, middle)
        found = next((value for value in candidates if fits(value)), None)
        if found is None and math.isfinite(most):
            found = next((value for value in (math.floor(most / step) * step, most - step) if fits(value)), None)
        if found is None:
            raise _invalid("no number can satisfy it here")
        if found in self.hints.numbers:
            self.hints.numbers.remove(found)
        return int(found) if whole else found

    def text(self, flat: Schema, name: str) -> str:
        if flat.get("format") in _FORMATS:
            return str(_FORMATS[flat["format"]])
        shortest, longest = flat.get("minLength", 0), flat.get("maxLength", _MOST)
        pattern = re.compile(flat.get("pattern") or "")
        made = f"example {name}".ljust(min(shortest, _MOST), ".")[:longest]
        for text in (*self.hints.texts, made):
            if shortest <= len(text) <= longest and pattern.search(text):
                if text in self.hints.texts:
                    self.hints.texts.remove(text)
                return str(text)
        raise _invalid("no text can satisfy it here")


def _merged(one: Schema, other: Schema) -> Schema:
    both = {**one, **other}
    if "properties" in one and "properties" in other:
        both["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        both["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    return both


def _invalid(why: str) -> Refusal:
    return Refusal(f"Invalid schema, or one that the demo does not understand: {why}.", code="invalid_schema")
