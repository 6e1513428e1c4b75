"""The way of finished spans to an exporter: a bounded queue, and a thread that empties it in batches.

The SDK's own processor is not used: its shutdown joins for up to 30 s, its export knows no deadline, and it logs each
span that it drops. What is kept of it are the names and meanings of OTEL_BSP_*.

Only `put` runs on the event loop's thread; it never waits. A full queue drops its oldest span.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mimic_proxy.telemetry.tracing.settings import Batching

T = TypeVar("T")

logger = logging.getLogger("mimic.tracing")


@dataclass(frozen=True, slots=True)
class Counts:
    """Spans so far. exported, failed: handed to the exporter, and what became of them. dropped: never were."""

    exported: int
    failed: int
    dropped: int
    queued: int


class Pipeline(Generic[T]):
    """One for the process; `send` is called in its thread alone.

    send: takes a batch; None, or a sentence that says why it failed. It may take its time, and must come back.
    hurry: called at the stop: what `send` waits for need not be waited for any more. close: called in the thread, last.
    """

    def __init__(
        self,
        send: Callable[[list[T]], str | None],
        batching: Batching,
        *,
        hurry: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._send = send
        self._batching = batching
        self._hurry = hurry
        self._close = close
        self._queue: deque[T] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._abandoned = False
        self._failing = False
        self._exported = self._failed = self._dropped = 0
        self._thread = threading.Thread(target=self._work, name="mimic traces", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Takes a finished span."""
        queue = self._queue
        if self._stopping:
            self._dropped += 1
            return
        queue.append(item)
        size = len(queue)
        if size >= self._batching.batch:
            if size > self._batching.queue:
                # Unless the thread has just emptied it.
                with contextlib.suppress(IndexError):
                    queue.popleft()
                    self._dropped += 1
            if not self._wake.is_set():
                self._wake.set()

    def counts(self) -> Counts:
        """As of now."""
        return Counts(self._exported, self._failed, self._dropped, len(self._queue))

    def shutdown(self, seconds: float) -> bool:
        """Exports what is left, for so long at most; what is left then is dropped. True if nothing was."""
        self._stopping = True
        self._wake.set()
        self._hurry()
        self._thread.join(seconds)
        self._abandoned = True
        with contextlib.suppress(IndexError):
            while True:
                self._queue.popleft()
                self._dropped += 1
        return not self._thread.is_alive()

    def _work(self) -> None:
        while not self._stopping:
            self._wake.wait(self._batching.delay)
            self._wake.clear()
            self._export(least=1)
            while len(self._queue) >= self._batching.batch and not self._stopping:
                self._export(least=self._batching.batch)
        while self._queue and not self._abandoned:
            # At the stop the first failure is the last: the collector is not there.
            if not self._export(least=1):
                break
        self._close()

    def _export(self, least: int) -> bool:
        queue = self._queue
        batch: list[T] = []
        if len(queue) < least:
            return True
        # It may be empty sooner, since a full queue drops what is oldest.
        with contextlib.suppress(IndexError):
            while len(batch) < self._batching.batch:
                batch.append(queue.popleft())
        if not batch:
            return True
        try:
            trouble = self._send(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs spans and is told, once
            trouble = f"a fault of Mimic's ({type(error).__name__})"
        if trouble is None:
            self._exported += len(batch)
        else:
            self._failed += len(batch)
        self._tell(trouble)
        return trouble is None

    def _tell(self, trouble: str | None) -> None:
        """One line when it begins to fail, one when it works again."""
        if (trouble is not None) is self._failing:
            return
        self._failing = trouble is not None
        if trouble is not None:
            logger.warning("Traces cannot be exported: %s. Mimic goes on, and tells when it works again.", trouble)
        else:
            logger.info("Traces are exported again.")
