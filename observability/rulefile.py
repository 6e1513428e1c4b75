"""Prometheus rule files as data, and their YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from observability.objectives import Severity
from observability.places import Board, runbook


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule."""

    name: str
    expr: str

    def document(self) -> dict[str, object]:
        return {"record": self.name, "expr": self.expr}


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule. hold: its `for`. summary, description: templates of Prometheus."""

    name: str
    severity: Severity
    expr: str
    hold: str
    board: Board
    summary: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": runbook(self.name),
                "dashboard_uid": self.board,
            },
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together. seconds: between two evaluations; None leaves it to Prometheus."""

    name: str
    rules: tuple[Record | Alert, ...]
    seconds: int | None = None

    def document(self) -> dict[str, object]:
        interval = {} if self.seconds is None else {"interval": f"{self.seconds}s"}
        return {"name": self.name, **interval, "rules": [rule.document() for rule in self.rules]}


HEADER = "# Written by `make dashboards` from observability/; change it there.\n"


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def render(*groups: Group) -> str:
    """The file of some groups."""
    document = {"groups": [group.document() for group in groups]}
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return HEADER + text
