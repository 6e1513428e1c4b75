"""A company's gateway in small: short-lived access tokens for an authorization code, and model servers behind a check.

`POST /token` with `{"code": ...}` gives a token that lives for TOKEN_LIFETIME seconds; everything under `/v1` needs one
and goes to CHAT_SERVER, or to EMBEDDING_SERVER for `/v1/embeddings`. `POST /revoke` forgets all tokens, as a key
rotation would; with `?lifetime=4` later ones live for four seconds. `GET /seen` counts what happened. All settings
come from the environment.
"""

import asyncio
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

AUTH_CODE = os.environ["AUTH_CODE"]
SERVERS = {"/v1/embeddings": os.environ["EMBEDDING_SERVER"]}
CHAT_SERVER = os.environ["CHAT_SERVER"]
CONNECTION_FIELDS = frozenset(("authorization", "connection", "content-length", "host", "transfer-encoding"))


class Gate:
    """Tokens with their ends (monotonic seconds), and counters of what was seen."""

    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime
        self.tokens: dict[str, float] = {}
        self.seen: Counter[str] = Counter()

    async def token(self, request: web.Request) -> web.Response:
        if (await request.json()).get("code") != AUTH_CODE:
            self.seen["codes refused"] += 1
            return web.json_response({"error": "invalid_grant"}, status=401)
        self.seen["tokens issued"] += 1
        token = secrets.token_urlsafe(24)
        self.tokens[token] = time.monotonic() + self.lifetime
        return web.json_response({"data": {"access_token": token, "expires_in": self.lifetime}})

    async def revoke(self, request: web.Request) -> web.Response:
        self.tokens.clear()
        self.lifetime = int(request.query.get("lifetime", self.lifetime))
        return web.json_response({"revoked": True})

    async def report(self, request: web.Request) -> web.Response:
        return web.json_response(self.seen)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or self.tokens.get(token, 0.0) < time.monotonic():
            self.seen["calls refused"] += 1
            error = {"message": "access token expired or unknown", "type": "auth", "param": None, "code": "token"}
            return web.json_response({"error": error}, status=401)
        self.seen["calls let through"] += 1
        try:
            return await self._forward(request)
        except (asyncio.CancelledError, ConnectionError):
            self.seen["callers gone"] += 1
            raise

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        server = SERVERS.get(request.path, CHAT_SERVER)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in CONNECTION_FIELDS}
        session = request.app[SESSION]
        body = await request.read()
        async with session.request(request.method, server + request.raw_path, data=body, headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in CONNECTION_FIELDS}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


SESSION = web.AppKey("session", aiohttp.ClientSession)


async def _session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=600)) as session:
        app[SESSION] = session
        yield


def create_app() -> web.Application:
    """The gateway as an aiohttp application."""
    gate = Gate(int(os.environ["TOKEN_LIFETIME"]))
    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.cleanup_ctx.append(_session)
    app.router.add_post("/token", gate.token)
    app.router.add_post("/revoke", gate.revoke)
    app.router.add_get("/seen", gate.report)
    app.router.add_route("*", "/v1/{path:.*}", gate.forward)
    return app


if __name__ == "__main__":
    # A caller that hangs up cancels its handler, which closes the connection to the model server.
    web.run_app(
        create_app(), host="127.0.0.1", port=int(os.environ["GATE_PORT"]), handler_cancellation=True, print=None
    )
