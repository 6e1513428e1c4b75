"""The request of the Responses API: its shape, and the conversation in its items."""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from mimic_proxy.demo.assistant import Asked, ToolResult
from mimic_proxy.demo.refusals import Refusal
from mimic_proxy.demo.tools import Tool
from mimic_proxy.demo.wording import tokens

Item = dict[str, Any]
"""A message, a function call or its output, as the API writes it."""


class TextConfig(Struct):
    format: dict[str, Any] | None = None


class ResponseRequest(Struct):
    """What the demo reads of a request for a response; all else is accepted and has no effect."""

    model: str
    input: str | list[Item]
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    max_output_tokens: Annotated[int, Meta(ge=0)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    text: TextConfig | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


def input_items(asked: ResponseRequest) -> list[Item]:
    """The input as items; a plain text is a message of the user. Raises Refusal (400) if there is nothing in it."""
    if isinstance(asked.input, list):
        if not asked.input:
            raise Refusal("Invalid 'input': it is empty.", param="input", code="empty_array")
        return asked.input
    return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": asked.input}]}]


def conversation(items: Sequence[Item], instructions: str | None) -> Asked:
    """The items as the assistant sees them."""
    users = [place for place, item in enumerate(items) if item.get("role") == "user"]
    last = items[users[-1]] if users else items[-1]
    names = {str(item.get("call_id")): item.get("name") for item in items if item.get("type") == "function_call"}
    told = [instructions or "", *(_text(item) for item in items if item.get("role") in ("system", "developer"))]
    return Asked(
        text=_text(last),
        turn=max(1, len(users)),
        instructions="\n".join(filter(None, told)),
        images=_count(last, "input_image"),
        attachments=_count(last, "input_file", "input_audio"),
        results=tuple(
            ToolResult(str(names.get(str(item.get("call_id"))) or "The tool"), _written(item.get("output")))
            for item in (items[users[-1] + 1 :] if users else items)
            if item.get("type") == "function_call_output"
        ),
    )


def offered(asked: ResponseRequest) -> list[Tool]:
    """The functions among the tools; built-in tools are not called. Raises Refusal (400) for one without a name."""
    tools: list[Tool] = []
    for place, tool in enumerate(asked.tools or ()):
        if tool.get("type") == "function":
            name = tool.get("name")
            if not isinstance(name, str):
                param = f"tools[{place}].name"
                raise Refusal(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
            parameters = tool.get("parameters")
            tools.append(Tool(name, parameters if isinstance(parameters, dict) else {}))
    return tools


def input_tokens(items: Sequence[Item], instructions: str | None) -> int:
    return len(tokens(instructions or "")) + sum(3 + len(tokens(_text(item))) for item in items)


def _parts(item: Item) -> list[dict[str, Any]]:
    content = item.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _text(item: Item) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in _parts(item) if "text" in part)


def _count(item: Item, *kinds: str) -> int:
    return sum(part.get("type") in kinds for part in _parts(item))


def _written(output: object) -> str:
    return output if isinstance(output, str) else _text({"content": output})
