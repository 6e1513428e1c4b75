"""Events cut out of a gateway's stream: server-sent events, or JSON documents line by line (NDJSON).

1. Which of both it is shows its first byte that is no white space: a line of JSON begins with a bracket or a record
   separator (RFC 7464), a server-sent event never does.
2. A last line without its line end is whole if it is a JSON object, and given out at once: nothing can continue one.
3. A first line that is no JSON may begin a document on several lines: everything is then one document.
"""

from typing import Literal

import msgspec

from mimic_proxy.dialects.envelope.text import read_json
from mimic_proxy.http.body import UNREADABLE
from mimic_proxy.http.sse import Event, Splitter

LONGEST_EVENT = 4 * 1024 * 1024
"""Bytes; a cumulative stream repeats the whole answer in each event."""
_SMALL = 16384
_BLANK = b" \t\r\n\x1e"
_BOM = b"\xef\xbb\xbf"
_validate = msgspec.json.Decoder(msgspec.Raw).decode


class Cutter:
    """Cuts a stream into events, however it is split into reads. form: as the settings say; auto finds out."""

    __slots__ = ("_form", "_lines", "_sse", "_start")

    def __init__(self, form: Literal["auto", "sse", "ndjson"]) -> None:
        self._sse = Splitter(LONGEST_EVENT)
        self._lines = Lines()
        self._form = form
        self._start = b""

    @property
    def lines(self) -> bool:
        """The stream is one of lines."""
        return self._form == "ndjson"

    @property
    def waiting(self) -> bool:
        """A part of an event is there that is not given out yet."""
        return bool(self._lines.tail if self._form == "ndjson" else self._sse.tail)

    def feed(self, data: bytes) -> list[Event]:
        if self._form == "sse":
            return self._sse.feed(data)
        if self._form == "auto":
            data = self._start + data
            start = data.lstrip(_BLANK)
            first = start.removeprefix(_BOM).lstrip(_BLANK)[:1]
            if not first or (len(start) < len(_BOM) and _BOM.startswith(start)):
                self._start = data
                return []
            self._form = "ndjson" if first in (b"{", b"[") else "sse"
            return self.feed(data)
        return self._lines.feed(data)

    def finish(self) -> list[Event]:
        """The stream has ended: the event that only misses its blank line or line end."""
        if self._form == "ndjson":
            return self._lines.finish()
        return self._sse.feed(b"\n\n") if self._sse.tail else []


class Lines:
    """Documents line by line. A long line costs about its length, in however many reads it comes."""

    def __init__(self) -> None:
        self.tail = bytearray()
        self._first = True
        self._document = False
        self._tried = 0
        """So many bytes of the tail were no whole document."""

    def feed(self, data: bytes) -> list[Event]:
        self.tail += data
        events: list[Event] = []
        if not self._document and b"\n" in data:
            *lines, rest = bytes(self.tail).split(b"\n")
            self.tail, self._tried = bytearray(rest), 0
            for place, raw in enumerate(lines):
                line = raw.strip(_BLANK).removeprefix(_BOM)
                if not line:
                    continue
                if self._first and not _is_json(line):
                    self._document = True
                    self.tail = bytearray(b"\n".join((*lines[place:], rest)))
                    break
                self._first = False
                events.append(Event(line, line))
        if len(self.tail) > LONGEST_EVENT:
            events.append(Event(b"", None, b"", True))
        elif self.tail.endswith((b"}", b"}\r", b"}\n")):
            events += self._whole()
        return events

    def _whole(self) -> list[Event]:
        """The tail, if it is a document that only misses its line end."""
        size = len(self.tail)
        if size - self._tried <= self._tried // 8:
            return []
        whole = bytes(self.tail).strip(_BLANK).removeprefix(_BOM)
        if not _is_json(whole):
            # A small tail is tried each time: nobody waits for the end of the body where it is whole.
            self._tried = size if size > _SMALL else 0
            return []
        self.tail, self._tried, self._first = bytearray(), 0, False
        return [Event(whole, whole)]

    def finish(self) -> list[Event]:
        tail = bytes(self.tail).strip(_BLANK)
        self.tail = bytearray()
        return [Event(tail, tail)] if tail else []


def _is_json(text: bytes) -> bool:
    try:
        _validate(text)
    except UNREADABLE:
        try:
            read_json(text)
        except ValueError:
            return False
    return True
