"""The chart's README, made of the comments in values.yaml.

The comment above a value describes it; the comment above a map begins a paragraph of its own.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

INTRODUCTION = """# Chart mimic

Written by `make reference` from values.yaml; change it there.

Installs the operator of [Mimic](../../README.md): a webhook that puts the proxy into pods, and a reconciler that makes
what a MimicBackend asks for. How to install, upgrade and remove it: [docs/kubernetes.md](../../docs/kubernetes.md).

    helm install mimic helm/mimic --namespace mimic-system --create-namespace

Kubernetes 1.29 or newer, helm 3 or 4. Values that the schema does not know are refused.
"""


class Undocumented(Exception):
    """A value without a comment."""


@dataclass(frozen=True, slots=True)
class Value:
    """path: its keys. default: as in values.yaml; None for a map that only holds others."""

    path: tuple[str, ...]
    about: str
    default: Any
    group: bool


def values(text: str) -> Iterator[Value]:
    """All values in the order of the file. Raises Undocumented."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _mapping(root, text.splitlines(), ())


def _mapping(node: yaml.MappingNode, lines: list[str], above: tuple[str, ...]) -> Iterator[Value]:
    for key, value in node.value:
        path = (*above, key.value)
        about = _comment(lines, key.start_mark.line)
        inner = isinstance(value, yaml.MappingNode) and not value.flow_style and _described(value, lines)
        if not about and not inner:
            raise Undocumented(".".join(path))
        default = None if inner else yaml.SafeLoader("").construct_document(value)
        yield Value(path, about, default, inner)
        if inner:
            yield from _mapping(value, lines, path)


def _described(node: yaml.MappingNode, lines: list[str]) -> bool:
    """Whether a map's own keys are described, so that it is no value but holds some."""
    return any(_comment(lines, key.start_mark.line) for key, _ in node.value) or any(
        isinstance(value, yaml.MappingNode) and not value.flow_style and _described(value, lines)
        for _, value in node.value
    )


def _comment(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].lstrip().removeprefix("#").strip())
    return " ".join(found)


def page(text: str) -> str:
    """The README: values that stand alone first, then one section for each map."""
    found = list(values(text))
    parts = [INTRODUCTION, "\n## Values\n"]
    parts.append(_table(value for value in found if len(value.path) == 1 and not value.group))
    for group in (value for value in found if len(value.path) == 1 and value.group):
        parts.append(f"\n### {group.path[0]}\n" + (f"\n{group.about}\n" if group.about else ""))
        parts.append(_table(value for value in found if value.path[0] == group.path[0] and len(value.path) > 1))
    return "".join(parts)


def _table(rows: Iterable[Value]) -> str:
    lines = ["", "| value | meaning | default |", "| --- | --- | --- |"]
    for value in rows:
        default = "" if value.group else f"`{json.dumps(value.default)}`"
        if value.about:
            lines.append(f"| `{'.'.join(value.path)}` | {_cell(value.about)} | {_cell(default)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
