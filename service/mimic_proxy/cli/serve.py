"""`mimic-proxy serve`: one Mimic with its log, its metrics and its admin port, from start to stop."""

import asyncio
import dataclasses
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TextIO

from mimic_proxy.app.listeners import Listeners, own_version
from mimic_proxy.app.mimic import Mimic
from mimic_proxy.app.reload import secret_problems
from mimic_proxy.app.running import CannotListen
from mimic_proxy.app.running import run as run_servers
from mimic_proxy.cli.check import resolved_urls
from mimic_proxy.cli.command import DOTENV, in_a_loop
from mimic_proxy.settings.fields import Settings, SettingsError, load, redacted
from mimic_proxy.settings.sources import config_file
from mimic_proxy.telemetry.history import History
from mimic_proxy.telemetry.logs import ExchangeLog, LineWriter, configure, written_to
from mimic_proxy.telemetry.port import Readings
from mimic_proxy.web.admin import AdminState, create_admin
from mimic_proxy.web.status import Watched, encoded

OnReady = Callable[[Mimic, str], None]
"""Told once Mimic accepts calls, with the address of its API."""

logger = logging.getLogger("mimic")


def run(environ: Mapping[str, str]) -> bool:
    """The command."""
    return serve(load(environ, DOTENV), lambda: load(environ, DOTENV), config_file(environ, DOTENV))


def serve(settings: Settings, reread: Callable[[], Settings] | None = None, config: Path | None = None) -> bool:
    """Serves until a signal or `quit`; True if it ended well. Raises CannotListen.

    reread: the settings as they stand now, where the file `config` may change.
    """
    return logged(settings, lambda output: serving(settings, output, reread=reread, config=config))


def logged(
    settings: Settings, work: Callable[[LineWriter], Coroutine[None, None, None]], sink: TextIO | None = None
) -> bool:
    """Runs `work` with the log set up before and written out after; False if it ended unexpectedly.

    sink: where the log goes, the standard error stream if it is None.
    """
    output = LineWriter(written_to(sys.stderr if sink is None else sink))
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
        output.drain()
    return True


async def serving(
    settings: Settings,
    output: LineWriter,
    on_ready: OnReady = lambda mimic, address: None,
    *,
    reread: Callable[[], Settings] | None = None,
    config: Path | None = None,
) -> None:
    """What `serve` does inside the event loop."""
    log = ExchangeLog(
        output,
        level=logging.getLevelNamesMapping()[settings.log_level],
        style=settings.log_format,
        clock=time.monotonic,
        wall=time.time,
        later=asyncio.get_running_loop().call_later,
    )

    def read() -> Readings:
        return dataclasses.replace(mimic.readings(), lines_lost=output.lost)

    listeners = Listeners(settings, log, read)
    try:
        mimic = Mimic(settings, listeners.telemetry, reread, config)
        output.settle = _in_this_thread(mimic.batch.flush)
        watched = watch(mimic, listeners.history)
        mimic.changed = lambda: listeners.follow(mimic.settings)
        status = functools.partial(encoded, watched)
        registry = listeners.metrics.registry
        state = AdminState(
            mimic.ready,
            mimic.request_stop,
            registry,
            status,
            config=lambda: redacted(mimic.settings),
            secrets=lambda: secret_problems(mimic.settings),
            refresh=mimic.tokens.refresh,
            settle=mimic.batch.flush,
        )
        admin = create_admin(state, settings)
        mimic.telemetry.instrument(admin)

        def ready(address: str) -> None:
            watched.api_port = int(address.rpartition(":")[2])
            on_ready(mimic, address)

        await run_servers(mimic, admin, own_version(), ready)
    finally:
        listeners.close()


def _in_this_thread(work: Callable[[], None]) -> Callable[[], None]:
    """`work`, for those who call it from the thread that calls this; others do nothing."""
    here = threading.get_ident()
    return lambda: work() if threading.get_ident() == here else None


def watch(mimic: Mimic, history: History) -> Watched:
    """What the status page looks at in this process."""
    return Watched(
        version=own_version(),
        started=time.time(),
        settings=lambda: mimic.settings,
        services=lambda: mimic.services,
        conditions=mimic.ready,
        token=mimic.token_state,
        history=history,
        api_port=mimic.settings.port,
        clock=time.monotonic,
        wall=time.time,
    )
