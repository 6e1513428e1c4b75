"""The answer of the Responses API: its output items, its document, its events. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from mimic_proxy.demo.assistant import Asked, answer, answer_object
from mimic_proxy.demo.faults import Faults, swollen
from mimic_proxy.demo.hints import Hints
from mimic_proxy.demo.response_request import Item, ResponseRequest, offered
from mimic_proxy.demo.schema import instance
from mimic_proxy.demo.steps import Frame, Kind
from mimic_proxy.demo.tools import Call, calls, choice, fragments
from mimic_proxy.demo.wording import limited, tokens

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
