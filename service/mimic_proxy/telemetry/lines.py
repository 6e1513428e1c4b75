"""One log line each for an exchange and for a record of `logging`: as JSON, or for a person's eyes. Pure.

A line stays one line whatever a caller sent, and no line holds more of it than a few words.
"""

import logging
import re
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from mimic_proxy.telemetry.record import Record

LONGEST_TEXT = 256
"""Of what a caller chose, such as a path or the name of a model."""
FAULTS = frozenset(("upstream_error", "token_error", "timeout", "idle_timeout", "circuit_open", "internal_error"))
"""Outcomes that somebody should look at; they are logged at WARNING."""
STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"))
"""Attributes that every record has; all others were given by the caller of `logging` as `extra`."""


class _ExchangeLine(msgspec.Struct, omit_defaults=True, gc=False):
    """The JSON line of an exchange; what is None or 0 is left out."""

    time: str
    level: str
    logger: str
    message: str
    request_id: str
    operation: str
    method: str
    path: str
    status: int
    outcome: str
    duration_seconds: float
    request_bytes: int
    response_bytes: int
    attempts: int
    upstream_host: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    model: str | None = None
    stream: bool = False
    error_code: str | None = None
    error_type: str | None = None
    timer: str | None = None
    queue_seconds: float | None = None
    token_wait_seconds: float | None = None
    upstream_head_seconds: float | None = None
    first_chunk_seconds: float | None = None
    max_gap_seconds: float | None = None
    events: int = 0
    heartbeats: int = 0
    overhead_seconds: float | None = None
    upstream_status: int | None = None
    upstream_request_id: str | None = None
    retries: int = 0
    retried: str | None = None
    client_retry: bool = False
    caller: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


_json = msgspec.json.Encoder(enc_hook=str)
_OBEYED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def summary(seen: Record) -> str:
    """What happened, and of a call that went wrong why."""
    text = f"{seen.operation} {seen.outcome}"
    if seen.outcome == "completed":
        return text
    if seen.message is not None:
        return f"{text}: {_shortened(seen.message)}"
    if seen.error_frame:
        return f"{text}: The backend reported an error inside its stream."
    if seen.upstream_status is not None and seen.upstream_status >= 400:
        return f"{text}: The backend answered with status {seen.upstream_status}."
    return text


def exchange_json(ended: float, seen: Record, host: str | None = None) -> bytes:
    """The JSON line of an exchange. ended: Unix time in seconds. host: where such calls go."""
    trace = seen.trace
    line = _ExchangeLine(
        _timestamp(ended),
        "WARNING" if seen.outcome in FAULTS else "INFO",
        "mimic.exchange",
        summary(seen),
        seen.request_id,
        seen.operation,
        seen.method,
        _shortened(seen.path),
        seen.status,
        seen.outcome,
        int(seen.duration_seconds * 1e6 + 0.5) / 1e6,
        seen.request_bytes,
        seen.response_bytes,
        seen.attempts,
        host,
        None if trace is None else trace.trace_id,
        None if trace is None else trace.span_id,
        None if seen.model is None else _shortened(seen.model),
        seen.stream,
        seen.error_code,
        seen.error_type,
        seen.timer,
        _rounded(seen.queue_seconds),
        _rounded(seen.token_wait_seconds),
        _rounded(seen.upstream_head_seconds),
        _rounded(seen.first_chunk_seconds),
        _rounded(seen.max_gap_seconds),
        seen.events,
        seen.heartbeats,
        _rounded(seen.overhead_seconds),
        seen.upstream_status,
        None if seen.upstream_request_id is None else _shortened(seen.upstream_request_id),
        len(seen.earlier),
        seen.retried,
        seen.client_retry,
        seen.caller,
        seen.shown.usage.input,
        seen.shown.usage.output,
        seen.shown.usage.cached,
        seen.shown.usage.reasoning,
    )
    return visible(_json.encode(line)) + b"\n"


def visible(encoded: bytes) -> bytes:
    """JSON in which everything that a terminal or a viewer would obey rather than show is escaped.

    JSON itself asks that of the characters below U+0020 only (RFC 8259, 7); C1 controls steer terminals, and marks of
    direction or line ends of Unicode make a line read as another one.
    """
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode("utf-8")).encode("utf-8")


def exchange_console(ended: float, seen: Record, host: str | None = None) -> bytes:
    """The same for a terminal: what is usual is left out."""
    parts = [f"{seen.method} {_shortened(seen.path)} {seen.status} {seen.outcome} {seen.duration_seconds:.3f}s"]
    shown = {
        "error": seen.error_code,
        "host": host if seen.outcome in FAULTS else None,
        "why": seen.error_type,
        "timer": seen.timer,
        "model": None if seen.model is None else _shortened(seen.model),
        "first": None if seen.first_chunk_seconds is None else f"{seen.first_chunk_seconds:.3f}s",
        "events": seen.events or None,
        "upstream": seen.upstream_status if seen.upstream_status != seen.status else None,
        "retried": seen.retried,
        "in": seen.shown.usage.input,
        "out": seen.shown.usage.output,
        "id": seen.request_id,
        "trace": seen.trace.trace_id if seen.trace is not None and seen.outcome in FAULTS else None,
    }
    parts += [f"{name}={value}" for name, value in shown.items() if value is not None]
    if seen.outcome in FAULTS and seen.message is not None:
        parts.append(f"({_shortened(seen.message)})")
    return _console_line(ended, "WARNING" if seen.outcome in FAULTS else "INFO", " ".join(parts))


def record_json(record: logging.LogRecord) -> bytes:
    """The JSON line of a record; what was given as `extra` stands beside its message."""
    line: dict[str, object] = {
        "time": _timestamp(record.created),
        "level": record.levelname,
        "logger": record.name,
        "message": record.getMessage().encode("utf-8", "backslashreplace").decode("utf-8"),
    }
    line.update((name, value) for name, value in vars(record).items() if name not in STANDARD and name not in line)
    if record.exc_info:
        line["exception"] = logging.Formatter().formatException(record.exc_info)
    return visible(_json.encode(line)) + b"\n"


def record_console(record: logging.LogRecord) -> bytes:
    """The line of a record for a terminal; a traceback follows on lines of its own."""
    line = _console_line(record.created, record.levelname, record.getMessage())
    if record.exc_info:
        line += logging.Formatter().formatException(record.exc_info).encode("utf-8", "backslashreplace") + b"\n"
    return line


def _console_line(now: float, level: str, message: str) -> bytes:
    """One line whatever the message holds: a caller cannot write a second one, nor steer the terminal."""
    plain = message
    if not message.isprintable():
        plain = "".join(part if part.isprintable() else repr(part)[1:-1] for part in message)
    clock = datetime.fromtimestamp(now).astimezone().strftime("%H:%M:%S")
    return f"{clock}.{int(now * 1000) % 1000:03d} {level:<7} {plain}\n".encode("utf-8", "backslashreplace")


def _timestamp(now: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    milliseconds = int(now * 1000)
    return f"{_down_to(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=2)
def _down_to(second: int) -> str:
    """Kept, since many lines share their second."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


def _rounded(seconds: float | None) -> float | None:
    """To microseconds; `round` takes twice as long."""
    return int(seconds * 1e6 + 0.5) / 1e6 if seconds else None
