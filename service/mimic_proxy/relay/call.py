"""One whole call to the backend, for operations that are composed of calls."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mimic_proxy.errors import MimicError, UpstreamBadResponse, UpstreamTimeout
from mimic_proxy.relay.headers import ResponseFields
from mimic_proxy.relay.outcome import error_type_of_status
from mimic_proxy.relay.pool import Pool
from mimic_proxy.relay.upstream import Connection
from mimic_proxy.telemetry.observation import Attempt, ErrorType, RetryReason


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the backend."""

    fields: ResponseFields
    body: bytes


class Tries:
    """What was tried for one request that Mimic composed; its observation shows it. Moments on the pool's clock."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Another call begins: of several for one request the last is shown."""
        self.count = 0
        self.earlier: tuple[Attempt, ...] = ()
        self.upstream: ResponseFields | None = None
        self.error_type: ErrorType | None = None
        self.sent: float | None = None
        self.head: float | None = None

    def begun(self, now: float | None) -> None:
        """A try; now: when it was sent, None where it could not be."""
        self.count += 1
        self.upstream = self.error_type = self.head = None
        self.sent = now

    def answered(self, fields: ResponseFields, now: float) -> None:
        """The head has come."""
        self.upstream, self.head = fields, now
        self.error_type = error_type_of_status(fields.status) if fields.status >= 400 else None

    def repeated(self, why: RetryReason, now: float) -> None:
        """What was tried last is tried again."""
        began = now if self.sent is None else self.sent
        status = None if self.upstream is None else self.upstream.status
        error_type = self.error_type or ("unauthorized" if why == "unauthorized" else "reset")
        self.earlier += (Attempt(began, now - began, status, self.head_seconds, error_type, why),)

    @property
    def head_seconds(self) -> float | None:
        """From the last try to its head."""
        return None if self.head is None or self.sent is None else self.head - self.sent


class _Call:
    """A listener that gathers one answer."""

    def __init__(
        self,
        request: bytes,
        limit: int,
        result: "asyncio.Future[Answer]",
        tries: Tries,
        clock: Callable[[], float],
    ) -> None:
        self.request = request
        self.tries = tries
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
        self.tries.begun(self.clock())
        connection.send(self.request)

    def dial_failed(self, error: MimicError) -> None:
        self.tries.begun(None)
        self._fail(error)

    def upstream_received(self, fields: ResponseFields | None, body: bytes, ended: bool) -> None:
        if fields is not None and self.connection is not None:
            self.tries.answered(fields, self.clock())
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
        self._fail(error)

    def upstream_writable(self, writable: bool) -> None:
        """Requests of composed operations are small: they wait in the transport's buffer."""

    def _fail(self, error: MimicError) -> None:
        if not self.result.done():
            self.tries.error_type = error.error_type or "other"
            self.result.set_exception(error)


async def call(
    pool: Pool, request: bytes, *, timeout: float, limit: int, tries: Tries | None = None, repeat: bool = True
) -> Answer:
    """Send one whole request (head and body) and return the whole answer.

    Safe to repeat: a loss on a kept connection before any answer is tried once on a fresh one, unless `repeat` is off.
    timeout: seconds for all of it, 0 for none. limit: bytes of the answer's body. tries: notes what was tried.
    Raises MimicError.
    """
    tries = tries or Tries()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout or None):
            for fresh in (False, True):
                gather = _Call(request, limit, loop.create_future(), tries, pool.clock)
                kept = None if fresh else pool.take()
                dial = pool.dial(gather) if kept is None else None
                if kept is not None:
                    gather.connected(kept)
                try:
                    return await gather.result
                except UpstreamBadResponse as error:
                    if not repeat or kept is None or kept.answered or error.error_type != "reset":
                        raise
                    tries.repeated("connect", pool.clock())
                finally:
                    if dial is not None:
                        dial.cancel()
                    if gather.connection is not None:
                        gather.connection.abort()
    except TimeoutError as error:
        tries.error_type = "read_timeout"
        message = f"The backend did not answer within {timeout:g} s (total timer)."
        raise UpstreamTimeout(message, timer="total", should_retry=False) from error
    raise AssertionError("unreachable: the second try returns or raises")
