"""Who hears what a running proxy tells of itself: metrics, history, log lines, and traces where they are wanted.

What counts comes first: it learns the names of models, which the names of spans are bounded by.
"""

import dataclasses
import logging
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from mimic_proxy.app.parts import outbound_url
from mimic_proxy.http.target import parse_base
from mimic_proxy.settings.fields import Settings
from mimic_proxy.telemetry.genai_counts import Address, GenAICounts
from mimic_proxy.telemetry.history import History
from mimic_proxy.telemetry.logs import ExchangeLog
from mimic_proxy.telemetry.metrics import Build, Metrics
from mimic_proxy.telemetry.models import ModelLabels
from mimic_proxy.telemetry.observation import Operation, RefreshObservation
from mimic_proxy.telemetry.port import Readings, Telemetry
from mimic_proxy.telemetry.record import Record
from mimic_proxy.telemetry.tracing.spans import Naming
from mimic_proxy.telemetry.tracing.tracer import Tracing, create_tracing, places_of, propagation


def own_version() -> str:
    """The version of the distribution; told apart from one that was never installed."""
    try:
        return version("mimic")
    except PackageNotFoundError:
        return "0+unknown"


def own_build() -> Build:
    """What runs here; MIMIC_REVISION is set by whoever builds an image."""
    return Build(own_version(), os.environ.get("MIMIC_REVISION", ""), platform.python_version())


class Listeners:
    """All of one process. `telemetry` is what the proxy tells them through."""

    def __init__(self, settings: Settings, log: ExchangeLog, read: Callable[[], Readings]) -> None:
        """read: what the gauges show, whenever somebody scrapes."""
        models = ModelLabels(settings.models)
        genai = None
        self._servers = _servers(settings)
        if settings.mimic_genai_metrics:
            genai = GenAICounts(models, ModelLabels(), self._servers, settings.mimic_genai_provider)
        build = own_build()
        passing = propagation(os.environ)
        self.log = log
        self.log.hosts = _hosts(settings)
        self.history = History()
        self.metrics = Metrics(build=build, read=read, models=models, wall=time.time, genai=genai)
        self.tracing = create_tracing(
            os.environ,
            version=build.version,
            chat_url=settings.chat_api_url,
            embeddings_url=settings.embedding_api_url,
            token_url=settings.token_url,
            naming=Naming(
                model_label=models.label,
                genai=settings.mimic_genai_spans,
                provider=settings.mimic_genai_provider,
                dialect=settings.dialect,
                every_try=settings.log_level == "DEBUG",
                scheme="http" if settings.tls_cert is None else "https",
            ),
            propagation=passing,
            proxy_for=lambda base: outbound_url(settings, base),
        )
        untraced = Telemetry(
            exchange=self._exchange,
            refresh=self._refresh,
            gaps=self.metrics.gaps,
            breaker_changed=self.metrics.breaker_changed,
            reloaded=self.metrics.reloaded,
            lag=self.metrics.lag,
            propagation=passing,
        )
        self.telemetry = untraced if self.tracing is None else _traced(untraced, self.tracing)

    def _exchange(self, seen: Record) -> None:
        self.metrics.exchange(seen)
        self.history.exchange(seen)
        self.log.write(seen)

    def _refresh(self, seen: RefreshObservation) -> None:
        self.metrics.refresh(seen)
        self.history.refresh(seen)

    def follow(self, settings: Settings) -> None:
        """Other settings hold from now on."""
        level = logging.getLevelNamesMapping()[settings.log_level]
        logging.getLogger().setLevel(level)
        self.log.level = level
        self.log.hosts = _hosts(settings)
        self._servers.update(_servers(settings))
        if self.tracing is not None:
            self.tracing.places = places_of(settings.chat_api_url, settings.embedding_api_url, settings.token_url)

    def close(self) -> None:
        """Sends what is left of the traces, within their deadline."""
        if self.tracing is not None:
            self.tracing.shutdown()


def _traced(telemetry: Telemetry, tracing: Tracing) -> Telemetry:
    """The same listeners, and the traces behind them."""

    def exchange(seen: Record) -> None:
        telemetry.exchange(seen)
        tracing.exchange(seen)

    def refresh(seen: RefreshObservation) -> None:
        telemetry.refresh(seen)
        tracing.refresh(seen)

    def reloaded(succeeded: bool) -> None:
        telemetry.reloaded(succeeded)
        result = "success" if succeeded else "failure"
        failed = None if succeeded else result
        tracing.root("config reload", time.monotonic(), attributes={"mimic.reload.result": result}, failed=failed)

    def stopped(began: float, running: int) -> None:
        telemetry.stopped(began, running)
        tracing.root("drain", began, attributes={"mimic.drain.exchanges": running})

    return dataclasses.replace(
        telemetry,
        exchange=exchange,
        refresh=refresh,
        reloaded=reloaded,
        stopped=stopped,
        begin_trace=tracing.begin,
        begin_refresh=tracing.begin_refresh,
        spans=tracing.counts,
        instrument=tracing.instrument,
        web_spans=tracing.web_spans(),
    )


def _servers(settings: Settings) -> dict[Operation, Address]:
    return {"chat": _address(settings.chat_api_url), "embeddings": _address(settings.embedding_api_url)}


def _hosts(settings: Settings) -> dict[Operation, str]:
    chat, models = settings.chat_api_url, settings.models_url
    places: dict[Operation, str] = {"chat": chat, "embeddings": settings.embedding_api_url, "passthrough": chat}
    if models is not None:
        places["models"] = models
    return {operation: ":".join(_address(url)) for operation, url in places.items()}


def _address(url: str) -> Address:
    base = parse_base(url)
    return base.host, str(base.port)
