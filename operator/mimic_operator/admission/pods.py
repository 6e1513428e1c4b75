"""What the decision has to know of a pod, read from its manifest as the API server sends it (core/v1, PodSpec)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mimic_operator.resource.quantity import amount

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
    """How many native sidecars stand before the first init container that ends."""
    count = 0
    for container in init_containers(pod):
        if not is_native_sidecar(container):
            break
        count += 1
    return count


def is_windows(pod: Pod) -> bool:
    """By spec.os, or by the label of the nodes it wants."""
    named = (spec(pod).get("os") or {}).get("name")
    wanted = (spec(pod).get("nodeSelector") or {}).get("kubernetes.io/os")
    return "windows" in (named, wanted)


def controller(pod: Pod) -> Mapping[str, Any] | None:
    """The owner that made it and makes it anew; None for a bare pod."""
    owners = metadata(pod).get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def is_of_a_job(pod: Pod) -> bool:
    """Whether the pod is meant to end by itself."""
    owner = controller(pod)
    return owner is not None and owner.get("kind") == "Job"


def used_ports(pod: Pod) -> dict[int, str]:
    """Every port that something of the pod listens on or is asked at, with the container that uses it."""
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
            elif isinstance(port, str) and port.isdigit():
                yield int(port)


def is_guaranteed(pod: Pod) -> bool:
    """Whether the kubelet would call it Guaranteed as it stands (Kubernetes, quality of service classes)."""
    found = list(every_container(pod))
    return bool(found) and all(_has_equal_resources(container) for container in found)


def _has_equal_resources(container: Container) -> bool:
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    return all(
        limits.get(name) is not None and _same(limits[name], requests.get(name, limits[name]))
        for name in ("cpu", "memory")
    )


def _same(one: object, other: object) -> bool:
    try:
        return amount(str(one)) == amount(str(other))
    except ValueError:  # exponents, which are rare: only the same text is the same amount
        return str(one) == str(other)


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
