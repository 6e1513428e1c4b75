"""The objects of a backend: golden files of every example, and what holds for all."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from fakes.bad_backends import good
from fakes.generated_backends import backends
from fakes.kubernetes_examples import EXAMPLES, backend_in
from mimic_operator.reconcile.manifests import desired
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import revision_of

GOLDEN = Path(__file__).parent / "golden" / "render"
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
DEFAULTS = ProxyDefaults(image="registry.example.com/mimic:0.1.0")
NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


def made(backend: Backend) -> dict[str, dict[str, Any]]:
    return {manifest["kind"]: manifest for manifest in desired(backend, revision_of(backend, DEFAULTS))}


def shared_with(**deployment: Any) -> dict[str, dict[str, Any]]:
    manifest = good("deployment")
    manifest["metadata"]["uid"] = "0123"
    manifest["spec"]["deployment"] |= deployment
    return made(parse(manifest, strict=True))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_renders_what_the_golden_file_holds(example: Path):
    """`make golden` writes them anew; the difference is for a person to judge."""
    rendered = list(desired(backend_in(example), revision_of(backend_in(example), DEFAULTS)))
    assert rendered == list(yaml.safe_load_all((GOLDEN / example.name).read_text("utf-8")))


def test_there_is_no_golden_file_without_an_example():
    assert {file.name for file in GOLDEN.glob("*.yaml")} == {example.name for example in EXAMPLES}


@settings(deadline=None, max_examples=80)
@given(backend=backends())
def test_all_objects_are_named_labelled_and_owned_alike(backend: Backend):
    manifests = desired(backend, revision_of(backend, DEFAULTS))
    assert len({(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}) == len(manifests)
    for manifest in manifests:
        metadata = manifest["metadata"]
        assert metadata["namespace"] == backend.namespace
        assert NAME.fullmatch(metadata["name"])
        assert all(LABEL.fullmatch(value) for value in metadata["labels"].values())
        assert metadata["labels"]["mimic.dev/component"] == "proxy"
        assert "ownerReferences" not in metadata
    assert desired(backend, revision_of(backend, DEFAULTS)) == manifests


def test_objects_go_with_their_backend_and_block_nothing():
    for manifest in shared_with().values():
        (owner,) = manifest["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("MimicBackend", "corp", "0123")
        assert owner["controller"] is True
        assert owner["blockOwnerDeletion"] is False


def test_sidecars_need_a_configuration_and_a_revision():
    manifests = desired(parse(good("sidecar")), revision_of(parse(good("sidecar")), DEFAULTS))
    assert [manifest["kind"] for manifest in manifests] == ["ConfigMap", "ControllerRevision"]


def test_deployment_has_two_pods_replaced_without_a_gap():
    spec = shared_with()["Deployment"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert shared_with()["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_replicas_are_the_autoscalers_where_there_is_one():
    manifests = shared_with(autoscaling={"maxReplicas": 9, "targetCPUUtilization": 70})
    assert "replicas" not in manifests["Deployment"]["spec"]
    spec = manifests["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    assert spec["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]


def test_the_autoscaler_takes_metrics_and_behaviour_of_the_user():
    depth = {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "5"}}}
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 600}}
    scaling = {"maxReplicas": 9, "targetInFlight": 20, "metrics": [depth], "behavior": behavior}
    spec = shared_with(autoscaling=scaling)["HorizontalPodAutoscaler"]["spec"]
    assert [metric["type"] for metric in spec["metrics"]] == ["Pods", "External"]
    assert spec["metrics"][1] == depth
    assert spec["behavior"] == behavior


def test_the_disruption_budget_is_as_the_resource_says():
    assert shared_with(podDisruptionBudget={"minAvailable": "50%"})["PodDisruptionBudget"]["spec"] == {
        "minAvailable": "50%",
        "selector": {"matchLabels": {"mimic.dev/component": "proxy", "mimic.dev/backend": "corp"}},
    }
    assert shared_with(podDisruptionBudget={"maxUnavailable": 0})["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 0
    assert "PodDisruptionBudget" not in shared_with(podDisruptionBudget={"enabled": False})


def test_the_pod_template_of_the_user_is_merged_into_that_of_mimic():
    store = {"name": "vault", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True}}
    template = {
        "metadata": {"labels": {"team": "search"}, "annotations": {"prometheus.io/scrape": "false"}},
        "spec": {
            "serviceAccountName": "llm",
            "volumes": [store],
            "containers": [{"name": "helper", "image": "helper:1"}],
            "securityContext": {"fsGroup": 2000},
            "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        },
        "volumeMounts": [{"name": "vault", "mountPath": "/mnt/vault"}],
    }
    manifests, plain = shared_with(podTemplate=template), shared_with()
    assert "ServiceAccount" not in manifests
    pod, before = (each["Deployment"]["spec"]["template"] for each in (manifests, plain))
    assert pod["metadata"]["labels"] == {**before["metadata"]["labels"], "team": "search"}
    assert pod["metadata"]["annotations"]["prometheus.io/scrape"] == "false"
    assert pod["spec"]["serviceAccountName"] == "llm"
    assert pod["spec"]["volumes"] == [*before["spec"]["volumes"], store]
    assert [container["name"] for container in pod["spec"]["containers"]] == ["mimic-proxy", "helper"]
    assert pod["spec"]["containers"][0]["volumeMounts"][-1] == {"name": "vault", "mountPath": "/mnt/vault"}
    assert pod["spec"]["securityContext"] == {**before["spec"]["securityContext"], "fsGroup": 2000}
    assert pod["spec"]["dnsConfig"] == {"options": [{"name": "ndots", "value": "1"}]}


def test_the_grace_period_is_longer_than_delay_and_drain_together():
    manifest = good("deployment")
    manifest["spec"]["proxy"] = {"drainTimeout": "10m"}
    manifests = made(parse(manifest, strict=True))
    assert manifests["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 5 + 600 + 5
    assert "drain_timeout: 600.0\n" in manifests["ConfigMap"]["data"]["mimic.yaml"]


def test_inline_authorities_are_beside_the_configuration():
    manifest = good("deployment")
    manifest["spec"]["tls"] = {"caBundle": PEM}
    assert made(parse(manifest, strict=True))["ConfigMap"]["data"]["ca.crt"] == PEM


def test_single_use_credentials_have_one_pod_at_a_time():
    manifest = good("deployment")
    manifest["spec"]["auth"] |= {"grant": "RefreshToken", "singleUse": True, "tokenStore": {"claimName": "store"}}
    manifest["spec"]["deployment"]["replicas"] = 1
    spec = made(parse(manifest, strict=True))["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert spec["template"]["spec"]["securityContext"]["fsGroup"] == 65532


def test_scaled_to_zero_stays_at_zero():
    assert shared_with(replicas=0)["Deployment"]["spec"]["replicas"] == 0


def test_template_hash_follows_the_pod_and_not_the_configuration():
    def template_hash(**spec: Any) -> str:
        manifest = good("deployment")
        for section, fields in spec.items():
            manifest["spec"][section] = {**manifest["spec"].get(section, {}), **fields}
        deployment = made(parse(manifest, strict=True))["Deployment"]
        on_pods: str = deployment["spec"]["template"]["metadata"]["annotations"]["mimic.dev/template-hash"]
        assert deployment["metadata"]["annotations"]["mimic.dev/template-hash"] == on_pods
        return on_pods

    assert template_hash() == template_hash(chat={"url": "https://other.example/v1"})
    assert template_hash() != template_hash(proxy={"image": {"tag": "2"}})
    assert template_hash() != template_hash(deployment={"priorityClassName": "high", "access": "Open"})
    assert template_hash() == template_hash(deployment={"replicas": 7, "access": "Open"})


@pytest.mark.parametrize(
    ("allowed", "peer"),
    [
        ({}, {"podSelector": {}}),
        ({"from": "All"}, {"namespaceSelector": {}}),
        (
            {"from": "Selector", "selector": {"matchLabels": {"llm": "yes"}}},
            {"namespaceSelector": {"matchLabels": {"llm": "yes"}}},
        ),
    ],
)
def test_policy_lets_in_the_namespaces_that_are_allowed(allowed: dict[str, Any], peer: dict[str, Any]):
    policy = shared_with(networkPolicy={"enabled": True}, allowedNamespaces=allowed)["NetworkPolicy"]
    api, admin = policy["spec"]["ingress"]
    assert api["from"] == [peer]
    assert "from" not in admin
    assert policy["spec"]["policyTypes"] == ["Ingress"]


def test_pods_are_annotated_for_scraping_unless_a_monitor_finds_them():
    def annotations(**deployment: Any) -> dict[str, str]:
        found: dict[str, str] = shared_with(**deployment)["Deployment"]["spec"]["template"]["metadata"]["annotations"]
        return found

    assert annotations()["prometheus.io/port"] == "8001"
    assert "prometheus.io/scrape" not in annotations(podMonitor={"enabled": True})


def test_selectors_never_change_with_the_spec():
    before, after = shared_with(), shared_with(replicas=5, priorityClassName="high")
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        assert before[kind]["spec"]["selector"] == after[kind]["spec"]["selector"]
    labels = before["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert before["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_pods_have_no_api_token():
    manifests = shared_with()
    assert manifests["ServiceAccount"]["automountServiceAccountToken"] is False
    assert manifests["Deployment"]["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
