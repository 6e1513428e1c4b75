"""A decision as an RFC 6902 patch. Positions are those of the original pod: insertions come last."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from mimic_operator.resource import naming
from mimic_operator.resource.container import at_ports, guaranteed, native, plain
from mimic_operator.resource.fields import amount
from mimic_operator.webhook import pods
from mimic_operator.webhook.decide import DRAIN_SECONDS, Decision, Fit
from mimic_operator.webhook.environment import change

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
GUARANTEED_CPU = "250m"
"""Limit of a proxy that must have one and was given none: with its request as limit it would start for a minute."""
MESH_ANNOTATIONS = {
    "istio": "traffic.sidecar.istio.io/excludeInboundPorts",
    "linkerd": "config.linkerd.io/skip-inbound-ports",
}
Operation = dict[str, Any]


def patch(pod: pods.Pod, decision: Decision) -> list[Operation]:
    """What turns the pod into one with the proxy; empty if it stays as it is."""
    fit = decision.fit
    if fit is None:
        return []
    operations = [*_environment(pod, fit), *_annotations(pod, decision, fit)]
    if fit.sidecar:
        operations += [*_volumes(pod, fit), *_pull_secrets(pod, fit), *_container(pod, fit)]
    return operations


def sidecar(fit: Fit) -> dict[str, Any]:
    """The proxy's container as it stands in the pod."""
    made = at_ports(fit.revision.container, fit.port, fit.admin_port)
    if fit.guaranteed:
        limits, requests = made["resources"].setdefault("limits", {}), made["resources"].get("requests", {})
        limits.setdefault("cpu", max(GUARANTEED_CPU, requests.get("cpu", "0"), key=amount))
        made = guaranteed(made)
    for amounts in made["resources"].values():
        for name in fit.pod_resources:
            amounts.pop(name, None)
    if fit.drain_seconds < DRAIN_SECONDS and all(entry["name"] != "DRAIN_TIMEOUT" for entry in made["env"]):
        made["env"].append({"name": "DRAIN_TIMEOUT", "value": str(fit.drain_seconds)})
    return native(made) if fit.native else plain(made)


def _environment(pod: pods.Pod, fit: Fit) -> Iterator[Operation]:
    for field, position in fit.targets:
        container = pods.spec(pod)[field][position]
        path, wanted = f"/spec/{field}/{position}/env", change(container, fit.told)
        for index, entry in wanted.replaced.items():
            yield {"op": "replace", "path": f"{path}/{index}", "value": entry}
        yield from _appended(path, container.get("env"), wanted.added)


def _annotations(pod: pods.Pod, decision: Decision, fit: Fit) -> Iterator[Operation]:
    given = pods.metadata(pod).get("annotations")
    wanted = dict(_wanted_annotations(pod, decision, fit))
    wanted = {key: value for key, value in wanted.items() if (given or {}).get(key) != value}
    if given is None and wanted:
        yield {"op": "add", "path": "/metadata/annotations", "value": {}}
    for key, value in wanted.items():
        escaped = key.replace("~", "~0").replace("/", "~1")
        yield {"op": "add", "path": f"/metadata/annotations/{escaped}", "value": value}


def _wanted_annotations(pod: pods.Pod, decision: Decision, fit: Fit) -> Iterator[tuple[str, str]]:
    given, revision = pods.annotations(pod), fit.revision
    if naming.ANNOTATION_BACKEND not in given:
        yield naming.ANNOTATION_BACKEND, revision.backend
    if not fit.sidecar:
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


def _volumes(pod: pods.Pod, fit: Fit) -> Iterator[Operation]:
    yield from _appended("/spec/volumes", pods.spec(pod).get("volumes"), deepcopy(list(fit.revision.volumes)))


def _pull_secrets(pod: pods.Pod, fit: Fit) -> Iterator[Operation]:
    given = pods.spec(pod).get("imagePullSecrets")
    present = {secret.get("name") for secret in given or ()}
    wanted = [{"name": name} for name in fit.revision.image_pull_secrets if name not in present]
    yield from _appended("/spec/imagePullSecrets", given, wanted)


def _container(pod: pods.Pod, fit: Fit) -> Iterator[Operation]:
    """In front of the init containers, behind the sidecars that stand there; a plain one at the very end."""
    if not fit.native:
        yield from _appended("/spec/containers", pods.spec(pod).get("containers"), [sidecar(fit)])
        return
    position = pods.leading_sidecars(pod)
    if pods.init_containers(pod):
        yield {"op": "add", "path": f"/spec/initContainers/{position}", "value": sidecar(fit)}
    else:
        yield {"op": "add", "path": "/spec/initContainers", "value": [sidecar(fit)]}


def _appended(path: str, given: object, entries: list[Any] | Any) -> Iterator[Operation]:
    """Entries at the end of a list that may be missing."""
    if not entries:
        return
    if not given:
        yield {"op": "add", "path": path, "value": list(entries)}
        return
    for entry in entries:
        yield {"op": "add", "path": f"{path}/-", "value": entry}
