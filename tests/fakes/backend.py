"""A scripted HTTP/1.1 server on raw sockets that keeps every request as it stood on the wire.

It runs in the loop of the test. Each request starts the `script` of the backend, a coroutine function that gets
the `Request` as soon as its head is complete and does what it likes with `request.connection`: send any bytes,
wait, close, reset. Requests are parsed by h11, so that a framing which only our own parser would take is an error.
"""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import h11

Script = Callable[["Request"], Awaitable[None]]
"""Answers one request; returning leaves the connection open for the next one."""

_LARGEST_HEAD_BYTES = 1 << 20


@dataclass(slots=True, eq=False)
class Request:
    """One request as it came; `received` grows until `whole` is set."""

    connection: "Connection"
    method: bytes
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    received: bytearray = field(default_factory=bytearray)
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def body(self) -> bytes:
        """What has come of the body so far."""
        return bytes(self.received)

    def fields(self, name: bytes) -> list[bytes]:
        """Values of every field of this name, in their order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def value(self, name: bytes) -> bytes | None:
        """Value of the only field of this name, or None."""
        values = self.fields(name)
        assert len(values) < 2, f"{name!r} stands {len(values)} times"
        return values[0] if values else None

    async def send(self, *pieces: bytes) -> None:
        """Write `pieces` one by one to the connection of this request."""
        for piece in pieces:
            await self.connection.send(piece)


class Connection(asyncio.Protocol):
    """One accepted connection, with what became of it."""

    def __init__(self, backend: "Backend") -> None:
        self._backend = backend
        self._parser = self._new_parser()
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None
        self._current: Request | None = None
        self._transport: asyncio.Transport
        self.requests: list[Request] = []
        self.sent = 0
        self.lost = asyncio.Event()
        self.lost_at: float | None = None
        """time.monotonic() of the moment when the peer's FIN or RST was seen, or our own close took effect."""

    @property
    def busy(self) -> bool:
        """A script is at work on it."""
        return self._task is not None and not self._task.done()

    @property
    def open(self) -> bool:
        return self.lost_at is None

    @property
    def paused(self) -> bool:
        """The peer reads too slowly: our write buffer is full."""
        return not self._writable.is_set()

    @property
    def tls(self) -> ssl.SSLObject | None:
        found: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return found

    async def send(self, data: bytes) -> None:
        """Write and wait until the write buffer is below its high-water mark.

        Raises ConnectionResetError when the peer has gone.
        """
        if self.open and not self._transport.is_closing():
            self._transport.write(data)
            self.sent += len(data)
            # A script that only sends would otherwise never let the loop tell that the peer has gone.
            await asyncio.sleep(0)
            await self._writable.wait()
        if not self.open or self._transport.is_closing():
            raise ConnectionResetError("the peer has gone")

    def close(self) -> None:
        """Write what is buffered, then FIN."""
        self._transport.close()

    def half_close(self) -> None:
        """FIN, but go on reading."""
        self._transport.write_eof()

    def reset(self) -> None:
        """RST, as of a process that was killed with unread data."""
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def stop_reading(self) -> None:
        self._transport.pause_reading()

    def go_on_reading(self) -> None:
        self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._backend.connections.append(self)
        self._backend.changed()

    def data_received(self, data: bytes) -> None:
        self._parser.receive_data(data)
        self._read()

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()

    def pause_writing(self) -> None:
        self._writable.clear()
        self._backend.changed()

    def resume_writing(self) -> None:
        self._writable.set()

    def cancel(self) -> None:
        """Stop its script and drop the connection."""
        if self._task is not None:
            self._task.cancel()
        if not self._transport.is_closing():
            self._transport.abort()

    def _gone(self) -> None:
        if self.lost_at is None:
            self.lost_at = time.monotonic()
            self.lost.set()
            self._writable.set()
            self._backend.changed()

    @staticmethod
    def _new_parser() -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD_BYTES)

    def _read(self) -> None:
        try:
            while isinstance(event := self._parser.next_event(), h11.Event):
                self._take(event)
        except h11.RemoteProtocolError as error:
            self._backend.faults.append(error)
            self._transport.abort()

    def _take(self, event: h11.Event) -> None:
        if isinstance(event, h11.Request):
            headers = [(bytes(name), bytes(value)) for name, value in event.headers.raw_items()]
            self._current = Request(self, event.method, event.target, event.http_version, headers)
            self.requests.append(self._current)
            self._backend.requests.append(self._current)
            self._task = asyncio.get_running_loop().create_task(self._play(self._current, self._task))
            self._backend.changed()
        elif isinstance(event, h11.Data) and self._current is not None:
            self._current.received += event.data
            self._backend.changed()
        elif isinstance(event, h11.EndOfMessage) and self._current is not None:
            self._current.whole.set()
            self._backend.changed()
            rest, _ = self._parser.trailing_data
            self._parser = self._new_parser()
            self._parser.receive_data(rest) if rest else None

    async def _play(self, request: Request, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._backend.script(request)
        except ConnectionError:
            return
        except AssertionError as error:
            self._backend.faults.append(error)
            self._transport.abort()
        finally:
            self._backend.changed()


async def no_script(request: Request) -> None:
    """What an idle backend does: nobody should have called it."""
    raise AssertionError(f"unexpected request {request.method!r} {request.target!r}")


class Backend:
    """The server. `requests` and `connections` hold all since the last `reset`, in order of arrival."""

    def __init__(self, script: Script = no_script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.connections: list[Connection] = []
        self.faults: list[Exception] = []
        """What a script or the parser found wrong; `reset` raises the first."""
        self._pulse = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Listen; a port of 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, ssl=tls, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Drop every connection and stop listening."""
        assert self._server is not None
        self._server.close()
        # A connection that was accepted a moment ago shows itself some turns of the loop later.
        for _ in range(5):
            self._drop(self.connections)
            await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self if self._server is not None else await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> list[Connection]:
        return [connection for connection in self.connections if connection.open]

    @property
    def in_use(self) -> list[Connection]:
        """Open connections that have carried a request since the last reset."""
        carriers = {request.connection for request in self.requests}
        return [connection for connection in self.open_connections if connection in carriers]

    def changed(self) -> None:
        """Wake whoever waits in `until`."""
        self._pulse.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait for `condition`, looked at whenever something happens here.

        Raises TimeoutError after `seconds`.
        """
        async with asyncio.timeout(seconds):
            while not condition():
                self._pulse.clear()
                await self._pulse.wait()

    async def request(self, number: int = 0, seconds: float = 5.0) -> Request:
        """The request of this number since the last reset, whole."""
        await self.until(lambda: len(self.requests) > number, seconds)
        found = self.requests[number]
        await self.until(found.whole.is_set, seconds)
        return found

    def reset(self, script: Script = no_script) -> None:
        """Forget what happened, drop connections whose script hangs, keep idle ones; raise a fault that was found."""
        faults, self.faults = self.faults, []
        self._drop([connection for connection in self.connections if connection.busy])
        self.connections = self.open_connections
        self.requests = []
        self.script = script
        if faults:
            raise faults[0]

    @staticmethod
    def _drop(connections: list[Connection]) -> None:
        for connection in connections:
            connection.cancel()
