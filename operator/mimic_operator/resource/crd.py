"""The CustomResourceDefinitions, made from the declarations of the fields and the rules between them.

Structural, with CEL rules as of Kubernetes 1.29 (`fieldPath` included); later additions to CEL are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mimic_operator.resource.fields import Rule, Schema, fields_schema, key_of
from mimic_operator.resource.naming import CLUSTER_KIND, CLUSTER_PLURAL, GROUP, KIND, PLURAL, VERSION
from mimic_operator.resource.rules import RULES
from mimic_operator.resource.spec import Spec
from mimic_operator.resource.spec.cluster import RULES as CLUSTER_RULES
from mimic_operator.resource.spec.cluster import ClusterSpec

NAME = f"{PLURAL}.{GROUP}"
Column = tuple[str, str, str, str, int]
"""Name, type, path, description, priority."""
COLUMNS: tuple[Column, ...] = (
    ("Mode", "string", ".spec.mode", "", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "", 0),
    ("Endpoint", "string", ".status.url", "Base URL for applications", 0),
    ("Injected", "integer", ".status.injected.total", "Pods that have the sidecar", 0),
    ("Outdated", "integer", ".status.injected.outdated", "Pods with an older revision of the sidecar", 1),
    ("Missing", "integer", ".status.injected.missing", "Pods that ask for the sidecar and do not have it", 1),
    ("Replicas", "integer", ".status.readyReplicas", "Ready pods of the Deployment", 1),
    ("Grant", "string", ".spec.auth.grant", "", 1),
    ("Revision", "string", ".status.currentRevision", "", 1),
    ("Upstream", "string", ".spec.chat.url", "URL of the backend", 1),
    ("Age", "date", ".metadata.creationTimestamp", "", 0),
)


CLUSTER_COLUMNS: tuple[Column, ...] = (
    ("Mode", "string", ".spec.backend.mode", "", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "", 0),
    ("Namespaces", "integer", ".status.namespaces.admitted", "Namespaces that may use the backend", 0),
    ("Pods", "integer", ".status.pods", "Pods that use the backend", 0),
    ("Upstream", "string", ".spec.backend.chat.url", "URL of the backend", 1),
    ("Age", "date", ".metadata.creationTimestamp", "", 0),
)


def definition() -> dict[str, Any]:
    """The definition of MimicBackend."""
    scale = {
        "specReplicasPath": ".spec.deployment.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return _definition((KIND, PLURAL, "mb"), "Namespaced", schema(), COLUMNS, {"status": {}, "scale": scale})


def cluster_definition() -> dict[str, Any]:
    """The definition of ClusterMimicBackend."""
    names = (CLUSTER_KIND, CLUSTER_PLURAL, "cmb")
    return _definition(names, "Cluster", cluster_schema(), CLUSTER_COLUMNS, {"status": {}})


def _definition(
    names: tuple[str, str, str], scope: str, whole: Schema, columns: Sequence[Column], subresources: Schema
) -> dict[str, Any]:
    kind, plural, short = names
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": whole},
        "additionalPrinterColumns": [_column(*column) for column in columns],
        "subresources": subresources,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["mimic"],
            },
            "versions": [version],
        },
    }


def schema() -> Schema:
    """The schema of a whole MimicBackend."""
    about = "A language model backend, and how workloads reach it with a valid access token."
    return _whole(about, _spec(Spec, "The desired state.", RULES), status())


def cluster_schema() -> Schema:
    """The schema of a whole ClusterMimicBackend."""
    spec = _spec(ClusterSpec, "The desired state.", CLUSTER_RULES)
    backend = spec["properties"]["backend"]
    for rule in RULES:
        _at(backend, rule.section).setdefault("x-kubernetes-validations", []).append(rule.as_cel())
    return _whole("A language model backend that the workloads of many namespaces use.", spec, cluster_status())


def _spec(section: type[Any], about: str, rules: Sequence[Rule]) -> Schema:
    spec: Schema = {"type": "object", "description": about} | fields_schema(section)
    for rule in rules:
        _at(spec, rule.section).setdefault("x-kubernetes-validations", []).append(rule.as_cel())
    return spec


def _whole(about: str, spec: Schema, status: Schema) -> Schema:
    return {
        "type": "object",
        "description": about,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }


def cluster_status() -> Schema:
    """The schema of its status."""
    namespaces = {
        "admitted": _count("Namespaces that may use the backend."),
        "ready": _count("Namespaces whose MimicBackend is ready."),
        "failed": _count("Namespaces that have no MimicBackend of it, such as those with one of that name already."),
    }
    properties: Schema = {
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "Generation of the spec that this status describes.",
        },
        "mode": _text("The mode in force.", 16),
        "namespaces": {"type": "object", "description": "Namespaces by their state.", "properties": namespaces},
        "pods": _count("Pods that use the backend, in all namespaces."),
        "conditions": _conditions("Ready or ConfigValid."),
    }
    return {"type": "object", "description": "The observed state.", "properties": properties}


def status() -> Schema:
    """The schema of the status, which does not grow with the number of pods."""
    injected = {
        "total": _count("Pods that have the sidecar."),
        "current": _count("Pods with the current revision of the sidecar."),
        "outdated": _count("Pods with an older revision of the sidecar."),
        "missing": _count("Pods that ask for the sidecar and do not have it."),
        "pointed": _count("Pods that use the shared proxy, and have no sidecar."),
    }
    rollout = {
        "phase": _text("Idle, Progressing, Complete, Halted, Manual or Suspended.", 64),
        "done": _count("Workloads whose pods all have the update revision."),
        "total": _count("Workloads that are selected."),
        "current": _text("Workloads that restart now, KIND/NAME.", 320),
        "message": _text("What the rollout waits for.", 1024),
    }
    properties: Schema = {
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "description": "Generation of the spec that this status describes.",
        },
        "mode": _text("The mode in force.", 16),
        "operator": _text("The installation that looks after it: its scope, namespace and Lease.", 512),
        "url": _text("Base URL for applications.", 2048),
        "currentRevision": _text("Revision that new pods get.", 63),
        "updateRevision": _text(
            "Revision of the current spec. It becomes the current revision when its rollout has ended.", 63
        ),
        "replicas": _count("Pods of the Deployment."),
        "readyReplicas": _count("Ready pods of the Deployment."),
        "selector": _text("Labels of these pods, for autoscalers.", 1024),
        "injected": {"type": "object", "description": "Pods by the revision of their sidecar.", "properties": injected},
        "rollout": {
            "type": "object",
            "description": "Progress of the change through the workloads.",
            "properties": rollout,
        },
        "conditions": _conditions(
            "Ready, ConfigValid, SecretResolved, Injectable, Available, Progressing, Insecure or Degraded."
        ),
    }
    return {"type": "object", "description": "The observed state.", "properties": properties}


def _conditions(types: str) -> Schema:
    """As `metav1.Condition`."""
    properties: Schema = {
        "type": _text(types, 316),
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "reason": {
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        },
        "message": {"type": "string", "maxLength": 32768},
    }
    required = ["type", "status", "lastTransitionTime", "reason", "message"]
    return {
        "type": "array",
        "description": "The conditions, each with a reason and a message.",
        "maxItems": 16,
        "items": {"type": "object", "required": required, "properties": properties},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }


def _at(spec: Schema, section: Sequence[str]) -> Schema:
    found = spec
    for name in section:
        found = found["properties"][key_of(name)]
    return found


def _column(name: str, kind: str, path: str, description: str, priority: int) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    if description:
        found["description"] = description
    return found | ({"priority": priority} if priority else {})


def _text(description: str, most: int) -> Schema:
    return {"type": "string", "description": description, "maxLength": most}


def _count(description: str) -> Schema:
    return {"type": "integer", "format": "int32", "minimum": 0, "description": description}


def missing_fields(definition: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the paths of fields that the served schema lacks: it is older, and the API server would prune them.

    definition: the CustomResourceDefinition as the API server has it.
    """
    versions = (definition.get("spec") or {}).get("versions") or ()
    served: Mapping[str, Any] = next(
        (each for each in versions if each.get("name") == VERSION and each.get("served")), {}
    )
    known = (served.get("schema") or {}).get("openAPIV3Schema") or {}
    of_cluster = ((definition.get("spec") or {}).get("names") or {}).get("kind") == CLUSTER_KIND
    return tuple(_missing(cluster_schema() if of_cluster else schema(), known, ""))


def _missing(wanted: Mapping[str, Any], known: Mapping[str, Any], path: str) -> Iterator[str]:
    properties = known.get("properties") or {}
    for name, inner in (wanted.get("properties") or {}).items():
        below = f"{path}.{name}" if path else name
        if name not in properties:
            yield below
        else:
            yield from _missing(inner, properties[name], below)
    if "items" in wanted:
        yield from _missing(wanted["items"], known.get("items") or {}, f"{path}[]")
