"""What both accounts may do on a real API server: enough, and no more."""

from collections.abc import Iterator

import httpx2
import pytest

from fakes.applied import Cluster
from fakes.chart_release import Release, eventually, may, released
from fakes.control_plane import ControlPlane

READ = ("get", "list", "watch")
OWNED = (*READ, "create", "patch", "delete")
EVERYWHERE = {
    "webhook": {
        "mimic.dev/mimicbackends": READ,
        "apps/controllerrevisions": READ,
        "core/namespaces": ("get",),
        "apps/replicasets": ("get",),
        "batch/jobs": ("get",),
        "core/events": ("create",),
    },
    "reconciler": {
        "mimic.dev/mimicbackends": (*READ, "patch"),
        "mimic.dev/mimicbackends/status": ("patch",),
        "apps/deployments": OWNED,
        "apps/statefulsets": (*READ, "patch"),
        "apps/daemonsets": (*READ, "patch"),
        "batch/cronjobs": (*READ, "patch"),
        "core/pods": READ,
        "apps/controllerrevisions": OWNED,
        "core/configmaps": OWNED,
        "core/services": OWNED,
        "core/serviceaccounts": OWNED,
        "policy/poddisruptionbudgets": OWNED,
        "autoscaling/horizontalpodautoscalers": OWNED,
        "networking.k8s.io/networkpolicies": OWNED,
        "monitoring.coreos.com/podmonitors": OWNED,
        "core/events": (*READ, "create"),
    },
}
"""Verbs by resource, in any namespace. What is not here is forbidden."""
CLUSTERWIDE = {
    "webhook": {"mimic.dev/clustermimicbackends": ("list",)},
    "reconciler": {
        "mimic.dev/mimicbackends": ("create", "delete"),
        "mimic.dev/clustermimicbackends": READ,
        "mimic.dev/clustermimicbackends/status": ("patch",),
        "core/namespaces": ("list", "watch"),
        "coordination.k8s.io/leases": ("get",),
    },
}
"""Besides, unless the release serves a few namespaces alone."""
RESOURCES = sorted(
    {
        *EVERYWHERE["webhook"],
        *EVERYWHERE["reconciler"],
        *CLUSTERWIDE["reconciler"],
        "core/secrets",
        "core/pods/exec",
        "core/pods/eviction",
        "core/pods/ephemeralcontainers",
        "core/serviceaccounts/token",
        "core/nodes",
        "core/persistentvolumeclaims",
        "coordination.k8s.io/leases",
        "apps/deployments/scale",
        "batch/cronjobs/status",
        "rbac.authorization.k8s.io/roles",
        "rbac.authorization.k8s.io/rolebindings",
        "rbac.authorization.k8s.io/clusterroles",
        "rbac.authorization.k8s.io/clusterrolebindings",
        "apiextensions.k8s.io/customresourcedefinitions",
        "admissionregistration.k8s.io/mutatingwebhookconfigurations",
        "admissionregistration.k8s.io/validatingwebhookconfigurations",
        "admissionregistration.k8s.io/validatingadmissionpolicies",
    }
)
VERBS = (*READ, "create", "update", "patch", "delete", "deletecollection")


@pytest.fixture(scope="module")
def release(control_plane: ControlPlane, admin: httpx2.Client) -> Iterator[Release]:
    with released(control_plane, admin) as made:
        yield made


@pytest.mark.parametrize("role", EVERYWHERE)
def test_an_account_may_do_exactly_what_the_table_says(release: Release, role: str):
    client = getattr(release, role)
    differing = [
        (verb, resource)
        for resource in RESOURCES
        for verb in VERBS
        if may(client, verb, resource, namespace="default")
        != (verb in (*EVERYWHERE[role].get(resource, ()), *CLUSTERWIDE[role].get(resource, ())))
    ]
    assert differing == []


OWN = {
    "core/secrets": ("mimic-webhook-tls", {"get", "create", "patch"}),
    "coordination.k8s.io/leases": ("mimic-reconciler", {"get", "create", "update"}),
}
BY_POST = {"coordination.k8s.io/leases": {"create"}}
"""Made by a POST, which names nothing: any of them in the release's namespace."""


@pytest.mark.parametrize("resource", OWN)
def test_secret_and_lease_are_the_reconcilers_by_name_and_nobody_elses(release: Release, resource: str):
    name, verbs = OWN[resource]
    anywhere = CLUSTERWIDE["reconciler"].get(resource, ())
    for verb in VERBS:
        assert may(release.reconciler, verb, resource, name, release.namespace) == (verb in verbs), verb
        others = verb in BY_POST.get(resource, ()) or verb in anywhere
        assert may(release.reconciler, verb, resource, "other", release.namespace) == others, verb
        assert may(release.reconciler, verb, resource, name, "default") == (verb in anywhere), verb
        assert not may(release.webhook, verb, resource, name, release.namespace), verb


def test_pods_are_evicted_only_where_the_chart_says_so(control_plane: ControlPlane, admin: httpx2.Client):
    with released(control_plane, admin, {"reconciler.evictMissing": "true"}) as release:
        assert may(release.reconciler, "create", "core/pods/eviction", namespace="default")


@pytest.mark.parametrize("kind", ["mutating", "validating"])
def test_of_webhook_configurations_the_reconciler_has_its_own(release: Release, kind: str):
    resource = f"admissionregistration.k8s.io/{kind}webhookconfigurations"
    for verb in VERBS:
        assert may(release.reconciler, verb, resource, release.configuration) == (verb in {*READ, "patch"}), verb
        assert not may(release.reconciler, verb, resource, "istio-sidecar-injector"), verb
        assert not may(release.webhook, verb, resource, release.configuration), verb


def test_of_crds_the_reconciler_reads_its_own(release: Release):
    resource = "apiextensions.k8s.io/customresourcedefinitions"
    allowed = [verb for verb in VERBS if may(release.reconciler, verb, resource, "mimicbackends.mimic.dev")]
    assert allowed == ["get"]
    assert not may(release.reconciler, "get", resource, "certificates.cert-manager.io")


def test_server_side_apply_makes_the_one_secret_and_no_other(release: Release):
    cluster = Cluster(release.reconciler)

    def secret(name: str) -> dict[str, object]:
        metadata = {"name": name, "namespace": release.namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"tls.key": "none"}}

    assert cluster.apply(secret("mimic-webhook-tls")).status_code == 201
    assert cluster.apply(secret("mimic-webhook-tls")).status_code == 200
    assert cluster.apply(secret("other")).status_code == 403
    assert release.reconciler.get(f"/api/v1/namespaces/{release.namespace}/secrets").status_code == 403
    assert release.reconciler.get("/api/v1/secrets").status_code == 403


def test_lists_and_watches_of_a_configuration_ask_for_its_name(release: Release):
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    named = {"fieldSelector": f"metadata.name={release.configuration}"}
    assert len(release.reconciler.get(path, params=named).json()["items"]) == 1
    assert release.reconciler.get(path).status_code == 403


def test_a_namespaced_install_reaches_its_namespaces_and_no_others(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str
):
    sets = {"watchNamespaces": f'["{namespace}"]', "crds.enabled": "false"}
    with released(control_plane, admin, sets) as release:
        for role, table in EVERYWHERE.items():
            client = getattr(release, role)
            for resource in table.keys() - {"core/namespaces"}:
                for verb in table[resource]:
                    assert may(client, verb, resource, namespace=namespace), (role, verb, resource)
                    assert not may(client, verb, resource, namespace="default"), (role, verb, resource)
                    assert not may(client, verb, resource), (role, verb, resource)
        for role, table in CLUSTERWIDE.items():
            for resource in table:
                for verb in table[resource]:
                    assert not may(getattr(release, role), verb, resource, namespace=namespace), (role, verb, resource)
        assert may(release.webhook, "get", "core/namespaces", namespace)
        assert not may(release.webhook, "get", "core/namespaces", "default")
        assert not may(release.webhook, "list", "core/namespaces")


def test_those_who_edit_a_namespace_write_backends_there(
    control_plane: ControlPlane, admin: httpx2.Client, namespace: str
):
    """Needs the controller that aggregates roles."""
    cluster = Cluster(admin)
    for role in ("edit", "view"):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": role, "namespace": namespace}}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": role, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": role, "namespace": namespace}],
        }
        cluster.apply_all([account, binding])
    editor, viewer = (control_plane.http(control_plane.token(namespace, role)) for role in ("edit", "view"))
    backends = "mimic.dev/mimicbackends"
    with editor, viewer:
        eventually("an editor writes", lambda: may(editor, "create", backends, namespace=namespace))
        eventually("a viewer reads", lambda: may(viewer, "list", backends, namespace=namespace))
        assert not may(viewer, "create", backends, namespace=namespace)
        assert not may(editor, "patch", f"{backends}/status", namespace=namespace)
        assert not may(editor, "create", backends, namespace="default")
