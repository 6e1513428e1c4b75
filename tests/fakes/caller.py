"""A caller on a raw socket: sends exact bytes, reads answers with h11, a parser that Mimic does not use."""

import asyncio
import json
import socket
import ssl
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import h11

from fakes.replies import Fields

_READ_BYTES = 65536
_LARGEST_HEAD_BYTES = 1 << 20
PATIENCE_SECONDS = 10.0
"""How long a test waits for anything before it fails."""


@dataclass(slots=True)
class Response:
    """One answer. `complete` is False when the connection ended before the body's framing did."""

    status: int
    version: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    complete: bool = False
    interim: list[int] = field(default_factory=list)

    def fields(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    def value(self, name: bytes) -> bytes | None:
        values = self.fields(name)
        assert len(values) < 2, f"{name!r} stands {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    def error(self) -> dict[str, Any]:
        """The error object of an answer in the OpenAI shape, all four keys and no other."""
        document = self.json()
        assert list(document) == ["error"], document
        error: dict[str, Any] = document["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert len(error["message"]) > 15, "a message says what to do"
        return error


def error_frame(frame: bytes) -> dict[str, Any]:
    """The error object of one SSE event in the OpenAI shape, all four keys and no other."""
    assert frame.startswith(b"data: "), frame
    assert frame.endswith(b"\n\n"), frame
    error: dict[str, Any] = json.loads(frame[len(b"data: ") :])["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    return error


def request(method: bytes, target: bytes, body: bytes | None = None, fields: Fields = ()) -> bytes:
    """A whole request; Host and, with a body, content-length and a JSON content-type unless `fields` hold one."""
    given = {name.lower() for name, _ in fields}
    lines = list(fields)
    if b"host" not in given:
        lines.insert(0, (b"host", b"localhost"))
    if body is not None:
        if b"content-type" not in given:
            lines.append((b"content-type", b"application/json"))
        if not given & {b"content-length", b"transfer-encoding"}:
            lines.append((b"content-length", b"%d" % len(body)))
    head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method, target, head, body or b"")


CHAT_BODY = b'{"model":"m","messages":[{"role":"user","content":"a prompt that nobody may log"}]}'
STREAM_BODY = b'{"model":"m","messages":[{"role":"user","content":"a prompt that nobody may log"}],"stream":true}'


def chat(body: bytes = CHAT_BODY, fields: Fields = ()) -> bytes:
    return request(b"POST", b"/v1/chat/completions", body, fields)


class Caller:
    """One connection to Mimic. Reads are answered in the order of the requests that were sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self._parser = self._new_parser(b"POST")
        self._cut = False
        self._reset = False
        _left_open.add(self)

    @classmethod
    async def connect(
        cls, port: int, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", receive_buffer: int | None = None
    ) -> Self:
        """Dial; `receive_buffer` bounds what the kernel takes for a caller that does not read."""
        raw = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        raw.setblocking(False)
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(raw, (host, port))
            if raw.getsockname() == raw.getpeername():
                # Nobody listens yet and the kernel chose this very port as ours (RFC 9293, 3.5: simultaneous open).
                raise ConnectionRefusedError("connected to itself")
        except OSError:
            raw.close()
            raise
        name = None if tls is None else "localhost"
        return cls(*await asyncio.open_connection(sock=raw, ssl=tls, server_hostname=name, limit=_READ_BYTES))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def send_if_open(self, data: bytes) -> None:
        """Send, or do nothing when the connection has ended."""
        try:
            await self.send(data)
        except ConnectionError:
            return

    async def response(self, method: bytes = b"POST") -> Response:
        """The next answer with its whole body."""
        found = await self.head(method)
        pieces = []
        while data := await self.data():
            pieces.append(data)
        found.body = b"".join(pieces)
        found.complete = self.complete
        return found

    @property
    def complete(self) -> bool:
        """The last body that was read ended as its framing says."""
        return not self._cut

    async def head(self, method: bytes = b"POST") -> Response:
        """The next final head; interim ones are listed in it. Raises EOFError if the connection ends instead."""
        self._parser = self._new_parser(method)
        if self._rest:
            self._parser.receive_data(self._rest)
        interim: list[int] = []
        while True:
            event = await self._event()
            if isinstance(event, h11.InformationalResponse):
                interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                headers = [(bytes(name), bytes(value)) for name, value in event.headers]
                return Response(event.status_code, bytes(event.http_version), headers, interim=interim)
            else:
                raise EOFError("the connection ended before an answer")

    async def interim(self) -> int:
        """Status of an interim answer that comes before anything else (RFC 9110, 15.2)."""
        self._parser = self._new_parser(b"POST")
        event = await self._event()
        assert isinstance(event, h11.InformationalResponse), event
        self._rest = self._parser.trailing_data[0]
        return event.status_code

    async def data(self) -> bytes:
        """The next bytes of the body; empty at its end, proper or not (then `complete` is False)."""
        event = await self._event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            self._rest = self._parser.trailing_data[0]
        else:
            self._cut = True
        return b""

    async def body_until(self, marker: bytes) -> bytes:
        """Read the body until it holds `marker`. Raises EOFError if it ends before."""
        seen = b""
        while marker not in seen:
            data = await self.data()
            if not data:
                raise EOFError(f"the body ended before {marker!r}: {seen!r}")
            seen += data
        return seen

    async def ended(self) -> bytes:
        """Wait until Mimic closes the connection; what still came before. A reset counts as an end."""
        rest = self._rest
        async with asyncio.timeout(PATIENCE_SECONDS):
            while data := await self._read():
                rest += data
        return rest

    def half_close(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        """FIN."""
        _left_open.discard(self)
        self._writer.close()

    def reset(self) -> None:
        """RST."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.abort()
        await asyncio.sleep(0)

    def abort(self) -> None:
        """Close at once."""
        _left_open.discard(self)
        self._writer.transport.abort()

    @property
    def closing(self) -> bool:
        return self._writer.transport.is_closing()

    async def _event(self) -> h11.Event | None:
        """The next event of the answer; None when the connection ended inside of it."""
        ended = False
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    event = self._parser.next_event()
                except h11.RemoteProtocolError:
                    if ended:
                        return None
                    raise
                if isinstance(event, h11.Event):
                    return None if isinstance(event, h11.ConnectionClosed) else event
                if ended:
                    return None
                data = await self._read()
                if self._reset:
                    return None
                ended = not data
                self._parser.receive_data(data)

    async def _read(self) -> bytes:
        """What came; empty at FIN or RST."""
        try:
            return await self._reader.read(_READ_BYTES)
        except ConnectionError:
            self._reset = True
            return b""

    @staticmethod
    def _new_parser(method: bytes) -> h11.Connection:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD_BYTES)
        parser.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"localhost")]))
        parser.send(h11.EndOfMessage())
        return parser


_left_open: set[Caller] = set()


def close_left_open() -> None:
    """Close the connections of a test that failed before it did: else a later test would report their sockets."""
    for caller in [*_left_open]:
        caller.abort()


async def ask(port: int, data: bytes, method: bytes = b"POST", *, tls: ssl.SSLContext | None = None) -> Response:
    """Send `data` on a connection of its own and read one answer."""
    async with await Caller.connect(port, tls=tls) as caller:
        await caller.send(data)
        return await caller.response(method)
