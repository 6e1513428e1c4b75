"""The answer of a chat completion: what each choice says or calls, and the document of it. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from mimic_proxy.demo.assistant import Wording, answer, answer_object, limited, tokens
from mimic_proxy.demo.chat_request import ChatRequest, check, conversation, offered, prompt_tokens
from mimic_proxy.demo.delivery import Frame, Kind, Stream
from mimic_proxy.demo.desk import Desk, identity
from mimic_proxy.demo.faults import Faults, swollen
from mimic_proxy.demo.refusals import model_name, read
from mimic_proxy.demo.schema import Hints, instance
from mimic_proxy.demo.tools import Call, calls, fragments

FINGERPRINT: Final = "fp_demo"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One choice. With calls there is no text."""

    index: int
    wording: Wording
    calls: tuple[Call, ...] = ()

    @property
    def finish(self) -> str:
        if not self.calls:
            return self.wording.finish
        return "tool_calls"

    @property
    def token_count(self) -> int:
        if not self.calls:
            return len(self.wording.tokens)
        return sum(len(tokens(call.name)) + len(tokens(call.arguments)) for call in self.calls)


def outcomes(asked: ChatRequest, identity: str) -> list[Outcome]:
    """The choices of the request, decided from its conversation, tools and format. Raises Refusal (400)."""
    talk = conversation(asked)
    tools, use = offered(asked)
    found: list[Outcome] = []
    for index in range(asked.n or 1):
        called = calls(talk, tools, use, partial(_call_name, identity, index))
        shape = asked.response_format.type if asked.response_format else "text"
        if shape == "json_object":
            text = msgspec.json.encode(answer_object(talk)).decode()
        elif shape == "json_schema":
            text = _structured(asked, talk.text)
        else:
            text = answer(talk, index)
        wording = limited(text, asked.stops(), asked.most_tokens())
        found.append(Outcome(index, wording, called))
    return found


def document(
    asked: ChatRequest, identity: str, created: int, found: Sequence[Outcome], prompt: int, faults: Faults
) -> dict[str, Any]:
    """The `chat.completion` object."""
    choices = [
        {
            "index": outcome.index,
            "message": _message(outcome, faults),
            "logprobs": None,
            "finish_reason": outcome.finish,
        }
        for outcome in found
    ]
    return {
        "id": identity,
        "object": "chat.completion",
        "created": created,
        "model": asked.model,
        "choices": choices,
        "usage": usage(prompt, found),
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def usage(prompt: int, found: Sequence[Outcome]) -> dict[str, Any]:
    completion = sum(outcome.token_count for outcome in found)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _call_name(identity: str, index: int, place: int) -> str:
    return f"call_{identity[-20:]}{index:02d}{place:02d}"


def _structured(asked: ChatRequest, said: str) -> str:
    shape = asked.response_format.json_schema if asked.response_format else None
    value = instance((shape.schema if shape else None) or {"type": "object"}, Hints(said))
    return msgspec.json.encode(value).decode()


def _message(outcome: Outcome, faults: Faults) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    if not outcome.calls:
        message["content"] = "".join(swollen(outcome.wording.tokens, faults))
    else:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in outcome.calls
        ]
    return message


DONE = Frame("done", b"data: [DONE]\n\n")

Delta = tuple[Kind, dict[str, Any], str | None]
"""Kind of event, delta, finish_reason."""


def frames(
    asked: ChatRequest, identity: str, created: int, found: Sequence[Outcome], prompt: int, faults: Faults
) -> Iterator[Frame]:
    """The chunks of all choices in turn, the usage if it was asked for (null in every other chunk then), [DONE]."""
    head = {"id": identity, "object": "chat.completion.chunk", "created": created, "model": asked.model}
    opening = msgspec.json.encode({**head, "service_tier": "default", "system_fingerprint": FINGERPRINT})[:-1]
    start = b"data: " + opening + b',"choices":['
    end = b'],"usage":null}\n\n' if asked.include_usage() else b"]}\n\n"
    for index, (kind, delta, finish) in _in_turn([_deltas(outcome, faults) for outcome in found]):
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        yield Frame(kind, start + msgspec.json.encode(choice) + end)
    if asked.include_usage():
        yield Frame("usage", start + b'],"usage":' + msgspec.json.encode(usage(prompt, found)) + b"}\n\n")
    yield DONE


def error_event(code: int | None, message: str) -> bytes:
    """An error in the place of an event, as OpenAI sends it."""
    kind = "invalid_request_error" if code is not None and code < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"


def _deltas(outcome: Outcome, faults: Faults) -> Iterator[Delta]:
    if outcome.calls:
        yield "open", {"role": "assistant", "content": None, "refusal": None}, None
        for delta in _call_deltas(outcome):
            yield "content", delta, None
    else:
        yield "open", {"role": "assistant", "content": "", "refusal": None}, None
        for piece in swollen(outcome.wording.tokens, faults):
            yield "content", {"content": piece}, None
    yield "finish", {}, outcome.finish


def _call_deltas(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(outcome.calls):
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}
        for fragment in fragments(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


def _in_turn(choices: Iterable[Iterator[Delta]]) -> Iterator[tuple[int, Delta]]:
    """One delta of each choice after the other, with the index of its choice."""
    waiting = list(enumerate(choices))
    while waiting:
        left: list[tuple[int, Iterator[Delta]]] = []
        for index, deltas in waiting:
            delta = next(deltas, None)
            if delta is not None:
                yield index, delta
                left.append((index, deltas))
        waiting = left


def chat_router(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.post("/chat/completions")
    async def create(request: Request) -> Response:
        body = await request.body()
        asked = read(body, ChatRequest)
        model_name(asked.model)
        faults = desk.faults(request, asked.model)
        check(asked)
        name = identity("chatcmpl-", body)
        found = outcomes(asked, name)
        prompt = prompt_tokens(asked)
        if asked.stream:
            return desk.answer(faults, Stream(frames(asked, name, desk.now(), found, prompt, faults), error_event))
        return desk.answer(faults, document(asked, name, desk.now(), found, prompt, faults))

    return router
