"""`mimic-operator check` against a real API server, with what the chart renders."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from fakes.chart_release import released
from fakes.control_plane import ControlPlane
from fakes.definition import installed
from fakes.manifests import backend, pod
from fakes.webhooks import MERGE, Webhook, backends_path, created, registered, unregistered
from mimic_operator.__main__ import main

Check = Callable[..., tuple[int, str]]
"""From arguments to the exit code, and what is printed with its lines joined."""


@pytest.fixture
def check(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    def run(*arguments: str, kubeconfig: Path | None = None) -> tuple[int, str]:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig or control_plane.kubeconfig))
        code = main(["check", *arguments])
        return code, " ".join(capsys.readouterr().out.split())

    return run


def test_an_installation_whose_pods_do_not_run_is_told_apart_from_one_whose_rules_are_wrong(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str, check: Check
):
    with released(control_plane, admin) as release:
        created(admin, backend(), namespace)
        code, said = check("-n", namespace)
        assert code == 1
        assert "ok CRD mimicbackends.mimic.dev serves v1alpha1" in said
        for role in ("reconciler", "webhook"):
            assert f"No pod of {release.namespace}/mimic-{role} is ready." in said
        assert "The entry pods.mimic.dev has no caBundle: no call to it succeeds." in said
        assert f"The Service {release.namespace}/mimic-webhook has no ready endpoint" in said
        assert "The API server could not call the webhook for a trial pod in the namespace" in said
        assert "ok RBAC The accounts of webhook and reconciler may do what they need." in said
        assert "ok Namespaces Excluded from injection: kube-system" in said
        assert "Not checked" not in said

        roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
        found = admin.get(roles).json()["items"]
        bound = f"mimic:{release.namespace}:mimic:webhook"
        (role,) = [each for each in found if each["metadata"]["name"] == bound]
        path = f"{roles}/{role['metadata']['name']}"
        rules = [each for each in role["rules"] if "jobs" not in each["resources"]]
        admin.patch(path, json={"rules": rules}, headers=MERGE).raise_for_status()
        assert "error RBAC The webhook may not get jobs. -> Install the chart with rbac.create" in check()[1]


def test_a_webhook_that_the_api_server_reaches_is_told_by_its_trial_and_one_pod_by_its_own(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str, check: Check, tmp_path: Path
):
    installed(admin)
    created(admin, backend(), namespace)
    webhook = Webhook(control_plane.kubeconfig, tmp_path)
    try:
        webhook.start()
        registered(admin, webhook)
        code, said = check("-n", namespace)
        assert code == 1, "there is no Deployment"
        where = f"a trial pod in the namespace {namespace} (a dry run)"
        assert f"ok Admission The API server called the webhook for {where}: it got the proxy." in said
        assert "There is no Deployment of the webhook." in said
        pods = f"/api/v1/namespaces/{namespace}/pods"
        left = admin.get(pods).json()["items"]
        assert left == [], "the trial is a dry run"

        admin.post(pods, json=pod(name="web", owner=None)).raise_for_status()
        admin.post(pods, json=pod(name="bare", labels={}, owner=None)).raise_for_status()
        code, said = check("web", "-n", namespace)
        assert (code, "ok Pod It has a sidecar of corp, revision mimic-corp-" in said) == (0, True)
        assert "ok Environment The container web calls http://127.0.0.1:18480/v1." in said
        code, said = check("bare", "-n", namespace)
        assert (code, "warning Pod The pod does not ask for the proxy" in said) == (0, True)
        code, said = check("none", "-n", namespace)
        assert (code, f"There is no pod none in the namespace {namespace}." in said) == (1, True)
    finally:
        unregistered(admin)
        webhook.stop()
        admin.delete(f"{backends_path(namespace)}/corp")


def test_a_user_who_may_read_little_is_told_what_was_not_checked(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str, check: Check
):
    code, said = check(kubeconfig=control_plane.kubeconfig_of(namespace, "default"))
    assert code == 1
    assert "Not checked, mimicbackends: forbidden. -> Run the check as a user who may read it." in said
