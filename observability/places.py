"""Where things are: files that are written, names that others refer to."""

from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parent.parent
CHART = ROOT / "helm" / "mimic"
DASHBOARDS = CHART / "dashboards"
RULES = CHART / "rules"
REFERENCE = ROOT / "docs" / "reference" / "metrics.md"

Board = Literal["mimic-overview", "mimic-tokens", "mimic-streams", "mimic-operator"]
"""Uids of the dashboards: links, alerts and bookmarks name them, so they never change."""
OVERVIEW: Board = "mimic-overview"
TOKENS: Board = "mimic-tokens"
STREAMS: Board = "mimic-streams"
OPERATOR: Board = "mimic-operator"

JOB = "mimic"
"""What the PodMonitor makes of the label `job`, for Deployments and sidecars alike."""
OPERATOR_JOB = "mimic-operator"
"""What the ServiceMonitor makes of it for webhook and reconciler."""
RUNBOOKS_URL = "https://mimic.example.com/docs/runbooks"
"""Stands in every file that is written as the beginning of a runbook's address. A placeholder: whoever deploys puts the
address of their copy of docs/runbooks in its place, and the chart does so by replacing this very text."""


def runbook(alert: str) -> str:
    """Address of the runbook of an alert."""
    return f"{RUNBOOKS_URL}/{alert}.md"
