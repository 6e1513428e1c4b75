"""The port of health and metrics: /livez, /readyz and /metrics."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Check = Callable[[], str]
"""Empty where all is well, else what is wrong."""


@asynccontextmanager
async def serving(
    host: str, port: int, *, registry: CollectorRegistry, live: Mapping[str, Check], ready: Mapping[str, Check]
) -> AsyncIterator[int]:
    """Serves until the block is left; gives the port. Raises OSError where the port cannot be had."""
    app = web.Application()
    app.router.add_get("/livez", _probe(live))
    app.router.add_get("/readyz", _probe(ready))
    app.router.add_get("/metrics", _metrics(registry))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        address = runner.addresses[0]
        yield int(address[1])
    finally:
        await runner.cleanup()


def _probe(checks: Mapping[str, Check]) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        wrong = {name: sentence for name, check in checks.items() if (sentence := check())}
        body = {"status": "failing" if wrong else "ok", "checks": {name: wrong.get(name, "ok") for name in checks}}
        return web.json_response(body, status=503 if wrong else 200)

    return answer


def _metrics(registry: CollectorRegistry) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return web.Response(body=encode(registry), headers={"content-type": content_type})

    return answer
