"""The words in which a resource's fields are declared, once: each one reads a value, writes it, and gives its schema.

A section of the resource is a frozen dataclass whose fields are annotated with a kind:

    connect: Annotated[float, Duration("Time for name, TCP and TLS.")] = 5.0

Its key is the field's name in camel case, its default the field's default; a field without a default is required, and
one whose default is None may be left out. Schemas are structural (Kubernetes, CustomResourceDefinition v1): every
string and list is bounded, since the API server refuses CEL rules over what could be of any size.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from decimal import Decimal
from typing import Any, Protocol, TypeVar, get_args, get_type_hints

from mimic_operator.errors import Problem

WORDS_IN_CAPITALS = {"url": "URL", "id": "ID", "cpu": "CPU"}
PERCENT = "^([0-9]|[1-9][0-9]|100)%$"
LONGEST_FOREIGN_TEXT = 1024
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
Schema = dict[str, Any]
T = TypeVar("T")


class Kind(Protocol):
    """What a field holds. `read` adds what is wrong to `problems` and then returns a harmless value."""

    def schema(self) -> Schema: ...
    def read(self, value: object, path: str, problems: list[Problem]) -> Any: ...
    def write(self, value: Any) -> object: ...


@dataclass(frozen=True, slots=True)
class Match:
    """What a text must match, or with `never` must not; RE2 syntax that Python reads alike."""

    pattern: str
    sentence: str
    never: bool = False

    def allows(self, text: str) -> bool:
        # In RE2 `$` is the end alone; in Python it is also before a newline there.
        end = f"{self.pattern[:-1]}\\Z" if self.pattern.endswith("$") else self.pattern
        return (re.search(end, text) is None) == self.never

    def rule(self, of: str = "self") -> Schema:
        """The same as a CEL rule, so that the API server says the sentence and not the pattern."""
        call = f'{of}.matches(r"{self.pattern}")'
        return {"rule": f"!{call}" if self.never else call, "message": self.sentence}


DURATION = Match(r"^([0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h)){1,4}$", "must be a duration like 500ms, 10s or 1m30s")
RATIO = Match(r"^(0(\.[0-9]{1,9})?|1(\.0{1,9})?)$", 'must be text from "0" to "1", as in "0.25"')


@dataclass(frozen=True, slots=True)
class Text:
    about: str
    most: int = 253
    least: int = 1
    matches: tuple[Match, ...] = ()
    pattern: Match | None = None
    """Instead of a rule, where values of another type may be stored: CEL would fail to read them."""

    def schema(self) -> Schema:
        found: Schema = {"type": "string", "description": self.about, "maxLength": self.most}
        if self.least:
            found["minLength"] = self.least
        if self.pattern is not None:
            found["pattern"] = self.pattern.pattern
        if self.matches:
            found["x-kubernetes-validations"] = [match.rule() for match in self.matches]
        return found

    def read(self, value: object, path: str, problems: list[Problem]) -> str:
        if self.pattern is not None and not (isinstance(value, str) and self.pattern.allows(value)):
            return _wrong("", path, problems, self.pattern.sentence)
        if not isinstance(value, str):
            return _wrong("", path, problems, "must be text")
        if not self.least <= len(value) <= self.most:
            wanted = "must not be empty" if not value else f"must have {self.least} to {self.most} characters"
            return _wrong("", path, problems, wanted)
        for match in self.matches:
            if not match.allows(value):
                return _wrong("", path, problems, match.sentence)
        return value

    def write(self, value: Any) -> object:
        return value


@dataclass(frozen=True, slots=True)
class OneOf:
    about: str
    words: tuple[str, ...]

    def schema(self) -> Schema:
        return {"type": "string", "description": self.about, "enum": list(self.words)}

    def read(self, value: object, path: str, problems: list[Problem]) -> str:
        if isinstance(value, str) and value in self.words:
            return value
        return _wrong(self.words[0], path, problems, f"must be one of {', '.join(self.words)}")

    def write(self, value: Any) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    about: str

    def schema(self) -> Schema:
        return {"type": "boolean", "description": self.about}

    def read(self, value: object, path: str, problems: list[Problem]) -> bool:
        return value if isinstance(value, bool) else _wrong(False, path, problems, "must be true or false")

    def write(self, value: Any) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number. With `nullable`, null says something else than leaving the field out."""

    about: str
    least: int
    most: int
    nullable: bool = False

    def schema(self) -> Schema:
        wide = "int64" if self.most > 2**31 - 1 else "int32"
        found: Schema = {"type": "integer", "format": wide, "description": self.about}
        found |= {"minimum": self.least, "maximum": self.most}
        return found | ({"nullable": True} if self.nullable else {})

    def read(self, value: object, path: str, problems: list[Problem]) -> int | None:
        if value is None and self.nullable:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most:
            return value
        return _wrong(self.least, path, problems, f"must be a whole number from {self.least} to {self.most}")

    def write(self, value: Any) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Ratio:
    """A number from 0 to 1 as text, since floating point numbers are no part of Kubernetes' APIs; a float once read."""

    about: str

    def schema(self) -> Schema:
        found: Schema = {"type": "string", "description": self.about, "maxLength": 16}
        return found | {"x-kubernetes-validations": [RATIO.rule()]}

    def read(self, value: object, path: str, problems: list[Problem]) -> float:
        if isinstance(value, str) and len(value) <= 16 and RATIO.allows(value):
            return float(value)
        return _wrong(0.0, path, problems, RATIO.sentence)

    def write(self, value: Any) -> object:
        return f"{value:.9f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Duration:
    """Text like `500ms`, `10s` or `1m30s`; seconds once read."""

    about: str
    most: float = 86_400.0
    least: float = 0.0

    def schema(self) -> Schema:
        bounds = [f'duration(self) <= duration("{seconds_text(self.most)}")']
        if self.least:
            bounds.append(f'duration(self) >= duration("{seconds_text(self.least)}")')
        form = DURATION.rule()
        # What is no duration cannot be compared: one message is enough.
        within = {"rule": f"!({form['rule']}) || ({' && '.join(bounds)})", "message": self._bounds()}
        found: Schema = {"type": "string", "description": self.about, "maxLength": 32}
        return found | {"x-kubernetes-validations": [form, within]}

    def read(self, value: object, path: str, problems: list[Problem]) -> float:
        if not isinstance(value, str):
            return _wrong(self.most, path, problems, "must be text like 500ms, 10s or 1m30s")
        if len(value) > 32 or not DURATION.allows(value):
            return _wrong(self.most, path, problems, DURATION.sentence)
        seconds = sum(
            float(number) * UNITS[unit] for number, _, unit in re.findall(r"([0-9]+(\.[0-9]+)?)(ms|[smh])", value)
        )
        if self.least <= seconds <= self.most:
            return seconds
        return _wrong(self.most, path, problems, self._bounds())

    def write(self, value: Any) -> object:
        return seconds_text(value)

    def _bounds(self) -> str:
        least, most = seconds_text(self.least), seconds_text(self.most)
        return f"must be from {least} to {most}" if self.least else f"must be at most {most}"


@dataclass(frozen=True, slots=True)
class IntOrPercent:
    """A whole number or a percentage (Kubernetes, IntOrString)."""

    about: str
    most: int = 1_000_000

    def schema(self) -> Schema:
        found: Schema = {"description": self.about, "anyOf": [{"type": "integer"}, {"type": "string"}]}
        # Bounds count for numbers alone, patterns for texts alone.
        bounds = {"minimum": 0, "maximum": self.most, "pattern": PERCENT, "maxLength": 4}
        return found | bounds | {"x-kubernetes-int-or-string": True}

    def read(self, value: object, path: str, problems: list[Problem]) -> int | str:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= self.most:
            return value
        if isinstance(value, str) and re.fullmatch(PERCENT.strip("^$"), value):
            return value
        return _wrong(0, path, problems, "must be a number like 1, or a percentage like 25%")

    def write(self, value: Any) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Items:
    about: str
    of: Kind
    most: int
    least: int = 0
    unique: bool = False
    """Of texts alone: a set, which server-side apply merges by value."""

    def schema(self) -> Schema:
        found: Schema = {"type": "array", "description": self.about, "items": self.of.schema(), "maxItems": self.most}
        if self.least:
            found["minItems"] = self.least
        return found | {"x-kubernetes-list-type": "set" if self.unique else "atomic"}

    def read(self, value: object, path: str, problems: list[Problem]) -> tuple[Any, ...]:
        if not isinstance(value, list):
            return _wrong((), path, problems, "must be a list")
        if not self.least <= len(value) <= self.most:
            wanted = f"{self.least} to {self.most}" if self.least else f"at most {self.most}"
            return _wrong((), path, problems, f"must have {wanted} entries")
        before = len(problems)
        found = tuple(self.of.read(entry, f"{path}[{index}]", problems) for index, entry in enumerate(value))
        if self.unique and len(problems) == before and len(set(found)) != len(found):
            return _wrong((), path, problems, "must not name anything twice")
        return found

    def write(self, value: Any) -> object:
        return [self.of.write(entry) for entry in value]


@dataclass(frozen=True, slots=True)
class Table:
    """Keys of the user's choice."""

    about: str
    of: Kind
    most: int
    keys: tuple[Match, ...] = ()

    def schema(self) -> Schema:
        found: Schema = {"type": "object", "description": self.about, "additionalProperties": self.of.schema()}
        found["maxProperties"] = self.most
        rules = [match.rule("key") for match in self.keys]
        if rules:
            every = [{**each, "rule": f"self.all(key, key.size() <= 317 && {each['rule']})"} for each in rules]
            found["x-kubernetes-validations"] = every
        return found

    def read(self, value: object, path: str, problems: list[Problem]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            return _wrong({}, path, problems, "must be a mapping")
        value = {key: entry for key, entry in value.items() if entry is not None}  # the API server drops those
        if len(value) > self.most:
            return _wrong({}, path, problems, f"must have at most {self.most} entries")
        if not all(isinstance(key, str) and len(key) <= 317 for key in value):
            return _wrong({}, path, problems, self.keys[0].sentence if self.keys else "must have texts as keys")
        for match in self.keys:
            if not all(map(match.allows, value)):
                return _wrong({}, path, problems, match.sentence)
        return {key: self.of.read(entry, f"{path}.{key}", problems) for key, entry in value.items()}

    def write(self, value: Any) -> object:
        return {key: self.of.write(entry) for key, entry in value.items()}


@dataclass(frozen=True, slots=True)
class Foreign:
    """An object of Kubernetes' own, which is passed on as it is; the API server validates it where it is used."""

    about: str
    least: int = 0
    """How many fields it must have."""
    texts: tuple[str, ...] = ()
    """Keys of fields that must be there and hold text: rules may read them."""

    def schema(self) -> Schema:
        found: Schema = {"type": "object", "description": self.about, "x-kubernetes-preserve-unknown-fields": True}
        if self.texts:
            text: Schema = {"type": "string", "description": "As Kubernetes defines it."}
            text |= {"minLength": 1, "maxLength": LONGEST_FOREIGN_TEXT}
            found |= {"properties": dict.fromkeys(self.texts, text), "required": list(self.texts)}
        return found | ({"minProperties": self.least} if self.least else {})

    def read(self, value: object, path: str, problems: list[Problem]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            return _wrong({}, path, problems, "must be a mapping")
        for key in self.texts:
            text = value.get(key)
            if not isinstance(text, str) or not 0 < len(text) <= LONGEST_FOREIGN_TEXT:
                return _wrong({}, f"{path}.{key}", problems, "must be text" if key in value else "is required")
        return dict(value) if len(value) >= self.least else _wrong({}, path, problems, "must not be empty")

    def write(self, value: Any) -> object:
        return value


@dataclass(frozen=True, slots=True)
class SectionRule:
    """What must hold between the fields of a section wherever it stands.

    field: the one to blame, by attribute; its value replaces `{value}` in the sentence.
    """

    field: str
    cel: str
    holds: Callable[[Any], bool]
    sentence: str

    def as_cel(self) -> Schema:
        key = key_of(self.field)
        found = {"rule": self.cel, "message": self.sentence.replace(" {value}", ""), "fieldPath": f".{key}"}
        if "{value}" in self.sentence:
            before, after = self.sentence.split("{value}")
            found["messageExpression"] = f"{cel_text(before)} + self.{key} + {cel_text(after)}"
        return found

    def problem(self, section: Any, path: str) -> Problem:
        value = str(getattr(section, self.field))
        return Problem(f"{path}.{key_of(self.field)}", self.sentence.replace("{value}", value))


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping with the fields of a dataclass."""

    about: str
    of: type[Any]
    rules: tuple[SectionRule, ...] = ()

    def schema(self) -> Schema:
        found = {"type": "object", "description": self.about} | fields_schema(self.of)
        return found | ({"x-kubernetes-validations": [rule.as_cel() for rule in self.rules]} if self.rules else {})

    def read(self, value: object, path: str, problems: list[Problem]) -> Any:
        if not isinstance(value, Mapping):
            problems.append(Problem(path, "must be a mapping"))
            value, problems = {}, []
        before = len(problems)
        found = read_fields(self.of, value, path, problems)
        if len(problems) == before:
            problems.extend(rule.problem(found, path) for rule in self.rules if not rule.holds(found))
        return found

    def write(self, value: Any) -> object:
        return write_fields(value)


@dataclass(frozen=True, slots=True)
class Renamed:
    """A field of an earlier version, which a section lists by its key in `RENAMED`.

    It stays in the schema: the API server keeps what was stored there, and refuses it in new resources with a sentence
    that names the field to use. Without it the value would be dropped silently, and the proxies would change.
    """

    now: str
    """The field to use, with what changes besides its name."""
    was: Schema
    """Schema of its earlier values. It names all fields: Kubernetes lets the status of a resource with a refused field
    change only if it can compare the field with what is stored."""

    @property
    def sentence(self) -> str:
        return f"was renamed: use {self.now}"

    def schema(self) -> Schema:
        rule = {"rule": "false", "message": self.sentence}
        return {**self.was, "description": f"Removed; use {self.now}.", "x-kubernetes-validations": [rule]}


def renamed_in(section: type[Any]) -> Mapping[str, Renamed]:
    """The section's fields of earlier versions, by their keys."""
    found: Mapping[str, Renamed] = getattr(section, "RENAMED", {})
    return found


def fields_schema(section: type[Any]) -> Schema:
    """`properties` and `required` of a section."""
    properties, required = {}, []
    for entry, kind in declared(section):
        schema = kind.schema()
        if entry.default_factory is not MISSING or entry.default not in (MISSING, None):
            # Written out: the API server holds the rules of a section against its default as it stands.
            schema["default"] = kind.write(default_of(entry))
        if default_of(entry) is MISSING:
            required.append(key_of(entry.name))
        properties[key_of(entry.name)] = schema
    properties |= {key: old.schema() for key, old in renamed_in(section).items()}
    return {"properties": properties} | ({"required": required} if required else {})


def read_fields(section: type[Any], value: Mapping[Any, Any], path: str, problems: list[Problem]) -> Any:
    """The section with defaults filled in; keys it does not know are problems too."""
    found: dict[str, Any] = {}
    known = {key_of(entry.name): (entry, kind) for entry, kind in declared(section)}
    renamed = renamed_in(section)
    problems.extend(Problem(f"{path}.{key}", UNKNOWN) for key in value if key not in known and key not in renamed)
    problems.extend(
        Problem(f"{path}.{key}", old.sentence) for key, old in renamed.items() if value.get(key) is not None
    )
    for key, (entry, kind) in known.items():
        given = value.get(key)
        if key in value and (given is not None or getattr(kind, "nullable", False)):
            found[entry.name] = kind.read(given, f"{path}.{key}", problems)
        elif (default := default_of(entry)) is not MISSING:
            found[entry.name] = default
        else:
            problems.append(Problem(f"{path}.{key}", "is required"))
            found[entry.name] = kind.read({} if isinstance(kind, Section) else None, "", [])
    return section(**found)


UNKNOWN = "is no field of this version"


def write_fields(section: Any) -> dict[str, object]:
    """The section as it would stand in the resource; what is None is left out, but for nullable fields."""
    return {
        key_of(entry.name): kind.write(value) if value is not None else None
        for entry, kind in declared(type(section))
        if (value := getattr(section, entry.name)) is not None or getattr(kind, "nullable", False)
    }


_DECLARED: dict[type[Any], tuple[tuple[Field[Any], Kind], ...]] = {}


def declared(section: type[Any]) -> tuple[tuple[Field[Any], Kind], ...]:
    """The fields of a section with their kinds, in order."""
    found = _DECLARED.get(section)
    if found is None:
        hints = get_type_hints(section, include_extras=True)
        found = _DECLARED[section] = tuple((entry, _kind(hints[entry.name])) for entry in fields(section))
    return found


def default_of(entry: Field[Any]) -> Any:
    """A field's default, or MISSING."""
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def key_of(name: str) -> str:
    """`max_body_bytes` as `maxBodyBytes`, `token_url` as `tokenURL`, `from_` as `from`."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(WORDS_IN_CAPITALS.get(word, word.capitalize()) for word in rest)


def seconds_text(seconds: float) -> str:
    """The shortest duration that Go and `Duration` read as these seconds: `10m`, `90s`, `500ms`."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def _kind(hint: Any) -> Kind:
    kind: Kind = get_args(hint)[1]
    return kind


def _wrong(harmless: T, path: str, problems: list[Problem], sentence: str) -> T:
    problems.append(Problem(path, sentence))
    return harmless


PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
SCALE = {"": Decimal(1), "m": Decimal("0.001")}
SCALE |= {unit: Decimal(1000) ** (power + 1) for power, unit in enumerate("kMGTPE")}
SCALE |= {f"{unit}i": Decimal(1024) ** (power + 1) for power, unit in enumerate("KMGTPE")}


def amount(quantity: str) -> Decimal:
    """The quantity in its base unit: bytes, cores. Raises ValueError if it is none."""
    if re.fullmatch(PATTERN.strip("^$"), quantity) is None:
        raise ValueError("must be a quantity like 250m, 64Mi or 2")
    number = quantity.rstrip("mkMGTPEKi")
    return Decimal(number) * SCALE[quantity[len(number) :]]


def cel_amount(field: str) -> str:
    """A CEL expression for a thousand times the amount, as a double. CEL has quantities only since Kubernetes 1.30."""
    scales = ", ".join(f"'{unit}': {float(scale * 1000)!r}" for unit, scale in SCALE.items())
    text = f"string({field})"
    return f"double({text}.find('^[0-9.]+')) * {{{scales}}}[{text}.find('[A-Za-z]*$')]"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A field that holds a quantity, as a number or as text."""

    about: str

    def schema(self) -> dict[str, Any]:
        found = {"description": self.about, "anyOf": [{"type": "integer"}, {"type": "string"}]}
        return found | {"pattern": PATTERN, "maxLength": 32, "minimum": 0, "x-kubernetes-int-or-string": True}

    def read(self, value: object, path: str, problems: list[Problem]) -> str:
        text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
        try:
            amount(text)
        except ValueError as wrong:
            problems.append(Problem(path, str(wrong)))
            return "0"
        return text

    def write(self, value: Any) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold in a section.

    section: attributes that lead to it, from the spec on; empty for the spec. field: the field that is to blame, below
    the section, by attributes. cel: over `self`, the section. holds: over the section as read.
    """

    section: tuple[str, ...]
    field: tuple[str, ...]
    cel: str
    holds: Callable[[Any], bool]
    sentence: str

    @property
    def path(self) -> str:
        return ".".join(("spec", *map(key_of, (*self.section, *self.field))))

    def as_cel(self) -> dict[str, str]:
        found = {"rule": self.cel, "message": self.sentence}
        return found | ({"fieldPath": "".join(f".{key_of(name)}" for name in self.field)} if self.field else {})


def cel_text(text: str) -> str:
    """A CEL literal of a text without quotation marks and backslashes."""
    return f"'{text}'"


def words(these: Sequence[str]) -> str:
    """A CEL list of texts."""
    return f"[{', '.join(repr(word) for word in these)}]"
