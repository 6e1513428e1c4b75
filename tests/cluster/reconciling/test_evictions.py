"""Pods that ask for the sidecar and lack it are evicted on a real API server, which heeds budgets."""

import time

import httpx2
import pytest
from lightkube import KubeConfig

from fakes.control_plane import ControlPlane
from fakes.kubelet import Kubelet
from fakes.person import Cluster
from fakes.reconcilers import eventually
from mimic_operator.reconcile.missing import Evictions
from mimic_operator.reconcile.store import ObservedPod, Store, keep_backend
from mimic_operator.runtime.client import Cluster as Client
from mimic_operator.runtime.informer import Change
from mimic_operator.runtime.kinds import Key

pytestmark = pytest.mark.timeout(120)


def budget(http: httpx2.Client, namespace: str) -> str:
    """Of an application that can spare no pod; its path, once its pod counts: one that still starts is no loss."""
    spec = {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}
    path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    manifest = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec}
    assert http.post(path, json=manifest).status_code == 201
    eventually(lambda: http.get(f"{path}/web").json().get("status", {}).get("currentHealthy") == 1)
    return f"{path}/web"


async def test_a_pod_without_the_sidecar_is_evicted_as_soon_as_its_budget_allows(
    cluster: Cluster, control_plane: ControlPlane, kubelet: Kubelet
):
    kubelet.plain = True
    cluster.workload("web", replicas=1)
    manifest = cluster.backend(rollout={"restartMissing": True})
    injectable = {"conditions": [{"type": "Injectable", "status": "True"}]}

    def names() -> list[str]:
        return [
            each["metadata"]["name"]
            for each in cluster.get("pods", group="v1")["items"]
            if "deletionTimestamp" not in each["metadata"]
        ]

    (name,) = eventually(names)
    held = budget(cluster.http, cluster.namespace)
    store = Store(lambda key: None)
    store.set_backend(Key(cluster.namespace, "corp"), keep_backend({**manifest, "status": injectable}))
    seen = ObservedPod(("Deployment", "web"), Key(cluster.namespace, "corp"), None, injected=False, ending=False)
    store.set_pod(Change(cluster.namespace, name, found=seen, before=None))
    async with Client(KubeConfig.from_file(control_plane.kubeconfig)) as client:
        missing = Evictions(client, store, time.monotonic, granted=True, own="")
        await missing.poll()
        assert names() == [name]
        assert cluster.http.delete(held).is_success
        await missing.poll()
    eventually(lambda: names() not in ([], [name]))
