"""Log lines of both processes, kopf's included: one JSON object each, in the form of the proxy's, or for a terminal.

Fields: time (RFC 3339, UTC, milliseconds), level, logger, message, trace_id and span_id within a span, whatever was
given as `extra`, exception.
"""

import logging
import re
import sys
from datetime import UTC, datetime
from typing import IO, Any, Literal

import msgspec
from opentelemetry import trace

STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"))
"""Attributes that every record has; all others were given as `extra`."""
KOPFS = frozenset(("k8s_ref", "k8s_skip", "settings"))
"""Attributes that kopf adds to its records for its own handlers; `k8s_ref` becomes `key`."""
CHATTY = (
    "aiohttp.access",
    "asyncio",
    "httpcore2",
    "httpx2",
    "kopf._core.engines.activities",
    "kopf.activities",
    "kopf.objects",
)
WRONG_HERE = ("aiohttp.server", "kopf._core.reactor.observation", "kopf._core.reactor.running")
"""aiohttp logs a traceback, with what was sent, for each caller that does not speak HTTP. kopf logs as errors each
attempt of its discovery that is repeated, and what the process logs again when it ends."""
LONGEST = 2048
"""Characters of a text in a line: an API server's error may hold a whole object."""
LogFormat = Literal["json", "console"]
logger = logging.getLogger("mimic.operator")
_json = msgspec.json.Encoder(enc_hook=str)
_OBEYED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def record_json(record: logging.LogRecord) -> bytes:
    """One line; what a terminal or a viewer would obey rather than show is escaped."""
    line: dict[str, Any] = {
        "time": _timestamp(record.created),
        "level": record.levelname,
        "logger": record.name,
        "message": _short(record.getMessage()),
    }
    within = trace.get_current_span().get_span_context()
    if within.is_valid:
        line |= {"trace_id": trace.format_trace_id(within.trace_id), "span_id": trace.format_span_id(within.span_id)}
    for name, value in vars(record).items():
        if name not in STANDARD and name not in KOPFS and name not in line:
            line[name] = _short(value) if isinstance(value, str) else value
    reference = getattr(record, "k8s_ref", None)
    if isinstance(reference, dict):
        line["key"] = f"{reference.get('namespace')}/{reference.get('name')}"
    if record.exc_info:
        line["exception"] = logging.Formatter().formatException(record.exc_info)
    encoded = _json.encode(line)
    if not encoded.isascii() or b"\x7f" in encoded:
        encoded = _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode()).encode()
    return encoded + b"\n"


def record_console(record: logging.LogRecord) -> bytes:
    """One line for a terminal; a traceback follows on lines of its own."""
    message = _short(record.getMessage())
    if not message.isprintable():
        message = "".join(part if part.isprintable() else repr(part)[1:-1] for part in message)
    clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
    line = f"{clock} {record.levelname:<7} {message}\n"
    if record.exc_info:
        line += logging.Formatter().formatException(record.exc_info) + "\n"
    return line.encode("utf-8", "backslashreplace")


class LineHandler(logging.Handler):
    """Writes each record at once: the operator's lines are few."""

    def __init__(self, sink: IO[bytes], style: LogFormat) -> None:
        super().__init__()
        self._sink = sink
        self._encode = record_json if style == "json" else record_console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(self._encode(record))
            self._sink.flush()
        except Exception:  # noqa: BLE001 - logging's own convention: a bad log call is reported on stderr
            self.handleError(record)


def configure(*, level: str, style: LogFormat, sink: IO[bytes] | None = None) -> None:
    """Sends all of `logging` to the sink, stderr if none is given; what was set up before is replaced."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(LineHandler(sink if sink is not None else sys.stderr.buffer, style))
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in WRONG_HERE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _short(text: str) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return clean if len(clean) <= LONGEST else f"{clean[:LONGEST]}..."
