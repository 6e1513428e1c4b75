"""The answer of a chat completion: what each choice says or calls, and the document of it. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from mimic_proxy.demo.assistant import answer, answer_object
from mimic_proxy.demo.chat_request import ChatRequest, conversation, offered
from mimic_proxy.demo.faults import Faults, swollen
from mimic_proxy.demo.hints import Hints
from mimic_proxy.demo.schema import instance
from mimic_proxy.demo.tools import Call, calls
from mimic_proxy.demo.wording import Wording, limited, tokens

FINGERPRINT: Final = "fp_demo"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One choice. With calls there is no text; `legacy` says that the one call is a `function_call`.

    logprobs: how many alternatives are listed for each token, None for no log probabilities.
    """

    index: int
    wording: Wording
    calls: tuple[Call, ...] = ()
    legacy: bool = False
    logprobs: int | None = None

    @property
    def finish(self) -> str:
        if not self.calls:
            return self.wording.finish
        return "function_call" if self.legacy else "tool_calls"

    @property
    def token_count(self) -> int:
        if not self.calls:
            return len(self.wording.tokens)
        return sum(len(tokens(call.name)) + len(tokens(call.arguments)) for call in self.calls)


def outcomes(asked: ChatRequest, identity: str) -> list[Outcome]:
    """The choices of the request, decided from its conversation, tools and format. Raises Refusal (400)."""
    talk = conversation(asked)
    tools, use = offered(asked)
    legacy = bool(asked.functions) and not asked.tools
    logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
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
        found.append(Outcome(index, wording, called, legacy, logprobs))
    return found


def document(
    asked: ChatRequest, identity: str, created: int, found: Sequence[Outcome], prompt: int, faults: Faults
) -> dict[str, Any]:
    """The `chat.completion` object."""
    choices = [
        {
            "index": outcome.index,
            "message": _message(outcome, faults),
            "logprobs": log_probabilities(outcome.wording.tokens, outcome),
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


def log_probabilities(pieces: Sequence[str], outcome: Outcome) -> dict[str, Any] | None:
    """Made-up log probabilities of the right shape: longer tokens are likelier. None where nobody asked or it calls."""
    if outcome.logprobs is None or outcome.calls:
        return None
    return {"content": [_log_probability(piece, outcome.logprobs) for piece in pieces], "refusal": None}


def _log_probability(piece: str, alternatives: int) -> dict[str, Any]:
    likely = _entry(piece, math.log(1 - 0.5 / (1 + len(piece))))
    others = [_entry(f"{piece}{place}", likely["logprob"] - place) for place in range(1, alternatives)]
    return {**likely, "top_logprobs": [likely, *others] if alternatives else []}


def _entry(piece: str, logprob: float) -> dict[str, Any]:
    return {"token": piece, "logprob": logprob, "bytes": list(piece.encode("utf-8", "replace"))}


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
    elif outcome.legacy:
        message["function_call"] = {"name": outcome.calls[0].name, "arguments": outcome.calls[0].arguments}
    else:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in outcome.calls
        ]
    return message
