"""GET /v1/models and GET /v1/models/{id}."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from mimic_proxy.demo.desk import Desk
from mimic_proxy.demo.refusals import model_not_found

_CREATED: Final = 1735689600

IDS: Final = (
    "demo/chat-large",
    "demo/chat-small",
    "demo/embed-small",
    "gpt-6-astra",
    "gpt-4o",
    "gpt-4o-mini",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "text-embedding-ada-002",
)
"""What is listed: the demo's own names, and names that applications of OpenAI ask for. Any other name works too."""


def model_router(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.get("/models")
    async def list_models(request: Request) -> Response:
        return desk.answer(desk.faults(request), {"object": "list", "data": [_model(name) for name in IDS]})

    @router.get("/models/{model:path}")
    async def retrieve(request: Request, model: str) -> Response:
        """An id may hold a `/`, as it is or as %2F. Raises Refusal (404) for an id that is not listed."""
        faults = desk.faults(request)
        if model not in IDS:
            raise model_not_found(model)
        return desk.answer(faults, _model(model))

    return router


def _model(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": name.split("/")[0] if "/" in name else "demo",
    }
