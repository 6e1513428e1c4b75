"""What is meant to end ends with its sidecar; and namespace, backend and workload may come in one apply."""

import json
from typing import Any

import pytest

from e2e.applications import ANSWERS, backend, deployment, scripts, secret, template
from e2e.cluster import Cluster, Manifest, eventually, proxy_status, run

pytestmark = pytest.mark.timeout(300)
FAILS_ONCE = (
    "python",
    "-c",
    "import os, runpy, sys; made = os.path.exists('/tmp/begun'); open('/tmp/begun', 'w').close();"
    " runpy.run_path('/e2e/answers.py', run_name='__main__') if made else sys.exit(1)",
)
"""Its first container ends with 1; the one that is restarted in its place asks the model."""


def job(kind: str, policy: str) -> Manifest:
    """Never: one try. OnFailure: the container fails once and is restarted beside the sidecar."""
    command = FAILS_ONCE if policy == "OnFailure" else ANSWERS
    pod = template("ask", command, restartPolicy=policy)
    pod["spec"]["volumes"].append({"name": "tmp", "emptyDir": {}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "tmp", "mountPath": "/tmp"})
    spec: dict[str, Any] = {"backoffLimit": 2, "template": pod}
    if kind == "Job":
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "ask"}, "spec": spec}
    scheduled = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "yearly"}, "spec": scheduled}


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_a_job_ends_with_its_sidecar(kind: str, policy: str, demo: Cluster):
    demo.apply(job(kind, policy))
    if kind == "CronJob":
        demo.kubectl("create", "job", "ask", "--from=cronjob/yearly")
    demo.kubectl("wait", "job/ask", "--for=condition=Complete", "--timeout=120s", seconds=130)
    (pod,) = demo.pods("ask")
    assert pod["status"]["phase"] == "Succeeded"
    assert proxy_status(pod)["state"]["terminated"]["exitCode"] == 0
    (application,) = pod["status"]["containerStatuses"]
    assert application["restartCount"] == (1 if policy == "OnFailure" else 0)
    answers = json.loads(demo.kubectl("logs", pod["metadata"]["name"], "-c", "application"))
    assert "Are you there?" in answers["answer"]


def test_a_namespace_that_asks_its_backend_and_its_workload_come_in_one_apply(demo: Cluster):
    """Another namespace than the fixture's: the point is that nothing of it was there before."""
    name = f"{demo.namespace}-new"
    labels = {"mimic.dev/injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    parts = [own, scripts(), secret(), deployment("chat", inject=False), backend()]
    for each in parts[1:]:
        each["metadata"]["namespace"] = name
    try:
        run("kubectl", "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": parts}))
        there = Cluster(name)
        there.settled("deployment/chat")
        (pod,) = there.pods("chat")
        assert pod["metadata"]["labels"]["mimic.dev/injected"] == "sidecar"
        assert "Are you there?" in json.loads(there.execute(there.pod("chat"), *ANSWERS))["answer"]
        eventually("the backend counts it", lambda: _total(there) == 1)
    finally:
        run("kubectl", "delete", "namespace", name, "--wait=false", "--ignore-not-found")


def _total(cluster: Cluster) -> int:
    found: int = cluster.get("mimicbackend", "demo").get("status", {}).get("injected", {}).get("total", 0)
    return found
