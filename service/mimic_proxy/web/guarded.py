"""The admin port's connections: uvicorn's HTTP protocol, with a limit on their number and on silence.

uvicorn has no timer for a connection that never asks anything. Each holds a descriptor, and both ports live on the same
ones: left alone, idle connections to the admin port would keep callers from the API.

Nobody's connections keep a probe from its answer: whoever could do that could have the pod killed. Beyond MANY a
connection that asks nothing for a second is closed, beyond MOST the oldest idle one; a new one always has its second.
"""

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SILENCE_SECONDS = 10.0
"""For a request to come whole, from the connection on or from the end of the answer before it."""
LOOK_SECONDS = 1.0
"""Between looks; where there are many connections, also the silence that is allowed."""
MANY = 64
"""A browser opens six, a scraper one, a kubelet one at a time."""
MOST = 512


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    _watch: asyncio.TimerHandle | None = None
    _heard = 0.0
    _begun = False
    """A part of the next head has come."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST:
            self._make_room()
        self._heard = self.loop.time()
        self._watch = self.loop.call_later(LOOK_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            # Drops of a head that is already late do not make it younger.
            self._heard = self._heard if self._begun else self.loop.time()
            self._begun = True
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._begun = False
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        others = [other for other in self.connections if other is not self and isinstance(other, GuardedProtocol)]
        held = Counter(other._peer for other in others)
        most = max(held.values())
        oldest = min((other for other in others if held[other._peer] == most), key=GuardedProtocol._worth)
        # At once: the transport tells of its end a little later, when more connections may have come.
        self.connections.discard(oldest)
        oldest.transport.abort()

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def _worth(self) -> tuple[bool, float]:
        """A connection whose request is being answered is worth more than an idle one, a younger one than an older."""
        return self.cycle is not None and not self.cycle.response_complete, self._heard

    def _look(self) -> None:
        allowed = LOOK_SECONDS if len(self.connections) > MANY else SILENCE_SECONDS
        quiet = self.loop.time() - self._heard >= allowed
        if self.transport.is_closing() or (quiet and self.cycle is None):
            self.transport.abort()
            return
        if quiet and self.cycle.response_complete:
            # What was written may still be on its way; whoever takes nothing of it is dropped at the next look.
            self.transport.close()
        self._watch = self.loop.call_later(LOOK_SECONDS, self._look)
