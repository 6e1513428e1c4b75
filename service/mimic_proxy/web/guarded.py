"""The admin port's connections: uvicorn's HTTP protocol, with a limit on their number and on silence.

uvicorn has no timer for a connection that never asks anything. Each holds a descriptor, and both ports live on the same
ones: left alone, idle connections to the admin port would keep callers from the API.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SILENCE_SECONDS = 10.0
"""For a request to come whole, from the connection on or from the end of the answer before it."""
MOST_CONNECTIONS = 64
"""A browser opens six, a scraper one, a kubelet one at a time."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Beyond MOST_CONNECTIONS new ones are closed at once."""

    _watch: asyncio.TimerHandle | None = None
    _heard = 0.0
    _begun = False
    """A part of the next head has come."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._heard = self.loop.time()
        self._watch = self.loop.call_later(SILENCE_SECONDS, self._look)

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

    def _look(self) -> None:
        quiet = self.loop.time() - self._heard >= SILENCE_SECONDS
        if self.transport.is_closing() or (quiet and self.cycle is None):
            self.transport.abort()
            return
        if quiet and self.cycle.response_complete:
            # What was written may still be on its way; whoever takes nothing of it is dropped at the next look.
            self.transport.close()
        self._watch = self.loop.call_later(SILENCE_SECONDS / 2, self._look)
