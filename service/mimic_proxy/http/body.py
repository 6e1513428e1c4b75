"""The few fields that Mimic reads from a copy of a request body, and the one thing it ever adds to one.

Prompts are skipped, not parsed into objects; what a field means and whether it is valid is the backend's to judge.
"""

import re
from typing import TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mimic_proxy.errors import InvalidRequest

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for input that it does not take."""

_ASK = b'"stream_options":{"include_usage":true}'
_BLANK = b" \t\r\n"
_ABSENT = msgspec.Raw(b"null")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class BodyFields(msgspec.Struct, frozen=True, gc=False):
    """What a chat, embeddings or similar body says; defaults stand for what is absent or of a wrong type."""

    model: str | None = None
    stream: bool = False
    stream_options: bool = False
    """The key stands at the top level, whatever its value."""
    include_usage: bool = False
    n: int = 1
    max_tokens: int | None = None
    """From `max_completion_tokens`, `max_tokens` or `max_output_tokens`, in this order."""
    encoding_format: str | None = None


class RequestParameters(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a sampled request asked of the model; None for what it did not say. Never content."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop_count: int | None = None
    """How many stop sequences; they themselves are content."""
    seed: int | None = None
    choice_count: int | None = None
    output_type: str | None = None
    """text, json, image or speech (gen_ai.output.type)."""
    encoding_formats: tuple[str, ...] | None = None
    dimensions: int | None = None
    service_tier: str | None = None


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Body(msgspec.Struct, gc=False):
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | UnsetType | None = UNSET
    n: int | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    encoding_format: str | None = None


class _ResponseFormat(msgspec.Struct, gc=False):
    type: str = ""


class _Parameters(msgspec.Struct, gc=False):
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    response_format: _ResponseFormat | None = None
    encoding_format: str | None = None
    dimensions: int | None = None
    service_tier: str | None = None


class _RawBody(msgspec.Struct, gc=False):
    """The same with the values unread, for bodies that have something odd somewhere."""

    model: msgspec.Raw = _ABSENT
    stream: msgspec.Raw = _ABSENT
    stream_options: msgspec.Raw = _ABSENT
    n: msgspec.Raw = _ABSENT
    max_completion_tokens: msgspec.Raw = _ABSENT
    max_tokens: msgspec.Raw = _ABSENT
    max_output_tokens: msgspec.Raw = _ABSENT
    encoding_format: msgspec.Raw = _ABSENT


_decode = msgspec.json.Decoder(_Body).decode
_decode_parameters = msgspec.json.Decoder(_Parameters).decode
_OUTPUT_TYPES = {"text": "text", "json_object": "json", "json_schema": "json"}
"""Values of `gen_ai.output.type` by those of `response_format.type`."""
_decode_raw = msgspec.json.Decoder(_RawBody).decode


def read_fields(body: bytes | bytearray) -> BodyFields:
    """Read the fields of a JSON object.

    Of a repeated key the last counts. Raises InvalidRequest for what is not JSON (RFC 8259) or not an object.
    """
    try:
        found = _decode(body)
    except UNREADABLE:
        return _read_tolerantly(body)
    options = found.stream_options
    return BodyFields(
        found.model,
        found.stream is True,
        options is not UNSET,
        bool(options) and options.include_usage is True,  # type: ignore[union-attr]
        1 if found.n is None else found.n,
        _first(found.max_completion_tokens, found.max_tokens, found.max_output_tokens),
        found.encoding_format,
    )


def read_parameters(body: bytes | bytearray) -> RequestParameters | None:
    """What a JSON object asks of the model, for a span; None for a body with anything odd in it. Never content."""
    try:
        found = _decode_parameters(body)
    except UNREADABLE:
        return None
    stop = found.stop
    form = found.encoding_format
    return RequestParameters(
        max_tokens=_first(found.max_completion_tokens, found.max_tokens, found.max_output_tokens),
        temperature=found.temperature,
        top_p=found.top_p,
        frequency_penalty=found.frequency_penalty,
        presence_penalty=found.presence_penalty,
        stop_count=None if stop is None else 1 if isinstance(stop, str) else len(stop),
        seed=found.seed,
        choice_count=found.n if found.n not in (None, 1) else None,
        output_type=None if found.response_format is None else _OUTPUT_TYPES.get(found.response_format.type),
        encoding_formats=None if form is None else (form,),
        dimensions=found.dimensions,
        service_tier=found.service_tier,
    )


def ask_for_usage(body: bytes | bytearray) -> bytes:
    """The body with `stream_options.include_usage` asked for, all other bytes as they are.

    The body has been read with `read_fields`, which showed no `stream_options`. The key is put in front of all others:
    a body ends wherever its white space ends, but it begins with its brace.
    """
    after_brace = body.index(b"{") + 1
    rest = body[after_brace:]
    comma = b"" if rest.lstrip(_BLANK).startswith(b"}") else b","
    return b"".join((body[:after_brace], _ASK, comma, rest))


def mend(text: bytes | bytearray) -> bytes:
    """A copy for reading in which lone surrogate escapes and bytes that are not UTF-8 are replaced.

    The grammar of JSON allows the one (RFC 8259, 8.2) and senders cut emoji in half; msgspec refuses both. Escapes
    keep their length.
    """
    return _SURROGATE.sub(rb"\\u003f", text.decode("utf-8", "replace").encode())


def _read_tolerantly(body: bytes | bytearray) -> BodyFields:
    try:
        found = _decode_raw(mend(body))
    except UNREADABLE as fault:
        raise _refusal(body, fault) from None
    options = _value(found.stream_options, _StreamOptions)
    n = _value(found.n, int)
    limits = (found.max_completion_tokens, found.max_tokens, found.max_output_tokens)
    return BodyFields(
        _value(found.model, str),
        _value(found.stream, bool) is True,
        found.stream_options is not _ABSENT,
        options is not None and options.include_usage is True,
        1 if n is None else n,
        _first(*(_value(limit, int) for limit in limits)),
        _value(found.encoding_format, str),
    )


def _value(raw: msgspec.Raw, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except UNREADABLE:
        return None


def _first(*values: int | None) -> int | None:
    for value in values:
        if value is not None:
            return value
    return None


def _refusal(body: bytes | bytearray, fault: Exception) -> InvalidRequest:
    """Say what is wrong and where; msgspec's messages hold positions and types, never a part of the input."""
    if not body.strip(_BLANK):
        return InvalidRequest("The request has no body; send a JSON object.")
    if isinstance(fault, RecursionError):
        return InvalidRequest("The request body is nested too deeply to be read.")
    if isinstance(fault, msgspec.ValidationError):
        return InvalidRequest(f"The request body has to be a JSON object: {fault}.")
    if body.startswith(b"\xef\xbb\xbf"):
        return InvalidRequest("The request body begins with a byte order mark; send JSON without one (RFC 8259, 8.1).")
    reason = str(fault).removeprefix("JSON is malformed: ")
    return InvalidRequest(f"The request body is not valid JSON: {reason}.")
