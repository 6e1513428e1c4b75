"""What decisions and patches rely on in a pod: the types of what they read (core/v1, PodSpec).

An API server sends nothing else. A file may hold anything, and so may somebody who calls the webhook himself.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

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
            for place, entry in enumerate(each.get("env") or ()):
                if entry.get("name") is None:
                    yield f"{path}.{field}[{index}].env[{place}].name is required"


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
