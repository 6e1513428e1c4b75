"""A proxy in front of a real API server that answers some requests itself: as a busy or forgetful one would."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import yaml
from aiohttp import web

from fakes.control_plane import ControlPlane

Rule = Callable[[str, str, dict[str, str]], tuple[int, dict[str, str]] | None]
"""Method, path and query of a request to the status and header fields that it is answered with; None passes it on."""
HOP = ("content-length", "transfer-encoding", "connection", "content-encoding")


class ApiProxy:
    """Plain HTTP on loopback, acting as the administrator. rules: the first that answers counts.

    agent: the User-Agent by which the audit log knows who comes through here. trouble: see chaos.py.
    """

    def __init__(self, plane: ControlPlane, agent: str = "") -> None:
        self.rules: list[Rule] = []
        self.agent = agent
        self.trouble: Callable[[str, str, dict[str, str]], str | None] = lambda method, path, query: None
        self.refused: list[tuple[int, str, str]] = []
        """Status, method and path of what was answered here."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and query of each."""
        self._plane = plane
        self._port = 0
        self._streams: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def kubeconfig(self, folder: Path) -> Path:
        context = {"cluster": "proxy", "user": "nobody", "namespace": "default"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "proxy", "context": context}],
        }
        path = folder / "proxy.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return path

    def cut_watches(self) -> int:
        """Breaks all streams in the middle; how many there were."""
        streams = list(self._streams)
        for stream in streams:
            self._loop.call_soon_threadsafe(stream.cancel)
        return len(streams)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        context = httpx2.create_ssl_context(trust_env=False)
        context.load_verify_locations(cadata=self._plane.ca_pem.decode())
        context.load_cert_chain(self._plane.folder / "admin.pem")
        async with httpx2.AsyncClient(base_url=self._plane.url, verify=context, trust_env=False) as self._http:
            runner = web.AppRunner(self._app(), shutdown_timeout=0.5)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._port = runner.addresses[0][1]
            self._ready.set()
            await self._end.wait()
            self.cut_watches()
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.requests.append((request.method, request.path, query))
        for rule in self.rules:
            if (said := rule(request.method, request.path, query)) is not None:
                status, headers = said
                self.refused.append((status, request.method, request.path))
                body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "played"}
                return web.Response(
                    status=status, headers=headers, text=json.dumps(body), content_type="application/json"
                )
        trouble = self.trouble(request.method, request.path, query)
        if trouble is not None and (response := await self._troubled(request, trouble)) is not None:
            return response
        headers = {key: value for key, value in request.headers.items() if key.lower() not in (*HOP, "host")}
        if self.agent:
            headers["User-Agent"] = self.agent
        body = await request.read()
        sent = self._http.build_request(
            request.method, request.path, params=query, headers=headers, content=body, timeout=None
        )
        answer = await self._http.send(sent, stream=True)
        given = {key: value for key, value in answer.headers.items() if key.lower() not in HOP}
        response = web.StreamResponse(status=answer.status_code, headers=given)
        task = asyncio.current_task()
        assert task is not None
        if query.get("watch") == "true":
            self._streams.add(task)
        try:
            await response.prepare(request)
            async for chunk in answer.aiter_bytes():
                await response.write(chunk)
            await response.write_eof()
        finally:
            self._streams.discard(task)
            await answer.aclose()
        return response

    async def _troubled(self, request: web.Request, trouble: str) -> web.StreamResponse | None:
        """None for a request that is only late."""
        if trouble.isdecimal():
            status = int(trouble)
            body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "chaos"}
            headers = {"retry-after": "1"} if status == 429 else {}
            return web.json_response(body, status=status, headers=headers)
        if trouble == "delay":
            await asyncio.sleep(10)
            return None
        if trouble == "silence":
            response = web.StreamResponse(headers={"content-type": "application/json"})
            await response.prepare(request)
            task = asyncio.current_task()
            assert task is not None
            self._streams.add(task)
            try:
                await asyncio.Event().wait()
            finally:
                self._streams.discard(task)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


@contextmanager
def proxied(plane: ControlPlane, agent: str = "") -> Iterator[ApiProxy]:
    """Until the block is left."""
    proxy = ApiProxy(plane, agent)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
