"""How a body is delimited towards the caller (RFC 9112, 6)."""

from enum import Enum

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
