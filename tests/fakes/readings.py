"""Metrics of a process that stands as a test says."""

from typing import Any

from mimic_proxy.telemetry.metrics import Build, Metrics
from mimic_proxy.telemetry.models import ModelLabels
from mimic_proxy.telemetry.port import Readings, TokenState

HELD = TokenState(
    required=True,
    held=True,
    generation=3,
    issued=1000.0,
    expires=1300.0,
    lifetime=300.0,
    refresh_margin=60.0,
    last_result="success",
    trouble=None,
    consecutive_failures=0,
    next_refresh=1240.0,
    in_flight=False,
    waiters=2,
    coalesced=7,
)


def made(readings: Readings | None = None, **more: Any) -> Metrics:
    """Metrics of a process that stands as `readings` says."""
    now = readings or Readings(token=HELD, conditions=[("token", True), ("config", False)])
    models = more.pop("models", ModelLabels())
    build = Build("0.1.0", "abc", "3.11.7")
    return Metrics(build=build, read=lambda: now, models=models, wall=lambda: 2000.0, **more)
