"""How a body is delimited towards the caller (RFC 9112, 6), and how one is collected until it is needed whole.

A body may come in pieces of any size, and a piece of two bytes is an object of 35 and an entry of a list: a body in
chunks of two bytes would take 28 times its length. Pieces are therefore joined as they come.
"""

from enum import Enum
from io import BytesIO

from mimic_proxy.http.headers import ResponseFields

CHUNKED_LINE = b"transfer-encoding: chunked\r\n"
CLOSE_LINE = b"connection: close\r\n"
LAST_CHUNK = b"0\r\n\r\n"
LARGE_BYTES = 65536


class Framing(Enum):
    """LENGTH: as many bytes as content-length says. CHUNKED. CLOSE: until the connection ends."""

    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"

    def data(self, body: bytes) -> bytes:
        """The bytes on the wire for a piece of the body."""
        if self is Framing.CHUNKED and body:
            return b"%x\r\n%b\r\n" % (len(body), body)
        return body

    @property
    def last(self) -> bytes:
        """What ends the body, apart from closing."""
        return LAST_CHUNK if self is Framing.CHUNKED else b""


def framing_for(fields: ResponseFields, http11: bool) -> tuple[Framing, bytes]:
    """Length or chunks exactly as the backend has it; callers of HTTP/1.0 get no chunks."""
    if fields.status == 204:
        # RFC 9110, 8.6: no length there, some callers would wait for the bytes.
        return Framing.LENGTH, b""
    if fields.content_length is not None:
        return Framing.LENGTH, b"content-length: %d\r\n" % fields.content_length
    if fields.status == 304:
        return Framing.LENGTH, b""
    return stream_framing(http11)


def stream_framing(http11: bool) -> tuple[Framing, bytes]:
    """For a body whose length is not known when its head goes out."""
    return (Framing.CHUNKED, CHUNKED_LINE) if http11 else (Framing.CLOSE, b"")


class Buffer:
    """Collects pieces of bytes in their order. A piece that stays alone, as most bodies are, is not copied."""

    __slots__ = ("_first", "_joined", "size")

    def __init__(self) -> None:
        self._first = b""
        self._joined: BytesIO | None = None
        self.size = 0

    def append(self, piece: bytes) -> None:
        """Add a piece."""
        if self._joined is not None:
            self._joined.write(piece)
        elif self.size:
            self._joined = BytesIO()
            self._joined.write(self._first)
            self._joined.write(piece)
            self._first = b""
        else:
            self._first = piece
        self.size += len(piece)

    def take(self) -> bytes:
        """Everything in one piece, which stays here as well. `BytesIO` gives out its buffer without a copy."""
        return self._first if self._joined is None else self._joined.getvalue()

    def clear(self) -> None:
        """Forget everything."""
        self._first = b""
        self._joined = None
        self.size = 0
