"""The cluster of KUBECONFIG, spoken to as a person does it: by kubectl and helm, and by nothing else."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fakes.tools import lacking

ROOT = Path(__file__).parent.parent.parent
Manifest = dict[str, Any]
Found = TypeVar("Found")
SECONDS = 90.0
"""What a busy machine may take for one thing."""


class Failed(Exception):
    """What a command said."""


def needed() -> None:
    """Skip, or fail where tools are required, unless there is a cluster and what speaks to it.

    KUBECONFIG has to be set: nobody's default cluster gets Mimic by a slip.
    """
    if "KUBECONFIG" not in os.environ:
        lacking("KUBECONFIG names no cluster (`make kind-e2e` makes one)")
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            lacking(f"there is no {program}")
    try:
        run("kubectl", "version", "--request-timeout=10s")
    except Failed as error:
        lacking(f"the cluster of KUBECONFIG does not answer: {error}")


def run(*command: str, given: str | None = None, seconds: float = SECONDS) -> str:
    """Standard output of a command, run at the root of the checkout. Raises Failed."""
    try:
        ended = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=seconds, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command)}: nothing within {seconds} s") from error
    if ended.returncode:
        raise Failed(f"{' '.join(command)}: {ended.stderr}{ended.stdout}")
    return ended.stdout


def eventually(what: str, true: Callable[[], Found], seconds: float = SECONDS, every: float = 0.5) -> Found:
    """What `true` gives once it is something; what fails meanwhile is tried again. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while True:
        problem: object = None
        try:
            if found := true():
                return found
        except Failed as error:
            problem = error
        assert time.monotonic() < deadline, f"not within {seconds} s: {what} ({problem or found})"
        time.sleep(every)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One namespace of it."""

    namespace: str

    def kubectl(self, *arguments: str, given: str | None = None, seconds: float = SECONDS) -> str:
        """Raises Failed."""
        return run("kubectl", "--namespace", self.namespace, *arguments, given=given, seconds=seconds)

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """All of them, as `kubectl apply` does it. Raises Failed."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))

    def get(self, kind: str, name: str) -> Manifest:
        """Raises Failed."""
        found: Manifest = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def all(self, kind: str, selector: str = "") -> list[Manifest]:
        found: list[Manifest] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"]
        return found

    def pods(self, app: str) -> list[Manifest]:
        """Those of an application that were not told to end."""
        return [pod for pod in self.all("pods", f"app={app}") if "deletionTimestamp" not in pod["metadata"]]

    def pod(self, app: str) -> str:
        """The name of one that is ready."""

        def ready() -> str:
            return next((name_of(pod) for pod in self.pods(app) if is_ready(pod)), "")

        return eventually(f"a ready pod of {app}", ready)

    def settled(self, workload: str, seconds: float = SECONDS) -> None:
        """Wait until KIND/NAME has rolled out. Raises Failed."""
        self.kubectl("rollout", "status", workload, f"--timeout={seconds:.0f}s", seconds=seconds + 10)

    def execute(self, pod: str, *command: str, container: str = "application") -> str:
        """Standard output of a command in a container. Raises Failed."""
        return self.kubectl("exec", pod, "-c", container, "--", *command)

    def metrics(self, pod: str, port: int = 18481) -> dict[str, float]:
        """What a proxy counts: the value by the series as it is written on the page. Raises Failed."""
        page = self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.namespace}/pods/{pod}:{port}/proxy/metrics")
        return dict(_samples(page.splitlines()))

    def condition(self, backend: str, kind: str) -> Manifest:
        """A condition of a MimicBackend; empty while there is none."""
        status = self.get("mimicbackend", backend).get("status", {})
        return next((entry for entry in status.get("conditions", ()) if entry["type"] == kind), {})


def name_of(manifest: Manifest) -> str:
    name: str = manifest["metadata"]["name"]
    return name


def is_ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def proxy_of(pod: Manifest) -> Manifest:
    """The sidecar in a pod's spec."""
    (found,) = (entry for entry in pod["spec"]["initContainers"] if entry["name"] == "mimic-proxy")
    made: Manifest = found
    return made


def proxy_status(pod: Manifest) -> Manifest:
    """What the kubelet says of it."""
    (found,) = (entry for entry in pod["status"]["initContainerStatuses"] if entry["name"] == "mimic-proxy")
    made: Manifest = found
    return made


def _samples(lines: Iterable[str]) -> Iterable[tuple[str, float]]:
    for line in lines:
        if line and not line.startswith("#"):
            series, value = line.split(" # ")[0].rsplit(" ", 1)
            yield series, float(value)
