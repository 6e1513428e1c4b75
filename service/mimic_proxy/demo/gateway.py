"""The demo's gateway, which does not speak OpenAI's API:

    POST /gateway/chat         a chat request of OpenAI's; tool calls are flat in the answer
    POST /gateway/embeddings   {"model", "text", ...}, one text or an array of them
    GET  /gateway/models       names

The access token stands in Authorization without a scheme. Every answer has the status 200; errors, a refused token
among them, are told by `errorCode`, in a stream by its first event.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta, Struct

from mimic_proxy.demo.chat_answer import outcomes
from mimic_proxy.demo.chat_request import ChatRequest, check, prompt_tokens
from mimic_proxy.demo.desk import Desk, identity
from mimic_proxy.demo.embeddings import EmbeddingRequest, dimensions, floats, inputs, packed
from mimic_proxy.demo.faults import NONE, Faults
from mimic_proxy.demo.gateway_answer import (
    chat_document,
    chat_stream,
    data_document,
    error_document,
    model_document,
    refusal_stream,
)
from mimic_proxy.demo.models import IDS
from mimic_proxy.demo.refusals import Refusal, model_name, read
from mimic_proxy.demo.wording import tokens


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
