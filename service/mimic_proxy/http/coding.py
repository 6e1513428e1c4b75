"""Content codings of answers that are read here (RFC 9110, 8.4). Pure.

They are asked for with `accept-encoding: identity`; gateways that do not heed it mostly send gzip.
"""

import zlib


def decoded(body: bytes, coding: bytes, limit: int) -> bytes:
    """The body without its content coding, at most `limit` bytes of it.

    Raises ValueError, with what is wrong, for a coding that is not known and for what cannot be decoded.
    """
    if coding in (b"", b"identity"):
        return body
    if coding not in (b"gzip", b"x-gzip"):
        raise ValueError("in a content coding that was not asked for")
    decoder = zlib.decompressobj(wbits=31)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error:
        raise ValueError("with a body that is not the gzip it claims to be") from None
    if len(plain) > limit:
        raise ValueError(f"with more than {limit} bytes")
    if not decoder.eof:
        raise ValueError("with a body that is not the gzip it claims to be")
    return plain
