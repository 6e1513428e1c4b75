"""Composition root: builds a proxy from its settings. `running` serves and stops it."""

import asyncio
import contextlib
import dataclasses
import functools
import logging
import math
import time
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimic_proxy.app.client_keys import ClientKeys
from mimic_proxy.app.parts import Pools, Shared, client_tls, models_backend, services_of, token_service, token_source
from mimic_proxy.app.reload import Watch, Watcher, secret_files
from mimic_proxy.app.tls import ClientTLS
from mimic_proxy.errors import MimicError
from mimic_proxy.relay.access import OriginPolicy
from mimic_proxy.relay.admission import Breaker, Budget, Slots
from mimic_proxy.relay.client import Client
from mimic_proxy.relay.exchange import Exchange
from mimic_proxy.relay.heads import Heads
from mimic_proxy.relay.loop import CoalescedWrites, DeferredWork, Ticker
from mimic_proxy.relay.pool import SWEEP_SECONDS
from mimic_proxy.relay.ports import Services
from mimic_proxy.relay.protocol import RelayProtocol
from mimic_proxy.settings.changes import Change, compare
from mimic_proxy.settings.fields import Settings, SettingsError, by_name, config_hash
from mimic_proxy.settings.sources import Problem
from mimic_proxy.telemetry.port import Readings, Telemetry, TokenState
from mimic_proxy.tokens.grants import choose
from mimic_proxy.tokens.refresh import TokenPolicy
from mimic_proxy.web.models import Models

SETTLE_SECONDS = 0.2
"""A configuration that is written in place is whole by then."""
SECRETS_SETTLE_SECONDS = 0.5
"""A secret that is written in place is whole by then."""

logger = logging.getLogger("mimic")


class Mimic:
    """One running proxy. Made inside the event loop that serves it."""

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry,
        reread: Callable[[], Settings] | None = None,
        config: Path | None = None,
    ) -> None:
        """reread: the settings as they stand now, where `config`, the YAML file, may change while this runs."""
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.telemetry = telemetry
        self.reread = reread
        self.config = config
        # Before any file is read: what changes from now on counts at the first look.
        self.watching = self.watcher()
        self.tls = client_tls(settings)
        self.draining = False
        self.stopping = asyncio.Event()
        self.emptied = asyncio.Event()
        self.reloaded_at, self.reload_succeeded = time.time(), True
        self.config_hash = config_hash(settings)
        self.client_keys = None if settings.client_keys is None else ClientKeys(settings.client_keys)
        self.tokens = token_source(settings, self.tls, telemetry)
        self.stop_by = math.inf
        """When the graceful stop has to end, on the event loop's clock."""
        self.batch = DeferredWork(self.loop.call_later)
        writes = CoalescedWrites(self.loop.call_soon)
        self.pools = Pools(settings, self.tls, writes)
        self.shared = Shared(
            slots=Slots(settings.max_concurrency, settings.max_queue),
            budget=Budget(settings.max_buffered_bytes),
            breaker=Breaker(settings.breaker_failures, settings.breaker_cooldown, telemetry.breaker_changed),
            ticker=Ticker(self.loop.call_later),
            heads=Heads(),
            writes=writes,
            in_web=Counter(),
            offload=self._offload,
            observe=telemetry.exchange,
            worked={},
            defer=self.batch.add,
            admit=self._admit,
        )
        self.services = services_of(settings, telemetry, self.shared, self.pools, self.tokens)
        self.before: list[weakref.ref[Services]] = []
        """What older connections may still use."""
        self.models = Models(
            self.services,
            self.models_backend(settings.total_timeout),
            fixed=settings.models,
            cache_seconds=settings.models_cache_seconds,
        )
        self.models.settle = self.batch.flush
        self.origins = OriginPolicy(settings.allowed_hosts, settings.allowed_origins)
        self.changed: Callable[[], None] = lambda: None
        """Called when other settings hold."""

    # ---- changes while it runs

    def configuration_changed(self) -> None:
        """The YAML file is another: what it says holds for requests that begin from now on."""
        assert self.reread is not None
        try:
            _not_emptied(self.config)
            settings = self.reread()
            change = compare(by_name(self.settings), by_name(settings))
            late = {name.lower(): getattr(self.settings, name.lower()) for name in change.late}
            settings = dataclasses.replace(settings, **late)
            tls = client_tls(settings) if change.connections else self.tls
        except SettingsError as error:
            logger.warning("The changed configuration cannot be used, the old one stays. %s", error)
            self._reloaded(False)
            return
        for warning in settings.warnings:
            logger.warning(warning)
        if change.late:
            logger.warning("These settings have changed and hold after a restart: %s", ", ".join(sorted(change.late)))
        if change.now:
            self._apply(settings, change, tls)
            logger.info("These settings have changed and hold from now on: %s", ", ".join(sorted(change.now)))
        self._reloaded(True)

    def _apply(self, settings: Settings, change: Change, tls: ClientTLS) -> None:
        self.settings, self.tls = settings, tls
        self._watch()
        self.config_hash = config_hash(settings)
        self.pools.follow(settings, tls, anew=change.connections)
        self.tokens.apply(choose(settings), TokenPolicy.of(settings), token_service(settings, tls))
        self.shared.slots.resize(settings.max_concurrency, settings.max_queue)
        self.shared.budget.resize(settings.max_buffered_bytes)
        self.shared.breaker.configure(settings.breaker_failures, settings.breaker_cooldown)
        if "CLIENT_KEYS" in change.now:
            self.client_keys = None if settings.client_keys is None else ClientKeys(settings.client_keys)
            if self.client_keys is None:
                logger.warning("CLIENT_KEYS is not set any more: callers are asked for no key")
        self.changed()
        before = self.services
        self.services = services_of(settings, self.telemetry, self.shared, self.pools, self.tokens)
        self.services.draining = self.draining
        self.before = [ref for ref in (*self.before, weakref.ref(before)) if ref() is not None]
        self.shared.heads.forget()
        for ref in self.before:
            # All point to the newest, since the first is held for the life of the process: those between are freed.
            if (known := ref()) is not None:
                known.successor = self.services
        self.models.follow(
            self.services,
            self.models_backend(settings.total_timeout),
            fixed=settings.models,
            cache_seconds=settings.models_cache_seconds,
        )

    def start(self) -> None:
        """Fetches the first token, and looks after files from then on."""
        self.tokens.start()
        self._watch()

    def _watch(self) -> None:
        before, self.watching = self.watching, self.watcher(self.watching)
        before.close()
        self.watching.start()

    def models_backend(self, timeout: float) -> Client | None:
        """Where the list of models is asked for, within so many seconds; None: no such place is known."""
        return models_backend(self.settings, self.services, self.pools, timeout)

    def _offload(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        def finish(future: "asyncio.Future[Any]") -> None:
            done(future.exception() or future.result())

        self.loop.run_in_executor(None, work).add_done_callback(finish)

    def _admit(self, credential: bytes | None) -> str | MimicError:
        assert self.client_keys is not None
        return self.client_keys.callers.name_of(credential)

    def ready(self) -> list[tuple[str, bool, str]]:
        """The conditions of readiness: name, whether it holds, why not."""
        state = self.tokens.state()
        trouble = "" if state.held else state.trouble or "the first token is being fetched"
        return [
            ("config", True, ""),
            ("token", state.held, trouble),
            ("serving", not self.draining, "Mimic is stopping" if self.draining else ""),
        ]

    def token_state(self) -> TokenState:
        """Of the source that serves new requests."""
        return self.tokens.state()

    def readings(self) -> Readings:
        """What the gauges show now."""
        services = self.services
        running = [exchange for exchange in services.ticker.running() if isinstance(exchange, Exchange)]
        return Readings(
            token=self.tokens.state(),
            requests_in_flight=services.in_web + Counter(exchange.record.operation for exchange in running),
            streams_in_flight=Counter(exchange.record.operation for exchange in running if exchange.response.stream),
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

    def watcher(self, before: Watcher | None = None) -> Watcher:
        """Tells tokens and TLS when their files change. before: who did so until now."""
        settings = self.settings
        certificates = (settings.ca_bundle, settings.client_cert, settings.client_key)
        config = (self.config,) if self.config is not None and self.reread is not None else ()
        return Watcher(
            [
                Watch(config, self.configuration_changed, settle=SETTLE_SECONDS),
                Watch(secret_files(settings), self.secrets_changed, settle=SECRETS_SETTLE_SECONDS),
                Watch(tuple(file for file in certificates if file is not None), self.certificates_changed),
            ],
            before=before,
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
        self.pools.retire()
        self._reloaded(True)

    def request_stop(self) -> None:
        """Begin the graceful stop; harmless when it has begun."""
        if not self.draining:
            limit = self.settings.drain_timeout or math.inf
            self.stop_by = self.loop.time() + self.settings.drain_delay + limit
        # At once and not when the stop gets its turn: heads that are sent from now on say that the connection closes.
        self.draining = True
        for services in (self.services, *(known for ref in self.before if (known := ref()) is not None)):
            services.draining = True
        self.stopping.set()

    def protocol_factory(self) -> Callable[..., RelayProtocol]:
        """What uvicorn calls for each connection of the API port."""
        timeouts = self.settings.head_timeout, self.settings.keep_alive_timeout
        return functools.partial(RelayProtocol, self.services, self.origins, *timeouts)

    async def sweep(self) -> None:
        """Close expired connections for as long as the process runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.pools.sweep()

    async def drained(self, timeout: float) -> None:
        """Until no exchange is left, at most `timeout` seconds; those that are left get their drain event."""
        if self.services.ticker:
            self.services.ticker.when_empty = self.emptied.set
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.emptied.wait(), timeout or None)
        for exchange in self.services.ticker.running():
            exchange.drain()

    async def close(self) -> None:
        """Give everything back."""
        self.watching.close()
        self.batch.flush()
        await self.tokens.close(self.stop_by - self.loop.time())
        self.pools.close()


def _not_emptied(config: Path | None) -> None:
    """An empty file is one whose writing failed: what protects Mimic must not go with it. Raises SettingsError."""
    if config is not None and config.is_file() and config.stat().st_size == 0:
        raise SettingsError([Problem("MIMIC_CONFIG", f"{config} is empty; a comment in it says that this is meant")])
