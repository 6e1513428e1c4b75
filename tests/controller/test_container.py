"""The proxy's container: what it may do, what it sees, where it listens."""

from typing import Any

import pytest
from hypothesis import given, settings

from fakes.bad_backends import good
from fakes.generated_backends import backends
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.config import config_of
from mimic_operator.resource.container import (
    ProxyDefaults,
    at_ports,
    container_of,
    guaranteed,
    image_of,
    native,
    plain,
    volumes_of,
)
from mimic_operator.resource.spec import Image

PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
DEFAULTS = ProxyDefaults(image="registry.example.com:5000/mimic:0.1.0")
RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}
RESTRICTED_VOLUMES |= {"secret"}
"""Pod Security Standards, restricted."""


def backend_with(base: str = "sidecar", **spec: Any) -> Backend:
    manifest = good(base)
    for section, fields in spec.items():
        given_before = manifest["spec"].get(section, {})
        manifest["spec"][section] = {**given_before, **fields} if isinstance(fields, dict) else fields
    return parse(manifest, strict=True)


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


@settings(deadline=None, max_examples=60)
@given(backend=backends())
def test_is_within_the_restricted_profile_whatever_the_backend(backend: Backend):
    container = container_of(backend, DEFAULTS)
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["privileged"] is False
    assert security["runAsNonRoot"] is True
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security.get("runAsUser", 1) > 0
    for volume in volumes_of(backend, "config"):
        assert set(volume) - {"name"} <= RESTRICTED_VOLUMES


@settings(deadline=None, max_examples=60)
@given(backend=backends())
def test_mounts_exactly_its_volumes_and_each_place_once(backend: Backend):
    container = container_of(backend, DEFAULTS)
    mounts = container["volumeMounts"]
    assert [mount["name"] for mount in mounts] == list(dict.fromkeys(mount["name"] for mount in mounts))
    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in volumes_of(backend, "config")}
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
    assert not any("subPath" in mount for mount in mounts)
    writable = {mount["name"] for mount in mounts if not mount.get("readOnly")}
    assert writable <= {"mimic-run", "mimic-store"}


@settings(deadline=None, max_examples=60)
@given(backend=backends())
def test_every_file_that_the_configuration_names_lies_in_a_mount(backend: Backend):
    places = [mount["mountPath"] for mount in container_of(backend, DEFAULTS)["volumeMounts"]]
    config = config_of(backend, memory_limit="256Mi")
    files = [value for name, value in config.items() if name.endswith(("_file", "_store", "_bundle", "client_cert"))]
    for file in files:
        assert any(file == place or file.startswith(f"{place}/") for place in places), file


@settings(deadline=None, max_examples=60)
@given(backend=backends())
def test_names_no_variable_twice_and_no_secret_by_value(backend: Backend):
    names = [entry["name"] for entry in container_of(backend, DEFAULTS)["env"]]
    own = [entry.name for entry in backend.proxy.env]
    assert len(names) == len(set(names))
    assert {"AUTH_CODE", "CLIENT_SECRET", "ACCESS_TOKEN"}.isdisjoint(set(names) - set(own))


@pytest.mark.parametrize(
    ("auth", "keys"),
    [
        ({}, ["AUTH_CODE"]),
        ({"clientType": "Confidential"}, ["AUTH_CODE", "CLIENT_SECRET"]),
        ({"grant": "ClientCredentials"}, ["CLIENT_SECRET"]),
        ({"grant": "PrivateKeyJwt"}, ["PRIVATE_KEY"]),
        ({"grant": "TokenExchange"}, ["SUBJECT_TOKEN"]),
        ({"grant": "RefreshToken"}, ["CLIENT_SECRET", "REFRESH_TOKEN"]),
        ({"grant": "RefreshToken", "clientType": "Public"}, ["REFRESH_TOKEN"]),
    ],
)
def test_mounts_only_the_keys_that_the_grant_needs(auth: dict[str, Any], keys: list[str]):
    (secret,) = [each for each in volumes_of(backend_with(auth=auth), "c") if each["name"] == "mimic-secret"]
    assert [item["key"] for item in secret["secret"]["items"]] == keys
    assert secret["secret"]["optional"] is True


def test_takes_the_client_id_from_the_secret_where_the_resource_gives_none():
    wanted = {"secretKeyRef": {"name": "corp-llm", "key": "CLIENT_ID", "optional": True}}
    confidential = backend_with(auth={"grant": "ClientCredentials"})
    assert variables(container_of(confidential, DEFAULTS))["CLIENT_ID"] == wanted
    named = backend_with(auth={"grant": "ClientCredentials", "clientID": "search"})
    assert "CLIENT_ID" not in variables(container_of(named, DEFAULTS))


def test_a_secret_of_another_tool_has_keys_of_its_own():
    secret = {"name": "vault", "keys": {"clientSecret": "client-secret", "clientID": "client.id"}}
    read = backend_with(auth={"grant": "ClientCredentials", "secretRef": secret})
    (volume,) = [each for each in volumes_of(read, "c") if each["name"] == "mimic-secret"]
    assert volume["secret"]["items"] == [{"key": "client-secret", "path": "client-secret"}]
    assert config_of(read, memory_limit="256Mi")["client_secret_file"] == "/etc/mimic/secret/vault/client-secret"
    assert variables(container_of(read, DEFAULTS))["CLIENT_ID"]["secretKeyRef"]["key"] == "client.id"


def test_inline_authorities_are_in_the_config_map_and_need_no_volume():
    read = backend_with(tls={"caBundle": PEM})
    assert config_of(read, memory_limit="256Mi")["ca_bundle"] == "/etc/mimic/config/ca.crt"
    assert volumes_of(read, "c") == volumes_of(backend_with(), "c")


def test_sidecar_covers_the_applications_api_token():
    container = container_of(backend_with(), DEFAULTS)
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == place]
    assert mount["readOnly"] is True
    (volume,) = [volume for volume in volumes_of(backend_with(), "c") if volume["name"] == mount["name"]]
    assert "emptyDir" in volume


def test_sidecar_listens_on_loopback_and_shows_the_admin_port_alone():
    backend = backend_with()
    config = config_of(backend, memory_limit="256Mi")
    assert config["host"] == ["127.0.0.1", "::1"]
    assert config["admin_host"] == ["0.0.0.0", "::"]
    assert [port["name"] for port in container_of(backend, DEFAULTS)["ports"]] == ["mimic-admin"]


def test_deployment_listens_everywhere_for_the_services_names_and_waits_before_it_drains():
    backend = backend_with("deployment")
    config = config_of(backend, memory_limit="256Mi")
    assert config["host"] == ["0.0.0.0", "::"]
    assert config["allowed_hosts"] == [
        "mimic-corp",
        "mimic-corp.default",
        "mimic-corp.default.svc",
        "mimic-corp.default.svc.cluster.local",
    ]
    assert config["drain_delay"] == 5
    assert [port["containerPort"] for port in container_of(backend, DEFAULTS)["ports"]] == [8000, 8001]


@pytest.mark.parametrize(
    ("base", "readiness", "path"),
    [
        ("sidecar", "None", None),
        ("sidecar", "Process", "/livez"),
        ("sidecar", "Token", "/readyz"),
        ("deployment", "None", "/readyz"),
    ],
)
def test_readiness_of_a_pod_is_ours_only_if_asked_for(base: str, readiness: str, path: str | None):
    container = container_of(backend_with(base, injection={"readiness": readiness}), DEFAULTS)
    probe = container.get("readinessProbe")
    assert (probe["httpGet"]["path"] if probe else None) == path
    assert container["startupProbe"]["httpGet"]["path"] == container["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_buffers_take_a_quarter_of_the_memory_yet_the_largest_body_passes():
    backend = backend_with()
    assert config_of(backend, memory_limit="1Gi")["max_buffered_bytes"] == 2**28
    assert config_of(backend, memory_limit="64Mi")["max_buffered_bytes"] == 33_554_432


def test_moves_to_other_ports_without_touching_the_original():
    container = container_of(backend_with(), DEFAULTS)
    moved = at_ports(container, 18490, 18491)
    assert (variables(moved)["PORT"], variables(moved)["ADMIN_PORT"]) == ("18490", "18491")
    assert moved["ports"][0]["containerPort"] == 18491
    assert moved["livenessProbe"] == container["livenessProbe"]
    assert variables(container)["PORT"] == "18480"


def test_native_goes_on_and_plain_drains_before_it_ends():
    container = container_of(backend_with(), DEFAULTS)
    assert native(container)["restartPolicy"] == "Always"
    assert plain(container)["lifecycle"]["preStop"]["exec"]["command"] == ["mimic-proxy", "quit"]
    assert {"restartPolicy", "lifecycle"}.isdisjoint(container)


def test_guaranteed_pods_stay_so():
    made = guaranteed(container_of(backend_with(), DEFAULTS))["resources"]
    assert made["requests"] == made["limits"] == {"cpu": "25m", "memory": "256Mi"}


@pytest.mark.parametrize(
    ("resources", "requests", "limits"),
    [
        ({}, {"cpu": "25m", "memory": "96Mi"}, {"memory": "256Mi"}),
        ({"limits": {"memory": "64Mi"}}, {"cpu": "25m", "memory": "64Mi"}, {"memory": "64Mi"}),
        ({"requests": {"memory": "1Gi"}}, {"cpu": "25m", "memory": "1Gi"}, {"memory": "1Gi"}),
        ({"limits": {"cpu": 2}}, {"cpu": "25m", "memory": "96Mi"}, {"memory": "256Mi", "cpu": "2"}),
    ],
)
def test_no_request_is_above_its_limit(resources: dict[str, Any], requests: dict[str, str], limits: dict[str, str]):
    made = container_of(backend_with(proxy={"resources": resources}), DEFAULTS)["resources"]
    assert made == {"requests": requests, "limits": limits}


@pytest.mark.parametrize(
    ("image", "default", "reference"),
    [
        ({}, "mimic:1", "mimic:1"),
        ({}, "r:5000/mimic@sha256:ab", "r:5000/mimic@sha256:ab"),
        ({"repository": "mirror/mimic"}, "r:5000/mimic:1", "mirror/mimic:1"),
        ({"repository": "mirror/mimic"}, "r:5000/mimic@sha256:ab", "mirror/mimic@sha256:ab"),
        ({"repository": "mirror/mimic"}, "r:5000/mimic", "mirror/mimic"),
        ({"tag": "2"}, "r:5000/mimic:1", "r:5000/mimic:2"),
        ({"tag": "2"}, "r:5000/mimic@sha256:ab", "r:5000/mimic:2"),
        ({"tag": "2", "digest": "sha256:cd"}, "mimic:1", "mimic@sha256:cd"),
    ],
)
def test_image_takes_what_is_left_out_from_the_operators_own(image: dict[str, str], default: str, reference: str):
    assert image_of(Image(**image), default) == reference


def test_leaves_the_user_id_to_the_platform():
    container = container_of(backend_with(proxy={"securityContext": {"runAsUser": None}}), DEFAULTS)
    assert {"runAsUser", "runAsGroup"}.isdisjoint(container["securityContext"])
    assert container["securityContext"]["runAsNonRoot"] is True
