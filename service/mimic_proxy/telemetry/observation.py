"""What one exchange or one token refresh has shown; telemetry makes metrics, spans and log lines of it."""

from dataclasses import dataclass
from typing import Literal

import msgspec

Outcome = Literal[
    "completed",
    "client_error",
    "upstream_error",
    "token_error",
    "timeout",
    "idle_timeout",
    "client_disconnect",
    "overloaded",
    "circuit_open",
    "internal_error",
    "shutdown",
]
Operation = Literal["chat", "embeddings", "models", "passthrough", "unmatched"]
RefreshResult = Literal["success", "rejected", "http_error", "timeout", "unreachable", "bad_response"]
RefreshTrigger = Literal["startup", "proactive", "expired", "unauthorized", "config"]


class ExchangeObservation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One finished exchange. Times are seconds on the monotonic clock, sizes are bytes.

    A struct, since a frozen dataclass of this size takes 3 us to make.
    """

    request_id: str
    operation: Operation
    method: str
    path: str
    """The raw path without the query, as the caller sent it."""
    model: str | None = None
    stream: bool = False
    status: int
    """The status that was sent; 499 when the caller left before one was."""
    outcome: Outcome
    error_code: str | None = None
    """`code` of the error that Mimic originated, if it did."""
    timer: str | None = None
    """Which of connect, first_byte, idle, send, total, body, queue fired, if one did."""
    started: float
    duration_seconds: float
    queue_seconds: float = 0.0
    token_wait_seconds: float = 0.0
    upstream_head_seconds: float | None = None
    """Start of the last attempt to its head; None without a head."""
    first_chunk_seconds: float | None = None
    """Start to the first event with content that was forwarded; streams only."""
    max_gap_seconds: float | None = None
    events: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    attempts: int = 0
    upstream_status: int | None = None
    retried: Literal["unauthorized", "connect"] | None = None
    client_retry: bool = False
    """The caller's SDK says that this is a retry of its own (x-stainless-retry-count > 0)."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RefreshObservation:
    """One call to the token service."""

    result: RefreshResult
    trigger: RefreshTrigger
    duration_seconds: float
    lifetime_seconds: float | None
    status: int | None
    waiters: int
