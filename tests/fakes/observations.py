"""Observations of exchanges and refreshes, with what a test does not name filled in."""

import dataclasses
from typing import Any

from mimic_proxy.telemetry.exchange_observation import ExchangeObservation
from mimic_proxy.telemetry.observation import RefreshObservation

REQUIRED: dict[str, Any] = {
    "request_id": "req-1",
    "operation": "chat",
    "method": "POST",
    "path": "/v1/chat/completions",
    "status": 200,
    "outcome": "completed",
    "started": 100.0,
    "duration_seconds": 0.25,
}
USUAL: dict[str, Any] = {
    "model": "small",
    "upstream_head_seconds": 0.2,
    "request_bytes": 120,
    "response_bytes": 480,
    "attempts": 1,
    "upstream_status": 200,
}
REFRESHED = RefreshObservation(
    result="success", trigger="startup", duration_seconds=0.1, lifetime_seconds=300.0, status=200, waiters=0
)


def exchange(**seen: object) -> ExchangeObservation:
    """A completed chat exchange but for what is given."""
    found = ExchangeObservation(**{name: seen.pop(name, value) for name, value in REQUIRED.items()})
    for name, value in {**USUAL, **seen}.items():
        assert hasattr(ExchangeObservation, name), f"an observation has no {name}"
        setattr(found, name, value)
    return found


def refresh(**seen: object) -> RefreshObservation:
    """A successful first refresh but for what is given."""
    return dataclasses.replace(REFRESHED, **seen)  # type: ignore[arg-type]
