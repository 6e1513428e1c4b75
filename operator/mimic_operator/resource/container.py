"""THE proxy container: the same for a Deployment's pods and for sidecars, which differ by what is declared here."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from mimic_operator.resource import mounts
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.fields import amount
from mimic_operator.resource.mounts import client_id_from_secret, mounted_keys, secret_folder
from mimic_operator.resource.naming import CONTAINER
from mimic_operator.resource.spec import Image
from mimic_operator.resource.spec.injection import DEFAULT_ADMIN_PORT, DEFAULT_PORT
from mimic_operator.settings import Settings

DEPLOYMENT_PORT, DEPLOYMENT_ADMIN_PORT = 8000, 8001
API_PORT_NAME, ADMIN_PORT_NAME = "mimic", "mimic-admin"
"""Port names have 15 characters at most."""

Container = dict[str, Any]
Volume = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyDefaults:
    """What the operator's own settings say of proxies; a backend may say something else."""

    image: str
    """Full reference: registry, path, tag or digest."""
    pull_policy: str = "IfNotPresent"
    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "25m", "memory": "96Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "256Mi"})


def proxy_defaults(settings: Settings) -> ProxyDefaults:
    """What the operator was told of its proxies."""
    return ProxyDefaults(
        image=settings.mimic_image,
        pull_policy=settings.mimic_image_pull_policy,
        requests=settings.proxy_requests,
        limits=settings.proxy_limits,
    )


def container_of(backend: Backend, defaults: ProxyDefaults) -> Container:
    """The container, on the ports that the backend wants; `at_ports` moves it."""
    port, admin_port = ports_of(backend)
    made: Container = {
        "name": CONTAINER,
        "image": image_of(backend.proxy.image, defaults.image),
        "imagePullPolicy": backend.proxy.image.pull_policy or defaults.pull_policy,
        "command": ["mimic-proxy", "serve"],
        "env": _env(backend, port, admin_port),
        "ports": [{"name": ADMIN_PORT_NAME, "containerPort": admin_port, "protocol": "TCP"}],
        "startupProbe": _probe("/livez", period=1, timeout=3, failures=60),
        "livenessProbe": _probe("/livez", period=10, timeout=5, failures=6),
        "resources": resources_of(backend, defaults),
        "securityContext": _security(backend),
        "volumeMounts": _mounts(backend),
    }
    if backend.mode == "Deployment":
        made["ports"].insert(0, {"name": API_PORT_NAME, "containerPort": port, "protocol": "TCP"})
    ready = {"None": None, "Process": "/livez", "Token": "/readyz"}[backend.injection.readiness]
    path = "/readyz" if backend.mode == "Deployment" else ready
    if path is not None:
        made["readinessProbe"] = _probe(path, period=5, timeout=3, failures=3)
    return made


def volumes_of(backend: Backend, config_map: str) -> list[Volume]:
    """The volumes that the container mounts. config_map: name of the ConfigMap with its configuration."""
    found: list[Volume] = [
        {"name": "mimic-config", "configMap": {"name": config_map}},
        {"name": "mimic-run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
    ]
    auth, tls = backend.auth, backend.tls
    if auth.secret_ref is not None:
        keys = [{"key": key, "path": key} for key in mounted_keys(auth)]
        secret = {"secretName": auth.secret_ref.name, "items": keys, "optional": True}
        found.append({"name": "mimic-secret", "secret": secret})
    if auth.service_account_token is not None:
        token = auth.service_account_token
        wanted = {
            "audience": token.audience,
            "expirationSeconds": token.expiration_seconds,
            "path": mounts.IDENTITY_FILE,
        }
        found.append({"name": "mimic-identity", "projected": {"sources": [{"serviceAccountToken": wanted}]}})
    if tls.ca_bundle_from is not None:
        found.append({"name": "mimic-ca", **_ca_source(backend)})
    if tls.client_cert_secret_ref is not None:
        pair = [{"key": key, "path": key} for key in ("tls.crt", "tls.key")]
        secret = {"secretName": tls.client_cert_secret_ref.name, "items": pair, "optional": True}
        found.append({"name": "mimic-client-cert", "secret": secret})
    if backend.mode == "Sidecar":
        found.append({"name": "mimic-no-api-token", "emptyDir": {"sizeLimit": "1Mi"}})
    else:
        found.extend(_deployment_volumes(backend))
    return found


def ports_of(backend: Backend) -> tuple[int, int]:
    """API port and admin port."""
    if backend.mode == "Deployment":
        return DEPLOYMENT_PORT, DEPLOYMENT_ADMIN_PORT
    return backend.injection.port or DEFAULT_PORT, backend.injection.admin_port or DEFAULT_ADMIN_PORT


def at_ports(container: Mapping[str, Any], port: int, admin_port: int) -> Container:
    """The container on other ports, for a pod in which its own are taken. Probes name the port, not the number."""
    moved = deepcopy(dict(container))
    numbers = {"PORT": port, "ADMIN_PORT": admin_port}
    for entry in moved["env"]:
        if entry["name"] in numbers:
            entry["value"] = str(numbers[entry["name"]])
    for entry in moved["ports"]:
        entry["containerPort"] = port if entry["name"] == API_PORT_NAME else admin_port
    return moved


def native(container: Mapping[str, Any]) -> Container:
    """As a native sidecar: an init container that goes on, and ends after the application."""
    return {**deepcopy(dict(container)), "restartPolicy": "Always"}


def plain(container: Mapping[str, Any]) -> Container:
    """As an ordinary container: it drains before it ends, since it is told to end together with the application."""
    stop = {"preStop": {"exec": {"command": ["mimic-proxy", "quit"]}}}
    return {**deepcopy(dict(container)), "lifecycle": stop}


def guaranteed(container: Mapping[str, Any]) -> Container:
    """With requests equal to limits for CPU and memory, so that a pod stays in the class Guaranteed."""
    equal = deepcopy(dict(container))
    resources = equal["resources"]
    merged = {**resources["requests"], **resources["limits"]}
    equal["resources"] = {"requests": merged, "limits": dict(merged)}
    return equal


def image_of(image: Image, default: str) -> str:
    """The reference; what the backend leaves out is the default's: a mirror is named by its repository alone."""
    repository, separator, version = _split(default)
    name = image.repository or repository
    if image.digest is not None:
        return f"{name}@{image.digest}"
    if image.tag is not None:
        return f"{name}:{image.tag}"
    return f"{name}{separator}{version}"


def resources_of(backend: Backend, defaults: ProxyDefaults) -> dict[str, dict[str, str]]:
    """Requests and limits, the backend's before the defaults; no request above its limit."""
    own = backend.proxy.resources
    limits = {**defaults.limits, **own.limits}
    requests = {**defaults.requests, **own.requests}
    for name, limit in limits.items():
        if name in requests and name not in own.requests and _above(requests[name], limit):
            requests[name] = limit
    for name, request in requests.items():
        if name in limits and name not in own.limits and _above(request, limits[name]):
            limits[name] = request
    return {"requests": requests, "limits": limits}


def _env(backend: Backend, port: int, admin_port: int) -> list[dict[str, Any]]:
    telemetry, auth = backend.proxy.telemetry, backend.auth
    plain = {
        "MIMIC_CONFIG": f"{mounts.CONFIG}/{mounts.CONFIG_FILE}",
        "PORT": str(port),
        "ADMIN_PORT": str(admin_port),
        "TMPDIR": mounts.RUN,
    }
    if telemetry.otlp_endpoint is not None:
        plain["OTEL_EXPORTER_OTLP_ENDPOINT"] = telemetry.otlp_endpoint
    if telemetry.trace_sample_ratio is not None:
        plain["OTEL_TRACES_SAMPLER"] = "parentbased_traceidratio"
        plain["OTEL_TRACES_SAMPLER_ARG"] = f"{telemetry.trace_sample_ratio:g}"
    found: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in plain.items()]
    for name, path in (("POD_NAME", "metadata.name"), ("POD_NAMESPACE", "metadata.namespace")):
        found.append({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
    resource = f"k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.container.name={CONTAINER}"
    found.append({"name": "OTEL_RESOURCE_ATTRIBUTES", "value": resource})
    if client_id_from_secret(auth):
        assert auth.secret_ref is not None
        key = auth.secret_ref.keys.key_of("CLIENT_ID")
        wanted = {"name": auth.secret_ref.name, "key": key, "optional": True}
        found.append({"name": "CLIENT_ID", "valueFrom": {"secretKeyRef": wanted}})
    return found + [{"name": entry.name, "value": entry.value} for entry in backend.proxy.env]


def _probe(path: str, *, period: int, timeout: int, failures: int) -> dict[str, Any]:
    get = {"path": path, "port": ADMIN_PORT_NAME, "scheme": "HTTP"}
    return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}


def _security(backend: Backend) -> dict[str, Any]:
    """What the restricted profile asks for (Pod Security Standards), and a root file system that cannot be written."""
    found: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    user = backend.proxy.security_context.run_as_user
    return found if user is None else found | {"runAsUser": user, "runAsGroup": user}


def _mounts(backend: Backend) -> list[dict[str, Any]]:
    auth, tls, shared = backend.auth, backend.tls, backend.mode == "Deployment"
    wanted = {
        "mimic-config": (mounts.CONFIG, True),
        "mimic-run": (mounts.RUN, False),
        "mimic-secret": (secret_folder(auth), True) if auth.secret_ref else None,
        "mimic-identity": (mounts.IDENTITY, True) if auth.service_account_token else None,
        "mimic-ca": (mounts.CA, True) if tls.ca_bundle_from else None,
        "mimic-client-cert": (mounts.CLIENT_CERT, True) if tls.client_cert_secret_ref else None,
        "mimic-client-keys": (mounts.CLIENT_KEYS, True) if shared and backend.deployment.client_auth else None,
        "mimic-store": (mounts.STORE, False) if shared and auth.token_store else None,
        # The cluster mounts nothing where something is mounted: the application's token stays the application's.
        "mimic-no-api-token": None if shared else (mounts.API_SERVER_TOKEN, True),
    }
    return [
        {"name": name, "mountPath": place[0]} | ({"readOnly": True} if place[1] else {})
        for name, place in wanted.items()
        if place is not None
    ]


def _ca_source(backend: Backend) -> dict[str, Any]:
    bundle = backend.tls.ca_bundle_from
    assert bundle is not None
    if (source := bundle.config_map_key_ref) is not None:
        return {"configMap": {"name": source.name, "items": [{"key": source.key, "path": mounts.CA_FILE}]}}
    source = bundle.secret_key_ref
    assert source is not None
    return {"secret": {"secretName": source.name, "items": [{"key": source.key, "path": mounts.CA_FILE}]}}


def _deployment_volumes(backend: Backend) -> list[Volume]:
    found: list[Volume] = []
    keys, store = backend.deployment.client_auth, backend.auth.token_store
    if keys is not None:
        secret = {"secretName": keys.keys_secret_ref.name, "optional": True}
        found.append({"name": "mimic-client-keys", "secret": secret})
    if store is not None:
        found.append({"name": "mimic-store", "persistentVolumeClaim": {"claimName": store.claim_name}})
    return found


def _split(image: str) -> tuple[str, str, str]:
    """Repository, `@` or `:`, and digest or tag; the registry's port is no tag."""
    if "@" in image:
        return image.partition("@")
    head, _, last = image.rpartition("/")
    name, separator, tag = last.partition(":")
    return (f"{head}/{name}" if head else name), separator, tag


def _above(request: str, limit: str) -> bool:
    return amount(request) > amount(limit)
