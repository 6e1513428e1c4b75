"""The peer that most teams would write: a bare ASGI application on uvicorn, relaying through a pooled aiohttp session.

Written to be fast and fair: no framework, uvloop and httptools, no access log, one session with unlimited keep-alive
connections, no decompression, the answer forwarded as it arrives. It holds one ready access token and does nothing
about refreshing it. Started with `uvicorn reference_asgi:app`; BACKEND and ACCESS_TOKEN come from the environment.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp  # type: ignore[import-not-found]  # in the peers' environment only

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BACKEND = os.environ["BACKEND"]
CREDENTIAL = f"Bearer {os.environ['ACCESS_TOKEN']}"
DROPPED_FROM_CALLER = frozenset(
    (
        b"authorization",
        b"connection",
        b"content-length",
        b"host",
        b"keep-alive",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    )
)
DROPPED_FROM_BACKEND = frozenset((b"connection", b"keep-alive", b"set-cookie", b"transfer-encoding", b"upgrade"))


class Relay:
    """The ASGI application; its session lives as long as the server's lifespan."""

    def __init__(self) -> None:
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._relay(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "lifespan.startup":
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
            await send({"type": "lifespan.startup.complete"})
        if self.session is not None:
            await self.session.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _relay(self, scope: Message, receive: Receive, send: Send) -> None:
        assert self.session is not None
        body = await _whole_body(receive)
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name not in DROPPED_FROM_CALLER
        ]
        headers.append(("Authorization", CREDENTIAL))
        url = BACKEND + scope["path"]
        async with self.session.request(
            scope["method"], url, data=body, headers=headers, allow_redirects=False
        ) as answer:
            head = [(name, value) for name, value in answer.raw_headers if name.lower() not in DROPPED_FROM_BACKEND]
            await send({"type": "http.response.start", "status": answer.status, "headers": head})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _whole_body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


app = Relay()
