"""Log lines: JSON or for a person's eyes; one line for each exchange, written in batches.

1. Every line goes through one `LineWriter`, so that lines stand in the order in which they came.
2. A line that matters (WARNING and above) is written at once, with all that waited before it. The lines of exchanges
   wait for 100 ms or 64 KiB: a `logging` call for each would halve what the relay can do.
3. No line holds a secret, a token or a part of a prompt, and a line cannot be broken by what a caller sent.
"""

import logging
import threading
from collections.abc import Callable
from typing import Literal, Protocol

from mimic_proxy.telemetry.lines import FAULTS, exchange_console, exchange_json, record_console, record_json
from mimic_proxy.telemetry.record import Record

BATCH_SECONDS = 0.1
BATCH_BYTES = 65536
CHATTY = ("uvicorn.error", "httpx2", "httpcore2", "asyncio")
"""Loggers whose INFO tells of every connection or of every URL."""

LogFormat = Literal["json", "console"]
Later = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds, in the thread of the event loop."""


class Sink(Protocol):
    """Where lines end up, a binary stream."""

    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> object: ...


class LineWriter:
    """Gathers whole lines and writes them together. Safe to use from any thread."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._bytes = 0
        self.lost = 0
        """Lines that the sink did not take, since it was full or closed."""

    def add(self, line: bytes) -> bool:
        """Keeps a line, which ends with its newline; True when it is time to flush."""
        with self._lock:
            self._lines.append(line)
            self._bytes += len(line)
            return self._bytes >= BATCH_BYTES

    def flush(self) -> None:
        """Writes what waits. A sink that fails costs lines, never an exchange."""
        with self._lock:
            lines, self._lines, self._bytes = self._lines, [], 0
            if not lines:
                return
            try:
                self._sink.write(b"".join(lines))
                self._sink.flush()
            except (OSError, ValueError):  # ValueError: the stream was closed
                self.lost += len(lines)


class ExchangeLog:
    """Writes the line of each finished exchange."""

    def __init__(
        self, writer: LineWriter, *, level: int, style: LogFormat, wall: Callable[[], float], later: Later
    ) -> None:
        """level: as in `logging`. wall: Unix time in seconds. later: the event loop's `call_later`."""
        self._writer = writer
        self.level = level
        self._encode = exchange_json if style == "json" else exchange_console
        self._wall = wall
        self._later = later
        self._waiting = False

    def write(self, seen: Record) -> None:
        """INFO for what went as it should or as the caller wanted it, WARNING for faults."""
        urgent = seen.outcome in FAULTS
        if self.level > (logging.WARNING if urgent else logging.INFO):
            return
        if self._writer.add(self._encode(self._wall(), seen)) or urgent:
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
        try:
            line = self._encode(record)
        except Exception:  # noqa: BLE001 - logging's own convention: a bad log call is reported on stderr
            self.handleError(record)
            return
        self._writer.add(line)
        self._writer.flush()

    def flush(self) -> None:
        """Writes what waits; `logging.shutdown` calls it at exit."""
        self._writer.flush()


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
