"""Two reconcilers and a webhook behind an API server that answers when it likes, under load.

MIMIC_CHAOS_SECONDS (30) says for how long; `make chaos` takes five minutes. The audit log is the witness.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fakes import definition
from fakes.api_proxy import ApiProxy, proxied
from fakes.chaos import chaos
from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import SELECTED, Cluster, image
from fakes.reconcilers import LEASE, Reconciler, eventually

SECONDS = float(os.environ.get("MIMIC_CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("MIMIC_CHAOS_SEED", "4711"))
CONVERGES_SECONDS = 60.0
pytestmark = pytest.mark.timeout(SECONDS + 300)
NAMES = ("a", "b", "c")
FAST = {"WATCH_SECONDS": "20", "WATCH_RETRY_SECONDS": "5", "RESYNC_SECONDS": "30"}
"""A watch that says nothing is given up ten seconds after its request should have ended."""
SELECTING = {"injection": {"workloads": {"selector": SELECTED}}}
WRITES = ("create", "update", "patch", "delete")


class Replica:
    """A reconciler behind a proxy of its own, started again when it ends, as the kubelet does."""

    def __init__(self, proxy: ApiProxy, folder: Path, name: str) -> None:
        self.proxy, self.folder, self.name = proxy, folder, name
        self.ended: list[str] = []
        self.lives = 0
        self.process = self._start()

    def _start(self) -> Reconciler:
        self.lives += 1
        name = f"{self.name}-{self.lives}"
        return Reconciler(self.proxy.kubeconfig(self.folder), self.folder, name, **FAST).start()

    def look_after(self) -> None:
        if self.process.status() is not None:
            self.ended.append(self.process.log.read_text("utf-8"))
            self.process = self._start()


def load(draw: random.Random, cluster: Cluster) -> None:
    """One thing that a person does."""
    name = draw.choice(NAMES)
    backend, workload = f"backend-{name}", f"web-{name}"
    there = cluster.seen(backend)
    match draw.randrange(5):
        case 0 | 1 if there:  # hot: no workload restarts
            spec = {"models": {"static": [f"model-{draw.randrange(1000)}"]}, "proxy": there["spec"].get("proxy", {})}
            cluster.backend(backend, **own(name), **spec)
        case 2 if there:
            cluster.delete("mimicbackends", backend, "mimic.dev/v1alpha1")
        case 3 if there:
            cluster.backend(backend, **own(name), proxy=image(str(draw.randrange(3))))
        case 4 if cluster.get("deployments", workload):
            cluster.delete("deployments", workload, "apps/v1")
        case _:
            cluster.backend(backend, **own(name))
            if not cluster.get("deployments", workload):
                cluster.workload(workload, labels={"own": name})


def under_load(cluster: Cluster, draw: random.Random, replicas: list[Replica]) -> int:
    """How many changes there were; the last ones say what is to be there in the end."""
    end, done = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        load(draw, cluster)
        done += 1
        for replica in replicas:
            replica.look_after()
        time.sleep(draw.random() / 2)
    for name in NAMES:
        cluster.backend(f"backend-{name}", **own(name), proxy=image("last"))
        if not cluster.get("deployments", f"web-{name}"):
            cluster.workload(f"web-{name}", labels={"own": name})
    return done


def own(name: str) -> dict[str, Any]:
    return {"injection": {"workloads": {"selector": {"matchLabels": {"own": name}}}}}


def converged(cluster: Cluster) -> bool:
    """Every MimicBackend reports its generation, and every workload carries what its backend says, or nothing."""
    for name in NAMES:
        backend, workload = cluster.seen(f"backend-{name}"), cluster.get("deployments", f"web-{name}")
        status = backend.get("status", {})
        if backend and status.get("observedGeneration") != backend["metadata"]["generation"]:
            return False
        if workload:
            wanted = status.get("updateRevision") if backend else None
            if cluster.revision(f"web-{name}") != wanted:
                return False
    return True


def leaders(events: list[dict[str, Any]], agents: set[str]) -> Iterator[tuple[str, str]]:
    """Of each write of a reconciler that succeeded: who wrote, and who had written the Lease last."""
    leader = ""
    for event in sorted(events, key=lambda each: each["requestReceivedTimestamp"]):
        agent, about = event.get("userAgent", ""), event.get("objectRef", {})
        if agent not in agents or event["verb"] not in WRITES or event["responseStatus"]["code"] >= 400:
            continue
        if about.get("resource") == "leases":
            leader = agent
        else:
            yield agent, leader


def test_chaos_between_operator_and_api_server_ends_no_leader_but_by_its_lease_and_writes_nothing_twice(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str, tmp_path: Path
):
    definition.installed(admin)
    admin.delete(LEASE)
    cluster, draw, active = Cluster(admin, namespace), random.Random(SEED), [False]
    agents = {"chaos-one", "chaos-two"}
    begun = sum(1 for _ in control_plane.audit())
    with ExitStack() as stack:
        http = stack.enter_context(control_plane.http())
        stack.enter_context(Kubelet(http, namespace))
        proxies = [stack.enter_context(proxied(control_plane, agent)) for agent in sorted(agents)]
        replicas = [Replica(proxy, tmp_path, proxy.agent) for proxy in proxies]
        for replica in replicas:
            stack.callback(lambda replica=replica: replica.process.stop())
        eventually(lambda: any(replica.process.leads() for replica in replicas), seconds=30)
        # A workload and a backend that no one touches meanwhile.
        cluster.workload("bystander")
        cluster.backend("still", **SELECTING)
        eventually(lambda: cluster.phase("still") == "Complete", lambda: cluster.seen("still"), 60)
        generation = cluster.get("deployments", "bystander")["metadata"]["generation"]
        for seed, proxy in enumerate(proxies):
            proxy.trouble = chaos(SEED + seed, lambda: active[0])
        active[0] = True
        done = under_load(cluster, draw, replicas)
        active[0] = False
        since = time.monotonic()

        def settled() -> bool:
            for replica in replicas:
                replica.look_after()
            return converged(cluster)

        eventually(
            settled, lambda: [replica.process.log.read_text()[-3000:] for replica in replicas], CONVERGES_SECONDS
        )
        took = time.monotonic() - since
        ended = [text for replica in replicas for text in replica.ended]
        asked = sum(len(proxy.requests) for proxy in proxies)
        print(f"{done} changes, {asked} requests, {len(ended)} leaders ended, converged after {took:.1f} s")
        for text in ended:
            print(*text.splitlines()[-5:], sep="\n")
        assert [text for text in ended if "The Lease is lost" not in text] == [], "ended by something else"
        assert cluster.get("deployments", "bystander")["metadata"]["generation"] == generation, "restarted for nothing"
        for name in NAMES:
            assert_no_repeats(cluster, f"web-{name}")
    events = list(control_plane.audit())[begun:]
    writes = list(leaders(events, agents))
    assert len(writes) > 20
    assert [write for write in writes if write[0] != write[1]] == [], "written by one that did not lead"


def assert_no_repeats(cluster: Cluster, workload: str) -> None:
    """Its pods were replaced once for each revision at most: two revisions alternating would be a fight."""
    sets = [
        each
        for each in cluster.get("replicasets")["items"]
        if each["metadata"].get("ownerReferences", [{}])[0].get("name") == workload
    ]
    revisions = [
        each["spec"]["template"]["metadata"].get("annotations", {}).get("mimic.dev/revision", "") for each in sets
    ]
    assert len(revisions) == len(set(revisions)), revisions
