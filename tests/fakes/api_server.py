"""An API server of a few lines, for what is about requests and not about Kubernetes: objects of one kind, by script."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from lightkube import KubeConfig
from lightkube.config.models import Cluster, User

Object = dict[str, Any]
Script = Callable[[web.Request], "web.StreamResponse | None"]
NAMESPACES = {"name": "namespaces", "singularName": "namespace", "kind": "Namespace", "namespaced": False}
KIND = {"name": "mimicbackends", "singularName": "mimicbackend", "kind": "MimicBackend", "namespaced": True}
GROUP = {
    "name": "mimic.dev",
    "versions": [{"groupVersion": "mimic.dev/v1alpha1", "version": "v1alpha1"}],
    "preferredVersion": {"groupVersion": "mimic.dev/v1alpha1", "version": "v1alpha1"},
}


def status(code: int, **fields: Any) -> web.Response:
    """A refusal, as the API server words it (meta/v1, Status)."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "scripted", **fields}
    return web.json_response(body, status=code)


class ApiServer:
    """Serves MimicBackends. before: called with each request, may answer it. The watch ends when `cut` is called."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[str, Object] = {}
        self.version = 1
        self.asked: list[str] = []
        self.before: Script = lambda request: None
        self.events: asyncio.Queue[tuple[str, Object] | None] = asyncio.Queue()
        self.watching = asyncio.Event()

    def config(self) -> KubeConfig:
        return KubeConfig.from_one(cluster=Cluster(server=self.url), user=User(token="nobody"), context_name="fake")

    def put(self, name: str) -> None:
        """Created or changed, without an event: what happens while no one watches."""
        self.version += 1
        metadata = {"name": name, "namespace": "team", "uid": name, "resourceVersion": str(self.version)}
        self.objects[name] = {"apiVersion": "mimic.dev/v1alpha1", "kind": "MimicBackend", "metadata": metadata}

    def report(self, event: str, name: str) -> None:
        self.events.put_nowait((event, self.objects[name]))

    def cut(self) -> None:
        """Ends the watch request."""
        self.events.put_nowait(None)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if (scripted := self.before(request)) is not None:
            return scripted
        if request.path.endswith("/mimicbackends"):
            return await (self._watch(request) if request.query.get("watch") == "true" else self._list())
        found: dict[str, Object] = {
            "/api": {"versions": ["v1"]},
            "/api/v1": {"resources": [{**NAMESPACES, "verbs": ["list", "watch"]}]},
            "/apis": {"groups": [GROUP]},
            "/apis/mimic.dev/v1alpha1": {"resources": [{**KIND, "verbs": ["list", "watch", "patch"]}]},
            "/version": {"major": "1", "minor": "35"},
        }
        return web.json_response(found[request.path]) if request.path in found else status(404)

    async def _list(self) -> web.Response:
        metadata = {"resourceVersion": str(self.version)}
        body = {"kind": "MimicBackendList", "apiVersion": "mimic.dev/v1alpha1", "metadata": metadata}
        return web.json_response(body | {"items": list(self.objects.values())})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        self.watching.set()
        while (event := await self.events.get()) is not None:
            line = json.dumps({"type": event[0], "object": event[1]}).encode()
            await response.write(line + b"\n")
        return response


@asynccontextmanager
async def serving() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.cut()
        await runner.cleanup()
