"""Connections to the backend: kept, expired, aborted, and one call on them for composed operations.

1. A connection carries one exchange at a time; `exchange` is who hears of its bytes.
2. Each read of the socket becomes one event: the head if it ended in this read, the body bytes,
   whether the message ended.
3. A connection goes back to its pool only with its message ended, its request fully sent, reading
   resumed and its write buffer empty; everything else is closed.
4. An idle connection that gets bytes or a close is dropped. It expires before the backend's own
   limit, and every connection retires after about five minutes, since names move.
HTTP/1.1 framing: RFC 9112, 6 and 9.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import httptools

from mimic_proxy.errors import MimicError, UpstreamBadResponse, UpstreamTimeout, UpstreamUnreachable
from mimic_proxy.relay.headers import Names, ResponseFields, read_response
from mimic_proxy.relay.outbox import Outbox
from mimic_proxy.relay.target import Base

MAX_HEAD_BYTES = 65536
IDLE_SECONDS = 30.0
IDLE_MARGIN_SECONDS = 4.0
RETIRE_SECONDS = 300.0
SWEEP_SECONDS = 2.0

Dialler = Callable[[Base, Callable[[], asyncio.Protocol]], "asyncio.Future[asyncio.Protocol]"]


class Listener(Protocol):
    """Who uses a connection. Calls come from the event loop and must not raise."""

    def upstream_received(self, fields: ResponseFields | None, body: bytes, ended: bool) -> None: ...

    def upstream_lost(self, error: MimicError) -> None: ...

    def upstream_writable(self, writable: bool) -> None: ...


class Connection(asyncio.Protocol):
    """One connection to the backend; made by the pool only."""

    def __init__(self, pool: "Pool", now: float) -> None:
        self.pool = pool
        self.exchange: Listener | None = None
        self.reused = False
        self.retires = now + RETIRE_SECONDS * (0.9 + 0.2 * pool.random())
        self.expires = 0.0
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self.writable = True
        self.parser: httptools.HttpResponseParser | None = None
        self._reset()

    def _reset(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_open = True
        self.head_bytes = 0
        self.fields: ResponseFields | None = None
        self.new_head = False
        self.body: list[bytes] = []
        self.ended = False
        self.surplus = False
        self.keep_alive = False
        self.until_close = False
        self.bad: str | None = None
        self.answered = False

    # What an exchange asks for

    def attach(self, listener: Listener) -> None:
        """Begin an exchange. The caller of this sends the request next."""
        self.exchange = listener
        if self.parser is None:
            self.parser = httptools.HttpResponseParser(self)
        self._reset()

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.pool.outbox.write(self.transport, data)

    def pause(self, paused: bool) -> None:
        """Stop or resume reading; asking twice is the same as once."""
        if paused is self.paused or self.transport is None or self.transport.is_closing():
            return
        self.paused = paused
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def release(self, reusable: bool) -> None:
        """The exchange has ended: back to the pool if everything about it was clean, else closed."""
        self.exchange = None
        transport = self.transport
        if transport is None:
            return
        clean = reusable and self.keep_alive and not self.surplus and not self.paused
        if clean and not transport.is_closing() and transport.get_write_buffer_size() == 0:
            self.pool.keep(self, self.fields.keep_alive_seconds if self.fields else None)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once; what is still unsent is dropped."""
        self.exchange = None
        if self.transport is not None:
            self.transport.abort()

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.pool.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.pool.forget(self)
        listener, self.exchange = self.exchange, None
        if listener is not None:
            listener.upstream_lost(self._loss())

    def _loss(self) -> MimicError:
        if self.fields is None:
            message = "The backend closed the connection before it answered."
        else:
            message = "The backend closed the connection before its answer was complete."
        return UpstreamBadResponse(message, error_type="reset")

    def eof_received(self) -> bool:
        if self.exchange is not None and self.fields is not None and self.until_close and not self.ended:
            self.ended = True
            self._deliver()
        return False

    def pause_writing(self) -> None:
        self.writable = False
        if self.exchange is not None:
            self.exchange.upstream_writable(False)

    def resume_writing(self) -> None:
        self.writable = True
        if self.exchange is not None:
            self.exchange.upstream_writable(True)

    def data_received(self, data: bytes) -> None:
        if self.exchange is None or self.parser is None:
            self.abort()
            return
        self.answered = True
        if self.head_open:
            self.head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.bad = self.bad or "it switched protocols"
        except httptools.HttpParserError as error:
            # What follows a complete answer is nobody's: the connection is dropped, the answer stands.
            if self.ended:
                self.surplus = True
            else:
                self.bad = self.bad or f"it is not HTTP/1.1 ({error})"
        if self.head_open and self.head_bytes > MAX_HEAD_BYTES:
            self.bad = self.bad or "its head is larger than 64 KiB"
        if self.bad is None:
            self._deliver()
        else:
            self._fail(self.bad)

    def _fail(self, reason: str) -> None:
        """What came before the fault is the answer's, unless its head was at fault."""
        self.ended = False
        if self.fields is not None:
            self._deliver()
        listener = self.exchange
        self.abort()
        if listener is not None:
            error = UpstreamBadResponse(f"The backend's answer cannot be read: {reason}.", error_type="protocol")
            listener.upstream_lost(error)

    def _deliver(self) -> None:
        fields = None
        if self.new_head:
            self.new_head = False
            fields = self.fields
        pieces = self.body
        if fields is None and not pieces and not self.ended:
            return
        body = b"" if not pieces else pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.body = []
        if self.exchange is not None:
            self.exchange.upstream_received(fields, body, self.ended)

    # What the parser tells

    def on_message_begin(self) -> None:
        if self.ended:
            self.surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_open:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.ended or self.parser is None:
            return
        status = self.parser.get_status_code()
        if status < 200:
            if status == 101:
                self.bad = "it switched protocols"
            return
        self.head_open = False
        if self.head_bytes > MAX_HEAD_BYTES and sum(len(n) + len(v) + 4 for n, v in self.headers) > MAX_HEAD_BYTES:
            self.bad = "its head is larger than 64 KiB"
            return
        self.keep_alive = self.parser.should_keep_alive()
        version = self.parser.get_http_version()
        try:
            fields = read_response(status, self.headers, self.pool.names)
        except ValueError as error:
            self.bad = str(error)
            return
        if version not in ("1.1", "1.0") or (fields.chunked and version == "1.0"):
            self.bad = f"HTTP/{version} with these framing fields"
            return
        self.until_close = not fields.chunked and fields.content_length is None and status not in (204, 304)
        if self.until_close or fields.close:
            self.keep_alive = False
        self.fields = fields
        self.new_head = True

    def on_body(self, body: bytes) -> None:
        if not self.ended:
            self.body.append(body)

    def on_message_complete(self) -> None:
        if self.head_open:
            # An interim answer (RFC 9110, 15.2): the real head is still to come.
            self.headers = []
        elif not self.until_close:
            self.ended = True


@dataclass(slots=True)
class Dial:
    """A connection on its way; `cancel` gives up on it, and it is pooled unused when it comes."""

    listener: "Dialling | None"

    def cancel(self) -> None:
        self.listener = None


class Dialling(Protocol):
    """Who waits for a connection."""

    def connected(self, connection: Connection) -> None: ...

    def dial_failed(self, error: MimicError) -> None: ...


class Pool:
    """Connections of one origin. The newest idle one is used first, so that the others can expire."""

    def __init__(
        self,
        base: Base,
        dialler: Dialler,
        clock: Callable[[], float],
        names: Names,
        outbox: Outbox,
        *,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.base = base
        self.dialler = dialler
        self.clock = clock
        self.names = names
        self.outbox = outbox
        self.random = rand
        self.idle: deque[Connection] = deque()
        self.connections: set[Connection] = set()
        self.dials: set[asyncio.Future[asyncio.Protocol]] = set()
        self.closed = False

    def take(self) -> Connection | None:
        """An idle connection, or None where one has to be dialled."""
        now = self.clock()
        while self.idle:
            connection = self.idle.pop()
            transport = connection.transport
            if transport is None or transport.is_closing():
                continue
            if now >= connection.expires:
                transport.abort()
                continue
            connection.reused = True
            return connection
        return None

    def dial(self, listener: Dialling) -> Dial:
        """Open a new connection; `listener` hears later how it ended, never within this call."""
        dial = Dial(listener)
        future = self.dialler(self.base, lambda: Connection(self, self.clock()))
        self.dials.add(future)
        future.add_done_callback(lambda done: self._dialled(done, dial))
        return dial

    def _dialled(self, done: "asyncio.Future[asyncio.Protocol]", dial: Dial) -> None:
        self.dials.discard(done)
        listener = dial.listener
        if done.cancelled():
            if listener is not None:
                listener.dial_failed(UpstreamUnreachable("The connection was given up: Mimic is stopping."))
            return
        error = done.exception()
        if error is not None:
            if listener is not None:
                listener.dial_failed(_as_mimic_error(error))
            return
        connection = done.result()
        assert isinstance(connection, Connection)
        if listener is None:
            connection.keep_alive = True
            self.keep(connection, None)
        elif connection.transport is None:
            listener.dial_failed(UpstreamBadResponse("The backend closed the new connection.", error_type="reset"))
        else:
            listener.connected(connection)

    def keep(self, connection: Connection, keep_alive_seconds: float | None) -> None:
        """Take a clean connection back, for as long as the backend is known to keep it."""
        now = self.clock()
        limit = IDLE_SECONDS if keep_alive_seconds is None else keep_alive_seconds - IDLE_MARGIN_SECONDS
        connection.expires = min(now + limit, connection.retires)
        if self.closed or connection.transport is None or connection.expires <= now:
            connection.abort()
            return
        self.idle.append(connection)

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def sweep(self) -> None:
        """Close what has expired; called every SWEEP_SECONDS."""
        now = self.clock()
        for connection in [kept for kept in self.idle if now >= kept.expires]:
            connection.abort()

    def retire(self) -> None:
        """Use none of the present connections again (changed certificates); running exchanges finish."""
        for connection in list(self.idle):
            connection.abort()
        for connection in self.connections:
            connection.retires = 0.0

    def close(self) -> None:
        self.closed = True
        for future in list(self.dials):
            future.cancel()
        for connection in list(self.connections):
            connection.abort()


def _as_mimic_error(error: BaseException) -> MimicError:
    if isinstance(error, MimicError):
        return error
    return UpstreamUnreachable(f"The backend cannot be reached ({type(error).__name__}).", error_type="connect")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the backend, for operations that are composed of calls."""

    fields: ResponseFields
    body: bytes


class _Call:
    """A listener that gathers one answer."""

    def __init__(self, request: bytes, limit: int, result: "asyncio.Future[Answer]") -> None:
        self.request = request
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
        connection.send(self.request)

    def dial_failed(self, error: MimicError) -> None:
        self._fail(error)

    def upstream_received(self, fields: ResponseFields | None, body: bytes, ended: bool) -> None:
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
            self.result.set_exception(error)


async def call(pool: Pool, request: bytes, *, timeout: float, limit: int) -> Answer:
    """Send one whole request (head and body) and return the whole answer.

    Safe to repeat: a loss on a kept connection before any answer is tried once on a fresh one.
    timeout: seconds for all of it, 0 for none. limit: bytes of the answer's body.
    Raises MimicError.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout or None):
            for fresh in (False, True):
                gather = _Call(request, limit, loop.create_future())
                kept = None if fresh else pool.take()
                dial = pool.dial(gather) if kept is None else None
                if kept is not None:
                    gather.connected(kept)
                try:
                    return await gather.result
                except UpstreamBadResponse as error:
                    if kept is None or error.error_type != "reset":
                        raise
                finally:
                    if dial is not None:
                        dial.cancel()
                    if gather.connection is not None:
                        gather.connection.abort()
    except TimeoutError as error:
        message = f"The backend did not answer within {timeout:g} s (total timer)."
        raise UpstreamTimeout(message, timer="total", should_retry=False) from error
    raise AssertionError("unreachable: the second try returns or raises")
