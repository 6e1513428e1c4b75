"""Spans as OTLP's protobuf bytes (opentelemetry-proto 1.x, trace/v1/trace.proto), and as lines of JSON for
OTEL_TRACES_EXPORTER=console. Pure.

Written out by hand: encoding the same through protobuf's own objects takes nine times as long, and holds the
interpreter while requests wait. The tests compare the bytes with those of the SDK's encoder.
"""

from binascii import unhexlify
from collections.abc import Iterable
from functools import lru_cache
from struct import Struct

import msgspec

from mimic_proxy.telemetry.logs import visible
from mimic_proxy.telemetry.tracing.spans import Attributes, Event, Span, Value

HAS_REMOTE, IS_REMOTE = 0x100, 0x200
"""Bits of `flags`: it is known whether the parent is remote, and it is."""

ONCE = frozenset(("mimic.request_id", "gen_ai.response.id", "mimic.upstream.request_id"))
"""Attributes whose values come but once."""
LARGEST_KEPT = 1023

_FIXED = Struct("<Q").pack
_DOUBLE = Struct("<d").pack
_TIMES = Struct("<cQcQ").pack
_LOCAL = b"\x85\x01" + Struct("<I").pack(HAS_REMOTE)
_REMOTE = b"\x85\x01" + Struct("<I").pack(HAS_REMOTE | IS_REMOTE)
_LINK_FLAGS = b"\x35" + Struct("<I").pack(HAS_REMOTE)
_ONE_BYTE = tuple(bytes((number,)) for number in range(128))


def _varint(number: int) -> bytes:
    if 0 <= number < 128:
        return _ONE_BYTE[number]
    # A negative int64 is written as its two's complement.
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _message(tag: bytes, body: bytes) -> bytes:
    size = len(body)
    return tag + (_ONE_BYTE[size] if size < 128 else _varint(size)) + body


def _text(tag: bytes, text: str) -> bytes:
    return _message(tag, text.encode("utf-8", "replace"))


@lru_cache(maxsize=512)
def _key(key: str) -> bytes:
    return _text(b"\x0a", key)


def _any(value: Value) -> bytes:
    """AnyValue."""
    if isinstance(value, str):
        return _text(b"\x0a", value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value)
    if isinstance(value, float):
        return b"\x21" + _DOUBLE(value)
    return _message(b"\x2a", b"".join(_message(b"\x0a", _any(part)) for part in value or ()))


def _key_value(tag: bytes, key: str, value: Value) -> bytes:
    """KeyValue as a field of something."""
    return _message(tag, _key(key) + _message(b"\x12", _any(value)))


_kept = lru_cache(maxsize=2048, typed=True)(_key_value)
"""The same for what comes again: words, and small numbers."""


@lru_cache(maxsize=128)
def _before_float(tag: bytes, key: str) -> bytes:
    """All of a KeyValue but its eight bytes."""
    return _message(tag, _key(key) + b"\x12\x09\x21" + bytes(8))[:-8]


def _attributes(tag: bytes, attributes: Attributes) -> list[bytes]:
    out = []
    for key, value in attributes.items():
        if value is None:
            continue
        if isinstance(value, float):
            out.append(_before_float(tag, key) + _DOUBLE(value))
        elif key in ONCE or (value.__class__ is int and value > LARGEST_KEPT):
            out.append(_key_value(tag, key, value))
        else:
            out.append(_kept(tag, key, value))
    return out


def _event(event: Event) -> bytes:
    return b"".join((b"\x09", _FIXED(event.at), _text(b"\x12", event.name), *_attributes(b"\x1a", event.attributes)))


@lru_cache(maxsize=256)
def _named(name: str, kind: int) -> bytes:
    return _text(b"\x2a", name) + b"\x30" + _varint(kind)


@lru_cache(maxsize=64)
def _status(failed: str | None) -> bytes:
    """Status; code 2 is ERROR. An unset one stands there too, empty, as the SDK writes it."""
    return _message(b"\x7a", b"" if failed is None else _text(b"\x12", failed) + b"\x18\x02")


def encode(span: Span) -> bytes:
    """The span as a field of ScopeSpans, ready to be joined to others."""
    parts = [b"\x0a\x10", unhexlify(span.trace_id), b"\x12\x08", unhexlify(span.span_id)]
    if span.tracestate:
        parts.append(_text(b"\x1a", span.tracestate))
    if span.parent_id is not None:
        parts += (b"\x22\x08", unhexlify(span.parent_id))
    parts += (_named(span.name, span.kind), _TIMES(b"\x39", span.start, b"\x41", span.end))
    parts += _attributes(b"\x4a", span.attributes)
    if span.events:
        parts += [_message(b"\x5a", _event(event)) for event in span.events]
    for link in span.links:
        ids = b"\x0a\x10" + unhexlify(link.trace_id) + b"\x12\x08" + unhexlify(link.span_id)
        parts.append(_message(b"\x6a", ids + _LINK_FLAGS))
    parts += (_status(span.failed), _REMOTE if span.remote_parent else _LOCAL)
    return _message(b"\x12", b"".join(parts))


class Requests:
    """Makes export requests of one resource and one scope."""

    def __init__(self, resource: Attributes, scope: str, version: str) -> None:
        self._resource = _message(b"\x0a", b"".join(_attributes(b"\x0a", resource)))
        self._scope = _message(b"\x0a", _text(b"\x0a", scope) + _text(b"\x12", version))

    def of(self, spans: Iterable[bytes]) -> bytes:
        """ExportTraceServiceRequest with spans that were encoded before."""
        in_scope = _message(b"\x12", b"".join((self._scope, *spans)))
        return _message(b"\x0a", self._resource + in_scope)


_json = msgspec.json.Encoder(enc_hook=str)


def console_line(span: Span) -> bytes:
    """One line; what is not said is left out. Times are nanoseconds of Unix time."""
    shown: dict[str, object] = {
        "name": span.name,
        "kind": ("", "INTERNAL", "SERVER", "CLIENT")[span.kind],
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "start": span.start,
        "end": span.end,
        "attributes": {key: value for key, value in span.attributes.items() if value is not None},
        "failed": span.failed,
        "events": [{"name": event.name, "at": event.at} for event in span.events],
        "links": [{"trace_id": link.trace_id, "span_id": link.span_id} for link in span.links],
    }
    return visible(_json.encode({key: value for key, value in shown.items() if value not in (None, [])})) + b"\n"
