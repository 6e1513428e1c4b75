"""How the reconciler does with many MimicBackends: `make bench-operator` (needs KUBEBUILDER_ASSETS).

A real API server and etcd without controllers, so that pods are objects which never run. 2,000 MimicBackends in 20
namespaces, each with one selected Deployment, 10,000 pods that carry a sidecar, 5,000 of them of one backend, 20,000
workloads that are none of the operator's business, and 50,000 Events, in the same namespaces.

Measured: the first start, which writes everything; the second, which counts pods that have come meanwhile; a restart
when nothing has changed, and what the operator costs after it: CPU, and requests as the API server counts them.
"""

import argparse
import asyncio
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import httpx2

from fakes.control_plane import ControlPlane, assets
from fakes.definition import installed
from fakes.reconcilers import Reconciler, eventually
from mimic_operator.resource.kinds import BACKEND, CHILDREN, WORKLOADS
from mimic_operator.runtime.kinds import CRD, EVENT, POD

NAMESPACES = 20
ALLOWED_SECONDS, ALLOWED_MIB = 45.0, 200.0
ALLOWED_CORE, ALLOWED_REQUESTS = 0.02, 30.0
"""In the steady state: of one core, and requests a minute beside the Lease's."""
STEADY_SECONDS = 120.0
SETTLED_SECONDS = 60.0
"""Between a start and the steady state: proxies are asked for the first time."""
AT_ONCE = 32
MIB = 2**20
Made = tuple[str, dict[str, Any]]
"""Path of a collection, and what is put there."""


@dataclass(frozen=True)
class Scale:
    backends: int
    pods: int
    most: int
    """Pods of one backend, of all pods."""
    others: int
    events: int


@dataclass(frozen=True)
class Figures:
    seconds: float
    mib: float
    core: float
    requests: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", type=int, default=2000)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--most", type=int, default=5000, help="pods of one backend")
    parser.add_argument("--others", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=50_000)
    given = parser.parse_args()
    scale = Scale(given.backends, given.pods, given.most, given.others, given.events)
    with tempfile.TemporaryDirectory() as folder:
        plane = ControlPlane(Path(folder), assets(), controllers=False)
        try:
            plane.start()
            return _measure(plane, Path(folder), scale)
        finally:
            plane.stop()


def _measure(plane: ControlPlane, folder: Path, scale: Scale) -> int:
    with plane.http() as admin:
        installed(admin)
    begun = time.monotonic()
    asyncio.run(_fill(plane, _namespaces()))
    asyncio.run(_fill(plane, _accounts()))
    asyncio.run(_fill(plane, [*_backends(scale), *_selected(scale), *_others(scale), *_events(scale)]))
    print(f"objects made in {time.monotonic() - begun:.0f} s", flush=True)
    _start(plane, folder, "first")
    with plane.http() as admin:
        listed = admin.get("/apis/mimic.dev/v1alpha1/mimicbackends").json()["items"]
    revisions = {each["metadata"]["name"]: each["status"]["currentRevision"] for each in listed}
    asyncio.run(_fill(plane, _pods(scale, revisions)))
    _start(plane, folder, "second")
    before = _writes(plane)
    found = _start(plane, folder, "again", steady=True)
    print(f"{_writes(plane) - before} writes", flush=True)
    allowed = Figures(ALLOWED_SECONDS, ALLOWED_MIB, ALLOWED_CORE, ALLOWED_REQUESTS)
    good = all(one <= most for one, most in zip(astuple(found), astuple(allowed), strict=True))
    print("within" if good else "BEYOND", allowed)
    return 0 if good else 1


def _start(plane: ControlPlane, folder: Path, name: str, *, steady: bool = False) -> "Figures":
    """From the start of the process until nothing is left to do, and if asked for what it costs then."""
    begun = time.monotonic()
    operator = Reconciler(plane.kubeconfig, folder, name, LOG_LEVEL="INFO").start(fresh=True)
    try:
        eventually(lambda: operator.said("was looked at"), operator.log.read_text, 600)
        turns = -1.0
        while turns != (turns := _turns(operator.metrics())):
            settled = time.monotonic() - begun
            time.sleep(2.0)
        line = f"{name} start: settled in {settled:.1f} s ({operator.cpu_seconds():.1f} s of CPU), {turns:.0f} passes"
        core = requests = 0.0
        if steady:
            time.sleep(SETTLED_SECONDS)
            core, requests = _steady(plane, operator)
            line += f", then {core:.1%} of a core and {requests:.0f} requests a minute"
        peak = operator.most_memory() / MIB
        resident = operator.memory() / MIB
        print(f"{line}; {resident:.0f} MiB, at most {peak:.0f} MiB; load average {os.getloadavg()[0]:.1f}", flush=True)
        return Figures(settled, peak, core, requests)
    finally:
        operator.stop()


def _steady(plane: ControlPlane, operator: Reconciler) -> tuple[float, float]:
    """Share of a core, and requests a minute of the operator's kinds, Leases apart. Nothing else runs."""
    cpu, requests, begun = operator.cpu_seconds(), _requests(plane), time.monotonic()
    time.sleep(STEADY_SECONDS)
    took = time.monotonic() - begun
    return (operator.cpu_seconds() - cpu) / took, (_requests(plane) - requests) / took * 60


def _requests(plane: ControlPlane) -> float:
    """Requests that have ended, for the kinds that the operator watches and reads."""
    kinds = "|".join((*(kind.plural for kind in (*WORKLOADS, *CHILDREN, POD, EVENT, BACKEND)), CRD.plural))
    wanted = re.compile(rf'resource="({kinds})"')
    with plane.http() as admin:
        lines = admin.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("apiserver_request_total") and wanted.search(line)]
    return sum(float(line.rpartition(" ")[2]) for line in counted)


def _turns(metrics: str) -> float:
    return sum(
        float(found) for found in re.findall(r"^mimic_operator_reconciles_total\{.*\} (\S+)$", metrics, re.MULTILINE)
    )


def _writes(plane: ControlPlane) -> int:
    """Of backends, workloads and children so far, as the API server counts them: only the operator makes any now."""
    resources = "mimicbackends|deployments|configmaps|controllerrevisions"
    wanted = re.compile(rf'resource="({resources})".*verb="(APPLY|PATCH|POST|PUT|DELETE)"')
    with plane.http() as admin:
        lines = admin.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("apiserver_request_total") and wanted.search(line)]
    return round(sum(float(line.rpartition(" ")[2]) for line in counted))


async def _fill(plane: ControlPlane, objects: list[Made]) -> None:
    context = httpx2.create_ssl_context(trust_env=False)
    context.load_verify_locations(cadata=plane.ca_pem.decode())
    context.load_cert_chain(plane.folder / "admin.pem")
    left = iter(objects)
    async with httpx2.AsyncClient(base_url=plane.url, verify=context, trust_env=False, timeout=60) as http:

        async def work() -> None:
            for path, manifest in left:
                answer = await http.post(path, json=manifest)
                assert answer.status_code == 201, answer.text

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())


def _namespaces() -> list[Made]:
    names = [f"team-{number}" for number in range(NAMESPACES)]
    return [
        ("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each}}) for each in names
    ]


def _accounts() -> list[Made]:
    """Pods are admitted where the default account is, which a controller makes elsewhere."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    return [(f"/api/v1/namespaces/team-{number}/serviceaccounts", account) for number in range(NAMESPACES)]


def _space(number: int) -> str:
    return f"team-{number % NAMESPACES}"


def _backends(scale: Scale) -> Iterator[Made]:
    for number in range(scale.backends):
        selector = {"matchLabels": {"mimic": f"b{number}"}}
        spec = {
            "chat": {"url": "https://llm.example/v1"},
            "auth": {"tokenURL": "https://login.example/token", "secretRef": {"name": "llm"}},
            "injection": {"workloads": {"selector": selector}},
        }
        manifest = {
            "apiVersion": "mimic.dev/v1alpha1",
            "kind": "MimicBackend",
            "metadata": {"name": f"b{number}"},
            "spec": spec,
        }
        yield f"/apis/mimic.dev/v1alpha1/namespaces/{_space(number)}/mimicbackends", manifest


def _selected(scale: Scale) -> Iterator[Made]:
    for number in range(scale.backends):
        yield _deployment(f"app-{number}", _space(number), {"mimic": f"b{number}"})


def _others(scale: Scale) -> Iterator[Made]:
    for number in range(scale.others):
        yield _deployment(f"other-{number}", _space(number), {"team": "x", "app": f"other-{number}"})


def _events(scale: Scale) -> Iterator[Made]:
    """One in a thousand is of a pod that a controller could not make, for a reason that is none of Mimic's."""
    for number in range(scale.events):
        namespace, name = _space(number), f"other-{number % max(1, scale.others)}"
        about = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": namespace, "name": f"{name}-5d4f"}
        manifest = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{number}"},
            "involvedObject": about,
            "reason": "Scheduled" if number % 1000 else "FailedCreate",
            "message": "pods is forbidden: no service account",
            "type": "Normal",
        }
        yield f"/api/v1/namespaces/{namespace}/events", manifest


def _deployment(name: str, namespace: str, labels: dict[str, str]) -> Made:
    pods = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": pods}
    metadata = {"name": name, "labels": {**labels, "app.kubernetes.io/part-of": "bench"}}
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    return f"/apis/apps/v1/namespaces/{namespace}/deployments", manifest


def _pods(scale: Scale, revisions: dict[str, str]) -> list[Made]:
    made: list[Made] = []
    for number in range(scale.pods):
        owner = 0 if number < scale.most else number % scale.backends
        annotations = {
            "mimic.dev/backend": f"b{owner}",
            "mimic.dev/revision": revisions[f"b{owner}"],
            "mimic.dev/template-hash": "0",
        }
        metadata = {"name": f"pod-{number}", "labels": {"mimic.dev/inject": "true"}, "annotations": annotations}
        spec = {"containers": [{"name": "web", "image": "web"}]}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        made.append((f"/api/v1/namespaces/{_space(owner)}/pods", manifest))
    return made


if __name__ == "__main__":
    raise SystemExit(main())
