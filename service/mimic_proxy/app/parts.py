"""The parts of a proxy that its settings make, and make anew when they change."""

import functools
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mimic_proxy.app.tls import ClientTLS, client_context
from mimic_proxy.dialects.envelope.dialect import Envelope
from mimic_proxy.dialects.openai import OpenAI
from mimic_proxy.errors import MimicError
from mimic_proxy.http.headers import request_names, response_names
from mimic_proxy.http.target import Base, parse_base
from mimic_proxy.relay.admission import Breaker, Budget, Slots
from mimic_proxy.relay.client import Client, Composer
from mimic_proxy.relay.dial import Dialler, ForwardProxy, forward_proxy
from mimic_proxy.relay.heads import Heads
from mimic_proxy.relay.loop import CoalescedWrites, Ticker
from mimic_proxy.relay.pool import Pool
from mimic_proxy.relay.ports import Backend, Limits, Services
from mimic_proxy.relay.routes import Routes
from mimic_proxy.settings.fields import Settings, SettingsError
from mimic_proxy.settings.sources import Problem
from mimic_proxy.telemetry.observation import Operation
from mimic_proxy.telemetry.port import Telemetry
from mimic_proxy.telemetry.propagation import new_trace
from mimic_proxy.telemetry.record import Record
from mimic_proxy.tokens.grants import choose
from mimic_proxy.tokens.refresh import TokenPolicy
from mimic_proxy.tokens.service import TokenService
from mimic_proxy.tokens.source import TokenSource

logger = logging.getLogger("mimic.relay")


@dataclass(frozen=True, slots=True)
class Shared:
    """What outlives a change of the settings, see Services."""

    slots: Slots
    budget: Budget
    breaker: Breaker
    ticker: Ticker
    heads: Heads
    writes: CoalescedWrites
    in_web: Counter[Operation]
    worked: dict[str, None]
    offload: Callable[[Callable[[], Any], Callable[[Any], None]], None]
    observe: Callable[[Record], None]
    defer: Callable[[Callable[[], None], bool], None]
    admit: Callable[[bytes | None], str | MimicError]


class Pools:
    """The connections of all origins: those that are used, and those of before, whose exchanges finish."""

    def __init__(self, settings: Settings, tls: ClientTLS, writes: CoalescedWrites) -> None:
        self._settings = settings
        self._tls = tls
        self._outbox = writes
        self._pools: dict[tuple[str, str, int], Pool] = {}
        self._retired: list[Pool] = []

    def of(self, base: Base) -> Pool:
        """The pool of an origin."""
        if base.origin not in self._pools:
            settings = self._settings
            proxy = functools.partial(proxy_for, settings)
            dialler = Dialler(context=self._tls, proxy_for=proxy, timeout=settings.connect_timeout)
            names = response_names(own_cors=bool(settings.allowed_origins))
            self._pools[base.origin] = Pool(base, dialler, time.monotonic, names, self._outbox)
        return self._pools[base.origin]

    def follow(self, settings: Settings, tls: ClientTLS, *, anew: bool) -> None:
        """Other settings hold. anew: no present connection is used for another exchange."""
        self._settings, self._tls = settings, tls
        if anew:
            self.retire()
            self._retired += self._pools.values()
            self._pools = {}

    def retire(self) -> None:
        """Use none of the present connections again; running exchanges finish."""
        for pool in self._pools.values():
            pool.retire()

    def sweep(self) -> None:
        """Close what has expired."""
        self._retired = [pool for pool in self._retired if pool.connections or pool.dials]
        for pool in (*self._pools.values(), *self._retired):
            pool.sweep()

    def close(self) -> None:
        """Close all."""
        for pool in (*self._pools.values(), *self._retired):
            pool.close()


def services_of(
    settings: Settings, telemetry: Telemetry, shared: Shared, pools: Pools, tokens: TokenSource
) -> Services:
    """What requests find that begin while these settings hold."""
    translates = settings.translates
    chat = parse_base(settings.chat_api_url, exact=translates)
    embeddings = parse_base(settings.embedding_api_url, exact=translates)
    places = {"chat": chat, "embeddings": embeddings}
    services = Services(
        backends={name: Backend(base, pools.of(base)) for name, base in places.items()},
        tokens=tokens,
        dialect=Envelope(settings) if translates else OpenAI(),
        translates=translates,
        limits=_limits(settings),
        slots=shared.slots,
        budget=shared.budget,
        breaker=shared.breaker,
        clock=time.monotonic,
        wall=time.time,
        ticker=shared.ticker,
        writes=shared.writes,
        offload=shared.offload,
        new_trace=new_trace,
        observe=shared.observe,
        heads=shared.heads,
        defer=shared.defer,
        request_names=request_names(
            settings.token_header.lower().encode("ascii"),
            baggage=telemetry.propagation.baggage,
            client_keys=settings.client_keys is not None,
        ),
        routes=Routes(translated=translates, extra=settings.extra_routes),
        admit=None if settings.client_keys is None else shared.admit,
        begin_trace=telemetry.begin_trace,
        trace_upstream=settings.mimic_trace_upstream and telemetry.propagation.trace_context,
        gaps=telemetry.gaps,
        debug=logger.debug if logger.isEnabledFor(logging.DEBUG) else None,
        include_usage=settings.include_usage,
        retry_dead_connection=settings.retry_dead_connection,
        in_web=shared.in_web,
        worked=shared.worked,
    )
    if translates:
        timeout = settings.total_timeout
        backend = Client(services, pools.of(embeddings), embeddings, name="EMBEDDING_API_URL", timeout=timeout)
        services.composer = Composer(backend, concurrency=settings.envelope_embedding_concurrency)
    return services


def models_backend(settings: Settings, services: Services, pools: Pools, timeout: float) -> Client | None:
    """Where the list of models is asked for, within so many seconds; None: no such place is known."""
    url, exact = settings.models_url, settings.translates
    if url is None:
        return None
    base, name = parse_base(url, exact=exact), "ENVELOPE_MODELS_URL" if exact else "CHAT_API_URL"
    return Client(services, pools.of(base), base, name=name, timeout=timeout)


def client_tls(settings: Settings) -> ClientTLS:
    """TLS to backend and token service. Raises SettingsError for files that hold no certificate."""
    tls = ClientTLS(functools.partial(client_context, settings))
    if settings.ca_bundle is None and settings.client_cert is None:
        return tls
    try:
        tls()
    except OSError as error:
        name = "CA_BUNDLE" if settings.client_cert is None else "CA_BUNDLE, CLIENT_CERT, CLIENT_KEY"
        wrong = "cannot be used as PEM certificates and key"
        raise SettingsError([Problem(name, f"{wrong} ({error.strerror or type(error).__name__})")]) from None
    return tls


def token_source(settings: Settings, tls: ClientTLS, telemetry: Telemetry) -> TokenSource:
    """Makes the source of access tokens, not started yet."""
    return TokenSource(
        choose(settings),
        TokenPolicy.of(settings),
        post=token_service(settings, tls),
        clock=time.monotonic,
        wall=time.time,
        jitter=random.random,
        observe=telemetry.refresh,
        begin_span=telemetry.begin_refresh,
    )


def token_service(settings: Settings, tls: ClientTLS) -> TokenService:
    """Makes the client of the token service."""
    proxy = None
    if settings.token_url is not None:
        proxy = outbound_url(settings, parse_base(settings.token_url))
    return TokenService(timeout=settings.token_timeout, verify=tls, proxy=proxy)


def outbound_url(settings: Settings, base: Base) -> str | None:
    """URL of the proxy on the way to `base`, credentials included; None where there is none on it."""
    if proxy_for(settings, base) is None:
        return None
    return settings.https_proxy if base.scheme == "https" else settings.http_proxy


def proxy_for(settings: Settings, base: Base) -> ForwardProxy | None:
    """The outbound proxy on the way to `base`."""
    return forward_proxy(
        base, http_proxy=settings.http_proxy, https_proxy=settings.https_proxy, no_proxy=settings.no_proxy
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        first_byte=settings.first_byte_timeout,
        idle=settings.idle_timeout,
        send=settings.send_timeout,
        total=settings.total_timeout,
        queue=settings.queue_timeout,
        heartbeat_after=settings.heartbeat_after,
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
    )
