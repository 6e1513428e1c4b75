"""Tool calls: from a gateway's flat form into OpenAI's, and back for the history of a conversation."""

from collections.abc import Sequence
from typing import Any

from mimic_proxy.dialects.envelope.text import write_json
from mimic_proxy.pointer import MISSING

_ARGUMENTS = ("arguments", "parameters", "args", "input")
NO_ARGUMENTS = "{}"


class Call:
    """One call as the gateway has it so far. arguments: JSON text, or any JSON value that is not text."""

    __slots__ = ("arguments", "id", "index", "name")

    def __init__(self, item: dict[str, Any]) -> None:
        nested = item.get("function")
        call = nested if isinstance(nested, dict) else item
        name, own, index = call.get("name"), item.get("id"), item.get("index")
        self.name = name if isinstance(name, str) else ""
        self.id = own if isinstance(own, str) else ""
        self.index = index if type(index) is int else None
        self.arguments: Any = next((call[key] for key in _ARGUMENTS if key in call), None)

    @property
    def text(self) -> str:
        """The arguments as JSON text."""
        if isinstance(self.arguments, str):
            return self.arguments
        return NO_ARGUMENTS if self.arguments is None else write_json(self.arguments).decode()


MOST_CALLS = 1024


def calls_of(found: Any) -> list[Call] | None:
    """The calls of an answer, in their order, none for null. None: not an array of calls."""
    if found is MISSING or found is None:
        return []
    items = [found] if isinstance(found, dict) else found
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items) or len(items) > MOST_CALLS:
        return None
    return [Call(item) for item in items]


def call_id(stamp: str, index: int) -> str:
    """The id of a call that has none of its own: the same whenever the answer is looked at."""
    return f"call_{stamp[:24]}{index}"


def call_objects(calls: Sequence[Call], stamp: str) -> list[dict[str, Any]]:
    """OpenAI's `tool_calls`."""
    return [
        {
            "id": call.id or call_id(stamp, index),
            "type": "function",
            "function": {"name": call.name, "arguments": call.text or NO_ARGUMENTS},
        }
        for index, call in enumerate(calls)
    ]


def flattened(messages: Any) -> Any:
    """The messages with their tool calls as `{id, name, arguments}`, and the name of the tool beside each result."""
    if not isinstance(messages, list):
        return messages
    names: dict[str, str] = {}
    return [_flat_message(message, names) if isinstance(message, dict) else message for message in messages]


def _flat_message(message: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        flat = [_flat_call(call) for call in calls]
        names.update({call["id"]: call["name"] for call in flat if isinstance(call, dict) and _named(call)})
        return {**message, "tool_calls": flat}
    identity = message.get("tool_call_id")
    if message.get("role") == "tool" and isinstance(identity, str) and identity in names and "name" not in message:
        return {**message, "name": names[identity]}
    return message


def _flat_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    kept = {key: value for key, value in call.items() if key not in ("type", "function")}
    return {**kept, "name": function.get("name"), "arguments": function.get("arguments")}


def _named(call: dict[str, Any]) -> bool:
    return isinstance(call.get("id"), str) and isinstance(call.get("name"), str)
