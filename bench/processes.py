"""Child processes of the benchmark: pinned to a core, watched until they are ready, measured, ended by their id."""

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

READY_WITHIN_SECONDS = 30.0
POLL_SECONDS = 0.002
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The benchmark cannot go on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident set and proportional set of one process, in MiB."""

    rss_mib: float
    pss_mib: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request of ours got back."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Command:
    """How a process is started: its argv, its whole environment, where it logs."""

    argv: Sequence[str]
    environ: Mapping[str, str]
    log: Path
    folder: Path


@contextlib.contextmanager
def running(command: Command, core: int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `command` on `core` alone; ends it on leaving (SIGTERM, after 10 s SIGKILL)."""
    environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/")} | dict(command.environ)
    argv = ["taskset", "--cpu-list", str(core), *command.argv]
    with command.log.open("ab") as log:
        process = subprocess.Popen(
            argv, env=environ, cwd=command.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> float:
    """Seconds until `ready` is true; BenchError if the process ends before or takes more than 30 s."""
    started = time.perf_counter()
    while not ready():
        waited = time.perf_counter() - started
        if process.poll() is not None or waited > READY_WITHIN_SECONDS:
            state = f"ended with {process.returncode}" if process.returncode is not None else "is not ready after 30 s"
            raise BenchError(f"{process.args!r} {state}; its last words:\n{_tail(log)}")
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - started


def ask(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer | None:
    """One request without any proxy; None if nobody answers."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return Answer(answer.status, answer.headers.get("content-type", ""), answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers.get("content-type", ""), error.read())
    except OSError:
        return None


def memory(pid: int) -> Memory:
    """VmRSS and PSS of one process, from /proc."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0]) / 1024
    return Memory(rss_mib=fields["Rss"], pss_mib=fields["Pss"])


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / CLOCK_TICKS


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
