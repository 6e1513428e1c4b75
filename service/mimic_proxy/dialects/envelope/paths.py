"""Where things stand in the bodies of a gateway: the settings, and one walk through a document that finds all of them.

1. Each role (text, tool calls, ...) may have several candidate places. The first that holds more than null counts.
2. The walk looks at the keys that are there, not at all that could be: an event of a stream has very few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mimic_proxy.pointer import MISSING, Pointer, parse, step, written
from mimic_proxy.settings.fields import Settings

TEXT, CALLS, FINISH, DONE, USAGE, MODEL, CODE, MESSAGE = range(8)
"""What is looked for in an answer."""
ROLES = 8
_MOST_KEYS = 24
_LONGEST_KEY = 64
_DEEPEST_KEYS = 3

Found = dict[int, Any]
"""What a walk has found, by slot: candidate n of a role has the slot `n * 8 + role`. Null is found, too."""


class Node:
    """One name on the way to something that is looked for."""

    __slots__ = ("below", "slots")

    def __init__(self) -> None:
        self.below: dict[str, Node] = {}
        self.slots: list[int] = []


class Plan:
    """All places that are looked for, as a tree."""

    __slots__ = ("_ranks", "_root")

    def __init__(self, places: dict[int, Sequence[Pointer]]) -> None:
        self._root = Node()
        self._ranks = {role: range(role, role + len(found) * ROLES, ROLES) for role, found in places.items()}
        for role, candidates in places.items():
            for rank, pointer in enumerate(candidates):
                node = self._root
                for part in pointer:
                    node = node.below.setdefault(part, Node())
                node.slots.append(rank * ROLES + role)

    def walk(self, document: Any) -> Found:
        """Everything of it that stands in the document."""
        found: Found = {}
        for slot in self._root.slots:
            found[slot] = document
        _walk(self._root, document, found)
        return found

    def pick(self, found: Found, role: int) -> Any:
        """What counts for a role: the first candidate that is not null, else null, else MISSING."""
        best: Any = MISSING
        for slot in self._ranks[role]:
            value = found.get(slot, MISSING)
            if value is not None and value is not MISSING:
                return value
            if value is None:
                best = None
        return best


@dataclass(frozen=True, slots=True)
class Shape:
    """The settings of the dialect, ready for use. See docs/dialects.md for what each means."""

    plan: Plan
    text_names: str
    """The candidates for the text, as they are written in messages."""
    stream: Literal["auto", "sse", "ndjson", "off"]
    cumulative: bool
    stream_end: Literal["auto", "marker", "body"]
    end_names: str
    success: frozenset[str]
    refused: frozenset[str]
    request_under: Pointer
    rename: dict[str, str]
    add: str
    flat_history: bool
    embedding_input: str
    embedding_batch: int
    base64: bool
    embedding: tuple[Pointer, ...]
    embedding_item: tuple[Pointer, ...]
    models: tuple[Pointer, ...]
    model_id: tuple[Pointer, ...]

    @classmethod
    def of(cls, settings: Settings) -> "Shape":
        places = {
            TEXT: settings.envelope_text_path,
            CALLS: settings.envelope_tool_calls_path,
            FINISH: settings.envelope_finish_reason_path,
            DONE: settings.envelope_done_path,
            USAGE: settings.envelope_usage_path,
            MODEL: settings.envelope_model_path,
            CODE: settings.envelope_error_code_path,
            MESSAGE: settings.envelope_error_message_path,
        }
        return cls(
            plan=Plan({role: _parsed(names) for role, names in places.items()}),
            text_names=" or ".join(settings.envelope_text_path),
            stream=settings.envelope_stream,
            cumulative=settings.envelope_stream_text == "cumulative",
            stream_end=settings.envelope_stream_end,
            end_names=", ".join((*settings.envelope_finish_reason_path, *settings.envelope_done_path)),
            success=frozenset(word.lower() for word in settings.envelope_success_codes),
            refused=frozenset(word.lower() for word in settings.envelope_refused_codes),
            request_under=() if settings.envelope_request_under is None else parse(settings.envelope_request_under),
            rename=dict(pair.split("=", 1) for pair in settings.envelope_request_rename),
            add=settings.envelope_request_add,
            flat_history=settings.envelope_history == "flat",
            embedding_input=settings.envelope_embedding_input,
            embedding_batch=settings.envelope_embedding_batch,
            base64=settings.envelope_embedding_encoding == "asked",
            embedding=_parsed(settings.envelope_embedding_path),
            embedding_item=_parsed(settings.envelope_embedding_item_path),
            models=_parsed(settings.envelope_models_path),
            model_id=_parsed(settings.envelope_model_id_path),
        )


def first(document: Any, candidates: Sequence[Pointer]) -> Any:
    """The first of some places that holds more than null, or MISSING."""
    for pointer in candidates:
        value = document
        for part in pointer:
            value = step(value, part)
        if value is not MISSING and value is not None:
            return value
    return MISSING


def keys_of(document: Any) -> str:
    """The keys of the upper levels of a document, for messages; never a value."""
    if not isinstance(document, dict):
        return f"it is {kind_of(document)}"
    names: list[str] = []
    _name_keys(document, (), names)
    if not names:
        return "it has no keys"
    return f"its keys are: {', '.join(names[:_MOST_KEYS])}" + (", ..." if len(names) > _MOST_KEYS else "")


def kind_of(value: Any) -> str:
    """What kind of JSON a value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kind, name in ((str, "text"), (dict, "an object"), (list, "an array")):
        if isinstance(value, kind):
            return name
    return "a number"


def _parsed(names: Sequence[str]) -> tuple[Pointer, ...]:
    return tuple(parse(name) for name in names)


def _walk(node: Node, value: Any, found: Found) -> None:
    if type(value) is dict:
        for key, inner in value.items():
            child = node.below.get(key)
            if child is not None:
                for slot in child.slots:
                    found[slot] = inner
                if child.below:
                    _walk(child, inner, found)
    elif type(value) is list:
        for part, child in node.below.items():
            inner = step(value, part)
            if inner is not MISSING:
                for slot in child.slots:
                    found[slot] = inner
                _walk(child, inner, found)


def _name_keys(value: Any, above: Pointer, names: list[str]) -> None:
    """Adds the keys below, each with its way; of an object that is looked into only what is in it."""
    if not isinstance(value, dict) or not value or len(above) == _DEEPEST_KEYS:
        if above:
            names.append(written(above))
        return
    for key, inner in value.items():
        if len(names) > _MOST_KEYS:
            return
        _name_keys(inner, (*above, key[:_LONGEST_KEY]), names)
