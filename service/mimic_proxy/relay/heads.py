"""Heads that were seen before. Pure.

An SDK sends the same head with every call on a connection, but for the length of the body. A head that has passed the
parser and all checks once is recognised by its bytes and not parsed again: a quarter of the work of a small call.

1. Only whole requests are recognised: head and body in one read, nothing behind them.
2. Only plain heads are remembered: HTTP/1.1, kept alive, a content-length, on a route whose body is JSON. The length
   is the one thing that may differ, so two heads with the same key say the same.
3. The parser has refused a second content-length and a transfer-encoding beside it, so no key holds one.
"""

import re

import msgspec

from mimic_proxy.relay.ports import Request
from mimic_proxy.relay.routes import Route

MOST_HEADS = 512
LONGEST_HEAD = 8192
END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,9})\r\n")


class Known(msgspec.Struct, frozen=True, gc=False):
    """What a head stands for, the length aside."""

    request: Request
    route: Route


class Heads:
    """Remembers heads by their bytes. When full it starts anew: ids in heads may make each of them unique."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}

    def find(self, data: bytes) -> tuple[Known, int, bytes] | None:
        """What one read brought, if it is one whole request with a known head: that, its length, its body."""
        found = _key(data)
        if found is None:
            return None
        key, length, start = found
        known = self._known.get(key)
        if known is None or len(data) - start != length:
            return None
        return known, length, data[start:]

    def remember(self, data: bytes, request: Request, route: Route) -> None:
        """The head at the beginning of `data` passed all checks and means this."""
        fields = request.fields
        plain = request.http11 and request.keep_alive and not fields.expect_continue
        found = _key(data) if plain and route.first_class else None
        if found is None:
            return
        if len(self._known) >= MOST_HEADS:
            self._known.clear()
        self._known[found[0]] = Known(request, route)


def _key(data: bytes) -> tuple[bytes, int, int] | None:
    """The head without the digits of its length, the length, and where the body starts."""
    end = data.find(END, 0, LONGEST_HEAD)
    if end < 0:
        return None
    match = LENGTH.search(data, 0, end + 2)
    if match is None:
        return None
    first, last = match.span(1)
    return data[:first] + data[last:end], int(data[first:last]), end + 4
