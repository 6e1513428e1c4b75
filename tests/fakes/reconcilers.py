"""The reconciler as a process of its own, as its container runs it."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from fakes.free_ports import free_port
from fakes.processes import Process, imported, started

LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/mimic-operator"
STOP_SECONDS = 15.0
T = TypeVar("T")
imported("mimic_operator.cli.reconciler", "mimic_operator.reconcile.process")


class Reconciler:
    """One replica. log: its lines, JSON."""

    def __init__(self, kubeconfig: Path, folder: Path, name: str = "reconciler", **settings: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.port = free_port()
        self._environ = {
            **{key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "PYTHONPATH")},
            "KUBECONFIG": str(kubeconfig),
            "HOSTNAME": name,
            "MIMIC_IMAGE": "registry.example/mimic:1",
            "MIMIC_NAMESPACE": "default",
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": str(self.port),
            "CERT_MODE": "external",
            **settings,
        }
        self._process: Process | None = None

    def start(self, *, fresh: bool = False) -> "Reconciler":
        """fresh: by an interpreter of its own, for whoever measures its memory."""
        folder = self.log.parent
        self._process = started("mimic_operator", "reconciler", folder, self._environ, self.log, fresh=fresh)
        return self

    def stop(self) -> int:
        """In good order; its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """As a node that dies."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.name} does not end:\n{self.log.read_text()[-3000:]}") from None

    def status(self) -> int | None:
        """The exit code of one that has ended by itself."""
        return None if self._process is None else self._process.poll()

    def memory(self) -> int:
        """Resident bytes."""
        assert self._process is not None
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    def cpu_seconds(self) -> float:
        """Of the process so far, user and system (proc(5), fields 14 and 15 of stat)."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def most_memory(self) -> int:
        """Resident bytes at their peak."""
        assert self._process is not None
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    def lines(self) -> Iterator[dict[str, Any]]:
        for line in self.log.read_text("utf-8").splitlines():
            yield json.loads(line)

    def said(self, part: str) -> bool:
        return self.log.exists() and part in self.log.read_text("utf-8")

    def metrics(self) -> str:
        return httpx2.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text

    def healthy(self) -> bool:
        return httpx2.get(f"http://127.0.0.1:{self.port}/livez", trust_env=False).status_code == 200

    def leads(self) -> bool:
        try:
            return "mimic_operator_leader 1.0" in self.metrics()
        except httpx2.TransportError:
            return False


def eventually(look: Callable[[], T], why: Callable[[], object] = lambda: "", seconds: float = 40.0) -> T:
    """The first true answer of `look`. Raises AssertionError after `seconds`, with what `why` says then."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {seconds} s: {why()}"
        time.sleep(0.05)


@contextmanager
def at_work(kubeconfig: Path, folder: Path, name: str = "reconciler", **settings: str) -> Iterator[Reconciler]:
    """One that has looked at every backend; stopped in good order at the end."""
    made = Reconciler(kubeconfig, folder, name, **settings).start()
    try:
        eventually(lambda: made.said("was looked at"), made.log.read_text)
        yield made
    finally:
        made.stop()


def conditions(manifest: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    return {each["type"]: (each["status"], each["reason"]) for each in manifest.get("status", {}).get("conditions", ())}
