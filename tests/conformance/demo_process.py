"""`mimic-proxy demo` as a process of its own: proxy and embedded backend on free ports."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_SECONDS = 30.0
POLL_SECONDS = 0.02


@contextlib.contextmanager
def demo(folder: Path, environ: Mapping[str, str] | None = None, arguments: Sequence[str] = ()) -> Iterator[str]:
    """The base URL of a demo that is ready; its output goes to `folder`/demo.log. RuntimeError if it does not start.

    `arguments` are those of the command. `environ` adds to its environment; nothing of this process's settings reaches
    it, and no `.env`.
    """
    port, admin_port = _free_ports(2)
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT / "service"),
        "PORT": str(port),
        "ADMIN_PORT": str(admin_port),
        **(environ or {}),
    }
    log = folder / "demo.log"
    argv = [sys.executable, "-m", "mimic_proxy", "demo", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait(process, f"http://127.0.0.1:{admin_port}/readyz", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + READY_WITHIN_SECONDS
    while True:
        try:
            with opener.open(url, timeout=2):
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"mimic-proxy demo does not get ready:\n{log.read_text(errors='replace')}")
        time.sleep(POLL_SECONDS)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
