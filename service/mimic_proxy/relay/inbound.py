"""The body of one request: kept whole for a replay, or passed on piece by piece. Pure."""

from mimic_proxy.errors import BuffersFull, MimicError, RequestTooLarge
from mimic_proxy.http.buffer import Buffer
from mimic_proxy.http.framing import Framing
from mimic_proxy.relay.slots import Budget


class RequestBody:
    """What has come of a body, within the limits of one request and the budget of all.

    streamed: passed on as it comes, never kept. limit: bytes of one body, 0 for none. declared: its content-length.
    """

    __slots__ = ("_budget", "_kept", "_limit", "_reserved", "complete", "declared", "framing", "received", "streamed")

    def __init__(self, *, streamed: bool, declared: int | None, chunked: bool, limit: int, budget: Budget) -> None:
        self.streamed = streamed
        self.declared = declared
        self.framing = Framing.CHUNKED if chunked else Framing.LENGTH
        self._limit = limit
        self._budget = budget
        self._reserved = 0
        self._kept = Buffer()
        self.received = 0
        self.complete = False

    def announce(self) -> MimicError | None:
        """Judge the declared length before a byte is read. Room is taken for what has come, and for nothing else."""
        declared = self.declared
        if not declared:
            return None
        if self._limit and declared > self._limit:
            return _too_large(self._limit)
        return None if self.streamed or self._budget.has(declared) else _buffers_full()

    def count(self, size: int) -> MimicError | None:
        """A piece has come; kept bodies are stored by `keep`."""
        self.received += size
        if self._limit and self.received > self._limit:
            return _too_large(self._limit)
        if self.streamed:
            return None
        if not self._budget.take(size):
            return _buffers_full()
        self._reserved += size
        return None

    def keep(self, piece: bytes) -> None:
        """Store a piece that has been counted."""
        self._kept.append(piece)

    def take(self) -> bytes:
        """All that is stored, in one piece."""
        return self._kept.take()

    def replace(self, translated: bytes) -> None:
        """What is sent in the place of what has come."""
        self._kept.clear()
        self._kept.append(translated)

    def forget(self) -> None:
        """It will not be sent any more: give its memory and its share of the budget back."""
        self._kept.clear()
        if self._reserved:
            self._budget.give(self._reserved)
            self._reserved = 0


def _buffers_full() -> MimicError:
    message = "Mimic holds as many bytes of requests as MAX_BUFFERED_BYTES allows. Try again shortly."
    return BuffersFull(message, retry_after=1)


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request's body is larger than {limit} bytes. MAX_BODY_BYTES sets the limit.")
