"""What is written in one turn of the event loop goes to the sockets together, at its end.

Each write to a peer that sleeps wakes it, and a wake-up costs more than relaying the bytes. Written back to back, the
first wakes the peer and the others find it awake: twice the requests per second where one caller keeps many
connections. Nothing waits longer than the turn in which it was written.
"""

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger("mimic.relay")


class Outbox:
    """One for all connections of the process. Order is kept; whoever closes a transport flushes first."""

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
