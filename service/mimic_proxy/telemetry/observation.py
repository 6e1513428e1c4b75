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
ErrorType = Literal[
    "connect",
    "tls",
    "dns",
    "reset",
    "protocol",
    "read_timeout",
    "http_5xx",
    "http_429",
    "unauthorized",
    "envelope",
    "too_large",
    "other",
]
RetryReason = Literal["unauthorized", "connect"]
AdmissionRefusal = Literal["concurrency", "body_size", "buffers", "draining"]
StreamMode = Literal["native", "translated", "buffered"]
"""native: events pass as they are. translated: each becomes one of ours. buffered: a whole answer became a stream."""
UsageType = Literal["input", "output", "cached", "reasoning"]


class Trace(msgspec.Struct, frozen=True, gc=False):
    """Where an exchange stands in a trace (W3C Trace Context). Ids are lower-case hexadecimal."""

    trace_id: str
    span_id: str
    """Of the SERVER span."""
    client_span_id: str
    """Of the CLIENT span: what the backend gets as its parent."""
    parent_id: str | None = None
    """The caller's span."""
    sampled: bool = False
    tracestate: str = ""


class SpanLink(msgspec.Struct, frozen=True, gc=False):
    """A span to point at."""

    trace_id: str
    span_id: str
    sampled: bool


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try at the backend that was repeated. Moments and durations are seconds on the monotonic clock."""

    started: float
    seconds: float
    status: int | None
    head_seconds: float | None
    error_type: ErrorType | None
    retry: RetryReason
    """Why it was repeated."""


class TokenWait(msgspec.Struct, frozen=True, gc=False):
    """A time in which an exchange waited for an access token."""

    started: float
    seconds: float
    refresh: SpanLink | None
    """The refresh that it waited for, where that is traced."""


class RequestParameters(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a sampled request asked of the model; None for what it did not say. Never content."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop_count: int | None = None
    """How many stop sequences; they themselves are content."""
    seed: int | None = None
    choice_count: int | None = None
    output_type: str | None = None
    """text, json, image or speech (gen_ai.output.type)."""
    encoding_formats: tuple[str, ...] | None = None
    dimensions: int | None = None
    service_tier: str | None = None


class ExchangeObservation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One finished exchange. Times are seconds on the monotonic clock, sizes are bytes.

    A struct, since a frozen dataclass of this size takes 3 us to make.
    """

    request_id: str
    operation: Operation
    method: str
    path: str
    """The raw path without the query, as the caller sent it."""
    route: str = ""
    """The path with its variable parts named; empty where no route was found."""
    trace: Trace | None = None
    model: str | None = None
    stream: bool = False
    status: int
    """The status that was sent; 499 when the caller left before one was."""
    outcome: Outcome
    error_code: str | None = None
    """`code` of the error that Mimic originated, if it did."""
    error_type: ErrorType | None = None
    """What was wrong with the last attempt; None where nothing was, or none was made."""
    refused: AdmissionRefusal | None = None
    """Why it was not let in, if it was not."""
    timer: str | None = None
    """Which of connect, first_byte, idle, send, total, body, queue fired, if one did."""
    started: float
    duration_seconds: float
    overhead_seconds: float | None = None
    """The part of the duration in which nobody was waited for: not token, backend or caller. None: not told apart."""
    queue_seconds: float = 0.0
    token_wait_seconds: float = 0.0
    token_waits: tuple[TokenWait, ...] = ()
    sent: float | None = None
    """Moment in which the last attempt was sent."""
    upstream_head_seconds: float | None = None
    """Start of the last attempt to its head; None without a head."""
    first_chunk_seconds: float | None = None
    """Start to the first event with content that was forwarded; streams only."""
    max_gap_seconds: float | None = None
    send_blocked_seconds: float = 0.0
    """How long the caller took nothing of a stream."""
    events: int = 0
    heartbeats: int = 0
    error_frame: bool = False
    """The backend reported an error inside its stream."""
    mode: StreamMode = "native"
    request_bytes: int = 0
    response_bytes: int = 0
    attempts: int = 0
    earlier: tuple[Attempt, ...] = ()
    """The attempts before the last, each of which was repeated."""
    upstream_status: int | None = None
    upstream_request_id: str | None = None
    retried: RetryReason | None = None
    client_retry: bool = False
    """The caller's SDK says that this is a retry of its own (x-stainless-retry-count > 0)."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    response_id: str | None = None
    response_model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    system_fingerprint: str | None = None
    parameters: RequestParameters | None = None
    """Read for sampled exchanges only."""

    @property
    def ended(self) -> float:
        """Moment of the end."""
        return self.started + self.duration_seconds


@dataclass(frozen=True, slots=True)
class RefreshObservation:
    """One call to the token service."""

    result: RefreshResult
    trigger: RefreshTrigger
    duration_seconds: float
    lifetime_seconds: float | None
    status: int | None
    waiters: int
    started: float = 0.0
    """Moment on the monotonic clock."""
    span: SpanLink | None = None
    """The span that this refresh is, decided at its start; None where refreshes are not traced."""
    links: tuple[SpanLink, ...] = ()
    """Sampled exchanges that started it or waited for it, at most MOST_LINKS."""


MOST_LINKS = 16
