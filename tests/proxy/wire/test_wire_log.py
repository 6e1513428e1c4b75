"""The log of a process whose standard error stream nobody reads."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from fakes.backend import Backend
from fakes.caller import ask, chat, request
from fakes.free_ports import free_port
from fakes.mimic import eventually, settings
from fakes.processes import SERVICE
from fakes.replies import ok
from fakes.token_service import TokenService

PROBE = request(b"GET", b"/readyz", fields=[(b"connection", b"close")])


async def test_a_log_that_nobody_reads_costs_its_lines_and_nothing_else(
    backend: Backend, tokens: TokenService, tmp_path: Path
) -> None:
    """A pipe holds 64 KiB, which is some 130 calls."""
    backend.script = ok()
    port, admin = free_port(), free_port()
    environ = {
        **settings(backend, tokens),
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(SERVICE),
        "HOST": "127.0.0.1",
        "ADMIN_HOST": "127.0.0.1",
        "PORT": str(port),
        "ADMIN_PORT": str(admin),
        "DRAIN_TIMEOUT": "1",
    }
    line = [sys.executable, "-m", "mimic_proxy", "serve"]
    process = unread(line, tmp_path, environ)
    try:
        async with asyncio.timeout(30):
            while await _status(admin) != 200:
                await asyncio.sleep(0.01)
        for _ in range(400):
            assert (await ask(port, chat())).status == 200
        assert await _status(admin) == 200
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: process.poll() is not None, 10, "the end of the process")
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def unread(line: list[str], folder: Path, environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A process that writes into a pipe."""
    return subprocess.Popen(line, cwd=folder, env=environ, stderr=subprocess.PIPE)


async def _status(admin: int) -> int | None:
    try:
        return (await ask(admin, PROBE, b"GET")).status
    except (ConnectionError, EOFError):
        return None
