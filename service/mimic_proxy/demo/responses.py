"""/v1/responses: created in one piece or in events, kept in memory, retrieved, deleted. Codex and the AI SDK call it.

A conversation is a list of items: messages, function calls and their outputs. What the demo does not read of a request
is accepted and has no effect.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct

from mimic_proxy.demo.assistant import Asked, ToolResult, answer, answer_object, limited, tokens
from mimic_proxy.demo.delivery import Frame, Kind, Stream
from mimic_proxy.demo.desk import Desk, identity
from mimic_proxy.demo.faults import Faults, swollen
from mimic_proxy.demo.refusals import Refusal, model_name, read
from mimic_proxy.demo.schema import Hints, instance
from mimic_proxy.demo.tools import Call, Tool, calls, choice, fragments

_MOST_KEPT: Final = 256
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


Emit = Callable[..., Frame]


@dataclass(frozen=True, slots=True)
class Output:
    """The finished items of a response; `pieces` are the deltas in which its text is streamed."""

    items: list[Item]
    complete: bool = True
    pieces: tuple[str, ...] = ()


def output(asked: ResponseRequest, talk: Asked, suffix: str, faults: Faults) -> Output:
    """What the assistant says or calls. Raises Refusal (400)."""
    tools = offered(asked)
    use = choice(asked.tool_choice, tools, parallel=asked.parallel_tool_calls is not False)
    called = calls(talk, tools, use, lambda place: f"call_{suffix}{place:02d}")
    if called:
        return Output([_call_item(f"fc_{suffix}{place:02d}", call) for place, call in enumerate(called)])
    wording = limited(_words(asked, talk), (), asked.max_output_tokens)
    complete = wording.finish != "length"
    pieces = tuple(swollen(wording.tokens, faults))
    message = {
        "id": f"msg_{suffix}",
        "type": "message",
        "status": _status(complete),
        "role": "assistant",
        "content": [_text_part("".join(pieces))],
    }
    return Output([message], complete, pieces)


def document(asked: ResponseRequest, name: str, created: int, output: Output, prompt: int) -> dict[str, Any]:
    """The `response` object of a finished response."""
    calls = sum(len(tokens(item["arguments"])) for item in output.items if "arguments" in item)
    written = len(output.pieces) + calls
    return {
        **_head(asked, name, created),
        "status": _status(output.complete),
        "incomplete_details": None if output.complete else {"reason": "max_output_tokens"},
        "output": output.items,
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + written,
        },
    }


def frames(finished: Mapping[str, Any], pieces: Sequence[str]) -> Iterator[Frame]:
    """The typed events of a response, up to its terminal event; there is no [DONE]."""
    numbers = count()

    def emit(kind: Kind, event: str, **fields: Any) -> Frame:
        data = msgspec.json.encode({"type": f"response.{event}", "sequence_number": next(numbers), **fields})
        return Frame(kind, f"event: response.{event}\ndata: ".encode() + data + b"\n\n")

    running = {**finished, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    yield emit("open", "created", response=running)
    yield emit("open", "in_progress", response=running)
    for index, item in enumerate(finished["output"]):
        if item["type"] == "message":
            yield from _message_events(emit, index, item, pieces)
        else:
            yield from _call_events(emit, index, item)
    yield emit("done", finished["status"], response=finished)


def error_event(code: int | None, message: str) -> bytes:
    """The API's error event. With a code it is an error object, which is what stands first in a failed stream."""
    if code is not None:
        error = {"message": message, "type": "server_error", "param": None, "code": code}
        return b"event: error\ndata: " + msgspec.json.encode({"type": "error", "error": error}) + b"\n\n"
    event = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 0}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


def _message_events(emit: Emit, index: int, item: Item, pieces: Sequence[str]) -> Iterator[Frame]:
    part = item["content"][0]
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield emit("open", "output_item.added", output_index=index, item={**item, "status": "in_progress", "content": []})
    yield emit("open", "content_part.added", **place, part=_text_part(""))
    for piece in pieces:
        yield emit("content", "output_text.delta", **place, delta=piece, logprobs=[])
    yield emit("finish", "output_text.done", **place, text=part["text"], logprobs=[])
    yield emit("finish", "content_part.done", **place, part=part)
    yield emit("finish", "output_item.done", output_index=index, item=item)


def _call_events(emit: Emit, index: int, item: Item) -> Iterator[Frame]:
    place = {"item_id": item["id"], "output_index": index}
    yield emit("open", "output_item.added", output_index=index, item={**item, "status": "in_progress", "arguments": ""})
    for fragment in fragments(item["arguments"]):
        yield emit("content", "function_call_arguments.delta", **place, delta=fragment)
    yield emit("finish", "function_call_arguments.done", **place, arguments=item["arguments"])
    yield emit("finish", "output_item.done", output_index=index, item=item)


def _words(asked: ResponseRequest, talk: Asked) -> str:
    shape = (asked.text.format if asked.text else None) or {}
    if shape.get("type") == "json_object":
        return msgspec.json.encode(answer_object(talk)).decode()
    if shape.get("type") == "json_schema":
        return msgspec.json.encode(instance(shape.get("schema") or {"type": "object"}, Hints(talk.text))).decode()
    return answer(talk)


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(identity: str, call: Call) -> Item:
    return {
        "id": identity,
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _status(complete: bool) -> str:
    return "completed" if complete else "incomplete"


def _head(asked: ResponseRequest, name: str, created: int) -> dict[str, Any]:
    return {
        "id": name,
        "object": "response",
        "created_at": created,
        "error": None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": asked.metadata or {},
        "model": asked.model,
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": asked.previous_response_id,
        "reasoning": {"effort": None, "summary": None},
        "store": asked.store is not False,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "text": {"format": (asked.text.format if asked.text else None) or {"type": "text"}},
        "tool_choice": asked.tool_choice or "auto",
        "tools": asked.tools or [],
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "truncation": "disabled",
    }


@dataclass(frozen=True, slots=True)
class _Kept:
    """A response, and the items of the conversation up to it."""

    document: dict[str, Any]
    items: tuple[Item, ...]


@dataclass(slots=True)
class _Archive:
    kept: dict[str, _Kept] = field(default_factory=dict)

    def keep(self, response: _Kept) -> None:
        """The oldest goes when there are too many."""
        self.kept[response.document["id"]] = response
        if len(self.kept) > _MOST_KEPT:
            self.kept.pop(next(iter(self.kept)))

    def items_before(self, name: str | None) -> tuple[Item, ...]:
        """The conversation that ends with the response of that id. Raises Refusal (400) if it is not kept."""
        if name is None:
            return ()
        if name not in self.kept:
            message = f"Previous response with id '{name}' not found."
            raise Refusal(message, param="previous_response_id", code="previous_response_not_found")
        before = self.kept[name]
        return (*before.items, *before.document["output"])

    def find(self, name: str) -> _Kept:
        if name not in self.kept:
            raise Refusal(f"No such response: '{name}'.", status=404, param="id")
        return self.kept[name]


def response_router(desk: Desk) -> APIRouter:
    router = APIRouter(prefix="/responses")
    archive = _Archive()

    @router.post("")
    async def create(request: Request) -> Response:
        body = await request.body()
        asked = read(body, ResponseRequest)
        faults = desk.faults(request, model_name(asked.model))
        items = (*archive.items_before(asked.previous_response_id), *input_items(asked))
        name = identity("resp_", body)
        talk = conversation(items, asked.instructions)
        said = output(asked, talk, name.removeprefix("resp_"), faults)
        prompt = input_tokens(items, asked.instructions)
        finished = document(asked, name, desk.now(), said, prompt)
        if asked.store is not False:
            archive.keep(_Kept(finished, items))
        reply = Stream(frames(finished, said.pieces), error_event) if asked.stream else finished
        return desk.answer(faults, reply)

    @router.get("/{name}")
    async def retrieve(request: Request, name: str) -> Response:
        return desk.answer(desk.faults(request), archive.find(name).document)

    @router.get("/{name}/input_items")
    async def list_input(request: Request, name: str) -> Response:
        faults = desk.faults(request)
        data = [{"id": f"item_{place}", **item} for place, item in enumerate(archive.find(name).items)][::-1]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
        return desk.answer(faults, {"object": "list", "data": data, **ends, "has_more": False})

    @router.delete("/{name}")
    async def delete(request: Request, name: str) -> Response:
        faults = desk.faults(request)
        archive.find(name)
        del archive.kept[name]
        return desk.answer(faults, {"id": name, "object": "response", "deleted": True})

    return router
