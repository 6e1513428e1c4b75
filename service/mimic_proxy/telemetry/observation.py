"""What one token refresh has shown, and the words and parts that a call's record is made of."""

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
RefreshResult = Literal[
    "success",
    "rejected",
    "throttled",
    "http_error",
    "redirected",
    "empty",
    "not_json",
    "no_token",
    "error_answer",
    "bad_response",
    "timeout",
    "unreachable",
    "tls",
    "lost",
]
RefreshTrigger = Literal["startup", "proactive", "expired", "unauthorized", "config", "requested"]
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


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The model's own count of its tokens; None for what it did not tell."""

    input: int | None
    output: int | None
    cached: int | None
    """The part of the input that came from a cache."""
    reasoning: int | None
    """The part of the output that is reasoning."""


NO_USAGE = Usage(None, None, None, None)


class Shown(msgspec.Struct, frozen=True, gc=False):
    """What a response says of itself; never its content."""

    usage: Usage
    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    system_fingerprint: str | None = None


NOTHING_SHOWN = Shown(NO_USAGE)


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
