"""`mimic-proxy serve`: one Mimic with its log, its metrics and its admin port, from start to stop."""

import asyncio
import dataclasses
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from mimic_proxy.app import Mimic, outbound_url, run
from mimic_proxy.check import resolved_urls
from mimic_proxy.listen import CannotListen
from mimic_proxy.settings import Settings, SettingsError
from mimic_proxy.telemetry.logs import ExchangeLog, LineWriter, configure
from mimic_proxy.telemetry.metrics import Build, Metrics
from mimic_proxy.telemetry.models import ModelLabels
from mimic_proxy.telemetry.observation import ExchangeObservation, RefreshObservation
from mimic_proxy.telemetry.port import Telemetry
from mimic_proxy.telemetry.propagation import Propagation
from mimic_proxy.telemetry.readings import Readings
from mimic_proxy.telemetry.tracing.create import create_tracing, propagation
from mimic_proxy.telemetry.tracing.exchange import Naming
from mimic_proxy.telemetry.tracing.tracer import Tracing
from mimic_proxy.web.admin import AdminState, create_admin

OnReady = Callable[[Mimic, str], None]
"""Told once Mimic accepts calls, with the address of its API."""
Result = TypeVar("Result")

logger = logging.getLogger("mimic")


def serve(settings: Settings) -> bool:
    """Serves until a signal or `quit`; True if it ended well. Raises CannotListen."""
    return logged(settings, lambda output: serving(settings, output))


def logged(settings: Settings, work: Callable[[LineWriter], Coroutine[None, None, None]]) -> bool:
    """Runs `work` with the log set up before and written out after; False if it ended unexpectedly."""
    output = LineWriter(sys.stderr.buffer)
    configure(output, level=settings.log_level, style=settings.log_format)
    for warning in settings.warnings:
        logger.warning(warning)
    for name, url in resolved_urls(settings).items():
        logger.info("%s: %s", name, url)
    try:
        in_a_loop(work(output))
    except (CannotListen, SettingsError):
        raise
    except Exception:
        logger.exception("Mimic ends: this should not have happened")
        return False
    finally:
        output.flush()
    return True


async def serving(settings: Settings, output: LineWriter, on_ready: OnReady = lambda mimic, address: None) -> None:
    """What `serve` does inside the event loop."""
    loop = asyncio.get_running_loop()
    log = ExchangeLog(
        output,
        level=logging.getLevelNamesMapping()[settings.log_level],
        style=settings.log_format,
        wall=time.time,
        later=loop.call_later,
    )

    def read() -> Readings:
        return mimic.readings()

    models = ModelLabels(settings.models)
    metrics = Metrics(
        build=Build(own_version(), os.environ.get("MIMIC_REVISION", ""), platform.python_version()),
        read=read,
        models=models,
        wall=time.time,
    )

    def observe(seen: ExchangeObservation) -> None:
        metrics.exchange(seen)
        log.write(seen)

    telemetry = Telemetry(
        exchange=observe,
        refresh=metrics.refresh,
        gaps=metrics.gaps,
        breaker_changed=metrics.breaker_changed,
        reloaded=metrics.reloaded,
        lag=metrics.lag,
        propagation=propagation(os.environ),
    )
    tracing = _tracing(settings, models, telemetry.propagation)
    try:
        mimic = Mimic(settings, telemetry if tracing is None else _traced(telemetry, tracing))
        admin = create_admin(AdminState(mimic.ready, mimic.request_stop, metrics.registry, mimic.batch.flush), settings)
        mimic.telemetry.instrument(admin)
        await run(mimic, admin, own_version(), lambda address: on_ready(mimic, address))
    finally:
        if tracing is not None:
            tracing.shutdown()


def _tracing(settings: Settings, models: ModelLabels, passing: Propagation) -> Tracing | None:
    return create_tracing(
        os.environ,
        version=own_version(),
        chat_url=settings.chat_api_url,
        embeddings_url=settings.embedding_api_url,
        token_url=settings.token_url,
        naming=Naming(
            model_label=models.label,
            genai=settings.mimic_genai_spans,
            dialect=settings.dialect,
            every_try=settings.log_level == "DEBUG",
            scheme="http" if settings.tls_cert is None else "https",
        ),
        propagation=passing,
        proxy_for=lambda base: outbound_url(settings, base),
    )


def _traced(telemetry: Telemetry, tracing: Tracing) -> Telemetry:
    """The same listeners, and the traces behind them: what counts comes first, it also learns the names of models."""

    def exchange(seen: ExchangeObservation) -> None:
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


def in_a_loop(work: Coroutine[None, None, Result]) -> Result:
    """Runs a coroutine to its end, on uvloop where it exists."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        from uvloop import new_event_loop as factory
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def own_version() -> str:
    """The version of the distribution; told apart from one that was never installed."""
    try:
        return version("mimic")
    except PackageNotFoundError:
        return "0+unknown"
