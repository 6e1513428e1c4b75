"""Observations of exchanges and refreshes, with what a test does not name filled in."""

import dataclasses
from typing import Any

from mimic_proxy.telemetry.observation import Attempt, RefreshObservation, Shown, Usage
from mimic_proxy.telemetry.record import Record

BASIS: dict[str, Any] = {
    "started": 100.0,
    "operation": "chat",
    "method": "POST",
    "path": "/v1/chat/completions",
}
USUAL: dict[str, Any] = {
    "request_id": "req-1",
    "status": 200,
    "outcome": "completed",
    "duration_seconds": 0.25,
    "model": "small",
    "upstream_head_seconds": 0.2,
    "request_bytes": 120,
    "response_bytes": 480,
    "attempts": 1,
    "upstream_status": 200,
}
SAID = {
    "response_id": "id",
    "response_model": "model",
    "finish_reasons": "finish_reasons",
    "system_fingerprint": "system_fingerprint",
}
REFRESHED = RefreshObservation(
    result="success", trigger="startup", duration_seconds=0.1, lifetime_seconds=300.0, status=200, waiters=0
)


def exchange(**known: object) -> Record:
    """A completed chat exchange but for what is given: fields of the record, or what it derives from its moments."""
    record = Record(**{name: known.pop(name, value) for name, value in BASIS.items()})
    values: dict[str, Any] = {**USUAL, **known}
    usage = [values.pop(f"{name}_tokens", None) for name in ("input", "output", "cached", "reasoning")]
    said = {name: values.pop(field) for field, name in SAID.items() if field in values}
    record.shown = Shown(Usage(*usage), **said)
    record.ended = record.started + values.pop("duration_seconds")
    record.sent = values.pop("sent", None) or 0.0
    head, first = values.pop("upstream_head_seconds"), values.pop("first_chunk_seconds", None)
    record.head = 0.0 if head is None else record.sent + head
    record.first_content = 0.0 if first is None else record.started + first
    retried = values.pop("retried", None)
    if retried is not None:
        values.setdefault("earlier", (Attempt(record.started, 0.1, None, None, "reset", retried),))
    for name, value in values.items():
        assert hasattr(Record, name), f"a record has no {name}"
        setattr(record, name, value)
    return record


def refresh(**seen: object) -> RefreshObservation:
    """A successful first refresh but for what is given."""
    return dataclasses.replace(REFRESHED, **seen)  # type: ignore[arg-type]
