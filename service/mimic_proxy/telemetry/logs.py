"""Log lines: JSON or for a person's eyes; one line for each exchange, written in batches.

1. Every line goes through one `LineWriter`, so that lines stand in the order of what they tell of.
2. A line that matters (WARNING and above) is written at once, with all that waited before it. The lines of exchanges
   wait for 100 ms or 64 KiB: a `logging` call for each would halve what the relay can do.
3. Nothing waits for the sink: a thread writes to it. While nobody reads what is written, up to MOST_WAITING_BYTES are
   held; what comes then is dropped and counted.
4. No line holds a secret, a token or a part of a prompt, and a line cannot be broken by what a caller sent.
"""

import logging
import os
import select
import threading
from collections.abc import Callable, Mapping
from typing import Literal, TextIO

from mimic_proxy.telemetry.lines import FAULTS, exchange_console, exchange_json, record_console, record_json
from mimic_proxy.telemetry.observation import Operation
from mimic_proxy.telemetry.record import Record

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
