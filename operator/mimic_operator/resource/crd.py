"""The CustomResourceDefinition of MimicBackend, made from the declarations of its fields and the rules between them.

Structural, with CEL rules as of Kubernetes 1.29 (`fieldPath` included); later additions to CEL are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mimic_operator.resource.fields import Schema, fields_schema, key_of
from mimic_operator.resource.naming import GROUP, KIND, PLURAL, VERSION
from mimic_operator.resource.rules import RULES
from mimic_operator.resource.spec import Spec

NAME = f"{PLURAL}.{GROUP}"
COLUMNS = (
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


def definition() -> dict[str, Any]:
    """The manifest."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["mb"],
                "categories": ["mimic"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema()},
                    "additionalPrinterColumns": [_column(*column) for column in COLUMNS],
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.deployment.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                }
            ],
        },
    }


def schema() -> Schema:
    """The schema of the whole resource."""
    spec: Schema = {"type": "object", "description": "The desired state."} | fields_schema(Spec)
    for rule in RULES:
        _at(spec, rule.section).setdefault("x-kubernetes-validations", []).append(rule.as_cel())
    return {
        "type": "object",
        "description": "A language model backend, and how workloads reach it with a valid access token.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status(),
        },
    }


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
        "conditions": _conditions(),
    }
    return {"type": "object", "description": "The observed state.", "properties": properties}


def _conditions() -> Schema:
    """As `metav1.Condition`."""
    properties: Schema = {
        "type": _text(
            "Ready, ConfigValid, SecretResolved, Injectable, Available, Progressing, Insecure or Degraded.", 316
        ),
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
    return tuple(_missing(schema(), known, ""))


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
