"""Mimic's commands as processes of their own: forked from one that has imported them, where that is the same.

Importing is six tenths of a second of a processor, and hundreds of tests want a process with settings of their own.
What reads the environment while it is imported, or finds its modules elsewhere, is started by a fresh interpreter.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import mimic_proxy

SERVICE = Path(mimic_proxy.__file__).parent.parent
"""Where the proxy's package is found."""
_context = multiprocessing.get_context("forkserver")
_imported = ["httpx2", "uvloop"]


class Forked:
    """As much of subprocess.Popen as tests use. A process of the platform like any other, but for its first moment."""

    def __init__(self, package: str, command: str, folder: Path, environ: Mapping[str, str], log: Path) -> None:
        given = (package, command, str(folder), dict(environ), str(log))
        self._process = _context.Process(target=_run, args=given, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process = subprocess.Popen[bytes] | Forked


def imported(*modules: str) -> None:
    """What is to be there before the first fork; whoever starts processes says so when it is imported itself."""
    _imported.extend(modules)
    _context.set_forkserver_preload(_imported)


def started(
    package: str, command: str, folder: Path, environ: Mapping[str, str], log: Path, *, fresh: bool = False
) -> Process:
    """`python -m PACKAGE COMMAND` in a folder; both of its outputs are added to `log`. fresh: forked in no case."""
    log.touch()
    if not fresh and not any(_imports_otherwise(name, value) for name, value in environ.items()):
        return Forked(package, command, folder, environ, log)
    line = [sys.executable, "-m", package, command]
    with log.open("ab") as output:
        return subprocess.Popen(line, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _imports_otherwise(name: str, value: str) -> bool:
    return name.startswith("OTEL_") or (name == "PYTHONPATH" and value not in (str(SERVICE), os.environ.get(name)))


def _run(package: str, command: str, folder: str, environ: dict[str, str], log: str) -> None:
    """In the child: the surroundings that a fresh process would have, and then what it would do."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    for descriptor, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND)):
        opened = os.open(path, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.dup2(1, 2)
    sys.argv = [package, command]
    sys.exit(import_module(f"{package}.__main__").main([command]))
