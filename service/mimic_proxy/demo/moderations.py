"""POST /v1/moderations: a word list, so that a flagged and an unflagged answer can be had."""

import re
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from msgspec import Struct

from mimic_proxy.demo.desk import Desk, identity
from mimic_proxy.demo.refusals import Refusal, model_name, read

_WORDS: Final = {
    "harassment": ("idiot", "stupid"),
    "harassment/threatening": ("threaten",),
    "hate": ("hate",),
    "hate/threatening": (),
    "illicit": ("steal", "smuggle"),
    "illicit/violent": (),
    "self-harm": ("suicide",),
    "self-harm/intent": (),
    "self-harm/instructions": (),
    "sexual": ("porn",),
    "sexual/minors": (),
    "violence": ("kill", "murder", "attack"),
    "violence/graphic": ("gore",),
}
_HIGH, _LOW = 0.98, 0.0001


class ModerationRequest(Struct):
    input: str | list[Any]
    model: str = "omni-moderation-latest"


def moderation_router(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.post("/moderations")
    async def create(request: Request) -> Response:
        body = await request.body()
        asked = read(body, ModerationRequest)
        faults = desk.faults(request, model_name(asked.model))
        results = [_result(text) for text in _texts(asked.input)]
        return desk.answer(faults, {"id": identity("modr-", body), "model": asked.model, "results": results})

    return router


def _texts(value: str | list[Any]) -> list[str]:
    """A text each for a text or a list of texts; parts (text and image) are judged together, images as nothing."""
    if isinstance(value, str):
        return [value]
    if value and all(isinstance(item, str) for item in value):
        return value
    if value and all(isinstance(item, dict) for item in value):
        return ["\n".join(str(item.get("text", "")) for item in value)]
    message = "Invalid type for 'input': expected a text, or an array of texts or of content parts."
    raise Refusal(message, param="input", code="invalid_type")


def _result(text: str) -> dict[str, Any]:
    said = set(re.findall(r"\w+", text.lower()))
    found = {name: bool(said.intersection(words)) for name, words in _WORDS.items()}
    return {
        "flagged": any(found.values()),
        "categories": found,
        "category_scores": {name: _HIGH if hit else _LOW for name, hit in found.items()},
        "category_applied_input_types": {name: ["text"] for name in found},
    }
