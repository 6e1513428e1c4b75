"""uvicorn's HTTP protocol, extended: requests on relay routes become exchanges, all others go to FastAPI.

1. llhttp parses; nothing is guessed. A parse error is answered in the OpenAI shape while no answer
   is in flight, else the connection is aborted without writing into the running body.
2. Parsed requests wait in one queue, relay and FastAPI alike, and are answered in order. Once a
   request is complete, later bytes are kept raw until its answer has ended: its caller is never
   paused, since a paused transport does not see the caller leave.
3. A caller's end of file counts as leaving.
4. An upgrade is never taken: the request is parsed again without its offer (RFC 9110, 7.8).

What is used of uvicorn's class stands in UVICORN_SURFACE, which a test holds against the installed one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mimic_proxy.errors import (
    HeadTooLarge,
    InvalidRequest,
    MimicError,
    RequestTimeout,
)
from mimic_proxy.http.headers import STATUS_LINES, RequestFields, error_fields
from mimic_proxy.relay.exchange import Exchange
from mimic_proxy.relay.heads import Known
from mimic_proxy.relay.origins import OriginPolicy, judge
from mimic_proxy.relay.ports import Request, Services
from mimic_proxy.relay.request import (
    CALLER,
    CALLER_LEFT,
    MAX_HEAD_BYTES,
    Inbound,
    asgi_scope,
    asked_id,
    head_size,
    preflight_answer,
    read_head,
    without_upgrade,
)
from mimic_proxy.telemetry.record import refusal

UVICORN_SURFACE = (
    "_start_asgi_task",
    "access_logger",
    "app",
    "app_state",
    "asgi_version",
    "client",
    "connections",
    "cycle",
    "flow",
    "logger",
    "loop",
    "parser",
    "root_path",
    "scheme",
    "server",
    "server_state",
    "transport",
)
MAX_AHEAD_BYTES = 65536
MAX_WAITING = 16
DISCARD_SECONDS = 2.0
WATCH_SECONDS = 5.0

logger = logging.getLogger("mimic.relay")


class RelayProtocol(HttpToolsProtocol):
    """One caller's connection; the CallerPort of its exchange."""

    url: bytes

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
        super().__init__(config, server_state, app_state, _loop)
        self.services = services
        self.origins = origins
        self.head_timeout = head_timeout
        self.keep_alive_timeout = keep_alive_timeout
        self.writable = True
        self.lost = False
        self.eof = False
        self.read_paused = False
        # the request being parsed
        self.url = b""
        self.headers = []
        self.begun = False
        self.head_open = True
        self.head_bytes = 0
        self.head_since = 0.0
        self.begins_with: bytes | None = None
        self.unread = 0
        """Bytes since the last that counted: chunk extensions and trailers lead to none."""
        self.upgrading = False
        self.receiving: Inbound | None = None
        self.refused = False
        # the request being answered, and those that wait
        self.exchange: Exchange | None = None
        self.current: Inbound | None = None
        self.waiting: deque[Inbound] = deque()
        self.waiting_bytes = 0
        self.ahead = bytearray()
        self.final = False
        self.last = False
        self.answered = False
        self.discarding = False
        self.watch: asyncio.TimerHandle | None = None
        self.idle_since = 0.0

    # ---- transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.head_since = self.idle_since = self.services.clock()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.connections.discard(self)
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None
        cycle = self.cycle
        if cycle is not None:
            if not cycle.response_complete:
                cycle.disconnected = True
            cycle.message_event.set()
        self.flow.resume_writing()
        self._abandon()

    def eof_received(self) -> None:
        self.eof = True
        if self.cycle is not None:
            # uvicorn would complain of an application that answers nobody.
            self.cycle.disconnected = True
        self._abandon()

    def _abandon(self) -> None:
        exchange, self.exchange = self.exchange, None
        self.waiting.clear()
        self.ahead.clear()
        if exchange is not None:
            exchange.caller_lost()

    def pause_writing(self) -> None:
        self.writable = False
        self.flow.pause_writing()
        if self.exchange is not None:
            self.exchange.caller_writable(False)

    def resume_writing(self) -> None:
        self.writable = True
        self.flow.resume_writing()
        if self.exchange is not None:
            self.exchange.caller_writable(True)

    def data_received(self, data: bytes) -> None:
        if self.refused or self.last or self.eof:
            if not self.discarding:
                self._abort_ahead(data)
            return
        current = self.current
        if self.waiting or self.ahead or (current is not None and current.complete):
            self._keep_ahead(data)
            return
        self._feed(data)

    def _keep_ahead(self, data: bytes) -> None:
        """The caller sends on while its answer is in flight (pipelining)."""
        self.ahead += data
        if len(self.ahead) > MAX_AHEAD_BYTES:
            self.transport.abort()

    def _abort_ahead(self, data: bytes) -> None:
        """Nothing is expected any more; a flood of it ends the connection."""
        self.waiting_bytes += len(data)
        if self.waiting_bytes > MAX_AHEAD_BYTES and not self.transport.is_closing():
            self.transport.abort()

    def _feed(self, data: bytes) -> None:
        clean = not self.begun
        while clean and self.services.successor is not None:
            self.services = self.services.successor
        self.unread += len(data)
        if clean:
            known = self.services.heads.find(data)
            if known is not None and self.current is None and not self.final:
                try:
                    self._begin_known(*known)
                except Exception as error:  # noqa: BLE001 - as the parser does it with a fault in a callback
                    self._fault(error)
                return
            self.head_since = self.services.clock()
            self.begins_with = data
        elif self.head_open:
            self.head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._bad_request(error)
            return
        self.begins_with = None
        if self.begun and not self.head_open and self.unread > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge("What stands between the parts of the request's body is larger than 64 KiB."))
        if self.begun and self.head_open:
            self.head_bytes = self.head_bytes or (len(data) if clean else head_size(self.url, self.headers))
            if self.head_bytes > MAX_HEAD_BYTES:
                self._refuse(HeadTooLarge("The request's head is larger than 64 KiB."))

    def _begin_known(self, known: Known, length: int, body: bytes) -> None:
        """A whole request whose head was parsed and checked before."""
        seen = known.request
        request = Request(
            seen.method, seen.path, seen.query, seen.fields, True, True, self.services.clock(), length, seen.cors_origin
        )
        inbound = self.current = Inbound(request, known.route, [], b"")
        inbound.complete = True
        exchange = self.exchange = Exchange(self.services, self, request, known.route)
        exchange.start()
        if length:
            exchange.caller_data(body)
        exchange.caller_end()

    def _bad_request(self, error: httptools.HttpParserError) -> None:
        if isinstance(error, httptools.HttpParserCallbackError):
            self._fault(error)
        elif self._discards:
            # Its answer has gone out: a second one would be taken for the next request's.
            self._close_gently()
        elif self.current is not None and not self.current.complete and self.head_open is False:
            # The body cannot be read any further: answered, if nothing has been yet.
            self._refuse(InvalidRequest(f"The request's body is not valid HTTP/1.1 ({error})."))
        else:
            self._refuse(InvalidRequest(f"The request is not valid HTTP/1.1 ({error})."))

    def _fault(self, error: Exception) -> None:
        """A fault of ours ends the exchange that it hit, as such: neither its caller nor the backend is to blame."""
        logger.error("A fault while reading a request; the connection is closed.", exc_info=error)
        self.refused = True
        exchange = self.exchange
        if exchange is None:
            self.transport.abort()
        else:
            exchange.reject(MimicError("Mimic could not serve this request; its log says why."))
            self._close_gently()

    def _refuse(self, error: MimicError) -> None:
        """Answer what cannot be served and close. With an answer in flight nothing may be written."""
        if self.refused:
            return
        current, exchange = self.current, self.exchange
        if exchange is not None and current is not None and not current.complete and not exchange.answer.committed:
            # Its body cannot be read any further: the exchange says so itself, and ends.
            exchange.reject(error)
            self.refused = True
        elif current is not None:
            self.refused = True
            self.exchange = None
            if exchange is not None:
                exchange.caller_lost()
            self.transport.abort()
        else:
            self.refused = True
            self._answer_refusal(error)
            self._close_gently()

    def _answer_refusal(self, error: MimicError) -> None:
        """For a request that never became an exchange."""
        body = error.body()
        request_id = asked_id(self.headers) or self._new_id()
        lines = [*error_fields(error), b"content-length: %d\r\nconnection: close\r\n" % len(body)]
        lines.append(b"x-request-id: %b\r\n\r\n" % request_id)
        self.write(b"".join([STATUS_LINES[error.status], *lines, body]))
        method = b"" if self.begun and self.head_open else self.parser.get_method()
        seen = refusal(error, request_id, method, self.url, started=self.head_since, now=self.services.clock())
        self.services.observe(seen)

    def _new_id(self) -> bytes:
        return b"req_" + self.services.new_trace()[:32].encode("ascii")

    # ---- parser

    def on_message_begin(self) -> None:
        self.begun = True
        self.unread = 0
        self.url = b""
        self.headers = []
        self.receiving = None
        self.upgrading = False
        self.head_open = True

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # Fields after the head are trailers (RFC 9110, 6.5.1): not forwarded.
        if self.head_open:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self.parser
        self.head_open = False
        if parser.should_upgrade():
            self.upgrading = True
            return
        if self.refused or self.final:
            return
        try:
            inbound = self._read_head(parser)
        except MimicError as error:
            self._refuse(error)
            return
        # Nothing follows a request that says close (RFC 9112, 9.6).
        self.final = not inbound.request.keep_alive
        self.receiving = inbound
        begins_with, self.begins_with = self.begins_with, None
        if self.current is None and not self.waiting:
            self._begin(inbound)
            if self.exchange is not None and begins_with is not None and inbound.route is not None:
                self.services.heads.remember(begins_with, inbound.request, inbound.route)
        elif len(self.waiting) >= MAX_WAITING:
            self.refused = True
            self.transport.abort()
        else:
            self.waiting.append(inbound)

    def on_body(self, body: bytes) -> None:
        self.unread = 0
        inbound = self.receiving
        if inbound is None or inbound.discard:
            return
        if inbound is not self.current:
            self.waiting_bytes += len(body)
            inbound.body.append(body)
            limit = self.services.limits.max_body_bytes
            if limit and self.waiting_bytes > limit:
                self.refused = True
                self.transport.abort()
        elif self.exchange is not None:
            self.exchange.caller_data(body)
        elif inbound.route is None and not self.cycle.response_complete:
            self._feed_cycle(body)

    def on_message_complete(self) -> None:
        self.begun = False
        self.head_bytes = 0
        if self.upgrading:
            return
        inbound, self.receiving = self.receiving, None
        self.head_open = True
        if inbound is None:
            return
        inbound.complete = True
        if inbound.discard:
            self._next()
        elif inbound is self.current:
            self._complete_current()

    def _complete_current(self) -> None:
        if self.exchange is not None:
            self.exchange.caller_end()
        elif self.current is not None and self.current.route is None:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    # ---- heads

    def _read_head(self, parser: httptools.HttpRequestParser) -> Inbound:
        return read_head(
            parser.get_method(),
            self.url,
            self.headers,
            version=parser.get_http_version(),
            keep_alive=parser.should_keep_alive(),
            names=self.services.request_names,
            now=self.services.clock(),
            translated=self.services.translates,
        )

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse the head again without its offer to upgrade, then what came behind it."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(InvalidRequest("Mimic is no forward proxy: CONNECT is not served."))
            return
        head = without_upgrade(method, self.url, self.parser.get_http_version(), self.headers)
        self.parser = _new_parser(self)
        self.upgrading = self.begun = False
        self.head_bytes = 0
        self._feed(head + rest)

    # ---- answering, in order

    def _begin(self, inbound: Inbound) -> None:
        self.current = inbound
        if self.services.debug is not None:
            names = b", ".join(name.lower() for name, _ in inbound.headers)
            self.services.debug("a head of %d fields: %s", len(inbound.headers), names.decode("ascii", "replace"))
        fields = inbound.request.fields
        refusal: MimicError | None = judge(fields.host, fields.origin, self.origins)
        preflight = inbound.request.method == b"OPTIONS" and fields.origin is not None
        if refusal is None and self.services.admit is not None and not preflight:
            refusal = self._admit(self.services.admit, fields)
        if refusal is not None:
            self._refuse_current(refusal)
        elif preflight:
            self.write(preflight_answer(inbound, self._new_id()))
            self.finish(inbound.request.keep_alive)
        elif inbound.route is not None:
            self.exchange = exchange = Exchange(self.services, self, inbound.request, inbound.route)
            exchange.start()
        else:
            self._begin_cycle(inbound)

    def _admit(self, admit: Callable[[bytes | None], str | MimicError], fields: RequestFields) -> MimicError | None:
        credential, fields.credential = fields.credential, None
        got = admit(credential)
        if isinstance(got, MimicError):
            return got
        fields.caller = got
        return None

    def _refuse_current(self, error: MimicError) -> None:
        self.current = None
        self._refuse(error)

    def _begin_cycle(self, inbound: Inbound) -> None:
        request = inbound.request
        connection = {
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "state": self.app_state.copy(),
            CALLER_LEFT: lambda: self.lost or self.eof,
            CALLER: request.fields.caller,
        }
        self.scope = asgi_scope(inbound, connection)  # type: ignore[assignment]
        self.cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=request.fields.expect_continue,
            keep_alive=request.keep_alive and not self.services.draining,
            on_response=self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, self.app)

    def _feed_cycle(self, body: bytes) -> None:
        self.cycle.body += body
        limit = self.services.limits.max_body_bytes
        if limit and len(self.cycle.body) > limit:
            self.refused = True
            self.transport.abort()
            return
        self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """uvicorn's cycle has written its answer (and closed the connection, if it may not be kept)."""
        self.finish(self.cycle.keep_alive)

    # ---- CallerPort

    def write(self, data: bytes) -> None:
        self.services.outbox.write(self.transport, data)

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
        inbound, self.current = self.current, None
        self.exchange = None
        self.pause(False)
        if self.transport.is_closing() or self.eof:
            self._close()
            return
        self.answered = True
        whole = inbound is None or inbound.complete
        if inbound is not None:
            inbound.discard = not whole
        if whole and (not keep_alive or self.services.draining):
            self.last = True
            self._close()
        elif not keep_alive:
            self._close_gently()
        elif whole:
            self._next()

    def cut(self) -> None:
        self.exchange = None
        self.current = None
        self.last = True
        if not self.transport.is_closing():
            self._close()

    def _next(self) -> None:
        """Begin the next request of the queue, else parse what came meanwhile, else the connection idles."""
        self.idle_since = self.head_since = self.services.clock()
        if self.waiting:
            self.loop.call_soon(self._begin_waiting)
        elif self.ahead:
            self.loop.call_soon(self._parse_ahead)

    def _begin_waiting(self) -> None:
        if self.current is not None or not self.waiting or self._over:
            return
        inbound = self.waiting.popleft()
        self._begin(inbound)
        pieces, inbound.body = inbound.body, []
        for piece in pieces:
            self.waiting_bytes -= len(piece)
            if self.exchange is not None:
                self.exchange.caller_data(piece)
            elif self._answers(inbound) and inbound.route is None:
                self._feed_cycle(piece)
        if inbound.complete and self._answers(inbound):
            self._complete_current()
        elif not inbound.complete:
            self._parse_ahead()

    def _answers(self, inbound: Inbound) -> bool:
        return self.current is inbound

    @property
    def _over(self) -> bool:
        return self.refused or self.last or self.transport.is_closing()

    def _parse_ahead(self) -> None:
        current = self.current
        if self.ahead and (current is None or not current.complete) and not self._over:
            data = bytes(self.ahead)
            self.ahead.clear()
            self._feed(data)

    # ---- closing, timers

    @property
    def _discards(self) -> bool:
        return self.receiving is not None and self.receiving.discard

    def _close(self) -> None:
        """Close once all is sent; whoever takes nothing of it for a send timer is dropped."""
        self.services.outbox.flush()
        transport, limit = self.transport, self.services.limits.send
        if transport.is_closing():
            return
        unsent = transport.get_write_buffer_size()
        transport.close()
        if unsent and limit:
            self.loop.call_later(limit, lambda: self._give_up(unsent))

    def _give_up(self, unsent: int) -> None:
        if self.lost:
            return
        left = self.transport.get_write_buffer_size()
        if left >= unsent:
            self.transport.abort()
        elif left:
            self.loop.call_later(self.services.limits.send, lambda: self._give_up(left))

    def drop(self) -> None:
        self.exchange = self.current = None
        self.last = True
        self.transport.abort()

    def _close_gently(self) -> None:
        """Close without a reset: what the caller still sends is read and thrown away for a moment."""
        self.discarding = self.refused = True
        transport = self.transport
        self.services.outbox.flush()
        if transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        self.loop.call_later(DISCARD_SECONDS, self._close)

    def shutdown(self) -> None:
        """uvicorn stops accepting: idle connections close, the others after their answer."""
        if self.current is None:
            self._close()
        elif self.current.route is None and self.cycle is not None:
            self.cycle.keep_alive = False

    def _watch(self) -> None:
        """One lazy timer for the connection: slow heads and idle connections."""
        if self.transport.is_closing():
            return
        now = self.services.clock()
        due = self._due()
        if due is not None and due <= now:
            self._expire()
            return
        pause = WATCH_SECONDS if due is None else min(due - now, WATCH_SECONDS)
        if self.head_timeout:
            pause = min(pause, self.head_timeout)
        self.watch = self.loop.call_later(max(pause, 0.01), self._watch)

    def _due(self) -> float | None:
        """When this connection has waited long enough for a head, or for its next request."""
        if self.current is not None or self.waiting or self.ahead or self.refused:
            return None
        if self.begun or not self.answered:
            return self.head_since + self.head_timeout if self.head_timeout else None
        return self.idle_since + self.keep_alive_timeout if self.keep_alive_timeout else None

    def _expire(self) -> None:
        if self.begun and not self._discards:
            self._refuse(RequestTimeout(f"The request's head did not arrive within {self.head_timeout:g} s."))
        else:
            self._close()


def _new_parser(protocol: Any) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
