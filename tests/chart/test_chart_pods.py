"""The pods of the chart: secure, placed apart, and told what the operator's settings know."""

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.helm import CHART, CI_VALUES, Rendering, of_kind, one, pods, render
from mimic_operator import settings

values_file = pytest.mark.parametrize("file", CI_VALUES, ids=lambda file: file.stem)


@values_file
def test_every_pod_keeps_the_restricted_standard_and_writes_nothing(file: Path):
    for name, spec in pods(render(Rendering(values=[file]))):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            restricted = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert restricted.items() <= container["securityContext"].items(), name
            assert container["resources"]["limits"]["memory"], name
            assert "cpu" not in container["resources"]["limits"], name


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "from the pod") for entry in container["env"]}


@values_file
@pytest.mark.parametrize("role", ["webhook", "reconciler"])
def test_the_operator_accepts_the_settings_that_it_is_given(file: Path, role: str):
    deployments = of_kind(render(Rendering(values=[file])), "Deployment")
    (spec,) = (
        entry["spec"]["template"]["spec"]
        for entry in deployments
        if entry["metadata"]["labels"]["mimic.dev/component"] == role
    )
    given = environment(spec["containers"][0])
    known = {name.upper() for name in settings.Settings.__dataclass_fields__}
    assert given.keys() - known <= {"EXTRA", "NODE"}
    loaded = settings.load(given, needed=settings.AT_A_CLUSTER)
    assert loaded.webhook_configuration == "admission.mimic.dev.mimic-system.mimic"
    assert dict(loaded.proxy_limits)["memory"] in {"256Mi", "512Mi"}
    if role == "webhook":
        (mount,) = (entry for entry in spec["containers"][0]["volumeMounts"] if entry["name"] == "certificate")
        assert str(loaded.webhook_cert_dir) == mount["mountPath"]
        (volume,) = (entry for entry in spec["volumes"] if entry["name"] == "certificate")
        assert volume["secret"]["secretName"] == loaded.cert_secret
        assert {"name": "webhook", "containerPort": loaded.webhook_port} in spec["containers"][0]["ports"]


@values_file
def test_of_its_certificates_secret_the_webhook_sees_what_it_serves_with(file: Path):
    """The Secret of mode `self` also holds the authority's key."""
    found = {
        name: [item["key"] for item in volume["secret"]["items"]]
        for name, spec in pods(render(Rendering(values=[file])))
        for volume in spec.get("volumes", [])
        if "secret" in volume
    }
    (webhook,) = [name for name in found if name.startswith("Deployment ") and name.endswith("-webhook")]
    assert found.pop(webhook) == ["tls.crt", "tls.key"]
    assert {key for keys in found.values() for key in keys} <= {"ca.crt", "tls.crt"}


def test_both_processes_stand_twice_and_one_of_each_may_go():
    manifests = render()
    for name in ("mimic-webhook", "mimic-reconciler"):
        deployment = one(manifests, "Deployment", name)
        assert deployment["spec"]["replicas"] == 2
        budget = one(manifests, "PodDisruptionBudget", name)
        assert budget["spec"]["maxUnavailable"] == 1
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
        for constraint in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()


@values_file
def test_services_and_policies_select_the_pods_they_are_for(file: Path):
    manifests = render(Rendering(values=[file]))
    pods_by_role = {
        entry["metadata"]["labels"]["mimic.dev/component"]: entry["spec"]["template"]
        for entry in of_kind(manifests, "Deployment")
    }
    for manifest in of_kind(manifests, "Service", "NetworkPolicy"):
        role = manifest["metadata"]["labels"]["mimic.dev/component"]
        spec = manifest["spec"]
        selector = spec["selector"] if manifest["kind"] == "Service" else spec["podSelector"]["matchLabels"]
        for other, template in pods_by_role.items():
            assert (selector.items() <= template["metadata"]["labels"].items()) == (other == role)
        if manifest["kind"] == "Service":
            names = {port["name"] for port in pods_by_role[role]["spec"]["containers"][0]["ports"]}
            assert {port["targetPort"] for port in spec["ports"]} <= names


def test_own_labels_cannot_replace_those_that_select():
    rendering = Rendering(sets={"webhook.podLabels": '{"mimic.dev/component": "proxy", "team": "x"}'})
    template = one(render(rendering), "Deployment", "mimic-webhook")["spec"]["template"]
    assert template["metadata"]["labels"]["mimic.dev/component"] == "webhook"
    assert template["metadata"]["labels"]["team"] == "x"


def test_openshift_chooses_the_user():
    users = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), "null")
    sets = {f"podSecurityContext.{key}": value for key, value in users.items()}
    for name, spec in pods(render(Rendering(sets=sets))):
        assert users.keys() & spec["securityContext"].keys() == set(), name


def test_no_install_upgrade_or_uninstall_waits_for_a_pod_of_a_hook():
    """An image that cannot be pulled, or a cluster without a node for it, would hold all of them up."""
    for file in CI_VALUES:
        for manifest in render(Rendering(values=[file])):
            assert (manifest["metadata"].get("annotations") or {}).get("helm.sh/hook", "test") == "test"


def template_of(role: str, *values: Path) -> dict[str, Any]:
    found: dict[str, Any] = one(render(Rendering(values=values)), "Deployment", f"mimic-{role}")["spec"]
    return found


@pytest.mark.parametrize("role", ["webhook", "reconciler"])
def test_each_process_takes_what_operators_of_clusters_add_to_pods(role: str):
    spec = template_of(role, CHART / "ci" / "everything-values.yaml")
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["revisionHistoryLimit"] == {"webhook": 2, "reconciler": 0}[role]
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert (container["securityContext"]["procMount"], container["securityContext"]["privileged"]) == ("Default", False)
    assert {"name": "authorities", "configMap": {"name": "corporate-ca"}} in pod["volumes"]
    assert {"name": "authorities", "mountPath": "/etc/corporate-ca", "readOnly": True} in container["volumeMounts"]
    (constraint,) = pod["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "topology.kubernetes.io/region"
    assert constraint["labelSelector"]["matchLabels"]["mimic.dev/component"] == role
    service = one(render(Rendering(values=[CHART / "ci" / "everything-values.yaml"])), "Service", f"mimic-{role}")
    assert service["metadata"]["annotations"] == {"example.com/note": "yes"}
    assert (service["spec"]["ipFamilyPolicy"], service["spec"]["ipFamilies"]) == ("PreferDualStack", ["IPv4"])


def test_constraints_keep_their_own_selector_and_may_be_none():
    own = [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}]
    sets = {"webhook.topologySpreadConstraints": json.dumps(own), "reconciler.topologySpreadConstraints": "[]"}
    found = {name: spec.get("topologySpreadConstraints") for name, spec in pods(render(Rendering(sets=sets)))}
    assert found["Deployment mimic-webhook"] == own
    assert found["Deployment mimic-reconciler"] is None


def test_a_rollout_brings_a_new_webhook_before_it_takes_an_old_one_away():
    """While no webhook answers, pods that ask for the proxy cannot be created."""
    for values in ((), (CHART / "ci" / "everything-values.yaml",)):
        rolling = {"maxUnavailable": 0, "maxSurge": 1}
        assert template_of("webhook", *values)["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_common_labels_are_on_everything_and_never_replace_those_that_select():
    for manifest in render(Rendering(values=[CHART / "ci" / "everything-values.yaml"])):
        labels = manifest["metadata"]["labels"]
        assert labels["team"] == "platform", manifest["metadata"]["name"]
        assert labels["mimic.dev/component"] != "never-ours"


def test_every_script_of_the_chart_is_used():
    manifests = render(Rendering(values=[CHART / "ci" / "everything-values.yaml"]))
    arguments = [word for _, spec in pods(manifests) for entry in spec["containers"] for word in entry.get("args", ())]
    for file in (CHART / "files").glob("*.py"):
        assert file.read_text("utf-8") in arguments, file.name
