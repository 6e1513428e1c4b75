"""One timer for all exchanges of the process.

A timer of its own for every exchange costs more than the rest of its bookkeeping, and nearly none ever fires. So the
pulse looks at all running exchanges a few times a second; without one it stands still. Deadlines are met to a tenth
of a second, which is little beside the shortest of them.
"""

import logging
from collections.abc import Callable
from typing import Protocol

PERIOD_SECONDS = 0.1

logger = logging.getLogger("mimic.relay")


class Ticking(Protocol):
    def tick(self) -> None:
        """Act on the deadline that has passed, if one has."""
        ...

    def drain(self) -> None:
        """The process stops now."""
        ...


class Pulse:
    """The running exchanges, and the look at their deadlines."""

    def __init__(self, call_later: Callable[[float, Callable[[], None]], object]) -> None:
        self._call_later = call_later
        self._running: set[Ticking] = set()
        self._beating = False
        self.when_empty: Callable[[], None] | None = None
        """Called whenever the last exchange has ended."""

    def __len__(self) -> int:
        return len(self._running)

    def running(self) -> list[Ticking]:
        """A snapshot, since acting on an exchange may end it."""
        return list(self._running)

    def add(self, exchange: Ticking) -> None:
        """An exchange begins."""
        self._running.add(exchange)
        if not self._beating:
            self._beating = True
            self._call_later(PERIOD_SECONDS, self._beat)

    def discard(self, exchange: Ticking) -> None:
        """An exchange has ended."""
        self._running.discard(exchange)
        if self.when_empty is not None and not self._running:
            self.when_empty()

    def _beat(self) -> None:
        for exchange in self.running():
            try:
                exchange.tick()
            except Exception:
                # The timers of all others must not end with a fault in one.
                logger.exception("A fault in a timer: this exchange has none any more.")
                self.discard(exchange)
        if self._running:
            self._call_later(PERIOD_SECONDS, self._beat)
        else:
            self._beating = False
