"""POST /v1/chat/completions."""

from fastapi import APIRouter, Request, Response

from mimic_proxy.demo.chat_answer import document, outcomes
from mimic_proxy.demo.chat_request import ChatRequest, check, prompt_tokens
from mimic_proxy.demo.chat_stream import error_event, frames
from mimic_proxy.demo.desk import Desk, identity
from mimic_proxy.demo.refusals import model_name, read
from mimic_proxy.demo.steps import Stream


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
