"""JSON in and out, with the text in it as the backend has it: halves of surrogate pairs included.

The grammar of JSON allows lone surrogates (RFC 8259, 8.2), and a gateway that counts in UTF-16 cuts an emoji into two
of them. msgspec refuses them, so what it refuses is read by the standard library.
"""

import json
import math
import re
from typing import Any

import msgspec

from mimic_proxy.http.body import UNREADABLE

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_LONE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def read_json(data: bytes) -> Any:
    """The decoded document. Raises ValueError for what is not JSON."""
    try:
        return _decode(data)
    except UNREADABLE:
        return _read_tolerantly(data)


def write_json(value: Any) -> bytes:
    """Compact JSON; lone surrogates become escapes. Raises ValueError for what is nested too deeply."""
    try:
        try:
            return _encode(value)
        except UnicodeEncodeError:
            return json.dumps(value, separators=(",", ":")).encode("ascii")
    except RecursionError:
        raise ValueError("nested too deeply") from None


def joined(first: str, second: str) -> str:
    """Two pieces of a text, with a surrogate pair that was cut between them made whole."""
    whole = first + second
    if not _LONE.search(whole):
        return whole
    return whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def ends_in_half(text: str) -> bool:
    """The last character is the first half of a surrogate pair."""
    return "\ud800" <= text[-1:] <= "\udbff"


def settled(text: str) -> int:
    """How much of a text that may still grow is sure to stay.

    A last half of a pair may find its other half. A last U+FFFD may be what a tokenizer shows of a character whose
    bytes have not all come.
    """
    end = len(text.rstrip(REPLACEMENT))
    return end - 1 if ends_in_half(text[:end]) else end


def plain_text(value: Any) -> str | None:
    """Text at the place of the text: text itself, or its parts as OpenAI's messages have them. None: no text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        parts: list[Any] = [part.get("text") if isinstance(part, dict) else part for part in value]
        if all(isinstance(part, str) for part in parts):
            return "".join(parts)
    return None


def _read_tolerantly(data: bytes) -> Any:
    try:
        text = data.decode("utf-8", "replace").removeprefix("\ufeff")
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _finite(number: str) -> float:
    """A number too large for a double would be written as null."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("holds a number that is too large")
    return value
