"""The demo backend as a FastAPI app.

    POST /token                          a code, or what another grant shows, for a short-lived access token
    POST /demo/revoke                    revokes all tokens
    GET  /demo/stats                     what has come so far
    /v1/...                              chat completions, responses, embeddings, models; each call needs a token
    /gateway/...                         chat, embeddings and models in the form of an in-house gateway

Answers are deterministic. Faults are scripted per request: the table stands in `faults`.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mimic_proxy.demo.chat import chat_router
from mimic_proxy.demo.desk import Desk
from mimic_proxy.demo.embeddings import embedding_router
from mimic_proxy.demo.gateway import gateway_router
from mimic_proxy.demo.models import model_router
from mimic_proxy.demo.oauth import Credentials
from mimic_proxy.demo.options import DemoOptions
from mimic_proxy.demo.refusals import Refusal, answer_http_error, answer_refusal
from mimic_proxy.demo.responses import response_router
from mimic_proxy.demo.token_service import TokenService, token_router

_ROUTERS = (
    chat_router,
    embedding_router,
    model_router,
    response_router,
)


class _RequestIds:
    """Gives every answer an `x-request-id`, counted up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = b"req-demo-%08d" % next(self._numbers)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-request-id", name)]}
            await send(message)

        await self._app(scope, receive, send_with_id)


def create_app(
    options: DemoOptions | None = None,
    *,
    credentials: Credentials | None = None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The app with its own tokens.

    credentials: what clients have to show to get a token; only whoever has made them knows them.
    clock: wall time in seconds since 1970, shown in answers. monotonic: seconds, for the life of tokens.
    """
    options = options or DemoOptions()
    desk = Desk(options, TokenService(options, monotonic, credentials=credentials), clock)
    app = FastAPI(openapi_url=None, redirect_slashes=False, telemetry={"tracing": False, "metrics": False})
    app.add_middleware(_RequestIds)
    app.add_exception_handler(Refusal, answer_refusal)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.include_router(token_router(desk.tokens))
    app.include_router(_controls(desk))
    app.include_router(gateway_router(desk))
    for router in _ROUTERS:
        app.include_router(router(desk), prefix="/v1", dependencies=[Depends(desk.admit)])
    return app


def _controls(desk: Desk) -> APIRouter:
    router = APIRouter(prefix="/demo")

    @router.get("/stats")
    async def stats() -> Response:
        counts = {"token_calls": desk.tokens.calls, "token_refusals": desk.tokens.refused, **asdict(desk.stats)}
        return JSONResponse(counts)

    @router.post("/revoke")
    async def revoke() -> Response:
        return JSONResponse({"revoked": desk.forget()})

    @router.api_route("/redirected", methods=["GET", "POST"])
    async def redirected() -> Response:
        desk.stats.redirected += 1
        return JSONResponse({"redirected": True})

    return router
