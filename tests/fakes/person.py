"""What a person does in one namespace of a cluster, and what they see there."""

from typing import Any

import httpx2

from fakes.reconcilers import Reconciler, eventually

APPLY = {"content-type": "application/apply-patch+yaml"}
MERGE = {"content-type": "application/merge-patch+json"}
BACKENDS = "/apis/mimic.dev/v1alpha1/namespaces/{}/mimicbackends"
SELECTED = {"matchLabels": {"ai": "yes"}}


class Cluster:
    """What a person does in one namespace."""

    def __init__(self, http: httpx2.Client, namespace: str) -> None:
        self.http, self.namespace = http, namespace

    def backend(self, name: str = "corp", **spec: Any) -> dict[str, Any]:
        """Makes or changes one."""
        given = {"chat": {"url": "https://llm.example/v1"}, "auth": {"grant": "None"}, **spec}
        manifest = {
            "apiVersion": "mimic.dev/v1alpha1",
            "kind": "MimicBackend",
            "metadata": {"name": name},
            "spec": given,
        }
        path = f"{BACKENDS.format(self.namespace)}/{name}?fieldManager=person&force=true"
        answer = self.http.patch(path, json=manifest, headers=APPLY)
        assert answer.is_success, answer.text
        return answer.json()

    def workload(self, name: str, kind: str = "deployments", labels: dict[str, str] | None = None, **spec: Any) -> None:
        pods = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "web"}], "terminationGracePeriodSeconds": 0},
        }
        singular = {"deployments": "Deployment", "statefulsets": "StatefulSet", "cronjobs": "CronJob"}[kind]
        metadata = {"name": name, "labels": {"ai": "yes"} if labels is None else labels}
        if kind == "cronjobs":
            pods["spec"]["restartPolicy"] = "Never"
            inner: dict[str, Any] = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": pods}}}
        else:
            inner = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": pods, **spec}
        group = "batch/v1" if kind == "cronjobs" else "apps/v1"
        manifest = {"apiVersion": group, "kind": singular, "metadata": metadata, "spec": inner}
        answer = self.http.post(f"/apis/{group}/namespaces/{self.namespace}/{kind}", json=manifest)
        assert answer.status_code == 201, answer.text

    def get(self, kind: str, name: str = "", group: str = "apps/v1") -> Any:
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        answer = self.http.get(f"{root}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else ""))
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, answer.text
        return answer.json()

    def seen(self, name: str = "corp") -> dict[str, Any]:
        return self.get("mimicbackends", name, "mimic.dev/v1alpha1") or {}

    def status(self, name: str = "corp") -> dict[str, Any]:
        found: dict[str, Any] = self.seen(name).get("status", {})
        return found

    def phase(self, name: str = "corp") -> str:
        return str(self.status(name).get("rollout", {}).get("phase"))

    def revision(self, name: str, kind: str = "deployments") -> str | None:
        """That the pod template names."""
        metadata = self.get(kind, name)["spec"]["template"]["metadata"]
        found: str | None = metadata.get("annotations", {}).get("mimic.dev/revision")
        return found

    def selected_are_on(self, revision: str) -> bool:
        """Whether the pod templates of all Deployments that SELECTED means name it."""
        found = [each["metadata"] for each in self.get("deployments")["items"]]
        names = [each["name"] for each in found if SELECTED["matchLabels"].items() <= each.get("labels", {}).items()]
        return all(self.revision(name) == revision for name in names)

    def patch(self, path: str, patch: dict[str, Any]) -> None:
        answer = self.http.patch(path, json=patch, headers=MERGE)
        assert answer.is_success, answer.text

    def path(self, kind: str, name: str, group: str = "apps/v1") -> str:
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return f"{root}/namespaces/{self.namespace}/{kind}/{name}"

    def delete(self, kind: str, name: str, group: str) -> None:
        assert self.http.delete(self.path(kind, name, group)).is_success


def image(tag: str) -> dict[str, Any]:
    return {"image": {"repository": "registry.example/mimic", "tag": tag}}


def settled(cluster: Cluster, operator: Reconciler, name: str = "corp") -> str:
    """Waits until a rollout has ended; the revision that everything is on."""
    manifest = cluster.seen(name)
    generation = manifest["metadata"]["generation"]
    selecting = manifest["spec"].get("injection", {}).get("workloads", {}).get("selector") == SELECTED

    def ended() -> bool:
        status = cluster.status(name)
        done = status.get("observedGeneration") == generation and cluster.phase(name) in ("Complete", "Idle")
        # A rollout is complete over what the operator has seen: what was made just before may come later.
        return done and (not selecting or cluster.selected_are_on(status["currentRevision"]))

    eventually(ended, lambda: (cluster.status(name), operator.log.read_text()), 60)
    revision: str = cluster.status(name)["currentRevision"]
    return revision


def versions(cluster: Cluster) -> dict[str, str]:
    """resourceVersion of everything that the operator writes, workloads apart."""
    found = [("mimicbackends", "mimic.dev/v1alpha1"), ("configmaps", "v1"), ("controllerrevisions", "apps/v1")]
    found += [("services", "v1"), ("serviceaccounts", "v1"), ("poddisruptionbudgets", "policy/v1")]
    return {
        f"{kind}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
        for kind, group in found
        for each in cluster.get(kind, group=group)["items"]
    }
