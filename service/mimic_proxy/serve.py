"""`mimic-proxy serve`: one Mimic with its log, its metrics and its admin port, from start to stop."""

import asyncio
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from mimic_proxy.app import Mimic, run
from mimic_proxy.check import resolved_urls
from mimic_proxy.listen import CannotListen
from mimic_proxy.settings import Settings, SettingsError
from mimic_proxy.telemetry.logs import ExchangeLog, LineWriter, configure
from mimic_proxy.telemetry.metrics import Build, Metrics
from mimic_proxy.telemetry.models import ModelLabels
from mimic_proxy.telemetry.observation import ExchangeObservation
from mimic_proxy.telemetry.port import Telemetry
from mimic_proxy.telemetry.readings import Readings
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
    )
    mimic = Mimic(settings, telemetry)
    admin = create_admin(AdminState(mimic.ready, mimic.request_stop, metrics.registry, mimic.batch.flush), settings)
    await run(mimic, admin, own_version(), lambda address: on_ready(mimic, address))


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
