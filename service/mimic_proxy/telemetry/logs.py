"""Log lines: JSON or for a person's eyes; one line for each exchange, written in batches.

1. Every line goes through one `LineWriter`, so that lines stand in the order of what they tell of.
2. A line that matters (WARNING and above) is written at once, with all that waited before it. The lines of exchanges
   wait for 100 ms or 64 KiB: a `logging` call for each would halve what the relay can do.
3. Nothing waits for the sink: a thread writes to it. While nobody reads what is written, up to MOST_WAITING_BYTES are
   held; what comes then is dropped and counted.
4. No line holds a secret, a token or a part of a prompt. A line stays one line whatever a caller sent, and holds no
   more of it than a few words.
"""

import logging
import os
import re
import select
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, TextIO

import msgspec

from mimic_proxy.telemetry.observation import Operation
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


BATCH_SECONDS = 0.1
BATCH_BYTES = 65536
MOST_WAITING_BYTES = 4194304
DRAIN_SECONDS = 1.0
"""How long the end of the process waits for a sink that takes nothing."""
CHATTY = ("uvicorn.error", "httpx2", "httpcore2", "asyncio")
"""Loggers whose INFO tells of every connection or of every URL."""

LogFormat = Literal["json", "console"]
Later = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds, in the thread of the event loop."""


def written_to(stream: TextIO) -> Callable[[bytes], None]:
    """Writes all of what it gets to a standard stream, and waits for as long as nobody reads it.

    Python's own stream has a lock: a thread that waits in it would keep the interpreter from ending.
    """

    def write(data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(stream.fileno(), left) :]
            except BlockingIOError:
                # Another process that has the same pipe has set it so.
                select.select([], [stream], [])

    return write


class LineWriter:
    """Gathers whole lines, which its thread writes together. Safe to use from any thread, and never waits."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        """write: takes bytes, may wait for as long as it likes, and raises OSError or ValueError if it cannot."""
        self._write = write
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._writing_bytes = 0
        self._due = False
        self._thread: threading.Thread | None = None
        self.lost = 0
        """Lines that were dropped: nobody read what was written before them, or the sink is closed."""
        self.settle: Callable[[], None] = lambda: None
        """Called before each record of `logging`: adds the lines of what has ended before it."""

    def add(self, line: bytes) -> bool:
        """Takes a line, which ends with its newline; True when it is time to flush."""
        with self._changed:
            if self._bytes + self._writing_bytes + len(line) > MOST_WAITING_BYTES:
                self.lost += 1
                return False
            self._lines.append(line)
            self._bytes += len(line)
            return self._bytes >= BATCH_BYTES

    def flush(self) -> None:
        """Has the thread write what waits."""
        with self._changed:
            if not self._lines or self._due:
                return
            self._due = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mimic log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def drain(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Waits until all is written, for so long at most; True if it is."""
        self.flush()
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing_bytes, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due)
                lines, self._lines = self._lines, []
                self._writing_bytes, self._bytes, self._due = self._bytes, 0, False
            lost = 0
            try:
                self._write(b"".join(lines))
            except (OSError, ValueError):  # ValueError: the stream was closed
                lost = len(lines)
            with self._changed:
                self.lost += lost
                self._writing_bytes = 0
                self._changed.notify_all()


class ExchangeLog:
    """Writes the line of each finished exchange."""

    def __init__(
        self,
        writer: LineWriter,
        *,
        level: int,
        style: LogFormat,
        clock: Callable[[], float],
        wall: Callable[[], float],
        later: Later,
    ) -> None:
        """level: as in `logging`. clock: the one of observations. wall: Unix time. later: the loop's `call_later`."""
        self._writer = writer
        self.level = level
        self._encode = exchange_json if style == "json" else exchange_console
        self._clock = clock
        self._wall = wall
        self.hosts: Mapping[Operation, str] = {}
        """Where calls of each operation go."""
        self._later = later
        self._waiting = False

    def write(self, seen: Record) -> None:
        """INFO for what went as it should or as the caller wanted it, WARNING for faults."""
        urgent = seen.outcome in FAULTS
        if self.level > (logging.WARNING if urgent else logging.INFO):
            return
        ended = self._wall() - self._clock() + seen.ended
        if self._writer.add(self._encode(ended, seen, self.hosts.get(seen.operation))) or urgent:
            self._writer.flush()
        elif not self._waiting:
            self._waiting = True
            self._later(BATCH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._waiting = False
        self._writer.flush()


class LineHandler(logging.Handler):
    """The way of `logging` to the writer: rare lines, written at once."""

    def __init__(self, writer: LineWriter, style: LogFormat) -> None:
        super().__init__()
        self._writer = writer
        self._encode = record_json if style == "json" else record_console

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.settle()
        try:
            line = self._encode(record)
        except Exception as error:  # noqa: BLE001 - a bad log call costs its own line alone
            # Not by `handleError`, which waits for whoever reads the standard error stream.
            line = self._encode(_unspeakable(record, error))
        self._writer.add(line)
        self._writer.flush()

    def flush(self) -> None:
        """Writes what waits; `logging.shutdown` calls it at exit."""
        self._writer.drain()


def _unspeakable(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    """A record that says that another one cannot be written."""
    message = f"A message of {record.pathname}:{record.lineno} cannot be written ({type(error).__name__})"
    return logging.makeLogRecord({"name": record.name, "msg": message, "levelno": 40, "levelname": "ERROR"})


def configure(writer: LineWriter, *, level: str, style: LogFormat) -> None:
    """Sends all of `logging` to the writer, uvicorn's loggers included; what was set up before is replaced."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(LineHandler(writer, style))
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
