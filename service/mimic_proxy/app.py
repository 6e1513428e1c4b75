"""Composition root: builds everything from the settings, runs both ports, stops gracefully.

The stop: readiness goes at once, `DRAIN_DELAY` passes while all is still served, then no connection is accepted and
exchanges finish; at `DRAIN_TIMEOUT` those that are left get their drain event. The admin port ends last. A second
signal ends the process at once.
"""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from uvicorn import Config, Server

from mimic_proxy.configuration.sources import Problem
from mimic_proxy.dialects.openai import OpenAI
from mimic_proxy.listen import BACKLOG, bind
from mimic_proxy.relay.batch import Batch
from mimic_proxy.relay.breaker import Breaker
from mimic_proxy.relay.dial import Dialler, OutboundProxy
from mimic_proxy.relay.exchange import Exchange
from mimic_proxy.relay.headers import request_names, response_names
from mimic_proxy.relay.heads import Heads
from mimic_proxy.relay.origins import OriginPolicy
from mimic_proxy.relay.outbound import outbound_proxy
from mimic_proxy.relay.outbox import Outbox
from mimic_proxy.relay.pool import SWEEP_SECONDS, Pool
from mimic_proxy.relay.ports import Backend, Limits, Services
from mimic_proxy.relay.protocol import RelayProtocol
from mimic_proxy.relay.pulse import Pulse
from mimic_proxy.relay.slots import Budget, Slots
from mimic_proxy.relay.target import Base, parse_base
from mimic_proxy.reload import Watch, Watcher, secret_files
from mimic_proxy.settings import Settings, SettingsError, config_hash
from mimic_proxy.telemetry.exchange_observation import ExchangeObservation
from mimic_proxy.telemetry.lag import LagMeter
from mimic_proxy.telemetry.port import Telemetry
from mimic_proxy.telemetry.readings import Readings
from mimic_proxy.tls import ClientTLS, client_context, server_context
from mimic_proxy.tokens.grants import choose
from mimic_proxy.tokens.refresh import TokenPolicy
from mimic_proxy.tokens.service import TokenService
from mimic_proxy.tokens.source import TokenSource
from mimic_proxy.web.api import create_api
from mimic_proxy.web.models import Models

STOP_GRACE_SECONDS = 1.0
GC_THRESHOLD = 20_000
SAME_SIGNAL_SECONDS = 0.0001
"""`timeout` and some supervisors signal a process and its group: that is one wish, told twice."""

logger = logging.getLogger("mimic")
relay_logger = logging.getLogger("mimic.relay")


class _Server(Server):
    """uvicorn's server without its signal handlers: two servers would replace each other's and raise them again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Mimic:
    """One running proxy. Made inside the event loop that serves it."""

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.loop = loop
        self.tls = ClientTLS(functools.partial(client_context, settings))
        self._check_certificates()
        self.draining = False
        self.stopping = asyncio.Event()
        self.emptied = asyncio.Event()
        self.telemetry = telemetry
        self.reloaded_at, self.reload_succeeded = time.time(), True
        self.config_hash = config_hash(settings)
        self.tokens = self._token_source()
        self.outbox = Outbox(loop.call_soon)
        self.batch = Batch(loop.call_later)
        self.pools: dict[tuple[str, str, int], Pool] = {}
        chat = parse_base(settings.chat_api_url)
        embeddings = parse_base(settings.embedding_api_url)
        self.services = Services(
            backends={"chat": self._backend(chat), "embeddings": self._backend(embeddings)},
            tokens=self.tokens,
            dialect=OpenAI(),
            limits=_limits(settings),
            slots=Slots(settings.max_concurrency, settings.max_queue),
            budget=Budget(settings.max_buffered_bytes),
            breaker=Breaker(settings.breaker_failures, settings.breaker_cooldown, telemetry.breaker_changed),
            clock=time.monotonic,
            pulse=Pulse(loop.call_later),
            outbox=self.outbox,
            offload=self._offload,
            new_trace=_new_trace,
            observe=self._observed,
            heads=Heads(),
            defer=self.batch.add,
            request_names=request_names(
                settings.token_header.lower().encode("ascii"), baggage=telemetry.propagation.baggage
            ),
            begin_trace=telemetry.begin_trace,
            trace_upstream=settings.mimic_trace_upstream and telemetry.propagation.trace_context,
            gaps=telemetry.gaps,
            debug=relay_logger.debug if relay_logger.isEnabledFor(logging.DEBUG) else None,
            include_usage=settings.include_usage,
            retry_dead_connection=settings.retry_dead_connection,
        )
        self.models = Models(
            self.services,
            self.pools[chat.origin],
            fixed=settings.models,
            cache_seconds=settings.models_cache_seconds,
            timeout=settings.total_timeout,
        )
        self.models.settle = self.batch.flush
        self.origins = OriginPolicy(settings.allowed_hosts, settings.allowed_origins)

    def _check_certificates(self) -> None:
        """Files that hold no certificate stop the start. Raises SettingsError."""
        settings = self.settings
        if settings.ca_bundle is None and settings.client_cert is None:
            return
        try:
            self.tls()
        except OSError as error:
            name = "CA_BUNDLE" if settings.client_cert is None else "CA_BUNDLE, CLIENT_CERT, CLIENT_KEY"
            wrong = "cannot be used as PEM certificates and key"
            raise SettingsError([Problem(name, f"{wrong} ({error.strerror or type(error).__name__})")]) from None

    def _token_source(self) -> TokenSource:
        settings = self.settings
        proxy = None
        if settings.token_url is not None:
            proxy = outbound_url(settings, parse_base(settings.token_url))
        service = TokenService(timeout=settings.token_timeout, verify=self.tls, proxy=proxy)
        return TokenSource(
            choose(settings),
            TokenPolicy.of(settings),
            post=service,
            clock=time.monotonic,
            wall=time.time,
            chance=random.random,
            observe=self.telemetry.refresh,
            begin_span=self.telemetry.begin_refresh,
        )

    def _backend(self, base: Base) -> Backend:
        settings = self.settings
        if base.origin not in self.pools:
            dialler = Dialler(context=self.tls, proxy_for=self._proxy_for, timeout=settings.connect_timeout)
            names = response_names(own_cors=bool(settings.allowed_origins))
            self.pools[base.origin] = Pool(base, dialler, time.monotonic, names, self.outbox)
        return Backend(base, self.pools[base.origin])

    def _proxy_for(self, base: Base) -> OutboundProxy | None:
        settings = self.settings
        return outbound_proxy(
            base, http_proxy=settings.http_proxy, https_proxy=settings.https_proxy, no_proxy=settings.no_proxy
        )

    def _offload(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        def finish(future: "asyncio.Future[Any]") -> None:
            done(future.exception() or future.result())

        self.loop.run_in_executor(None, work).add_done_callback(finish)

    def _observed(self, seen: ExchangeObservation) -> None:
        if seen.model is not None and seen.outcome == "completed":
            self.models.note(seen.model)
        self.telemetry.exchange(seen)

    def ready(self) -> list[tuple[str, bool, str]]:
        """The conditions of readiness: name, whether it holds, why not."""
        state = self.tokens.state()
        trouble = "" if state.held else state.trouble or "the first token is being fetched"
        return [
            ("config", True, ""),
            ("token", state.held, trouble),
            ("serving", not self.draining, "Mimic is stopping" if self.draining else ""),
        ]

    def readings(self) -> Readings:
        """What the gauges show now."""
        services = self.services
        running = [exchange for exchange in services.pulse.running() if isinstance(exchange, Exchange)]
        return Readings(
            token=self.tokens.state(),
            requests_in_flight=services.in_web + Counter(exchange.operation for exchange in running),
            streams_in_flight=Counter(exchange.operation for exchange in running if exchange.answer.stream),
            breaker=services.breaker.state,
            slots_in_use=services.slots.in_use,
            slots_limit=self.settings.max_concurrency,
            conditions=[
                *((name, holds) for name, holds, _ in self.ready()),
                ("backend", services.breaker.state != "open"),
            ],
            draining=self.draining,
            config_hash=self.config_hash,
            reloaded_at=self.reloaded_at,
            reload_succeeded=self.reload_succeeded,
            spans=self.telemetry.spans(),
        )

    def watcher(self) -> Watcher:
        """Tells tokens and TLS when their files change."""
        settings = self.settings
        certificates = (settings.ca_bundle, settings.client_cert, settings.client_key)
        return Watcher(
            [
                Watch(secret_files(settings), self.secrets_changed),
                Watch(tuple(file for file in certificates if file is not None), self.certificates_changed),
            ]
        )

    def secrets_changed(self) -> None:
        """Files of secrets have changed: a new secret is used at once."""
        self._reloaded(self.tokens.secrets_changed())

    def _reloaded(self, succeeded: bool) -> None:
        self.reload_succeeded = succeeded
        if succeeded:
            self.reloaded_at = time.time()
        self.telemetry.reloaded(succeeded)

    def certificates_changed(self) -> None:
        """Certificate files have changed: new connections use them, present ones retire."""
        try:
            self.tls.reload()
        except OSError as error:
            logger.warning("The changed certificates cannot be used, the old ones stay: %s", error)
            self._reloaded(False)
            return
        for pool in self.pools.values():
            pool.retire()
        self._reloaded(True)

    def request_stop(self) -> None:
        """Begin the graceful stop; harmless when it has begun."""
        # At once and not when the stop gets its turn: heads that are sent from now on say that the connection closes.
        self.draining = self.services.draining = True
        self.stopping.set()

    def protocol_factory(self) -> Callable[..., RelayProtocol]:
        """What uvicorn calls for each connection of the API port."""
        timeouts = self.settings.head_timeout, self.settings.keep_alive_timeout
        return functools.partial(RelayProtocol, self.services, self.origins, *timeouts)

    async def sweep(self) -> None:
        """Close expired connections for as long as the process runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for pool in self.pools.values():
                pool.sweep()

    async def drained(self, timeout: float) -> None:
        """Until no exchange is left, at most `timeout` seconds; those that are left get their drain event."""
        if self.services.pulse:
            self.services.pulse.when_empty = self.emptied.set
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.emptied.wait(), timeout or None)
        for exchange in self.services.pulse.running():
            exchange.drain()

    async def close(self) -> None:
        """Give everything back."""
        self.batch.flush()
        await self.tokens.close()
        for pool in self.pools.values():
            pool.close()


def outbound_url(settings: Settings, base: Base) -> str | None:
    """URL of the proxy on the way to `base`, credentials included; None where there is none on it."""
    through = outbound_proxy(
        base, http_proxy=settings.http_proxy, https_proxy=settings.https_proxy, no_proxy=settings.no_proxy
    )
    if through is None:
        return None
    return settings.https_proxy if base.scheme == "https" else settings.http_proxy


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


def admin_server(app: FastAPI) -> Server:
    """The server of the admin port."""
    return _Server(Config(app, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False))


async def run(mimic: Mimic, admin_app: FastAPI, version: str, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until the stop, then stop gracefully. `on_ready` gets the API's address once it accepts.

    Raises CannotListen.
    """
    settings = mimic.settings
    api, admin = api_server(mimic, version), admin_server(admin_app)
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
    mimic.tokens.start()
    watcher = mimic.watcher()
    watcher.start()
    sweeper = mimic.loop.create_task(mimic.sweep())
    lag = LagMeter(mimic.loop.call_later, time.monotonic, mimic.telemetry.lag)
    lag.start()
    try:
        yield
    finally:
        lag.stop()
        sweeper.cancel()
        watcher.close()
        await mimic.close()


async def _until_stop(mimic: Mimic, *servers: "asyncio.Task[None]") -> None:
    stopped = mimic.loop.create_task(mimic.stopping.wait())
    await asyncio.wait([stopped, *servers], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


def _settle_memory() -> None:
    """What is there at the start stays. Exchanges hold no cycles, so the collector need not look every 700 objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)


async def _stop(mimic: Mimic, api: Server, api_task: "asyncio.Task[None]") -> None:
    settings = mimic.settings
    mimic.request_stop()
    began, running = time.monotonic(), len(mimic.services.pulse)
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


def _limits(settings: Settings) -> Limits:
    return Limits(
        first_byte=settings.first_byte_timeout,
        idle=settings.idle_timeout,
        send=settings.send_timeout,
        total=settings.total_timeout,
        queue=settings.queue_timeout,
        heartbeat_after=settings.heartbeat_after,
        max_body_bytes=settings.max_body_bytes,
    )


def _new_trace() -> str:
    return random.getrandbits(256).to_bytes(32, "big").hex()
