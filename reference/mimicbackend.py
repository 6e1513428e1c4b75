"""docs/reference/mimicbackend.md: every field of the resource, from its schema. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mimic_operator.resource.crd import CLUSTER_COLUMNS, COLUMNS, Column, cluster_schema, schema
from mimic_operator.resource.fields import Rule
from mimic_operator.resource.naming import API_VERSION, CLUSTER_PLURAL, PLURAL
from mimic_operator.resource.rules import RULES
from mimic_operator.resource.spec.cluster import RULES as CLUSTER_RULES

Schema = Mapping[str, Any]
HEAD = f"""\
# MimicBackend

`{API_VERSION}`, namespaced, `kubectl get mb`. This page is generated from the declarations of the fields
(`make reference`); `kubectl explain mimicbackend.spec` shows the same. Examples are in
[examples/kubernetes](../../examples/kubernetes). `mimic-operator render FILE` shows what a resource becomes, without a
cluster, and `--explain` describes it in words.

A field in **bold** is required. Durations are text like `500ms`, `10s` or `1m30s`. Names are of objects in the
resource's own namespace.
"""
CLUSTER_HEAD = f"""\
# ClusterMimicBackend

`{API_VERSION}`, cluster-wide, `kubectl get cmb`: one definition of a backend for many namespaces
([how it works](../kubernetes.md#one-backend-for-many-namespaces),
[example](../../examples/kubernetes/cluster-backend.yaml)). This page is generated from the declarations of the fields.
A field in **bold** is required.
"""


def page() -> str:
    """The whole page."""
    whole = schema()["properties"]
    parts = [
        HEAD,
        *_sections("spec", whole["spec"]),
        _rules(RULES),
        *_sections("status", whole["status"]),
        _columns(PLURAL, COLUMNS),
    ]
    return "\n".join(parts)


def cluster_page() -> str:
    """The page of ClusterMimicBackend: the spec of its MimicBackends is on the other."""
    whole = cluster_schema()["properties"]
    spec = {**whole["spec"], "properties": dict(whole["spec"]["properties"])}
    # Without its fields, of which the other page has the sections.
    spec["properties"]["backend"] = {
        "type": "object",
        "description": f"{spec['properties']['backend']['description']} Its fields are those of "
        "[MimicBackend](mimicbackend.md#spec).",
    }
    parts = [
        CLUSTER_HEAD,
        *_sections("spec", spec),
        _rules(CLUSTER_RULES),
        *_sections("status", whole["status"]),
        _columns(CLUSTER_PLURAL, CLUSTER_COLUMNS),
    ]
    return "\n".join(parts)


def _sections(path: str, section: Schema, level: int = 2) -> Iterator[str]:
    """The section's table, then those below it."""
    properties: Mapping[str, Schema] = section["properties"]
    required = section.get("required", ())
    rows = [_row(path, name, field, name in required) for name, field in properties.items() if not _is_removed(field)]
    about = f"{section['description']}\n\n" if "description" in section else ""
    head = "| field | type | | default |\n| --- | --- | --- | --- |"
    yield f"{'#' * level} `{path}`\n\n{about}{head}\n" + "\n".join(rows) + "\n"
    for name, field in properties.items():
        inner = field.get("items", field)
        if "properties" in inner and not inner.get("x-kubernetes-preserve-unknown-fields") and not _is_removed(field):
            yield from _sections(f"{path}.{name}{'[]' if 'items' in field else ''}", inner, min(level + 1, 4))


def _is_removed(field: Schema) -> bool:
    """Whether it stays in the schema only to say which field replaced it."""
    return any(rule["rule"] == "false" for rule in field.get("x-kubernetes-validations", ()))


def _row(path: str, name: str, field: Schema, required: bool) -> str:
    shown = f"**`{name}`**" if required else f"`{name}`"
    inner = field.get("items", field)
    if "properties" in inner and not inner.get("x-kubernetes-preserve-unknown-fields"):
        anchor = f"{path}.{name}{'[]' if 'items' in field else ''}".lower().translate({ord(c): None for c in ".[]"})
        shown = f"[{shown}](#{anchor})"
    return f"| {shown} | {_type(field)} | {_cell(field.get('description', ''))} | {_default(field)} |"


def _type(field: Schema) -> str:
    if "x-kubernetes-int-or-string" in field:
        return "number or percentage" if "%" in field["pattern"] else "quantity"
    if "enum" in field:
        return " \\| ".join(f"`{word}`" for word in field["enum"])
    kind: str = field["type"]
    if kind == "array":
        return f"list of {_type(field['items'])}, at most {field['maxItems']}"
    if "additionalProperties" in field:
        return f"mapping to {_type(field['additionalProperties'])}, at most {field['maxProperties']}"
    if kind == "object":
        return "object of Kubernetes" if "x-kubernetes-preserve-unknown-fields" in field else "object"
    if "must be a duration" in json.dumps(field.get("x-kubernetes-validations", "")):
        return "duration"
    if kind in ("integer", "number") and "maximum" in field:
        return f"{kind}, {field['minimum']} to {field['maximum']}{', or null' if field.get('nullable') else ''}"
    return kind


def _default(field: Schema) -> str:
    default = field.get("default")
    return "" if default is None or isinstance(default, dict) or default == [] else f"`{_plain(default)}`"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rules(rules: Sequence[Rule]) -> str:
    lines = [
        "## Rules between fields",
        "",
        "Checked by the API server (CEL), and by `render` and `inject` offline.",
        "",
    ]
    lines += ["| field | rule |", "| --- | --- |"]
    lines += [f"| `{rule.path}` | {_cell(rule.sentence)} |" for rule in rules]
    return "\n".join(lines) + "\n"


def _columns(plural: str, columns: Sequence[Column]) -> str:
    lines = [f"## Columns of `kubectl get {plural}`", "", "| column | from | |", "| --- | --- | --- |"]
    lines += [
        f"| {name} | `{_cell(path)}` | {description}{' (`-o wide`)' if priority else ''} |"
        for name, _, path, description, priority in columns
    ]
    return "\n".join(lines) + "\n"
