"""`mimic-operator check` of an installation that is well, and of one of its pods."""

import subprocess
import sys

from e2e.applications import deployment
from e2e.cluster import Cluster, eventually


def check(*arguments: str) -> tuple[int, str]:
    """Exit code, and what is printed with its lines joined: those of the cluster of KUBECONFIG."""
    ended = subprocess.run(
        [sys.executable, "-m", "mimic_operator", "check", *arguments], capture_output=True, text=True, check=False
    )
    return ended.returncode, " ".join((ended.stdout + ended.stderr).split())


def test_an_installation_that_is_well_is_said_to_be(demo: Cluster):
    """Other tests break their own backends meanwhile, so that the exit code says nothing, and kill Mimic's pods."""
    wanted = (
        "ok CRD mimicbackends.mimic.dev serves v1alpha1 with every field",
        "ok Certificate The authority of pods.mimic.dev is valid until",
        f"called the webhook for a trial pod in the namespace {demo.namespace} (a dry run): it got the proxy.",
        "ok RBAC The accounts of webhook and reconciler may do what they need.",
        "ok Namespaces Excluded from injection: kube-system, mimic-system",
        "pods of mimic-system/mimic-reconciler are ready.",
        "pods of mimic-system/mimic-webhook are ready.",
    )

    def is_well() -> bool:
        said = check("-n", demo.namespace)[1]
        return all(line in said for line in wanted) and "Not checked" not in said

    eventually("the check finds it well", is_well, every=2)
    assert demo.all("pods") == [], "the trial pod is a dry run"


def test_a_pod_that_is_well_is_said_to_be(demo: Cluster):
    demo.apply(deployment("chat"))
    demo.settled("deployment/chat")
    code, said = check(demo.pod("chat"), "-n", demo.namespace)
    assert code == 0, said
    assert "ok Pod It has a sidecar of demo, revision mimic-demo-" in said
    assert "ok Sidecar It runs, is ready, and was restarted 0 times." in said
    assert "ok Environment The container application calls http://127.0.0.1:18480/v1." in said
