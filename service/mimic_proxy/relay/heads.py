"""Heads that were seen before. Pure.

An SDK sends the same head with every call on a connection, but for the length of the body. A head that has passed the
parser and all checks once is recognised by its bytes and not parsed again: a quarter of the work of a small call.

1. Only whole requests are recognised: head and body in one read, nothing behind them.
2. Only plain heads are remembered: HTTP/1.1, kept alive, a content-length, on a route whose body is JSON. The length
   is the one thing that may differ, so two heads with the same key say the same.
3. The parser has refused a second content-length and a transfer-encoding beside it, so no key holds one.
"""

import re

from mimic_proxy.relay.ports import Request
from mimic_proxy.relay.routes import Route

MOST_HEADS = 512
LONGEST_HEAD = 8192
MOST_BYTES = 1048576
"""Of all heads together: 512 of the longest would be four times as many."""
END = b"\r\n\r\n"
MOST_DIGITS = 9
LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,%d})\r\n" % MOST_DIGITS)


class Known:
    """What a head stands for, the length aside, and its bytes before and behind the length."""

    __slots__ = ("before", "behind", "request", "route")

    def __init__(self, request: Request, route: Route, before: bytes, behind: bytes) -> None:
        self.request = request
        self.route = route
        self.before = before
        self.behind = behind


class Heads:
    """Remembers heads by their bytes. When full it starts anew: ids in heads may make each of them unique."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}
        self._last: Known | None = None
        self._bytes = 0

    def find(self, data: bytes) -> tuple[Known, int, bytes] | None:
        """What one read brought, if it is one whole request with a known head: that, its length, its body."""
        last = self._last
        if last is not None and data.startswith(last.before):
            # Most often it is the head that came last, and needs not even be cut out.
            first = len(last.before)
            end = data.find(b"\r\n", first, first + MOST_DIGITS + 2)
            if end > first and data[first:end].isdigit() and data.startswith(last.behind, end):
                return _whole(last, int(data[first:end]), data, end + len(last.behind))
        found = _cut(data)
        if found is None:
            return None
        first, end, start = found
        known = self._known.get(data[:first] + data[end:start])
        if known is None:
            return None
        self._last = known
        return _whole(known, int(data[first:end]), data, start)

    def remember(self, data: bytes, request: Request, route: Route) -> None:
        """The head at the beginning of `data` passed all checks and means this."""
        fields = request.fields
        plain = request.http11 and request.keep_alive and not fields.expect_continue
        found = _cut(data) if plain and route.first_class else None
        if found is None:
            return
        first, end, start = found
        before, behind = data[:first], data[end:start]
        self._bytes += len(before) + len(behind)
        if len(self._known) >= MOST_HEADS or self._bytes > MOST_BYTES:
            self.forget()
            self._bytes = len(before) + len(behind)
        self._known[before + behind] = Known(request, route, before, behind)

    def forget(self) -> None:
        """What the checks said may not hold any more."""
        self._known.clear()
        self._last = None
        self._bytes = 0


def _whole(known: Known, length: int, data: bytes, start: int) -> tuple[Known, int, bytes] | None:
    return (known, length, data[start:]) if len(data) - start == length else None


def _cut(data: bytes) -> tuple[int, int, int] | None:
    """Where the digits of the length begin and end, and where the body starts."""
    end = data.find(END, 0, LONGEST_HEAD)
    if end < 0:
        return None
    match = LENGTH.search(data, 0, end + 2)
    if match is None:
        return None
    return match.start(1), match.end(1), end + len(END)
