"""FastAPI app of the admin port: is it alive, is it ready, what does it count, how is it set, end it.

`/livez`, `/readyz` and `/metrics` are for whoever reaches the port; the status page (`/`, `/status`) and `/config` are
for this machine and STATUS_NETWORKS, `/refresh` and `/quit` for this machine alone. The browser rule of the API port
holds here too, with two exceptions where the port was dialled at an address that others reach: that address is accepted
as Host, as a probe writes it, and the first three paths take any Host, since whoever asks through the API server or a
Service writes its name. They hold no secret, and everybody who reaches the address may read them anyway.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import gzip_accepted
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from mimic_proxy.errors import Forbidden, InvalidRequest, MethodNotAllowed, MimicError, UnknownRoute
from mimic_proxy.relay.access import OriginPolicy, judge
from mimic_proxy.settings.fields import Settings
from mimic_proxy.web.errors import error_response, mimic_error
from mimic_proxy.web.scrape import Scrapes
from mimic_proxy.web.status import status_page

PROBES = ("/livez", "/readyz", "/metrics")
STOP_MARGIN_SECONDS = 5.0
"""For what follows DRAIN_TIMEOUT: closing connections, the last log lines."""
JSON_HEADERS = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class AdminState:
    """What the admin port asks of the running process.

    conditions: of readiness, each with its name, whether it holds, and if not a sentence on why.
    request_stop: begins the graceful stop and returns at once.
    """

    conditions: Callable[[], Sequence[tuple[str, bool, str]]]
    request_stop: Callable[[], None]
    registry: CollectorRegistry
    status: Callable[[], bytes]
    """What the status page shows now, as JSON."""
    config: Callable[[], dict[str, object]]
    """The settings that hold now, fit to be shown."""
    secrets: Callable[[], Sequence[Mapping[str, str | None]]] = lambda: ()
    """The secrets that come from files: name, file, and what is wrong with it, as a word."""
    refresh: Callable[[], None] = lambda: None
    """Requests another access token."""
    settle: Callable[[], None] = lambda: None
    """Counts what has happened but is not counted yet; called before each look."""


def create_admin(state: AdminState, settings: Settings) -> FastAPI:
    """The app for one process."""
    app = FastAPI(
        title="Mimic, admin port",
        openapi_url=None,
        # The instrumentation makes the spans; FastAPI's own would stand beside them.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={MimicError: mimic_error, HTTPException: _http_error},
    )
    app.add_middleware(BrowserRule, policy=OriginPolicy(settings.allowed_hosts, settings.allowed_origins))
    stop_within = _stop_within(settings)
    shown = status_page()
    may_look = tuple(map(ipaddress.ip_network, settings.status_networks))
    scrapes = Scrapes(state.registry, state.settle)

    async def livez(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def readyz(request: Request) -> Response:
        conditions = state.conditions()
        ready = all(holds for _, holds, _ in conditions)
        told = [{"name": name, "ok": holds, "reason": reason or None} for name, holds, reason in conditions]
        content = {"ready": ready, "conditions": told, "secrets": list(state.secrets())}
        return JSONResponse(content, status_code=200 if ready else 503)

    async def metrics(request: Request) -> Response:
        compressed = gzip_accepted(request.headers.get("accept-encoding", ""))
        body, content_type = await scrapes.page(request.headers.get("accept", ""), compressed=compressed)
        headers = {"content-type": content_type, "vary": "accept, accept-encoding"}
        return Response(body, headers={**headers, "content-encoding": "gzip"} if compressed else headers)

    async def page(request: Request) -> Response:
        _from_this_machine(request, may_look)
        return Response(shown.body, headers=shown.headers)

    async def status(request: Request) -> Response:
        _from_this_machine(request, may_look)
        state.settle()
        return Response(state.status(), headers=JSON_HEADERS)

    async def config(request: Request) -> Response:
        _from_this_machine(request, may_look)
        return JSONResponse(state.config())

    async def stop(request: Request) -> Response:
        _from_this_machine(request)
        state.request_stop()
        return JSONResponse({"stopping": True, "within_seconds": stop_within}, status_code=202)

    async def refresh(request: Request) -> Response:
        _from_this_machine(request)
        state.refresh()
        return JSONResponse({"refreshing": True}, status_code=202)

    probes = dict(zip(PROBES, (livez, readyz, metrics), strict=True))
    reading: dict[str, Handler] = {**probes, "/": page, "/status": status, "/config": config}
    for path, handler in reading.items():
        app.add_api_route(path, handler, methods=["GET", "HEAD"], response_model=None)
    for path, handler in {"/refresh": refresh, "/quit": stop}.items():
        app.add_api_route(path, handler, methods=["POST"], response_model=None)
    return app


def _stop_within(settings: Settings) -> float | None:
    """Seconds that a graceful stop takes at most; None where it waits for every exchange."""
    return settings.drain_delay + settings.drain_timeout + STOP_MARGIN_SECONDS if settings.drain_timeout else None


class BrowserRule:
    """Refuses what a web page may have sent, before anything else looks at the request."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy) -> None:
        self.app = app
        self.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._judge(scope) if scope["type"] == "http" else None
        answer: ASGIApp = self.app if refusal is None else error_response(refusal)
        await answer(scope, receive, send)

    def _judge(self, scope: Scope) -> MimicError | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(hosts) > 1:
            return InvalidRequest("The request has more than one Host field.")
        allowed = self.policy.allowed_hosts
        if (dialled := _address(scope["server"][0] if scope.get("server") else "")) and not dialled.is_loopback:
            shared = scope["path"] in PROBES
            allowed = (*allowed, "*" if shared else f"[{dialled}]" if dialled.version == 6 else str(dialled))
        policy = OriginPolicy(allowed, self.policy.allowed_origins)
        return judge(hosts[0] if hosts else None, b", ".join(origins) if origins else None, policy)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """What one end of a connection is called; an IPv4 address in IPv6 form is the former. None for a Unix socket."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def _from_this_machine(request: Request, others: Sequence[Network] = ()) -> None:
    """Raises Forbidden unless the connection comes from loopback, or from one of the `others`."""
    host = request.client.host if request.client else ""
    address = _address(host)
    if address is not None and (address.is_loopback or any(address in network for network in others)):
        return
    message = "This path answers on the loopback interface only."
    if request.method != "POST":
        message = (
            f"This path answers this machine only, and you come from {host}. If that is you, through the published "
            f"port of a container for example, STATUS_NETWORKS={host} lets you in; in Kubernetes use kubectl "
            "port-forward."
        )
    raise Forbidden(message, code="loopback_only")


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: unknown path, wrong method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "GET").split(", ")
        return error_response(MethodNotAllowed(f"{request.method} is not allowed here.", allowed=allowed))
    paths = "GET / /status /livez /readyz /metrics /config, POST /refresh /quit"
    return error_response(UnknownRoute(f"The admin port does not serve this path. It has: {paths}."))
