"""Server-sent events cut out of a stream of bytes, for looking at them while the bytes go on as they are.

Rules (WHATWG HTML, 9.2.5 and 9.2.6):
1. Lines end with CR LF, LF or CR. A blank line ends an event.
2. Every byte fed stands in exactly one `raw`, in order, or still in the tail.
3. A CR at the end of a read ends its line at once. An LF that follows is then a blank line of its own, which means
   nothing, so no state is carried for it.
4. Line ends where an event would begin are given out at once, as an event without data.
5. An event longer than the limit is given out in pieces without data, as they come, up to its blank line.
"""

import re

import msgspec

DEFAULT_LIMIT = 65536
"""Bytes that an incomplete event may hold back."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_LINE_ENDS = re.compile(rb"[\r\n]+")
_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
"""Atomic groups: without them a CR LF would count as two line ends."""
_LONGEST_BLANK_LINE = 4


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, or what stands between events.

    raw: its bytes, the blank line included.
    data: its data lines joined by LF; None for comments, blank lines and pieces of an overlong event.
    type: the value of its `event` line, as far as it has one.
    partial: a piece of an overlong event.
    """

    raw: bytes
    data: bytes | None = None
    type: bytes = b""
    partial: bool = False


class Splitter:
    """Cuts a stream into events, however it is split into reads.

    limit: bytes; an event whose raw is longer has no data.
    """

    __slots__ = ("_first", "_limit", "_seam", "_tail", "in_partial", "overlong")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._tail = b""
        self._first = True
        self._seam = b""
        """The line end, if any, that the last piece of an overlong event ended with."""
        self.in_partial = False
        """The last byte given out stands inside an overlong event."""
        self.overlong = False
        """An overlong event has been seen."""

    @property
    def tail(self) -> bytes:
        """The bytes of the event that is not complete yet."""
        return self._tail

    def feed(self, data: bytes) -> list[Event]:
        """Take the bytes of one read; return the events that they complete."""
        events: list[Event] = []
        position = 0
        scanned = 0
        if self.in_partial:
            position = self._pass_on(data, events)
            if self.in_partial:
                return events
        elif self._tail:
            scanned = max(len(self._tail) - _LONGEST_BLANK_LINE + 1, 0)
            data = self._tail + data
        if b"\r" in data:
            position = self._cut(data, position, scanned, events)
        else:
            position = self._cut_lf(data, position, scanned, events)
        self._keep(data[position:] if position else data, events)
        return events

    def _cut_lf(self, data: bytes, position: int, scanned: int, events: list[Event]) -> int:
        """`_cut` for data without a CR, where nearly every event is one `data: ` line."""
        find = data.find
        while True:
            if data[position : position + 1] == b"\n":
                position = self._skip_line_ends(data, position, events)
            end = find(b"\n\n", max(position, scanned))
            if end < 0:
                return position
            raw = data[position : end + 2]
            if raw.startswith(b"data: ") and find(b"\n", position, end) < 0 and len(raw) <= self._limit:
                self._first = False
                events.append(Event(raw, raw[6:-2]))
            else:
                events.append(self._event(raw))
            position = end + 2

    def _cut(self, data: bytes, position: int, scanned: int, events: list[Event]) -> int:
        while True:
            if data[position : position + 1] in (b"\r", b"\n"):
                position = self._skip_line_ends(data, position, events)
            found = _BLANK_LINE.search(data, max(position, scanned))
            if found is None:
                return position
            events.append(self._event(data[position : found.end()]))
            position = found.end()

    def _skip_line_ends(self, data: bytes, position: int, events: list[Event]) -> int:
        run = _LINE_ENDS.match(data, position)
        if run is None:
            return position
        self._first = False
        events.append(Event(run.group()))
        return run.end()

    def _event(self, raw: bytes) -> Event:
        text = raw.removeprefix(_BOM) if self._first else raw
        self._first = False
        data, kind = _read_lines(text)
        if len(raw) > self._limit:
            self.overlong = True
            return Event(raw, None, kind, True)
        return Event(raw, data, kind)

    def _keep(self, tail: bytes, events: list[Event]) -> None:
        """Hold back an incomplete event, or begin to pass it on where it is too long."""
        if len(tail) <= self._limit:
            self._tail = tail
            return
        self._tail = b""
        self.in_partial = self.overlong = True
        text = tail.removeprefix(_BOM) if self._first else tail
        self._first = False
        self._seam = _trailing_line_end(tail)
        events.append(Event(tail, None, _read_lines(text)[1], True))

    def _pass_on(self, data: bytes, events: list[Event]) -> int:
        """Give out what belongs to an overlong event; return where it ends in the data."""
        blank = _blank_line_end(self._seam + data)
        if not blank:
            if data:
                events.append(Event(data, None, b"", True))
                self._seam = _trailing_line_end(data)
            return len(data)
        end = blank - len(self._seam)
        events.append(Event(data[:end], None, b"", True))
        self.in_partial = False
        self._seam = b""
        return end


def _read_lines(text: bytes) -> tuple[bytes | None, bytes]:
    """Data and type of the lines of one event, without a byte order mark (WHATWG HTML, 9.2.6)."""
    lines: list[bytes] = []
    kind = b""
    for line in _LINE_END.split(text):
        if not line.startswith((b"data", b"event")):
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
        elif name == b"event":
            kind = value.removeprefix(b" ")
    return (b"\n".join(lines) if lines else None), kind


def _blank_line_end(text: bytes) -> int:
    """Where the first blank line ends, 0 if there is none."""
    if b"\r" in text:
        found = _BLANK_LINE.search(text)
        return found.end() if found is not None else 0
    # Ten times faster than the regular expression.
    start = text.find(b"\n\n")
    return start + 2 if start >= 0 else 0


def _trailing_line_end(data: bytes) -> bytes:
    return data[len(data.rstrip(b"\r\n")) :]
