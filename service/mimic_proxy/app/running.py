"""Runs a Mimic on both ports and stops it gracefully.

The stop: readiness goes at once, `DRAIN_DELAY` passes while all is still served, then no connection is accepted and
exchanges finish; at `DRAIN_TIMEOUT` those that are left get their drain event. The admin port ends last. A second
signal ends the process at once.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Literal

from fastapi import FastAPI
from uvicorn import Config, Server

from mimic_proxy.app.mimic import Mimic
from mimic_proxy.app.tls import server_context
from mimic_proxy.settings.fields import SettingsError
from mimic_proxy.settings.sources import Problem
from mimic_proxy.web.api import create_api
from mimic_proxy.web.guarded import GuardedProtocol

BACKLOG = 2048
MISSING_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

logger = logging.getLogger("mimic")


class CannotListen(Exception):
    """No address could be bound; the message says which and why."""


def bind(hosts: Sequence[str], port: int, setting: str) -> list[socket.socket]:
    """One bound socket for each address. A machine without an address's family skips it with a warning.

    port: 0 takes any free one, the same for all addresses. setting: the variable that names the port, for messages.
    Raises CannotListen.
    """
    sockets: list[socket.socket] = []
    skipped: list[str] = []
    for host in hosts:
        wanted = sockets[0].getsockname()[1] if sockets and not port else port
        try:
            sockets.extend(_bind_one(host, wanted))
        except OSError as error:
            if error.errno in MISSING_FAMILY or isinstance(error, socket.gaierror):
                skipped.append(f"{host} ({error.strerror})")
                continue
            for made in sockets:
                made.close()
            hint = f" Is another Mimic running? {setting} sets the port." if error.errno == errno.EADDRINUSE else ""
            raise CannotListen(f"Cannot listen on {host} port {wanted}: {error.strerror}.{hint}") from error
    if not sockets:
        raise CannotListen(f"Cannot listen on any of {', '.join(skipped)}.")
    for what in skipped:
        logger.warning("Not listening on %s", what)
    return sockets


def _bind_one(host: str, port: int) -> list[socket.socket]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = infos[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return [made]


PERIOD_SECONDS = 0.25


class LagMeter:
    """Sets a timer again and again and tells how late each was.

    call_later: the loop's. clock: monotonic seconds.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
        tell: Callable[[float], None],
    ) -> None:
        self._call_later = call_later
        self._clock = clock
        self._tell = tell
        self._due = 0.0
        self._stopped = False

    def start(self) -> None:
        """Begins to watch."""
        self._due = self._clock() + PERIOD_SECONDS
        self._call_later(PERIOD_SECONDS, self._ring)

    def stop(self) -> None:
        """Ends with the timer that runs."""
        self._stopped = True

    def _ring(self) -> None:
        if not self._stopped:
            # A loop may be early by the resolution of its clock.
            self._tell(max(self._clock() - self._due, 0.0))
            self.start()


STOP_GRACE_SECONDS = 1.0
GC_THRESHOLD = 20_000
SAME_SIGNAL_SECONDS = 0.0001
"""`timeout` and some supervisors signal a process and its group: that is one wish, told twice."""


class _Server(Server):
    """uvicorn's server without its signal handlers: two servers would replace each other's and raise them again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def api_server(mimic: Mimic, version: str) -> Server:
    """The server of the API port: relay routes in our protocol, the rest in FastAPI."""
    settings = mimic.settings
    app = create_api(mimic.services, mimic.models, version, mimic.telemetry.web_spans)
    mimic.telemetry.instrument(app)
    config = Config(
        app,
        http=mimic.protocol_factory(),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        # Or FORWARDED_ALLOW_IPS in the environment would let a caller choose the address that it seems to come from.
        proxy_headers=False,
        server_header=False,
    )
    if settings.tls_cert is not None:
        config.load()
        try:
            config.ssl = server_context(settings.tls_cert, settings.tls_key)
        except OSError as error:
            wrong = f"cannot be used as PEM certificate and key ({error.strerror or type(error).__name__})"
            raise SettingsError([Problem("TLS_CERT, TLS_KEY", wrong)]) from None
    return _Server(config)


def web_server(app: FastAPI, protocol: type[asyncio.Protocol] | Literal["auto"] = "auto") -> Server:
    """A server for an application of ours; `protocol`: uvicorn's own choice, or a class."""
    return _Server(
        Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
    )


async def run(mimic: Mimic, admin_app: FastAPI, version: str, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until the stop, then stop gracefully. `on_ready` gets the API's address once it accepts.

    Raises CannotListen.
    """
    settings = mimic.settings
    _raise_descriptor_limit()
    api, admin = api_server(mimic, version), web_server(admin_app, GuardedProtocol)
    with contextlib.ExitStack() as stack:
        api_sockets = _listening(stack, settings.host, settings.port, "PORT")
        admin_sockets = _listening(stack, settings.admin_host, settings.admin_port, "ADMIN_PORT")
        _settle_memory()
        async with _background(mimic):
            admin_task = mimic.loop.create_task(admin.serve(admin_sockets))
            api_task = mimic.loop.create_task(api.serve(api_sockets))
            with _signals(mimic):
                while not (api.started and admin.started) and not (api_task.done() or admin_task.done()):
                    await asyncio.sleep(0.001)
                if on_ready is not None and api.started:
                    on_ready(_address(api_sockets[0]))
                await _until_stop(mimic, api_task, admin_task)
                await _stop(mimic, api, api_task)
                admin.should_exit = True
                _drop_connections(admin)
                await asyncio.wait([admin_task], timeout=STOP_GRACE_SECONDS)
    ended = [task for task in (api_task, admin_task) if task.done() and not task.cancelled()]
    faults = [fault for fault in (task.exception() for task in ended) if fault is not None]
    if faults:
        raise RuntimeError("a server of ours ended with an error") from faults[0]


def _listening(stack: contextlib.ExitStack, hosts: Sequence[str], port: int, setting: str) -> list[socket.socket]:
    sockets = bind(hosts, port, setting)
    for made in sockets:
        stack.callback(made.close)
        made.listen(BACKLOG)
    logger.info("%s: listening on %s", setting, ", ".join(map(_address, sockets)))
    return sockets


@contextlib.asynccontextmanager
async def _background(mimic: Mimic) -> AsyncIterator[None]:
    """What runs beside the servers: tokens, the look at files, the sweep of idle connections."""
    mimic.start()
    sweeper = mimic.loop.create_task(mimic.sweep())
    lag = LagMeter(mimic.loop.call_later, time.monotonic, mimic.telemetry.lag)
    lag.start()
    try:
        yield
    finally:
        lag.stop()
        sweeper.cancel()
        await mimic.close()


async def _until_stop(mimic: Mimic, *servers: "asyncio.Task[None]") -> None:
    stopped = mimic.loop.create_task(mimic.stopping.wait())
    await asyncio.wait([stopped, *servers], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


def _raise_descriptor_limit() -> None:
    """As many connections as the system lets us have: the soft limit is for programs that use select()."""
    try:
        import resource
    except ImportError:  # Windows has none.
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        logger.info("The limit of %d descriptors stays: %s", soft, error)


def _settle_memory() -> None:
    """What is there at the start stays. Exchanges hold no cycles, so the collector need not look every 700 objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)


async def _stop(mimic: Mimic, api: Server, api_task: "asyncio.Task[None]") -> None:
    settings = mimic.settings
    mimic.request_stop()
    began, running = time.monotonic(), len(mimic.services.ticker)
    logger.info("Stopping: %d exchanges are running", running)
    if settings.drain_delay:
        await asyncio.sleep(settings.drain_delay)
    # A server that broke before its start has none.
    for server in getattr(api, "servers", []):
        server.close()
    api.should_exit = True
    for connection in list(api.server_state.connections):
        connection.shutdown()
    await mimic.drained(settings.drain_timeout)
    await asyncio.wait([api_task], timeout=STOP_GRACE_SECONDS)
    _drop_connections(api)
    await asyncio.wait([api_task], timeout=STOP_GRACE_SECONDS)
    mimic.telemetry.stopped(began, running)


def _drop_connections(server: Server) -> None:
    for connection in list(server.server_state.connections):
        transport = connection.transport
        if transport is not None:
            transport.abort() if server.should_exit else transport.close()


@contextlib.contextmanager
def _signals(mimic: Mimic) -> Iterator[None]:
    """The first SIGTERM or SIGINT begins the graceful stop, a second one ends the process at once."""
    first = 0.0

    def handle(number: int) -> None:
        nonlocal first
        now = time.monotonic()
        if not first:
            first = now
        elif now - first < SAME_SIGNAL_SECONDS:
            return
        if mimic.stopping.is_set():
            mimic.batch.flush()
            logger.warning("A second signal: ending at once")
            logging.shutdown()
            os._exit(128 + number)
        mimic.request_stop()

    handled = (signal.SIGTERM, signal.SIGINT)
    for number in handled:
        try:
            mimic.loop.add_signal_handler(number, handle, number)
        except (NotImplementedError, RuntimeError):
            # Windows, or a loop outside the main thread: the default handler, or whoever runs the loop, stops us.
            return (yield)
    yield
    for number in handled:
        mimic.loop.remove_signal_handler(number)


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
