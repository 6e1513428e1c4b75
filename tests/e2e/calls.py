"""What applications under load have seen, of all pods that there ever were: their logs are followed from the start."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.cluster import Cluster, Failed, eventually, name_of

Call = dict[str, Any]


@dataclass(slots=True)
class Calls:
    """Those of one application, by what its pods have written."""

    cluster: Cluster
    app: str
    folder: Path
    _stop: threading.Event = field(default_factory=threading.Event)
    _followers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def lines(self) -> list[Call]:
        """Complete lines of all pods, in the order of their pods."""
        return [
            json.loads(line) | {"pod": file.stem}
            for file in sorted(self.folder.glob("*.log"))
            for line in file.read_text("utf-8").splitlines(keepends=True)
            if line.endswith("\n") and line.startswith("{")
        ]

    def done(self, since: float = 0.0) -> list[Call]:
        """Calls that have ended since then."""
        return [line for line in self.lines() if line.get("ended", 0.0) > since]

    def failed(self) -> list[Call]:
        return [line for line in self.lines() if line.get("finish", "stop") != "stop"]

    def goes_on(self, more: int = 12) -> None:
        """Wait until that many more calls have ended from now on, and streams as well as others."""
        now = time.time()

        def ended() -> bool:
            done = self.done(now)
            return len(done) >= more and len({line["stream"] for line in done}) == 2

        eventually(f"{more} calls of {self.app} more; so far failed: {self.failed()[:3]}", ended)

    def judge(self, at_least: int = 20) -> None:
        """Assert that there were calls and that none failed."""
        assert self.failed() == []
        assert len(self.done()) >= at_least

    def watch(self) -> None:
        while not self._stop.is_set():
            try:
                pods = self.cluster.all("pods", f"app={self.app}")
            except Failed:  # the API server was busy: there is a next turn
                pods = []
            for pod in pods:
                states = [entry["state"] for entry in pod["status"].get("containerStatuses", ())]
                if name_of(pod) not in self._followers and any("running" in state for state in states):
                    self._follow(name_of(pod))
            self._stop.wait(0.5)

    def end(self) -> None:
        self._stop.set()

    def close(self) -> None:
        for follower in self._followers.values():
            follower.kill()
            follower.wait()

    def _follow(self, pod: str) -> None:
        command = ["kubectl", "-n", self.cluster.namespace, "logs", "-f", pod, "-c", "application"]
        with (self.folder / f"{pod}.log").open("wb") as output:
            self._followers[pod] = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)


@contextmanager
def followed(cluster: Cluster, app: str, folder: Path) -> Iterator[Calls]:
    """The calls of an application from now on."""
    folder = folder / app
    folder.mkdir()
    calls = Calls(cluster, app, folder)
    watching = threading.Thread(target=calls.watch, name=f"calls of {app}")
    watching.start()
    try:
        yield calls
    finally:
        calls.end()
        watching.join()
        calls.close()
