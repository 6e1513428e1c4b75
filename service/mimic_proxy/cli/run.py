"""`mimic-proxy run -- COMMAND`: starts a command with a Mimic beside it, which ends when the command ends.

Both run as long as this process: it serves on free ports of the loopback interface, gives the command the variables by
which SDKs and tools find it, and exits with the command's status. The Mimic's log goes to a file, since the terminal is
the command's.
"""

import asyncio
import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mimic_proxy.app.mimic import Mimic
from mimic_proxy.cli.command import DOTENV
from mimic_proxy.cli.serve import logged, serving
from mimic_proxy.cli.tools import arguments, environment
from mimic_proxy.settings.fields import Settings, SettingsError, load
from mimic_proxy.settings.sources import Problem
from mimic_proxy.telemetry.logs import LineWriter

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""What shells exit with where a command cannot be started."""
FORWARDED = ("SIGTERM", "SIGHUP")


def run(environ: Mapping[str, str]) -> bool:
    """The command. RUN_COMMAND: its words as for a shell. RUN_LOG: a file for the log.

    Raises SystemExit with the status of the command, SettingsError.
    """
    words = shlex.split(environ.get("RUN_COMMAND", ""))
    if not words:
        raise SettingsError([Problem("run", "names no command: mimic-proxy run -- COMMAND [ARGUMENT ...]")])
    settings = load({"LOG_FORMAT": "console", **environ}, DOTENV)
    key = environ.get("OPENAI_API_KEY", "")
    if settings.client_keys is None:
        key = "any"
    elif not key:
        raise SettingsError([Problem("OPENAI_API_KEY", "is needed as one of the CLIENT_KEYS that are set")])
    settings = replace(settings, host=("127.0.0.1",), port=0, admin_host=("127.0.0.1",), admin_port=0)
    beside = Beside(words, environ, key)
    with _log_file(environ) as path, path.open("a", encoding="utf-8") as log:
        if not logged(settings, lambda output: beside.serve(settings, output), log):
            sys.stderr.write(f"mimic-proxy: Mimic ended unexpectedly. Its log:\n{path.read_text('utf-8', 'replace')}")
            return False
    raise SystemExit(beside.status)


@contextlib.contextmanager
def _log_file(environ: Mapping[str, str]) -> Iterator[Path]:
    if environ.get("RUN_LOG"):
        yield Path(environ["RUN_LOG"])
        return
    with tempfile.TemporaryDirectory(prefix="mimic-run-") as folder:
        yield Path(folder) / "log"


class Beside:
    """The command beside a Mimic. status: what to exit with, once `serve` has ended."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str], key: str) -> None:
        self._words, self._environ, self._key = words, environ, key
        self._process: asyncio.subprocess.Process | None = None
        self.status = 1

    async def serve(self, settings: Settings, output: LineWriter) -> None:
        """Serves until the command has ended."""
        running: list[asyncio.Task[None]] = []

        def started(mimic: Mimic, address: str) -> None:
            running.append(asyncio.create_task(self._run(mimic, f"http://{address}")))

        try:
            await serving(settings, output, started)
        finally:
            for task in running:
                await task

    async def _run(self, mimic: Mimic, base: str) -> None:
        try:
            environ = {name: value for name, value in self._environ.items() if not name.startswith("RUN_")}
            words = arguments(self._words, base)
            self._process = await asyncio.create_subprocess_exec(*words, env=environ | environment(base, self._key))
            self._take_signals(mimic.loop)
            status = await self._process.wait()
            self.status = status if status >= 0 else 128 - status
        except OSError as error:
            sys.stderr.write(f"mimic-proxy: {self._words[0]}: {error.strerror}\n")
            self.status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        finally:
            mimic.request_stop()

    def _take_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """Signals are the command's. The terminal sends an interrupt to both; others are passed on."""
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(signal.SIGINT, lambda: None)
            for name in FORWARDED:
                if hasattr(signal, name):
                    loop.add_signal_handler(getattr(signal, name), self._forward, getattr(signal, name))

    def _forward(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
