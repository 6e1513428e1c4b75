"""The caller's connection: bytes come in, and each request is answered by an exchange or by the web application.

1. llhttp parses; nothing is guessed. A parse error is answered in the OpenAI shape while no answer is in flight, else
   the connection is aborted without writing into the running body.
2. The parser cannot be paused, so it never gets more than one request: heads are cut at their blank line, bodies at
   their length, chunked ones at each blank line. What follows a complete request stays as it came until its answer
   has ended. Its caller is not paused meanwhile: a paused transport does not see the caller leave.
3. A caller's end of file counts as leaving.
4. An upgrade is never taken: the request is parsed again without its offer (RFC 9110, 7.8).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from mimic_proxy.errors import HeadTooLarge, InvalidRequest, MimicError, RequestTimeout
from mimic_proxy.http.headers import STATUS_LINES, RequestFields, error_fields
from mimic_proxy.relay.access import OriginPolicy, judge
from mimic_proxy.relay.asgi import WebAnswer
from mimic_proxy.relay.exchange import Exchange
from mimic_proxy.relay.heads import Known
from mimic_proxy.relay.ports import Request, Services
from mimic_proxy.relay.request import (
    MAX_HEAD_BYTES,
    Inbound,
    asked_id,
    preflight_answer,
    read_head,
    without_upgrade,
)
from mimic_proxy.telemetry.record import refusal

State = Literal["new", "idle", "head", "body", "answering", "discarding", "closing", "lost"]
"""What a connection is at.

new: nothing has come. idle: between two requests. head, body: this part of a request is coming. answering: the request
is whole, its answer is not. discarding: the answer is whole, the rest of the request's body is thrown away. closing:
nothing is served any more, and whatever comes is thrown away. lost: the caller has left.
"""
NEXT: Mapping[State, frozenset[State]] = {
    "new": frozenset({"head", "answering", "closing", "lost"}),
    "idle": frozenset({"head", "answering", "closing", "lost"}),
    "head": frozenset({"body", "closing", "lost"}),
    "body": frozenset({"answering", "discarding", "closing", "lost"}),
    "answering": frozenset({"idle", "closing", "lost"}),
    "discarding": frozenset({"idle", "closing", "lost"}),
    "closing": frozenset({"lost"}),
    "lost": frozenset(),
}
"""What may follow. A whole request with a known head is answered at once, without `head` and `body`."""
BETWEEN: frozenset[State] = frozenset({"new", "idle"})
PARSING: frozenset[State] = frozenset({"new", "idle", "head", "body", "discarding"})

MAX_AHEAD_BYTES = 327680
"""Of later requests behind one that is being answered: a read of the loop, 256 KiB at most, always fits."""
DISCARD_SECONDS = 2.0
WATCH_SECONDS = 5.0
BLANK_LINE = b"\r\n\r\n"
LINE_ENDS = (13, 10)

logger = logging.getLogger("mimic.relay")


class RelayProtocol(asyncio.Protocol):
    """One caller's connection; the CallerPort of its exchange. uvicorn makes it, and asks it to stop by `shutdown`."""

    def __init__(
        self,
        services: Services,
        origins: OriginPolicy,
        head_timeout: float,
        keep_alive_timeout: float,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.services = services
        self.origins = origins
        self.head_timeout = head_timeout
        self.keep_alive_timeout = keep_alive_timeout
        self.config = config
        self.server_state = server_state
        self.app_state = app_state
        self.loop = _loop or asyncio.get_event_loop()
        self.state: State = "new"
        self.due = 0.0
        """When this state has lasted too long; 0.0: it may last."""
        self.timer: asyncio.TimerHandle | None = None
        self.writable = True
        self.read_paused = False
        # The request that is being received.
        self.parser: httptools.HttpRequestParser | None = _new_parser(self)
        self.method = b""
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_bytes = 0
        self.begun_at = 0.0
        self.begins_with: bytes | None = None
        self.upgrading = False
        self.chunked = False
        self.body_left = 0
        """Of a body that is not chunked."""
        self.unread = 0
        """Bytes since the last that counted: chunk extensions and trailers lead to none."""
        # Who answers it, and what came behind it.
        self.exchange: Exchange | None = None
        self.web: WebAnswer | None = None
        self.ahead = bytearray()

    def _enter(self, state: State) -> None:
        assert state in NEXT[self.state], f"a connection cannot go from {self.state} to {state}"
        self.state = state
        self.due = 0.0

    # ---- transport

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # what uvloop makes is none by its type
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        self.begun_at = self.services.clock()
        if self.head_timeout:
            self.due = self.begun_at + self.head_timeout
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self._leave()
        # It holds methods of this object: without this each connection would stay until a full collection.
        self.parser = None

    def eof_received(self) -> None:
        self._leave()

    def _leave(self) -> None:
        """The caller has left."""
        if self.state != "lost":
            self._enter("lost")
        self._abandon()

    def _abandon(self) -> None:
        """Whoever answers is told that nobody listens."""
        self.ahead.clear()
        exchange, self.exchange = self.exchange, None
        web, self.web = self.web, None
        if exchange is not None:
            exchange.caller_lost()
        if web is not None:
            web.leave()

    def pause_writing(self) -> None:
        self._writable(False)

    def resume_writing(self) -> None:
        self._writable(True)

    def _writable(self, writable: bool) -> None:
        self.writable = writable
        if self.exchange is not None:
            self.exchange.caller_writable(writable)
        if self.web is not None:
            self.web.writable(writable)

    def data_received(self, data: bytes) -> None:
        if self.ahead or self.state == "answering":
            self._keep(data)
        elif self.state in PARSING:
            self._take(data)

    def _keep(self, data: bytes) -> None:
        """The caller sends on while its answer is in flight (pipelining)."""
        self.ahead += data
        if len(self.ahead) > MAX_AHEAD_BYTES:
            self._abort()

    def _take_ahead(self) -> None:
        """Read what came during the answer before."""
        if self.state == "idle" and self.ahead:
            data = bytes(self.ahead)
            self.ahead.clear()
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self.state in BETWEEN:
            while self.services.successor is not None:
                self.services = self.services.successor
            known = self.services.heads.find(data)
            if known is not None:
                try:
                    self._begin_known(*known)
                except Exception as error:  # noqa: BLE001 - as the parser does it with a fault in a callback
                    self._fault(error)
                return
        self._parse(data)

    def _begin_known(self, known: Known, length: int, body: bytes) -> None:
        """A whole request whose head was parsed and checked before."""
        seen = known.request
        request = Request(
            seen.method, seen.path, seen.query, seen.fields, True, True, self.services.clock(), length, seen.cors_origin
        )
        self._enter("answering")
        exchange = self.exchange = Exchange(self.services, self, request, known.route)
        exchange.start()
        if length:
            exchange.caller_data(body)
        exchange.caller_end()

    # ---- parsing, one request at a time

    def _parse(self, data: bytes) -> None:
        start, size = 0, len(data)
        while start < size and self.state in PARSING:
            end = self._end_of_piece(data, start)
            self._feed(data[start:end] if end - start < size else data)
            start = end
        if start < size and self.state == "answering":
            self._keep(data[start:])

    def _end_of_piece(self, data: bytes, start: int) -> int:
        """Where the parser has to stop, so that it never begins a second request."""
        if self.state in ("body", "discarding") and not self.chunked:
            return min(start + max(self.body_left, 1), len(data))
        if start == 0 and data[0] in LINE_ENDS:
            # Perhaps the rest of a blank line that two reads have divided.
            while start < len(data) and data[start] in LINE_ENDS:
                start += 1
            return start
        blank = data.find(BLANK_LINE, start)
        return len(data) if blank < 0 else blank + len(BLANK_LINE)

    def _feed(self, piece: bytes) -> None:
        parser = self.parser
        if parser is None:
            return
        in_body = self.state in ("body", "discarding")
        if in_body:
            self.body_left -= len(piece)
            self.unread += len(piece)
        else:
            self.begins_with = piece if self.state in BETWEEN else None
            self.head_bytes += len(piece)
        try:
            parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(parser, piece[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._bad_request(error)
            return
        if in_body and self.chunked and self.unread > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge("What stands between the parts of the request's body is larger than 64 KiB."))
        elif not in_body and self.head_bytes > MAX_HEAD_BYTES and self.state in ("new", "idle", "head"):
            self._refuse(HeadTooLarge("The request's head is larger than 64 KiB."))

    def _parse_without_upgrade(self, parser: httptools.HttpRequestParser, rest: bytes) -> None:
        """Parse the head again without its offer to upgrade, then what came behind it."""
        method = parser.get_method()
        if method == b"CONNECT":
            self._refuse(InvalidRequest("Mimic is no forward proxy: CONNECT is not served."))
            return
        head = without_upgrade(method, self.url, parser.get_http_version(), self.headers)
        self.parser = _new_parser(self)
        self.head_bytes = 0
        self._feed(head)
        if rest:
            self._parse(rest)

    def on_message_begin(self) -> None:
        if self.state != "head":
            self._enter("head")
            self.begun_at = self.services.clock()
            if self.head_timeout:
                self.due = self.begun_at + self.head_timeout
        self.method = self.url = b""
        self.headers = []
        self.upgrading = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # Fields after the head are trailers (RFC 9110, 6.5.1): not forwarded.
        if self.state == "head":
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self.parser
        assert parser is not None, "the parser calls"
        if parser.should_upgrade():
            self.upgrading = True
            return
        if self.state != "head":
            return
        self.method = parser.get_method()
        try:
            inbound = read_head(
                self.method,
                self.url,
                self.headers,
                version=parser.get_http_version(),
                keep_alive=parser.should_keep_alive(),
                names=self.services.request_names,
                now=self.services.clock(),
                routes=self.services.routes,
            )
        except MimicError as error:
            self._refuse(error)
            return
        self._enter("body")
        fields = inbound.request.fields
        self.chunked, self.body_left, self.unread = fields.chunked, fields.content_length or 0, 0
        self._begin(inbound)
        if self.exchange is not None and self.begins_with is not None and inbound.route is not None:
            self.services.heads.remember(self.begins_with, inbound.request, inbound.route)

    def on_body(self, body: bytes) -> None:
        self.unread = 0
        if self.exchange is not None:
            self.exchange.caller_data(body)
        elif self.web is not None and not self.web.feed(body, self.services.limits.max_body_bytes):
            self._abort()

    def on_message_complete(self) -> None:
        if self.upgrading:
            return
        self.head_bytes = 0
        if self.state == "discarding":
            self._idle()
        elif self.state == "body":
            self._enter("answering")
            if self.exchange is not None:
                self.exchange.caller_end()
            elif self.web is not None:
                self.web.complete()

    # ---- answering

    def _begin(self, inbound: Inbound) -> None:
        services, request = self.services, inbound.request
        if services.debug is not None:
            names = b", ".join(name.lower() for name, _ in inbound.headers)
            services.debug("a head of %d fields: %s", len(inbound.headers), names.decode("ascii", "replace"))
        fields = request.fields
        refused: MimicError | None = judge(fields.host, fields.origin, self.origins)
        preflight = request.method == b"OPTIONS" and fields.origin is not None
        if refused is None and services.admit is not None and not preflight:
            refused = _admit(services.admit, fields)
        if refused is not None:
            self._refuse(refused)
        elif preflight:
            self.write(preflight_answer(inbound, self._new_id()))
            self.finish(request.keep_alive)
        elif inbound.route is not None:
            self.exchange = exchange = Exchange(services, self, request, inbound.route)
            exchange.start()
        else:
            keep_alive = request.keep_alive and not services.draining
            web = WebAnswer(inbound, self.transport, self.config, self.server_state, self.app_state, keep_alive)
            self.web = web
            web.start(self.loop, self.finish, self.writable)

    def _bad_request(self, error: httptools.HttpParserError) -> None:
        if isinstance(error, httptools.HttpParserCallbackError):
            self._fault(error)
        else:
            part = "request's body" if self.state == "body" else "request"
            self._refuse(InvalidRequest(f"The {part} is not valid HTTP/1.1 ({error})."))

    def _fault(self, error: Exception) -> None:
        """A fault of ours ends the exchange that it hit, as such: neither its caller nor the backend is to blame."""
        logger.error("A fault while reading a request; the connection is closed.", exc_info=error)
        exchange = self.exchange
        if exchange is None:
            self._abort()
        else:
            exchange.reject(MimicError("Mimic could not serve this request; its log says why."))
            self._close_gently()

    def _refuse(self, error: MimicError) -> None:
        """Answer what cannot be read or served, and close. Nothing is written into an answer that has begun."""
        exchange = self.exchange
        if exchange is not None and not exchange.response.committed:
            # The exchange says so itself, and ends.
            exchange.reject(error)
        elif exchange is not None or self.web is not None:
            self._abort()
        elif self.state == "discarding":
            # Its answer has gone out: a second one would be taken for the next request's.
            self._close_gently()
        elif self.state not in ("closing", "lost"):
            self._answer_refusal(error)
            self._close_gently()

    def _answer_refusal(self, error: MimicError) -> None:
        """For a request that never became an exchange."""
        body = error.body()
        request_id = asked_id(self.headers) or self._new_id()
        lines = [*error_fields(error), b"content-length: %d\r\nconnection: close\r\n" % len(body)]
        lines.append(b"x-request-id: %b\r\n\r\n" % request_id)
        self.write(b"".join([STATUS_LINES[error.status], *lines, body]))
        now = self.services.clock()
        self.services.observe(refusal(error, request_id, self.method, self.url, started=self.begun_at, now=now))

    def _new_id(self) -> bytes:
        return b"req_" + self.services.new_trace()[:32].encode("ascii")

    # ---- CallerPort

    def write(self, data: bytes) -> None:
        self.services.writes.write(self.transport, data)

    def unsent(self) -> int:
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    def pause(self, paused: bool) -> None:
        if paused is self.read_paused or self.transport.is_closing():
            return
        self.read_paused = paused
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def finish(self, keep_alive: bool) -> None:
        self.exchange = self.web = None
        self.pause(False)
        if self.state not in ("body", "answering") or self.transport.is_closing():
            return
        whole = self.state == "answering"
        if whole and (not keep_alive or self.services.draining):
            self._close()
        elif not keep_alive:
            self._close_gently()
        elif whole:
            self._idle()
        else:
            self._enter("discarding")
            if self.head_timeout:
                self.due = self.services.clock() + self.head_timeout

    def cut(self) -> None:
        self.exchange = None
        self._close()

    def drop(self) -> None:
        self.exchange = None
        self._abort()

    def _idle(self) -> None:
        """The answer has ended: begin with what came meanwhile, else the connection waits."""
        self._enter("idle")
        self.begun_at = self.services.clock()
        if self.ahead:
            self.loop.call_soon(self._take_ahead)
        elif self.keep_alive_timeout:
            self.due = self.begun_at + self.keep_alive_timeout

    # ---- closing, timers

    def _abort(self) -> None:
        """Close at once; what is unsent is lost."""
        self._abandon()
        if self.state not in ("closing", "lost"):
            self._enter("closing")
        self.transport.abort()

    def _close(self) -> None:
        """Close once all is sent; whoever takes nothing of it for a send timer is dropped."""
        if self.state not in ("closing", "lost"):
            self._enter("closing")
        self.services.writes.flush()
        transport = self.transport
        if transport.is_closing():
            return
        unsent = transport.get_write_buffer_size()
        transport.close()
        if unsent and self.services.limits.send:
            self._after(self.services.limits.send, lambda: self._give_up(unsent))

    def _give_up(self, unsent: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= unsent:
            self.transport.abort()
        elif left:
            self._after(self.services.limits.send, lambda: self._give_up(left))

    def _close_gently(self) -> None:
        """Close without a reset: what the caller still sends is read and thrown away for a moment."""
        if self.state not in ("closing", "lost"):
            self._enter("closing")
        self.services.writes.flush()
        transport = self.transport
        if transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        self._after(DISCARD_SECONDS, self._close)

    def shutdown(self) -> None:
        """uvicorn stops accepting: connections without a request close, the others after their answer."""
        if self.web is not None:
            self.web.stop()
        elif self.state not in ("body", "answering"):
            self._close()

    def _after(self, seconds: float, callback: Callable[[], None]) -> None:
        """The one timer of this connection."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_later(seconds, callback)

    def _watch(self) -> None:
        """Looks after slow heads and idle connections, now and then."""
        if self.state in ("closing", "lost"):
            return
        wait = self.due - self.services.clock() if self.due else WATCH_SECONDS
        if wait <= 0.0:
            self._expire()
            return
        wait = min(wait, WATCH_SECONDS, self.head_timeout or WATCH_SECONDS)
        self._after(max(wait, 0.01), self._watch)

    def _expire(self) -> None:
        if self.state == "head":
            self._refuse(RequestTimeout(f"The request's head did not arrive within {self.head_timeout:g} s."))
        else:
            self._close()


def _admit(admit: Callable[[bytes | None], str | MimicError], fields: RequestFields) -> MimicError | None:
    credential, fields.credential = fields.credential, None
    got = admit(credential)
    if isinstance(got, MimicError):
        return got
    fields.caller = got
    return None


def _new_parser(protocol: Any) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
