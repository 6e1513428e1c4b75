"""The load: wrk on one core, sixteen connections, one kind of call; what came of it."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench import backend
from bench.environment import Place
from bench.processes import BenchError, cpu_seconds

CONNECTIONS = 16
SCRIPT = Path(__file__).with_name("chat.lua")
UNITS = {"chat": 1, "stream": backend.EVENTS}
"""What one answer counts for: requests for chat, SSE events for stream."""


@dataclass(frozen=True, slots=True)
class Load:
    """One round of one contestant. `rate` is units (see UNITS) per second, times are of whole answers.

    cpu_us is the contestant's processor time per answer, 0 without a process; failed counts answers that were no 2xx
    and connections that broke.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    failed: int


def put_load(place: Place, url: str, want: str, seconds: float, pid: int | None) -> Load:
    """Loads `url` for about `seconds` and says what it did; BenchError if wrk fails."""
    argv = ["taskset", "--cpu-list", str(place.load_core), place.tools["wrk"], "--threads", "1"]
    argv += ["--connections", str(CONNECTIONS), "--duration", f"{seconds:g}s", "--timeout", "10s"]
    before = cpu_seconds(pid) if pid is not None else 0.0
    wrk = subprocess.run(
        [*argv, "--script", str(SCRIPT), url],
        check=False,
        env={"BENCH_WANT": want, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    )
    used = cpu_seconds(pid) - before if pid is not None else 0.0
    lines = [line for line in wrk.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise BenchError(f"wrk gave no result for {url}:\n{wrk.stdout}{wrk.stderr}")
    seen = json.loads(lines[0].removeprefix("RESULT "))
    return Load(
        rate=seen["requests"] * UNITS[want] / (seen["microseconds"] / 1e6),
        p50_ms=seen["p50_us"] / 1000,
        p99_ms=seen["p99_us"] / 1000,
        cpu_us=used * 1e6 / max(seen["requests"], 1),
        failed=seen["not_2xx"] + seen["socket_errors"],
    )
