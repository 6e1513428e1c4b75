"""What the check says of an installation, each fault with what to do."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes.manifests import Manifest, backend, container, pod
from mimic_operator.check.facts import Installation, Trial
from mimic_operator.check.findings import Finding, findings
from mimic_operator.cli.check import lines
from mimic_operator.resource.crd import cluster_definition, definition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = base64.b64encode(b"later").decode()
ENDS = {b"later": NOW + timedelta(days=300), b"soon": NOW + timedelta(days=3), b"over": NOW - timedelta(days=1)}


def ends(certificate: bytes) -> datetime:
    if certificate not in ENDS:
        raise ValueError
    return ENDS[certificate]


def process(role: str, *, ready: int = 2, image: str = "registry.example.com/mimic:1") -> Manifest:
    spec = {"containers": [{"name": role, "image": image}], "serviceAccountName": f"mimic-{role}"}
    return {
        "metadata": {"namespace": "mimic-system", "name": f"mimic-{role}", "labels": {"mimic.dev/component": role}},
        "spec": {"replicas": 2, "template": {"spec": spec}},
        "status": {"readyReplicas": ready},
    }


def configuration(*names: str, bundle: str = LATER, **selector: Any) -> Manifest:
    service = {"namespace": "mimic-system", "name": "mimic-webhook"}
    entry = {"clientConfig": {"service": service, "caBundle": bundle}, "namespaceSelector": selector}
    return {"metadata": {"name": "mimic"}, "webhooks": [{**entry, "name": name} for name in names]}


ENTRIES = ("pods.mimic.dev", "namespaces.mimic.dev", "backends.mimic.dev")
EXCLUDED = [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "secret"]}]
READY = {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]}
SIDECAR = container("mimic-proxy", image="registry.example.com/mimic:1")


def running(name: str, **changes: Any) -> Manifest:
    found = pod(init=[SIDECAR], name=name, labels={"mimic.dev/inject": "true", "mimic.dev/injected": "sidecar"})
    found["metadata"] |= {"namespace": "shop", "creationTimestamp": "2025-12-31T00:00:00Z"}
    return found | changes


WELL = Installation(
    version="1.0.0",
    server="1.35",
    definitions={each["metadata"]["name"]: each for each in (definition(), cluster_definition())},
    deployments=[process("reconciler"), process("webhook")],
    leases=[{"spec": {"holderIdentity": "a"}}],
    endpoints={("mimic-system", "mimic-webhook"): 2},
    configurations=[configuration(*ENTRIES, matchExpressions=EXCLUDED)],
    namespaces={each: {"kubernetes.io/metadata.name": each} for each in ("shop", "kube-system", "secret")},
    backends=[backend(status=READY)],
    pods=[running("web")],
    trial=Trial("shop", 201, True, ""),
)


def wrong(facts: Installation) -> list[Finding]:
    return [each for each in findings(facts, NOW, ends) if each.level != "ok"]


def test_an_installation_that_is_well_has_no_fault_and_says_what_was_checked():
    assert wrong(WELL) == []
    assert {each.subject for each in findings(WELL, NOW, ends)} == {
        *("CRD", "Reconciler", "Webhook", "Versions", "Certificate", "Admission", "RBAC"),
        *("Namespaces", "MimicBackends", "Pods"),
    }


def older() -> Mapping[str, Any]:
    found = definition()
    del found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["injection"]
    return {**WELL.definitions, found["metadata"]["name"]: found}


NOT_READY = {"conditions": [{"type": "Ready", "status": "False", "reason": "Invalid", "message": "spec.chat.url"}]}
NO_SECRET = {
    "conditions": [*READY["conditions"], {"type": "SecretResolved", "status": "False", "reason": "SecretMissing"}]
}
WAITING = {"initContainerStatuses": [{"name": "mimic-proxy", "state": {"waiting": {"reason": "ContainerCreating"}}}]}
ASKING = {"mimic.dev/injection": "enabled"}
AWAY = 'Internal error occurred: failed calling webhook "pods.mimic.dev": tls: x509: unknown authority'
DENIED = 'admission webhook "pods.mimic.dev" denied the request: Mimic, NoBackend: There is none.'
CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no CRD": ({"definitions": {}}, "error", "is not installed", "crds.enabled"),
    "an older CRD": (
        {"definitions": older()},
        "error",
        "it lacks spec.injection",
        "mimic-operator crd | kubectl apply",
    ),
    "no webhook": (
        {"deployments": [process("reconciler")]},
        "error",
        "no Deployment of the webhook",
        "Install the chart",
    ),
    "a webhook that is not ready": (
        {"deployments": [process("reconciler"), process("webhook", ready=0)]},
        "error",
        "No pod of mimic-system/mimic-webhook is ready",
        "describe pods -l mimic.dev/component=webhook",
    ),
    "half a reconciler": (
        {"deployments": [process("reconciler", ready=1), process("webhook")]},
        "warning",
        "1 of 2 pods of mimic-system/mimic-reconciler are ready",
        "describe pods",
    ),
    "no leader": ({"leases": [{"spec": {}}]}, "error", "No reconciler holds the Lease", "log"),
    "two versions": (
        {"deployments": [process("reconciler", image="mimic:2"), process("webhook")]},
        "warning",
        "mimic-system/mimic-reconciler runs mimic:2",
        "Let the upgrade end",
    ),
    "no registration": (
        {"configurations": [configuration("pods.mimic.dev", "backends.mimic.dev")]},
        "error",
        "The webhook namespaces.mimic.dev is not registered",
        "Install the chart",
    ),
    "no authority": (
        {"configurations": [configuration(*ENTRIES, bundle="")]},
        "error",
        "has no caBundle",
        "The leading reconciler writes it",
    ),
    "an authority that is over": (
        {"configurations": [configuration(*ENTRIES, bundle=base64.b64encode(b"over").decode())]},
        "error",
        "expired on 2025-12-31",
        "reconciler",
    ),
    "an authority that ends soon": (
        {"configurations": [configuration(*ENTRIES, bundle=base64.b64encode(b"soon").decode())]},
        "warning",
        "expires on 2026-01-04",
        "reconciler",
    ),
    "an authority that is none": (
        {"configurations": [configuration(*ENTRIES, bundle=base64.b64encode(b"x").decode())]},
        "error",
        "holds no certificate",
        "reconciler",
    ),
    "nobody behind the Service": (
        {"endpoints": {("mimic-system", "mimic-webhook"): 0}},
        "error",
        "mimic-system/mimic-webhook has no ready endpoint",
        "selector",
    ),
    "a webhook that cannot be called": (
        {"trial": Trial("shop", 500, False, AWAY)},
        "error",
        "x509: unknown authority",
        "restart the reconciler",
    ),
    "a webhook that is not called": (
        {"trial": Trial("shop", 201, False, "")},
        "error",
        "did not call the webhook for a trial pod in the namespace shop",
        "excluded",
    ),
    "a trial that another refuses": (
        {"trial": Trial("shop", 403, False, "exceeded quota")},
        "warning",
        "was refused: exceeded quota",
        "Choose another by -n",
    ),
    "no permission": (
        {"denied": [("reconciler", "patch deployments"), ("reconciler", "list pods")]},
        "error",
        "The reconciler may not patch deployments, list pods.",
        "rbac.create",
    ),
    "a backend in an excluded namespace": (
        {"backends": [backend(namespace="secret", status=READY)]},
        "error",
        "secret: has MimicBackends or asks for the proxy, and is excluded",
        "webhook.excludedNamespaces",
    ),
    "an excluded namespace that asks": (
        {
            "namespaces": {
                "kube-system": {"mimic.dev/injection": "enabled", "kubernetes.io/metadata.name": "kube-system"}
            }
        },
        "error",
        "kube-system: has MimicBackends or asks",
        "watchNamespaces",
    ),
    "no backend": ({"backends": []}, "warning", "There are none", "kubectl explain mimicbackend"),
    "a backend that nobody read": ({"backends": [backend()]}, "error", "shop/corp has no status", "watchNamespaces"),
    "a backend that is not ready": (
        {"backends": [backend(status=NOT_READY)]},
        "error",
        "shop/corp is not ready (Invalid): spec.chat.url",
        "kubectl -n shop describe mimicbackend corp",
    ),
    "a cluster's backend that is not ready": (
        {"clusters": [{"kind": "ClusterMimicBackend", "metadata": {"name": "corp"}, "status": NOT_READY}]},
        "error",
        "corp is not ready (Invalid): spec.chat.url",
        "kubectl describe clustermimicbackend corp",
    ),
    "a secret that is missing": (
        {"backends": [backend(status=NO_SECRET)]},
        "warning",
        "shop/corp, SecretResolved (SecretMissing)",
        "describe mimicbackend",
    ),
    "a pod without the proxy": (
        {"pods": [running("web", spec={"containers": [container()]})]},
        "error",
        "1 pods ask for the proxy and run without it: shop/web.",
        "rollout restart",
    ),
    "a pod that waits": (
        {"pods": [running("web", status=WAITING)]},
        "error",
        "1 pods wait for their sidecar: shop/web (ContainerCreating).",
        "mimic-operator check POD",
    ),
    "what may not be read": (
        {"unread": ["pods: forbidden"]},
        "warning",
        "Not checked, pods: forbidden.",
        "may read it",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_named_with_what_to_do(name: str):
    changes, level, says, remedy = CASES[name]
    found = [each for each in wrong(replace(WELL, **changes)) if says in each.sentence]
    assert found, wrong(replace(WELL, **changes))
    assert (found[0].level, remedy in found[0].remedy) == (level, True)


def test_without_the_definition_no_backend_is_asked_for():
    assert {each.subject for each in wrong(replace(WELL, definitions={}, backends=[]))} == {"CRD"}


def test_a_denial_by_mimic_shows_that_the_webhook_is_reached():
    assert wrong(replace(WELL, trial=Trial("shop", 403, False, DENIED))) == []


def test_a_pod_that_has_ended_or_has_just_begun_is_none_that_waits():
    ended = running("job", spec={"containers": [container()]}, status={"phase": "Succeeded"})
    begun = running("web", status=WAITING)
    begun["metadata"]["creationTimestamp"] = "2025-12-31T23:59:30Z"
    assert wrong(replace(WELL, pods=[ended, begun])) == []


def test_many_names_are_cut():
    bare = [running(f"web-{number}", spec={"containers": [container()]}) for number in range(7)]
    (found,) = wrong(replace(WELL, pods=bare))
    assert found.sentence.endswith("shop/web-0, shop/web-1, shop/web-2, shop/web-3, shop/web-4 and 2 more.")


def test_findings_are_printed_with_their_remedies():
    found = [Finding("ok", "CRD", "It is there.", ""), Finding("error", "Webhook", "It is not.", "Install it.")]
    assert list(lines(found)) == [
        "ok       CRD            It is there.",
        "error    Webhook        It is not.",
        "                        -> Install it.",
    ]
