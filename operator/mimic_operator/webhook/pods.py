"""Reads what a decision needs from a pod's manifest, and checks the manifest's shape first (core/v1, PodSpec)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

from mimic_operator.resource.fields import amount

Pod = Mapping[str, Any]
Container = Mapping[str, Any]

MESH_CONTAINERS = (
    "istio-proxy",
    "istio-init",
    "istio-validation",
    "linkerd-proxy",
    "linkerd-init",
    "linkerd-network-validator",
)
_OS_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")
_LINKERD_PORTS = "config.linkerd.io/skip-inbound-ports"
_EXPONENT = re.compile("[0-9.]{1,20}[eE][+-]?[0-9]{1,2}")
_DIGITS = re.compile("[0-9]{1,5}")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def metadata(pod: Pod) -> Mapping[str, Any]:
    return pod.get("metadata") or {}


def labels(pod: Pod) -> Mapping[str, str]:
    return metadata(pod).get("labels") or {}


def annotations(pod: Pod) -> Mapping[str, str]:
    return metadata(pod).get("annotations") or {}


def spec(pod: Pod) -> Mapping[str, Any]:
    return pod.get("spec") or {}


def containers(pod: Pod) -> Sequence[Container]:
    return spec(pod).get("containers") or ()


def init_containers(pod: Pod) -> Sequence[Container]:
    return spec(pod).get("initContainers") or ()


def every_container(pod: Pod) -> Iterator[Container]:
    """Init containers first, as they run."""
    yield from init_containers(pod)
    yield from containers(pod)


def is_native_sidecar(container: Container) -> bool:
    """Of an init container: whether it goes on beside the application (KEP-753)."""
    return container.get("restartPolicy") == "Always"


def leading_sidecars(pod: Pod) -> int:
    """How many native sidecars precede the first init container that ends."""
    count = 0
    for container in init_containers(pod):
        if not is_native_sidecar(container):
            break
        count += 1
    return count


def is_windows(pod: Pod) -> bool:
    """By spec.os, or by the labels of the nodes it can run on."""
    named = (spec(pod).get("os") or {}).get("name")
    selector = spec(pod).get("nodeSelector") or {}
    nodes = (spec(pod).get("affinity") or {}).get("nodeAffinity") or {}
    required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms") or ()
    by_affinity = bool(terms) and all(map(_wants_windows, terms))
    return "windows" in (named, *(selector.get(label) for label in _OS_LABELS)) or by_affinity


def _wants_windows(term: Mapping[str, Any]) -> bool:
    return any(
        each.get("key") in _OS_LABELS and each.get("operator") == "In" and each.get("values") == ["windows"]
        for each in term.get("matchExpressions") or ()
    )


def is_mirror(pod: Pod) -> bool:
    """Of a static pod: it only shows what the kubelet runs from a file (Kubernetes, static pods)."""
    return "kubernetes.io/config.mirror" in annotations(pod)


def controller(pod: Pod) -> Mapping[str, Any] | None:
    """The owner that creates it, and creates it again; None for a bare pod."""
    owners = metadata(pod).get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def is_of_a_job(pod: Pod) -> bool:
    """Whether the pod is meant to end by itself."""
    owner = controller(pod)
    is_job = owner is not None and owner.get("kind") == "Job"
    return is_job or spec(pod).get("restartPolicy") in ("Never", "OnFailure")


def used_ports(pod: Pod) -> dict[int, str]:
    """Every port that a container of the pod declares or is probed at, with that container's name."""
    used: dict[int, str] = {}
    for container in every_container(pod):
        for port in _ports_of(container):
            used.setdefault(port, str(container.get("name", "")))
    return used


def _ports_of(container: Container) -> Iterator[int]:
    for declared in container.get("ports") or ():
        for field in ("containerPort", "hostPort"):
            if declared.get(field):
                yield int(declared[field])
    lifecycle = container.get("lifecycle") or {}
    handlers = [container.get(probe) for probe in _PROBES] + [lifecycle.get("postStart"), lifecycle.get("preStop")]
    for handler in handlers:
        for kind in ("httpGet", "tcpSocket", "grpc"):
            port = ((handler or {}).get(kind) or {}).get("port")
            if isinstance(port, int):  # a name is that of a declared port
                yield port
            elif isinstance(port, str) and _DIGITS.fullmatch(port):
                yield int(port)


def resources_of_all(pod: Pod) -> tuple[str, ...]:
    """Names of what the pod itself limits or requests for its containers together (KEP-2837), in order."""
    given = spec(pod).get("resources") or {}
    return tuple(sorted({**(given.get("requests") or {}), **(given.get("limits") or {})}))


def is_guaranteed(pod: Pod) -> bool:
    """Whether the kubelet would call it Guaranteed by its containers (Kubernetes, quality of service classes); where
    the pod has resources of its own, the class is theirs."""
    found = list(every_container(pod))
    return bool(found) and not resources_of_all(pod) and all(_has_equal_resources(container) for container in found)


def _has_equal_resources(container: Container) -> bool:
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    return all(
        limits.get(name) is not None and _same(limits[name], requests.get(name, limits[name]))
        for name in ("cpu", "memory")
    )


def _same(one: object, other: object) -> bool:
    try:
        return _amount(str(one)) == _amount(str(other))
    except (ValueError, ArithmeticError):
        return str(one) == str(other)


def _amount(text: str) -> Decimal:
    """Exponents too, which a resource of ours cannot have."""
    return Decimal(text) if _EXPONENT.fullmatch(text) else amount(text)


def meshes(pod: Pod, namespace_labels: Mapping[str, str], namespace_annotations: Mapping[str, str]) -> set[str]:
    """Which service meshes take the pod's traffic: `istio`, `linkerd`, both or none."""
    found = set()
    names = {container.get("name") for container in every_container(pod)}
    own = {**annotations(pod), **labels(pod)}
    istio = own.get("sidecar.istio.io/inject")
    asked = namespace_labels.get("istio-injection") == "enabled" or "istio.io/rev" in {
        **namespace_labels,
        **labels(pod),
    }
    if "istio-proxy" in names or (istio == "true" or (asked and istio != "false")):
        found.add("istio")
    linkerd = annotations(pod).get("linkerd.io/inject", namespace_annotations.get("linkerd.io/inject"))
    if "linkerd-proxy" in names or linkerd in ("enabled", "ingress"):
        found.add("linkerd")
    return found


def inherited_ports(namespace_annotations: Mapping[str, str]) -> dict[str, str]:
    """What a mesh takes from the namespace as long as the pod has no such annotation itself, by annotation."""
    return {key: namespace_annotations[key] for key in (_LINKERD_PORTS,) if key in namespace_annotations}


Shape = type | tuple[type, ...] | dict[Any, Any] | list[Any]
"""A type or several; a mapping by key, `...` for all others; a list of one shape."""
AMOUNTS: Shape = {...: (str, int, float)}
RESOURCES: Shape = {"requests": AMOUNTS, "limits": AMOUNTS}
HANDLER: Shape = {kind: {"port": (int, str)} for kind in ("httpGet", "tcpSocket", "grpc")}
CONTAINER: Shape = {
    "name": str,
    "env": [{"name": str, "value": str, "valueFrom": {}}],
    "envFrom": [{}],
    "ports": [{"containerPort": int, "hostPort": int}],
    "livenessProbe": HANDLER,
    "readinessProbe": HANDLER,
    "startupProbe": HANDLER,
    "lifecycle": {"postStart": HANDLER, "preStop": HANDLER},
    "resources": RESOURCES,
    "restartPolicy": str,
}
TERM: Shape = {"matchExpressions": [{"key": str, "operator": str, "values": [str]}]}
NODES: Shape = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [TERM]}}
METADATA: Shape = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "labels": {...: str},
    "annotations": {...: str},
    "ownerReferences": [{"kind": str, "name": str, "controller": bool}],
}
POD: Shape = {
    "metadata": METADATA,
    "spec": {
        "containers": [CONTAINER],
        "initContainers": [CONTAINER],
        "volumes": [{"name": str}],
        "imagePullSecrets": [{"name": str}],
        "os": {"name": str},
        "nodeSelector": {...: str},
        "affinity": {"nodeAffinity": NODES},
        "resources": RESOURCES,
        "hostNetwork": bool,
        "restartPolicy": str,
        "terminationGracePeriodSeconds": int,
    },
}
NAMED = ("containers", "initContainers")
NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def malformed(pod: object, *, path: str = "") -> str:
    """The first thing that is wrong, with its path and without its value; empty if nothing is.

    path: of the pod in what it is part of, for the sentence.
    """
    prefix = f"{path}." if path else ""
    if not isinstance(pod, Mapping) or not isinstance(pod.get("spec"), Mapping):
        return f"{prefix}spec is required"
    found = next(islice(_wrong(pod, POD, path), 1), "")
    return found or next(_nameless(pod["spec"], f"{prefix}spec"), "")


def malformed_metadata(metadata: object) -> str:
    """The same of the metadata of any object."""
    return next(_wrong(metadata, METADATA, "metadata"), "")


def _nameless(spec: Mapping[str, Any], path: str) -> Iterator[str]:
    if not spec.get("containers"):
        yield f"{path}.containers is required"
    for field in NAMED:
        for index, each in enumerate(spec.get(field) or ()):
            if each.get("name") is None:
                yield f"{path}.{field}[{index}].name is required"
            for position, entry in enumerate(each.get("env") or ()):
                if entry.get("name") is None:
                    yield f"{path}.{field}[{index}].env[{position}].name is required"


def _wrong(value: object, shape: Shape, path: str) -> Iterator[str]:
    """What is left out or null is right everywhere."""
    if value is None:
        return
    if isinstance(shape, dict):
        yield from _wrong_mapping(value, shape, path)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{path} must be a list"
            return
        for index, entry in enumerate(value):
            if entry is None:
                yield f"{path}[{index}] must not be empty"
            yield from _wrong(entry, shape[0], f"{path}[{index}]")
    else:
        types = shape if isinstance(shape, tuple) else (shape,)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield f"{path} must be {' or '.join(NAMES[each] for each in types)}"


def _wrong_mapping(value: object, shape: dict[Any, Any], path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path} must be a mapping"
        return
    for key, entry in value.items():
        below = f"{path}.{key}" if path else str(key)
        if not isinstance(key, str):
            yield f"{below}: a key must be text; put it between quotes"
        elif (inner := shape.get(key, shape.get(...))) is not None:
            yield from _wrong(entry, inner, below)
