"""Mimic as a process of its own: start, wait until it serves, look at it from outside, stop."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from fakes.backend import Backend
from fakes.caller import PATIENCE_SECONDS, Response, ask, request
from fakes.free_ports import free_port
from fakes.processes import SERVICE, imported, started
from fakes.token_service import TokenService

PORT_TAKEN = 3
"""Exit code of a process that could not bind."""
PROMPT = "a prompt that nobody may log"
_POLL_SECONDS = 0.01
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
imported("mimic_proxy.__main__", "mimic_proxy.cli.serve")


async def eventually(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS, what: str = "condition") -> None:
    """Wait for something that sends no event, such as a file or another process. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not come true in {seconds} s")
        await asyncio.sleep(_POLL_SECONDS)


def settings(backend: Backend, tokens: TokenService, **more: str) -> dict[str, str]:
    """Environment of a Mimic between `tokens` and `backend`; `more` wins."""
    return {
        "TOKEN_URL": tokens.url,
        "AUTH_CODE": tokens.auth_code,
        "CHAT_API_URL": f"{backend.url}/chat-base",
        "EMBEDDING_API_URL": f"{backend.url}/embedding-base",
        **more,
    }


class Mimic:
    """A running process. Its output goes to a file, so that no pipe ever blocks it."""

    def __init__(self, environ: Mapping[str, str], folder: Path, secrets: Callable[[], Iterable[str]] = tuple) -> None:
        """`secrets` tells, whenever the output is judged, what must not stand in it."""
        self._secrets = secrets
        self._log = folder / "mimic.log"
        self._judged = 0
        """Bytes of the log."""
        self.port = int(environ.get("PORT", 0)) or free_port()
        self.admin_port = int(environ.get("ADMIN_PORT", 0)) or free_port()
        fixed = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(SERVICE),
            "PYTHONUNBUFFERED": "1",
            "HOST": "127.0.0.1",
            "ADMIN_HOST": "127.0.0.1",
            "LOG_LEVEL": "DEBUG",
            "DRAIN_TIMEOUT": "1",
            **environ,
            "PORT": str(self.port),
            "ADMIN_PORT": str(self.admin_port),
        }
        self._log.write_bytes(b"")
        self.process = started("mimic_proxy", "serve", folder, fixed, self._log)

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    @property
    def resident_bytes(self) -> int:
        """Resident memory as the kernel counts it (proc(5), statm)."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * _PAGE_BYTES

    @property
    def peak_bytes(self) -> int:
        """The most resident memory that it has had so far (proc(5), VmHWM)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    @property
    def open_files(self) -> int:
        """Number of file descriptors it holds."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def descriptor_limits(self) -> tuple[str, str]:
        """Soft and hard limit of its descriptors."""
        lines = Path(f"/proc/{self.process.pid}/limits").read_text().splitlines()
        soft, hard = next(line for line in lines if "open files" in line).split()[3:5]
        return soft, hard

    async def admin(self, path: str, method: bytes = b"GET") -> Response:
        """One request to the admin port."""
        return await ask(self.admin_port, request(method, path.encode(), fields=[(b"connection", b"close")]), method)

    async def is_ready(self) -> bool:
        try:
            return (await self.admin("/readyz")).status == 200
        except (ConnectionError, EOFError):
            return False

    async def is_live(self) -> bool:
        try:
            return (await self.admin("/livez")).status == 200
        except (ConnectionError, EOFError):
            return False

    async def is_idle(self) -> bool:
        """No exchange runs."""
        lines = (await self.admin("/metrics")).body.decode().splitlines()
        return all(line.endswith(" 0.0") for line in lines if line.startswith("mimic_requests_in_flight{"))

    async def until(self, probe: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the awaitable that `probe` returns is true; fail at once when the process has ended."""
        until = time.monotonic() + seconds
        while not await probe():  # type: ignore[misc]
            assert self.exit_code is None, f"ended with {self.exit_code}:\n{self.log}"
            assert time.monotonic() < until, f"not within {seconds} s:\n{self.log}"
            await asyncio.sleep(_POLL_SECONDS)

    async def ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the end of the process; its exit code."""
        await eventually(lambda: self.exit_code is not None, seconds, "the end of the process")
        code = self.exit_code
        assert code is not None
        return code

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def judge(self) -> None:
        """Assert that it lives and that nothing written since the last time is a traceback, a secret or a prompt."""
        assert self.exit_code is None, f"ended with {self.exit_code}:\n{self.log}"
        self.judge_log()

    def judge_log(self) -> None:
        """Assert that the output since the last time holds no traceback, no secret and no prompt."""
        with self._log.open("rb") as log:
            log.seek(self._judged)
            added = log.read()
        self._judged += len(added)
        new = added.decode("utf-8", "replace")
        assert "Traceback (most recent call last)" not in new, new
        for secret in (*self._secrets(), PROMPT):
            assert secret not in new, f"a secret stands in the log:\n{new}"

    async def stop(self) -> None:
        """SIGTERM, then assert exit code 0 and a clean log."""
        if self.exit_code is None:
            self.signal(signal.SIGTERM)
        assert await self.ended() == 0, self.log
        self.judge_log()

    def kill(self) -> None:
        """End it whatever its state; for the way out of a failed test."""
        if self.exit_code is None:
            self.process.kill()
        self.process.wait()


Start = Callable[..., AbstractAsyncContextManager[Mimic]]
"""Starts a Mimic between the fakes of a test, with the settings that are given as keywords."""


@asynccontextmanager
async def running(
    environ: Mapping[str, str],
    folder: Path,
    secrets: Callable[[], Iterable[str]] = tuple,
    *,
    ready: bool = True,
    stop: bool = True,
) -> AsyncIterator[Mimic]:
    """A Mimic that is live, and ready unless `ready` is False; stopped with its asserts unless `stop` is False."""
    mimic = Mimic(environ, folder, secrets)
    try:
        if await _taken(mimic):
            mimic = Mimic({**environ, "PORT": "0", "ADMIN_PORT": "0"}, folder, secrets)
        await mimic.until(mimic.is_live)
        if ready:
            await mimic.until(mimic.is_ready)
        yield mimic
        if stop:
            await mimic.stop()
    finally:
        mimic.kill()


@asynccontextmanager
async def behind(folder: Path, **more: str) -> AsyncIterator[tuple[Mimic, Backend]]:
    """A ready Mimic with fakes of its own, for tests that share its settings."""
    async with (
        Backend() as backend,
        TokenService() as tokens,
        running(settings(backend, tokens, **more), folder, secrets_of(tokens)) as mimic,
    ):
        yield mimic, backend


async def _taken(mimic: Mimic) -> bool:
    """Wait until it lives or ends; another process took the port that was free a moment ago."""
    while mimic.exit_code is None:
        if await mimic.is_live():
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return mimic.exit_code == PORT_TAKEN


def secrets_of(tokens: TokenService, *more: str) -> Callable[[], list[str]]:
    """What a Mimic on `tokens` must never tell."""
    return lambda: [tokens.auth_code, *tokens.issued, *more]
