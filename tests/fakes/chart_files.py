"""Dashboards and rules as they lie in the chart, and what Grafana makes of an expression before it asks."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from observability.places import DASHBOARDS, RULES

BOARD_FILES = sorted(DASHBOARDS.glob("*.json"))
RULE_FILES = sorted(RULES.glob("*.yaml"))
Panel = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    board: str
    panel: str
    expr: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.expr}"


def board(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def panels(document: Mapping[str, Any]) -> Iterator[Panel]:
    """All panels, those of collapsed rows too, but no row."""
    for panel in document["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or []
        else:
            yield panel


@cache
def targets() -> list[Target]:
    """Every query of every panel."""
    return [
        Target(file.stem, panel["title"], target["expr"], target.get("instant", False))
        for file in BOARD_FILES
        for panel in panels(board(file))
        for target in panel["targets"]
    ]


@cache
def groups() -> list[dict[str, Any]]:
    """Every group of rules; those about the operator begin with `mimic.operator`."""
    return [group for file in RULE_FILES for group in yaml.safe_load(file.read_text("utf-8"))["groups"]]


def alerts(about: str = "") -> list[dict[str, Any]]:
    """Every alerting rule; about: `proxies` or `operator` alone."""
    return [
        rule
        for group in groups()
        for rule in group["rules"]
        if "alert" in rule and about in ("", "operator" if group["name"].startswith("mimic.operator") else "proxies")
    ]


@cache
def records() -> dict[str, str]:
    """Expressions of the recording rules by their names."""
    return {rule["record"]: rule["expr"] for group in groups() for rule in group["rules"] if "record" in rule}


def substituted(expr: str, values: Mapping[str, str]) -> str:
    """The expression with variables replaced as Grafana does; one that has no value is an error."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values[match.group(1)], expr)


OPERATOR_BOARD = "mimic-operator"
EVERYTHING = dict.fromkeys(
    ("namespace", "job", "pod", "operation", "model", "operator_namespace", "operator_job", "operator_pod"), ".*"
)
MINUTE = {"__rate_interval": "1m", "__range": "5m", "__interval": "15s", "slo_ttfc": "5.12"}


RUNBOOKS = Path(__file__).parent.parent.parent / "docs" / "runbooks"


def runbook_queries(file: Path) -> list[str]:
    """The queries of a runbook; each stands on a line of its own."""
    blocks = re.findall(r"```promql\n(.*?)```", file.read_text("utf-8"), re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
