"""The request of a chat completion: its shape, and the conversation in it."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from mimic_proxy.demo.assistant import Asked, ToolResult, tokens
from mimic_proxy.demo.refusals import Refusal
from mimic_proxy.demo.tools import Choice, Tool, choice

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Count = Annotated[int, Meta(ge=0)]

_TOKENS_PER_MESSAGE = 3
_TOKENS_PER_IMAGE = 85


class Part(Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: dict[str, Any] | None = None
    input_audio: dict[str, Any] | None = None
    file: dict[str, Any] | None = None


class CalledFunction(Struct):
    name: str
    arguments: str


class ToolCall(Struct):
    id: str
    type: str = "function"
    function: CalledFunction | None = None


class Message(Struct):
    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    def text(self) -> str:
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(part.text or part.refusal or "" for part in self.content if part.type in ("text", "refusal"))

    def count(self, *kinds: str) -> int:
        parts = self.content if isinstance(self.content, list) else []
        return sum(part.type in kinds for part in parts)


class Function(Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolDefinition(Struct):
    type: str
    function: Function | None = None


class JsonSchema(Struct):
    name: str
    schema: dict[str, Any] | None = None


class ResponseFormat(Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Struct):
    include_usage: bool | None = None


class ChatRequest(Struct):
    """What the demo reads of a chat completion request; all else is accepted and has no effect."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    response_format: ResponseFormat | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None

    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def most_tokens(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


def check(asked: ChatRequest) -> None:
    """What one field says about another. Raises Refusal (400).

    `stream_options` are refused where `stream` is missing; beside an explicit false they have no effect.
    """
    if asked.stream_options is not None and asked.stream is None:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(message, param="stream_options")
    shape = asked.response_format
    if shape and shape.type == "json_schema" and shape.json_schema is None:
        name = "response_format.json_schema"
        raise Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    if asked.tool_choice is not None and not asked.tools:
        raise Refusal("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    for place, tool in enumerate(asked.tools or ()):
        if tool.type == "function" and tool.function is None:
            name = f"tools[{place}].function"
            raise Refusal(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def conversation(asked: ChatRequest) -> Asked:
    """The messages as the assistant sees them."""
    users = [place for place, message in enumerate(asked.messages) if message.role == "user"]
    last = asked.messages[users[-1]] if users else asked.messages[-1]
    names = {
        call.id: call.function.name for message in asked.messages for call in message.tool_calls or () if call.function
    }
    since = asked.messages[users[-1] + 1 :] if users else asked.messages
    return Asked(
        text=last.text(),
        turn=max(1, len(users)),
        instructions="\n".join(one.text() for one in asked.messages if one.role in ("system", "developer") and users),
        images=last.count("image_url"),
        attachments=last.count("input_audio", "file"),
        results=tuple(
            ToolResult(names.get(one.tool_call_id or "", one.name or "The tool"), one.text())
            for one in since
            if one.role in ("tool", "function")
        ),
    )


def offered(asked: ChatRequest) -> tuple[list[Tool], Choice]:
    """The tools of the request, and how they may be used. Raises Refusal (400)."""
    definitions = [tool.function for tool in asked.tools or () if tool.function]
    tools = [Tool(function.name, function.parameters or {}) for function in definitions]
    return tools, choice(asked.tool_choice, tools, parallel=asked.parallel_tool_calls is not False)


def prompt_tokens(asked: ChatRequest) -> int:
    texts = sum(_TOKENS_PER_MESSAGE + len(tokens(message.text())) for message in asked.messages)
    return texts + _TOKENS_PER_IMAGE * sum(message.count("image_url") for message in asked.messages)
