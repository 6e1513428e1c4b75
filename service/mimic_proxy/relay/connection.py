"""One connection to the backend, and the HTTP/1.1 on it.

1. A connection carries one exchange at a time; `exchange` is who hears of its bytes.
2. Each read of the socket becomes one event: the head if it ended in this read, the body bytes,
   whether the message ended.
3. A connection goes back to its pool only with its message ended, its request fully sent, reading
   resumed and its write buffer empty; everything else is closed.
4. An idle connection that gets bytes or a close is dropped.
Framing: RFC 9112, 6 and 9.
"""

import asyncio
from typing import Protocol

import httptools

from mimic_proxy.errors import MimicError, UpstreamBadResponse
from mimic_proxy.http.headers import Names, ResponseFields, read_response
from mimic_proxy.relay.loop import CoalescedWrites

MAX_HEAD_BYTES = 65536


class Listener(Protocol):
    """Who uses a connection. Calls come from the event loop and must not raise."""

    def upstream_received(self, fields: ResponseFields | None, body: bytes, ended: bool) -> None: ...

    def upstream_lost(self, error: MimicError) -> None: ...

    def upstream_writable(self, writable: bool) -> None: ...


class Owner(Protocol):
    """Where a connection belongs to, see `relay.pool.Pool`."""

    names: Names
    writes: CoalescedWrites
    connections: "set[Connection]"

    def keep(self, connection: "Connection", keep_alive_seconds: float | None) -> None: ...

    def forget(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """Made by its pool only. `retires`: monotonic time from which it is not used again."""

    def __init__(self, pool: Owner, retires: float) -> None:
        self.pool = pool
        self.exchange: Listener | None = None
        self.reused = False
        self.unused = True
        self.sent_turn = -1
        self.retires = retires
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
        self.unused = False
        if self.parser is None:
            self.parser = httptools.HttpResponseParser(self)
        self._reset()

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.sent_turn = self.pool.writes.turn
            self.pool.writes.write(self.transport, data)

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
        whole = (self.ended or self.unused) and self.sent_turn != self.pool.writes.turn
        clean = reusable and whole and self.keep_alive and not self.surplus and not self.paused
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
        if self.head_bytes > MAX_HEAD_BYTES and not self.ended:
            self.bad = self.bad or "its head, or what stands between the parts of its body, is larger than 64 KiB"
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
        self.head_bytes = 0
        if not self.ended:
            self.body.append(body)

    def on_message_complete(self) -> None:
        if self.head_open:
            # An interim answer (RFC 9110, 15.2): the real head is still to come.
            self.headers = []
        elif not self.until_close:
            self.ended = True
