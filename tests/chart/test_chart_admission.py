"""Which pods the webhooks see, by their configuration."""

from typing import Any

import pytest

from fakes.helm import CHART, Rendering, of_kind, render


def entries(rendering: Rendering = Rendering()) -> dict[str, dict[str, Any]]:  # noqa: B008
    kinds = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    return {entry["name"]: entry for manifest in of_kind(render(rendering), *kinds) for entry in manifest["webhooks"]}


def test_the_configurations_are_called_before_those_of_meshes():
    """The API server calls them in the order of their names: a mesh has to see our container."""
    for release in ("mimic", "a", "zz"):
        for manifest in of_kind(render(Rendering(release=release)), "MutatingWebhookConfiguration"):
            name = manifest["metadata"]["name"]
            assert (
                name < "istio-revision-tag-default" < "istio-sidecar-injector" < "linkerd-proxy-injector-webhook-config"
            )
            assert name.endswith(f".mimic-system.{release}")


def test_labelled_pods_are_refused_when_nobody_answers_and_all_others_start():
    failure = {name: entry["failurePolicy"] for name, entry in entries().items()}
    assert failure == {"pods.mimic.dev": "Fail", "namespaces.mimic.dev": "Ignore", "backends.mimic.dev": "Ignore"}


def test_a_pod_is_seen_by_one_entry_at_most():
    label = {"key": "mimic.dev/inject", "operator": "DoesNotExist"}
    own = {"key": "mimic.dev/component", "operator": "DoesNotExist"}
    assert entries()["pods.mimic.dev"]["objectSelector"] == {
        "matchLabels": {"mimic.dev/inject": "true"},
        "matchExpressions": [own],
    }
    assert entries()["namespaces.mimic.dev"]["objectSelector"] == {"matchExpressions": [label, own]}


@pytest.mark.parametrize("name", ["pods.mimic.dev", "namespaces.mimic.dev"])
def test_system_namespaces_are_out_and_in_namespaced_mode_all_but_the_watched(name: str):
    excluded = Rendering(sets={"webhook.excludedNamespaces": '["vault", "kube-system"]'})
    (expression,) = entries(excluded)[name]["namespaceSelector"]["matchExpressions"]
    assert expression == {
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": ["kube-system", "mimic-system", "vault"],
    }
    watched, out = entries(Rendering(values=[CHART / "ci" / "namespaced-values.yaml"]))[name]["namespaceSelector"][
        "matchExpressions"
    ]
    assert (watched["operator"], watched["values"]) == ("In", ["shop", "search"])
    assert out["values"] == ["kube-system"]


def test_only_the_softer_entry_drops_pods_that_can_have_no_proxy_before_the_call():
    assert "matchConditions" not in entries()["pods.mimic.dev"]
    assert len(entries()["namespaces.mimic.dev"]["matchConditions"]) == 3


def test_a_dry_run_reaches_the_webhook_and_answers_are_waited_for_five_seconds():
    for name, entry in entries().items():
        assert entry["timeoutSeconds"] == 5
        assert entry["sideEffects"] in {"None", "NoneOnDryRun"}, name
        assert entry["clientConfig"]["service"]["name"] == "mimic-webhook"
    assert entries()["pods.mimic.dev"]["reinvocationPolicy"] == "IfNeeded"


def test_nobody_but_an_external_issuer_gives_a_bundle_in_the_values():
    """GitOps would take back what the reconciler or cert-manager wrote."""
    for file in ("default", "cert-manager", "self-signed"):
        for entry in entries(Rendering(values=[CHART / "ci" / f"{file}-values.yaml"])).values():
            assert "caBundle" not in entry["clientConfig"]
    for entry in entries(Rendering(values=[CHART / "ci" / "external-values.yaml"])).values():
        assert entry["clientConfig"]["caBundle"].startswith("LS0tLS1CRUdJTi")


def test_cert_manager_is_told_where_its_bundle_goes():
    manifests = render(Rendering(values=[CHART / "ci" / "cert-manager-values.yaml"]))
    (certificate,) = of_kind(manifests, "Certificate")
    for manifest in of_kind(manifests, "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        assert manifest["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == "mimic-system/mimic-webhook"
    assert certificate["metadata"]["name"] == "mimic-webhook"
    assert "mimic-webhook.mimic-system.svc" in certificate["spec"]["dnsNames"]
