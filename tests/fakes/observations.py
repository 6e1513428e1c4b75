"""Observations of exchanges and refreshes, with what a test does not name filled in."""

import dataclasses

import msgspec

from mimic_proxy.telemetry.observation import ExchangeObservation, RefreshObservation

COMPLETED = ExchangeObservation(
    request_id="req-1",
    operation="chat",
    method="POST",
    path="/v1/chat/completions",
    model="small",
    stream=False,
    status=200,
    outcome="completed",
    error_code=None,
    timer=None,
    started=100.0,
    duration_seconds=0.25,
    queue_seconds=0.0,
    token_wait_seconds=0.0,
    upstream_head_seconds=0.2,
    first_chunk_seconds=None,
    max_gap_seconds=None,
    events=0,
    request_bytes=120,
    response_bytes=480,
    attempts=1,
    upstream_status=200,
    retried=None,
    client_retry=False,
)
REFRESHED = RefreshObservation(
    result="success", trigger="startup", duration_seconds=0.1, lifetime_seconds=300.0, status=200, waiters=0
)


def exchange(**seen: object) -> ExchangeObservation:
    """A completed chat exchange but for what is given."""
    return msgspec.structs.replace(COMPLETED, **seen)


def refresh(**seen: object) -> RefreshObservation:
    """A successful first refresh but for what is given."""
    return dataclasses.replace(REFRESHED, **seen)  # type: ignore[arg-type]
