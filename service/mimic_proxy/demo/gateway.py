"""The bodies of the demo's gateway: an envelope around text, flat tool calls and vectors. Pure.

{"errorCode": 0, "errorMessage": null, "data": {"content": {"content": ..., "tool_calls": [...]}, ...}}
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct

from mimic_proxy.demo.assistant import tokens
from mimic_proxy.demo.chat import Outcome, outcomes, usage
from mimic_proxy.demo.chat_request import ChatRequest, check, prompt_tokens
from mimic_proxy.demo.delivery import Frame, Stream
from mimic_proxy.demo.desk import Desk, identity
from mimic_proxy.demo.embeddings import EmbeddingRequest, dimensions, floats, inputs, packed
from mimic_proxy.demo.faults import NONE, Faults, swollen
from mimic_proxy.demo.models import IDS
from mimic_proxy.demo.options import DemoOptions
from mimic_proxy.demo.refusals import Refusal, model_name, read
from mimic_proxy.demo.tools import fragments

_FAILED: Final = 500
_TYPES: Final = {"sse": "text/event-stream; charset=utf-8", "ndjson": "application/x-ndjson"}


def chat_document(outcome: Outcome, model: str, prompt: int, faults: Faults) -> dict[str, Any]:
    """The answer to a chat that is no stream."""
    text = None if outcome.calls else "".join(swollen(outcome.wording.tokens, faults))
    calls = [{"name": call.name, "arguments": msgspec.json.decode(call.arguments)} for call in outcome.calls]
    content = {"content": text, "tool_calls": calls or None, "finish_reason": outcome.finish}
    return _envelope({"content": content, "model": model, "usage": usage(prompt, [outcome])})


def data_document(content: Any, tokens: int) -> dict[str, Any]:
    """The answer to one call for embeddings."""
    return _envelope({"content": content, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


def model_document(names: Iterable[str]) -> dict[str, Any]:
    return _envelope([{"name": name} for name in names])


def error_document(code: int, message: str) -> dict[str, Any]:
    return {"errorCode": code, "errorMessage": message, "data": None}


def chat_stream(options: DemoOptions, outcome: Outcome, prompt: int, faults: Faults) -> Stream:
    """The answer in events of the form that the options ask for."""
    put = _put(options)
    grow = _cumulative if options.stream_text == "cumulative" else _deltas
    return Stream(_frames(grow(outcome, faults), outcome, prompt, put), _error(put), _TYPES[options.stream])


def refusal_stream(options: DemoOptions, refusal: Refusal) -> Stream:
    """An error as the first and only event."""
    put = _put(options)
    frame = Frame("open", put(error_document(refusal.status, refusal.message)))
    return Stream([frame], _error(put), _TYPES[options.stream])


def _deltas(outcome: Outcome, faults: Faults) -> Iterator[dict[str, Any]]:
    if not outcome.calls:
        yield from ({"content": piece} for piece in swollen(outcome.wording.tokens, faults))
    for index, call in enumerate(outcome.calls):
        yield {"tool_calls": [{"index": index, "name": call.name, "arguments": ""}]}
        for fragment in fragments(call.arguments):
            yield {"tool_calls": [{"index": index, "arguments": fragment}]}


def _cumulative(outcome: Outcome, faults: Faults) -> Iterator[dict[str, Any]]:
    text = ""
    if not outcome.calls:
        for piece in swollen(outcome.wording.tokens, faults):
            text += piece
            yield {"content": text}
    calls: list[dict[str, Any]] = []
    for call in outcome.calls:
        calls.append({"name": call.name, "arguments": ""})
        for fragment in fragments(call.arguments):
            calls[-1] = {**calls[-1], "arguments": calls[-1]["arguments"] + fragment}
            yield {"tool_calls": list(calls)}


def _frames(
    contents: Iterable[dict[str, Any]], outcome: Outcome, prompt: int, put: Callable[[Any], bytes]
) -> Iterator[Frame]:
    yield Frame("open", put(_envelope({"content": {"content": "", "finish_reason": None}})))
    for content in contents:
        yield Frame("content", put(_envelope({"content": {**content, "finish_reason": None}})))
    last = {"content": {"content": None, "finish_reason": outcome.finish}, "usage": usage(prompt, [outcome])}
    yield Frame("finish", put(_envelope(last)))


def _put(options: DemoOptions) -> Callable[[Any], bytes]:
    if options.stream == "ndjson":
        return lambda document: msgspec.json.encode(document) + b"\n"
    return lambda document: b"data: " + msgspec.json.encode(document) + b"\n\n"


def _error(put: Callable[[Any], bytes]) -> Callable[[int | None, str], bytes]:
    return lambda code, message: put(error_document(code or _FAILED, message))


def _envelope(data: Any) -> dict[str, Any]:
    return {"errorCode": 0, "errorMessage": None, "data": data}


class _Asked(Struct):
    stream: bool | None = None


class TextRequest(Struct):
    model: str
    text: str | list[Any]
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: Literal["float"] | None = None


def gateway_router(desk: Desk) -> APIRouter:
    router = APIRouter(prefix="/gateway")

    @router.post("/chat")
    async def chat(request: Request) -> Response:
        return await _told(desk, request, _chat)

    @router.post("/embeddings")
    async def embed(request: Request) -> Response:
        return await _told(desk, request, _embed)

    @router.get("/models")
    async def models(request: Request) -> Response:
        return await _told(desk, request, _models)

    return router


async def _told(desk: Desk, request: Request, make: Callable[[Desk, Request], Awaitable[Response]]) -> Response:
    """The answer, refusals included, in the gateway's form."""
    try:
        desk.accept(request, "")
        return await make(desk, request)
    except Refusal as refusal:
        if _asks_for_stream(await request.body()) and desk.options.stream != "plain":
            return desk.answer(NONE, refusal_stream(desk.options, refusal))
        return desk.answer(NONE, error_document(refusal.status, refusal.message))


async def _chat(desk: Desk, request: Request) -> Response:
    body = await request.body()
    asked = read(body, ChatRequest)
    name = model_name(asked.model)
    faults = _faults(desk, request, name)
    check(asked)
    outcome, prompt = outcomes(asked, identity("", body))[0], prompt_tokens(asked)
    if asked.stream and desk.options.stream != "plain":
        return desk.answer(faults, chat_stream(desk.options, outcome, prompt, faults))
    return desk.answer(faults, chat_document(outcome, name, prompt, faults))


async def _embed(desk: Desk, request: Request) -> Response:
    asked = read(await request.body(), TextRequest)
    faults = _faults(desk, request, model_name(asked.model))
    given = inputs(asked.text)
    if not all(isinstance(text, str) for text in given):
        raise Refusal("'text' must be a text or an array of texts.", param="text", code="invalid_type")
    size = dimensions(EmbeddingRequest(asked.model, asked.text, dimensions=asked.dimensions))
    vectors = [floats(packed(text, size)) for text in given]
    content = vectors[0] if isinstance(asked.text, str) else vectors
    return desk.answer(faults, data_document(content, sum(len(tokens(str(text))) for text in given)))


async def _models(desk: Desk, request: Request) -> Response:
    return desk.answer(_faults(desk, request), model_document(IDS))


def _faults(desk: Desk, request: Request, model: str | None = None) -> Faults:
    """The faults that are asked for. Raises Refusal for a token to be refused, and for a status: it becomes a code."""
    faults = desk.faults(request, model)
    if faults.status is not None:
        raise Refusal(f"The demo backend answers {faults.status}, as it was asked to.", status=faults.status)
    return replace(faults, retry_after=None)


def _asks_for_stream(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=_Asked).stream is True
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
