"""The events of a streamed chat completion. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from mimic_proxy.demo.chat_answer import FINGERPRINT, Outcome, log_probabilities, usage
from mimic_proxy.demo.chat_request import ChatRequest
from mimic_proxy.demo.faults import Faults, swollen
from mimic_proxy.demo.steps import Frame, Kind
from mimic_proxy.demo.tools import fragments

DONE = Frame("done", b"data: [DONE]\n\n")

Delta = tuple[Kind, dict[str, Any], str | None, dict[str, Any] | None]
"""Kind of event, delta, finish_reason, logprobs."""


def frames(
    asked: ChatRequest, identity: str, created: int, found: Sequence[Outcome], prompt: int, faults: Faults
) -> Iterator[Frame]:
    """The chunks of all choices in turn, the usage if it was asked for (null in every other chunk then), [DONE]."""
    head = {"id": identity, "object": "chat.completion.chunk", "created": created, "model": asked.model}
    opening = msgspec.json.encode({**head, "service_tier": "default", "system_fingerprint": FINGERPRINT})[:-1]
    start = b"data: " + opening + b',"choices":['
    end = b'],"usage":null}\n\n' if asked.include_usage() else b"]}\n\n"
    for index, (kind, delta, finish, logprobs) in _in_turn([_deltas(outcome, faults) for outcome in found]):
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
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
        yield "open", {"role": "assistant", "content": None, "refusal": None}, None, None
        for delta in _legacy_deltas(outcome) if outcome.legacy else _call_deltas(outcome):
            yield "content", delta, None, None
    else:
        yield "open", {"role": "assistant", "content": "", "refusal": None}, None, None
        for piece in swollen(outcome.wording.tokens, faults):
            yield "content", {"content": piece}, None, log_probabilities((piece,), outcome)
    yield "finish", {}, outcome.finish, None


def _call_deltas(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(outcome.calls):
        function = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}
        for fragment in fragments(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


def _legacy_deltas(outcome: Outcome) -> Iterator[dict[str, Any]]:
    call = outcome.calls[0]
    yield {"function_call": {"name": call.name, "arguments": ""}}
    for fragment in fragments(call.arguments):
        yield {"function_call": {"arguments": fragment}}


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
