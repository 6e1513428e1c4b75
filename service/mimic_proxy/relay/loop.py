"""What all exchanges of the process share of its event loop: coalesced writes, deferred work, one ticker."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("mimic.relay")


class CoalescedWrites:
    """Coalesced writes: what is written in one turn of the event loop goes to the sockets together, at its end.

    Each write to a peer that sleeps wakes it, and a wake-up costs more than relaying the bytes. Written back to back,
    the first wakes the peer and the others find it awake: twice the requests per second where one caller keeps many
    connections. One for all connections of the process. Order is kept; whoever closes a transport flushes first.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []
        self.turn = 0
        """Counts the hand-overs: what was written in this turn is still here."""

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Hand over at the end of this turn."""
        if not self._waiting:
            self._call_soon(self.flush)
        self._waiting.append((transport, data))

    def flush(self) -> None:
        """Hand over now. Transports that have closed meanwhile are passed over (uvloop would raise)."""
        waiting, self._waiting = self._waiting, []
        self.turn += 1
        for transport, data in waiting:
            if transport.is_closing():
                continue
            try:
                transport.write(data)
            except Exception:
                # asyncio raises behind an end of file: the others' bytes must not be lost with these.
                logger.exception("A fault in a write; the connection is closed.")
                transport.abort()


MOST = 64
LONGEST_SECONDS = 0.1

Work = Callable[[], None]


class DeferredWork:
    """Deferred work: what nobody waits for is done many at a time, after at most LONGEST_SECONDS.

    What an exchange leaves behind (its record, counters, a log line) touches other code and other data than relaying
    does. Done in a row for many exchanges it finds both in the processor's caches: a sixth less time per small call.
    """

    def __init__(self, call_later: Callable[[float, Work], object]) -> None:
        self._call_later = call_later
        self._waiting: list[Work] = []

    def add(self, work: Work, urgent: bool) -> None:
        """Do it later, in order; `urgent`: now, behind what waits."""
        waiting = self._waiting
        if not waiting and not urgent:
            self._call_later(LONGEST_SECONDS, self.flush)
        waiting.append(work)
        if urgent or len(waiting) >= MOST:
            self.flush()

    def flush(self) -> None:
        """Do all that waits."""
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            try:
                work()
            except Exception:
                # The others' must not be lost with it.
                logger.exception("A fault in what an exchange leaves behind.")


PERIOD_SECONDS = 0.1


class Ticking(Protocol):
    def tick(self) -> None:
        """Act on the deadline that has passed, if one has."""
        ...

    def drain(self) -> None:
        """The process stops now."""
        ...


class Ticker:
    """One ticker for all running exchanges: it looks at their deadlines a few times a second.

    A timer of its own for every exchange costs more than the rest of its bookkeeping, and nearly none ever fires.
    Deadlines are met to a tenth of a second, which is little beside the shortest of them. Without exchanges it stops.
    """

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
