"""Which tools the demo's model calls, and with what arguments. Pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mimic_proxy.demo.assistant import Asked
from mimic_proxy.demo.refusals import Refusal
from mimic_proxy.demo.schema import Hints, instance

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_SHORTEST_TELLING_WORD: Final = 4


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `schema` describes its arguments."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a request says about the use of its tools; `names` None means any of them.

    parallel: several tools may be called at once.
    """

    mode: str = "auto"
    names: frozenset[str] | None = None
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """A call with its arguments as JSON text."""

    id: str
    name: str
    arguments: str


def choice(value: str | dict[str, Any] | None, tools: Sequence[Tool], *, parallel: bool) -> Choice:
    """The `tool_choice` of a request, in the shapes of chat completions and of responses.

    Raises Refusal (400) if it names a tool that is not there.
    """
    if value is None or isinstance(value, str):
        mode = value or "auto"
        if mode not in ("none", "auto", "required"):
            message = f"Invalid value: '{mode}'. Supported values are: 'none', 'auto', and 'required'."
            raise Refusal(message, param="tool_choice", code="invalid_value")
        if mode == "required" and not tools:
            raise Refusal("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
        return Choice(mode, None, parallel)
    mode, names = "required", frozenset({_named(value)} if value.get("type") != "allowed_tools" else ())
    if not names:
        allowed = value.get("allowed_tools", value)
        listed = allowed.get("tools") if isinstance(allowed, dict) else None
        if not isinstance(listed, list):
            name = "tool_choice.allowed_tools.tools"
            raise Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
        mode, names = str(allowed.get("mode", "auto")), frozenset(map(_named, listed))
    if missing := sorted(names - {tool.name for tool in tools}):
        message = f"Invalid 'tool_choice': there is no function '{missing[0]}' among the tools."
        raise Refusal(message, param="tool_choice", code="invalid_value")
    return Choice(mode, names, parallel)


def calls(asked: Asked, tools: Sequence[Tool], choice: Choice, identity: Callable[[int], str]) -> tuple[Call, ...]:
    """The calls the model makes, none if it answers in words; `identity` gives the id of the nth call.

    It calls what the user's message mentions (a word of the tool's name is enough), else the first tool, and answers
    once it has a result. Raises Refusal (400) for a schema that cannot be satisfied.
    """
    allowed = [tool for tool in tools if choice.names is None or tool.name in choice.names]
    if choice.mode == "none" or asked.results or not allowed:
        return ()
    said = {word.lower() for word in _WORD.findall(asked.text)}
    fitting = [tool for tool in allowed if _telling_words(tool.name) & said] or allowed[:1]
    hints = Hints(asked.text)
    return tuple(
        Call(identity(place), tool.name, arguments(tool, hints))
        for place, tool in enumerate(fitting if choice.parallel else fitting[:1])
    )


def arguments(tool: Tool, hints: Hints) -> str:
    """JSON text that satisfies the tool's schema; always an object."""
    value = instance({**tool.schema, "type": "object"}, hints)
    return msgspec.json.encode(value).decode()


def fragments(text: str) -> list[str]:
    """The arguments in the pieces in which they are streamed."""
    return [text[start : start + 12] for start in range(0, len(text), 12)]


def _named(value: object) -> str:
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise Refusal("Invalid 'tool_choice': it names no function.", param="tool_choice", code="invalid_value")
    return name


def _telling_words(name: str) -> set[str]:
    words = {word.lower() for word in _WORD.findall(name)}
    return {word for word in words if len(word) >= _SHORTEST_TELLING_WORD}
