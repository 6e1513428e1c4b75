"""One whole call to the backend, for operations that are composed of calls."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mimic_proxy.errors import MimicError, UpstreamBadResponse, UpstreamTimeout
from mimic_proxy.http.coding import decoded
from mimic_proxy.http.headers import ResponseFields
from mimic_proxy.relay.pool import Pool
from mimic_proxy.relay.upstream import Connection
from mimic_proxy.telemetry.record import Record


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the backend."""

    fields: ResponseFields
    body: bytes

    def plain(self, limit: int) -> bytes:
        """The body without its content coding, at most `limit` bytes. Raises UpstreamBadResponse."""
        try:
            return decoded(self.body, self.fields.coding, limit)
        except ValueError as wrong:
            message = f"The backend answered {self.fields.status} {wrong}."
            raise UpstreamBadResponse(message, error_type="other") from None


class _Call:
    """A listener that gathers one answer."""

    def __init__(
        self,
        request: bytes,
        limit: int,
        result: "asyncio.Future[Answer]",
        record: Record,
        clock: Callable[[], float],
    ) -> None:
        self.request = request
        self.record = record
        self.clock = clock
        self.limit = limit
        self.result = result
        self.connection: Connection | None = None
        self.fields: ResponseFields | None = None
        self.body = bytearray()

    def connected(self, connection: Connection) -> None:
        if self.result.done():
            connection.keep_alive = True
            connection.pool.keep(connection, None)
            return
        self.connection = connection
        connection.attach(self)
        self.record.attempt_sent(self.clock())
        connection.send(self.request)

    def dial_failed(self, error: MimicError) -> None:
        self.record.no_connection(self.clock())
        self._fail(error)

    def upstream_received(self, fields: ResponseFields | None, body: bytes, ended: bool) -> None:
        self.record.upstream = self.clock()
        if fields is not None and self.connection is not None:
            self.record.head_came(self.record.upstream, fields.status, fields.request_id)
        self.fields = fields or self.fields
        self.body += body
        connection = self.connection
        assert connection is not None
        if len(self.body) > self.limit:
            connection.abort()
            self._fail(UpstreamBadResponse(f"The backend's answer is longer than {self.limit} bytes."))
        elif ended and self.fields is not None:
            self.connection = None
            connection.release(reusable=True)
            if not self.result.done():
                self.result.set_result(Answer(self.fields, bytes(self.body)))

    def upstream_lost(self, error: MimicError) -> None:
        self.connection = None
        self.record.upstream = self.clock()
        self._fail(error)

    def upstream_writable(self, writable: bool) -> None:
        """Requests of composed operations are small: they wait in the transport's buffer."""

    def _fail(self, error: MimicError) -> None:
        if not self.result.done():
            self.record.error_type = error.error_type or "other"
            self.result.set_exception(error)


async def call(
    pool: Pool, request: bytes, *, timeout: float, limit: int, record: Record, repeat: bool = True
) -> Answer:
    """Send one whole request (head and body) and return the whole answer.

    Safe to repeat: a loss on a kept connection before any answer is tried once on a fresh one, unless `repeat` is off.
    timeout: seconds for all of it, 0 for none. limit: bytes of the answer's body. record: of the call.
    Raises MimicError.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout or None):
            for fresh in (False, True):
                gather = _Call(request, limit, loop.create_future(), record, pool.clock)
                kept = None if fresh else pool.take()
                record.dialled = pool.clock()
                dial = pool.dial(gather) if kept is None else None
                if kept is not None:
                    gather.connected(kept)
                try:
                    return await gather.result
                except UpstreamBadResponse as error:
                    if not repeat or kept is None or kept.answered or error.error_type != "reset":
                        raise
                    record.repeat("connect", "reset")
                finally:
                    if dial is not None:
                        dial.cancel()
                    if gather.connection is not None:
                        gather.connection.abort()
    except TimeoutError as error:
        record.error_type = "read_timeout"
        message = f"The backend did not answer within {timeout:g} s (total timer)."
        raise UpstreamTimeout(message, timer="total", should_retry=False) from error
    raise AssertionError("unreachable: the second try returns or raises")
