"""Applies a decision to a pod: `mutate` gives the pod with the proxy, `patch` the difference (RFC 6902).

The difference is made here and not by a library: one that compares lists by position would turn the first init
container of the user into the proxy, field by field. That would be right, and unreadable in an audit log.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from mimic_operator.resource import naming
from mimic_operator.resource.container import at_ports, guaranteed, native, plain
from mimic_operator.resource.fields import amount
from mimic_operator.webhook import pods
from mimic_operator.webhook.decide import Decision, Fit
from mimic_operator.webhook.environment import change
from mimic_operator.webhook.overrides import apply_overrides

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
GUARANTEED_CPU = "250m"
"""CPU limit of a proxy that must have one and was given none: with its request as limit it would start for a minute."""
MESH_ANNOTATIONS = {
    "istio": "traffic.sidecar.istio.io/excludeInboundPorts",
    "linkerd": "config.linkerd.io/skip-inbound-ports",
}
Operation = dict[str, Any]


def patch(pod: pods.Pod, decision: Decision) -> list[Operation]:
    """The operations that turn the pod into one with the proxy; none if it stays as it is."""
    return list(_difference(pod, mutate(pod, decision), ""))


def mutate(pod: pods.Pod, decision: Decision) -> dict[str, Any]:
    """The pod as it goes on; what is given is not changed."""
    fit = decision.fit
    if fit is None and not decision.left_out:
        return dict(pod)
    spec, metadata = dict(pods.spec(pod)), dict(pods.metadata(pod))
    if fit is None:
        return {**pod, "metadata": metadata | {"labels": {**pods.labels(pod), naming.LABEL_INJECTED: naming.LEFT_OUT}}}
    for field, position in fit.targets:
        spec[field] = list(spec[field])
        container = spec[field][position]
        env = change(container, fit.environment).env
        if env != (container.get("env") or []):
            spec[field][position] = {**container, "env": list(env)}
    if fit.present:
        if init := spec.get("initContainers"):
            spec["initContainers"] = [_restored(each) for each in init]
        return {**pod, "spec": spec}
    metadata["labels"] = {**pods.labels(pod), naming.LABEL_INJECTED: naming.SIDECAR if fit.sidecar else naming.POINTED}
    metadata["annotations"] = {**pods.annotations(pod), **dict(_annotations(pod, decision, fit))}
    if fit.sidecar:
        _add_sidecar(pod, spec, fit)
    return {**pod, "metadata": metadata, "spec": spec}


def sidecar(fit: Fit) -> dict[str, Any]:
    """The proxy's container as it is in the pod."""
    made = apply_overrides(at_ports(fit.revision.container, fit.port, fit.admin_port), fit.overrides)
    if fit.guaranteed:
        limits, requests = made["resources"].setdefault("limits", {}), made["resources"].get("requests", {})
        limits.setdefault("cpu", max(GUARANTEED_CPU, requests.get("cpu", "0"), key=amount))
        made = guaranteed(made)
    for amounts in made["resources"].values():
        for name in fit.pod_resources:
            amounts.pop(name, None)
    if fit.drain_seconds is not None and all(entry["name"] != "DRAIN_TIMEOUT" for entry in made["env"]):
        made["env"].append({"name": "DRAIN_TIMEOUT", "value": str(fit.drain_seconds)})
    return native(made) if fit.native else plain(made)


def _add_sidecar(pod: pods.Pod, spec: dict[str, Any], fit: Fit) -> None:
    """In front of the init containers, behind the sidecars that lead them; a plain one is the last container."""
    spec["volumes"] = [*(spec.get("volumes") or ()), *deepcopy(list(fit.revision.volumes))]
    secrets = list(spec.get("imagePullSecrets") or ())
    present = {secret.get("name") for secret in secrets}
    if wanted := [{"name": name} for name in fit.revision.image_pull_secrets if name not in present]:
        spec["imagePullSecrets"] = [*secrets, *wanted]
    if fit.native:
        init, position = spec.get("initContainers") or (), pods.leading_sidecars(pod)
        spec["initContainers"] = [*init[:position], sidecar(fit), *init[position:]]
    else:
        spec["containers"] = [*spec["containers"], sidecar(fit)]


def _restored(container: pods.Container) -> pods.Container:
    ours = container.get("name") == naming.CONTAINER
    return {**container, "restartPolicy": "Always"} if ours and not pods.is_native_sidecar(container) else container


def _annotations(pod: pods.Pod, decision: Decision, fit: Fit) -> Iterator[tuple[str, str]]:
    given, revision = pods.annotations(pod), fit.revision
    if naming.ANNOTATION_BACKEND not in given:
        yield naming.ANNOTATION_BACKEND, revision.backend
    if not fit.sidecar:
        if pods.metadata(pod).get("namespace", revision.namespace) != revision.namespace:
            # A pod may name a ClusterMimicBackend alone, whose shared proxy is in another namespace.
            yield naming.ANNOTATION_BACKEND, decision.backend
        yield naming.ANNOTATION_URL, fit.environment.url
        return
    yield naming.ANNOTATION_REVISION, revision.name
    yield naming.ANNOTATION_TEMPLATE_HASH, revision.hash
    yield naming.ANNOTATION_CONFIG_HASH, revision.config_hash
    if fit.port != revision.port or naming.ANNOTATION_PORT in given:
        yield naming.ANNOTATION_PORT, str(fit.port)
    if DEFAULT_CONTAINER not in given and pods.containers(pod):
        yield DEFAULT_CONTAINER, pods.containers(pod)[0]["name"]
    if revision.scrape and not any(key.startswith("prometheus.io/") for key in given):
        yield "prometheus.io/scrape", "true"
        yield "prometheus.io/port", str(fit.admin_port)
        yield "prometheus.io/path", "/metrics"
    for mesh in fit.meshes:
        key = MESH_ANNOTATIONS[mesh]
        before = given.get(key, fit.skipped_ports.get(key, ""))
        listed = [part.strip() for part in before.split(",") if part.strip()]
        if str(fit.admin_port) not in listed:
            yield key, ",".join([*listed, str(fit.admin_port)])


def _difference(before: Any, after: Any, path: str) -> Iterator[Operation]:
    """From one value to another. In lists entries are only added: those that were there are found by name."""
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key, value in after.items():
            below = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if before.get(key) is None:
                if value is not None:
                    yield {"op": "add", "path": below, "value": value}
            else:
                yield from _difference(before[key], value, below)
    elif isinstance(before, list) and isinstance(after, list) and "name" in (before or [{}])[0]:
        at = 0
        for position, entry in enumerate(after):
            if at < len(before) and entry.get("name") == before[at].get("name"):
                if path.endswith("/env") and entry != before[at]:
                    yield {"op": "replace", "path": f"{path}/{position}", "value": entry}
                else:
                    yield from _difference(before[at], entry, f"{path}/{position}")
                at += 1
            else:
                yield {"op": "add", "path": f"{path}/{position}", "value": entry}
    else:
        yield {"op": "add", "path": path, "value": after}
