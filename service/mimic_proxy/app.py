"""Composition root: builds a proxy from its settings. `running` serves and stops it."""

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from mimic_proxy.client_keys import ClientKeys
from mimic_proxy.configuration.sources import Problem
from mimic_proxy.dialects.envelope.dialect import Envelope
from mimic_proxy.dialects.openai import OpenAI
from mimic_proxy.errors import MimicError
from mimic_proxy.relay.authorised import Authorised
from mimic_proxy.relay.batch import Batch
from mimic_proxy.relay.breaker import Breaker
from mimic_proxy.relay.compose import Composer
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
from mimic_proxy.telemetry.port import Telemetry
from mimic_proxy.telemetry.readings import Readings
from mimic_proxy.tls import ClientTLS, client_context
from mimic_proxy.tokens.grants import choose
from mimic_proxy.tokens.refresh import TokenPolicy
from mimic_proxy.tokens.service import TokenService
from mimic_proxy.tokens.source import TokenSource
from mimic_proxy.web.models import Models

logger = logging.getLogger("mimic")
relay_logger = logging.getLogger("mimic.relay")


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
        self.client_keys = None if settings.client_keys is None else ClientKeys(settings.client_keys)
        self.tokens = self._token_source()
        self.outbox = Outbox(loop.call_soon)
        self.batch = Batch(loop.call_later)
        self.pools: dict[tuple[str, str, int], Pool] = {}
        translates = settings.dialect != "openai"
        chat = parse_base(settings.chat_api_url, exact=translates)
        embeddings = parse_base(settings.embedding_api_url, exact=translates)
        traced = telemetry.begin_trace is not None
        self.services = Services(
            backends={
                "chat": Backend(chat, self._pool(chat)),
                "embeddings": Backend(embeddings, self._pool(embeddings)),
            },
            tokens=self.tokens,
            dialect=Envelope(settings) if translates else OpenAI(),
            translates=translates,
            limits=_limits(settings),
            slots=Slots(settings.max_concurrency, settings.max_queue),
            budget=Budget(settings.max_buffered_bytes),
            breaker=Breaker(settings.breaker_failures, settings.breaker_cooldown, telemetry.breaker_changed),
            clock=time.monotonic,
            wall=time.time,
            pulse=Pulse(loop.call_later),
            outbox=self.outbox,
            offload=self._offload,
            new_trace=_new_trace,
            observe=self._observed,
            heads=Heads(),
            defer=self.batch.add,
            request_names=request_names(
                settings.token_header.lower().encode("ascii"),
                baggage=telemetry.propagation.baggage,
                client_keys=settings.client_keys is not None,
            ),
            admit=None if settings.client_keys is None else self._admit,
            begin_trace=telemetry.begin_trace,
            trace_upstream=settings.mimic_trace_upstream and telemetry.propagation.trace_context,
            gaps=telemetry.gaps,
            debug=relay_logger.debug if relay_logger.isEnabledFor(logging.DEBUG) else None,
            include_usage=settings.include_usage,
            retry_dead_connection=settings.retry_dead_connection,
        )
        timeout = settings.total_timeout
        if translates:
            pool = self._pool(embeddings)
            backend = Authorised(self.services, pool, embeddings, name="EMBEDDING_API_URL", timeout=timeout)
            concurrency = settings.envelope_embedding_concurrency
            self.services.composer = Composer(backend, concurrency=concurrency, traced=traced)
        self.models = Models(
            self.services,
            self.models_backend(settings.total_timeout),
            fixed=settings.models,
            cache_seconds=settings.models_cache_seconds,
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

    def _pool(self, base: Base) -> Pool:
        settings = self.settings
        if base.origin not in self.pools:
            dialler = Dialler(context=self.tls, proxy_for=self._proxy_for, timeout=settings.connect_timeout)
            names = response_names(own_cors=bool(settings.allowed_origins))
            self.pools[base.origin] = Pool(base, dialler, time.monotonic, names, self.outbox)
        return self.pools[base.origin]

    def models_backend(self, timeout: float) -> Authorised | None:
        """Where the list of models is asked for, within so many seconds; None: no such place is known."""
        settings, name = self.settings, "CHAT_API_URL"
        base = self.services.backends["chat"].base
        if self.services.translates:
            if settings.envelope_models_url is None:
                return None
            base, name = parse_base(settings.envelope_models_url, exact=True), "ENVELOPE_MODELS_URL"
        return Authorised(self.services, self._pool(base), base, name=name, timeout=timeout)

    def _proxy_for(self, base: Base) -> OutboundProxy | None:
        settings = self.settings
        return outbound_proxy(
            base, http_proxy=settings.http_proxy, https_proxy=settings.https_proxy, no_proxy=settings.no_proxy
        )

    def _admit(self, credential: bytes | None) -> str | MimicError:
        assert self.client_keys is not None
        return self.client_keys.callers.name_of(credential)

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
        keys = self.client_keys is None or self.client_keys.reload()
        # Heads that are recognised were admitted by the keys of before.
        self.services.heads.forget()
        self._reloaded(self.tokens.secrets_changed() and keys)

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
