"""POST /v1/completions, the API before chat."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct

from mimic_proxy.demo.assistant import Asked, answer
from mimic_proxy.demo.chat_request import Count, StreamOptions
from mimic_proxy.demo.chat_stream import DONE, error_event
from mimic_proxy.demo.desk import Desk, identity
from mimic_proxy.demo.faults import Faults, swollen
from mimic_proxy.demo.refusals import Refusal, model_name, read
from mimic_proxy.demo.steps import Frame, Stream
from mimic_proxy.demo.wording import Wording, limited, tokens

_DEFAULT_MAX_TOKENS = 16
_END_OF_TEXT = "<|endoftext|>"


class CompletionRequest(Struct):
    model: str
    prompt: str | list[Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Count | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    echo: bool | None = None
    suffix: str | None = None


@dataclass(frozen=True, slots=True)
class _Text:
    index: int
    wording: Wording


def completion_router(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.post("/completions")
    async def create(request: Request) -> Response:
        body = await request.body()
        asked = read(body, CompletionRequest)
        faults = desk.faults(request, model_name(asked.model))
        if asked.stream_options is not None and asked.stream is None:
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            raise Refusal(message, param="stream_options")
        prompts = _prompts(asked.prompt)
        head = {"id": identity("cmpl-", body), "object": "text_completion", "created": desk.now(), "model": asked.model}
        texts = [
            _Text(place * (asked.n or 1) + nth, _wording(asked, prompt, nth))
            for place, prompt in enumerate(prompts)
            for nth in range(asked.n or 1)
        ]
        usage = _usage(prompts, texts)
        if asked.stream:
            shows_usage = bool(asked.stream_options and asked.stream_options.include_usage)
            return desk.answer(
                faults, Stream(_frames(head, texts, usage if shows_usage else None, faults), error_event)
            )
        choices = [
            _choice(one.index, "".join(swollen(one.wording.tokens, faults)), one.wording.finish) for one in texts
        ]
        return desk.answer(faults, {**head, "choices": choices, "usage": usage})

    return router


def _prompts(value: str | list[Any] | None) -> list[str]:
    """The prompts as texts; token arrays are shown as their numbers. Raises Refusal (400)."""
    if value is None:
        return [_END_OF_TEXT]
    if isinstance(value, str):
        return [value]
    if value and all(isinstance(item, int) for item in value):
        return [_numbers(value)]
    if not value or not all(isinstance(item, str | list) for item in value):
        message = "Invalid type for 'prompt': expected a text, or an array of texts or of token ids."
        raise Refusal(message, param="prompt", code="invalid_type")
    return [item if isinstance(item, str) else _numbers(item) for item in value]


def _numbers(ids: list[Any]) -> str:
    return " ".join(map(str, ids))


def _wording(asked: CompletionRequest, prompt: str, nth: int) -> Wording:
    stops = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    most = _DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
    wording = limited(answer(Asked(prompt), nth), stops, most)
    before = tokens(prompt) if asked.echo else []
    after = tokens(asked.suffix or "")
    return Wording((*before, *wording.tokens, *after), wording.finish)


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _usage(prompts: list[str], texts: list[_Text]) -> dict[str, int]:
    prompt = sum(len(tokens(text)) for text in prompts)
    completion = sum(len(one.wording.tokens) for one in texts)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _frames(head: dict[str, Any], texts: list[_Text], usage: dict[str, int] | None, faults: Faults) -> Iterator[Frame]:
    nothing = {"usage": None} if usage else {}
    for one in texts:
        for piece in swollen(one.wording.tokens, faults):
            yield Frame("content", _event({**head, "choices": [_choice(one.index, piece, None)], **nothing}))
        yield Frame("finish", _event({**head, "choices": [_choice(one.index, "", one.wording.finish)], **nothing}))
    if usage:
        yield Frame("usage", _event({**head, "choices": [], "usage": usage}))
    yield DONE


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"
