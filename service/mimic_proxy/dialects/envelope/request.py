"""What a gateway is sent: the caller's body as it is, unless a setting asks for more.

Where it is rebuilt, the values keep their bytes (numbers as they were written) and the fields keep their order.
"""

import json
from typing import Any

import msgspec

from mimic_proxy.dialects.envelope.paths import Shape
from mimic_proxy.dialects.envelope.text import read_json, write_json
from mimic_proxy.dialects.envelope.tools import flattened
from mimic_proxy.errors import InvalidRequest
from mimic_proxy.http.body import UNREADABLE

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_STREAM_FIELDS = ("stream", "stream_options")

Fields = dict[str, Any]
"""The top level of a body: values are undecoded (msgspec.Raw), or decoded where they cannot be taken as they are."""


class _Legacy(msgspec.Struct, gc=False):
    functions: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()


_decode_legacy = msgspec.json.Decoder(_Legacy).decode


def fields_of(body: bytes) -> Fields:
    """The top level of a JSON object. Raises InvalidRequest for anything else."""
    try:
        return dict(_decode(body))
    except UNREADABLE:
        try:
            found = read_json(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise InvalidRequest("The request body has to be a JSON object.") from None
        return found


def decoded(value: Any) -> Any:
    """One of the fields as a document. Raises InvalidRequest for what is JSON, but no document that can be held."""
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return read_json(bytes(value))
    except ValueError:
        raise InvalidRequest("The request body holds a number that is too large, or is nested too deeply.") from None


def speaks_of_functions(body: bytes) -> bool:
    """The caller uses the older `functions`, and expects a `function_call`."""
    if b'"functions"' not in body:
        return False
    try:
        found = _decode_legacy(body)
    except UNREADABLE:
        return False
    return bool(bytes(found.functions)) and not bytes(found.tools)


def chat_body(shape: Shape, body: bytes) -> bytes:
    """The chat request as the gateway takes it. Raises InvalidRequest."""
    if not (shape.flat_history or shape.stream == "off" or _wraps(shape)):
        return body
    fields = fields_of(body)
    if shape.stream == "off":
        for name in _STREAM_FIELDS:
            fields.pop(name, None)
    if shape.flat_history and "messages" in fields:
        fields["messages"] = flattened(decoded(fields["messages"]))
    return wrapped(shape, fields)


def wrapped(shape: Shape, fields: Fields) -> bytes:
    """The fields with the names, the additions and the place that the settings give them."""
    if not _wraps(shape):
        return _written(fields)
    renamed = {shape.rename.get(name, name): value for name, value in fields.items()}
    whole: Any = renamed
    for part in reversed(shape.request_under):
        whole = {part: whole}
    return _written(_merged(json.loads(shape.add), whole))


def _wraps(shape: Shape) -> bool:
    return bool(shape.request_under or shape.rename or shape.add != "{}")


def _merged(added: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Both; objects with the same name are merged, and otherwise what the caller says counts."""
    result = dict(added)
    for name, value in whole.items():
        other = added.get(name)
        result[name] = _merged(other, value) if isinstance(other, dict) and isinstance(value, dict) else value
    return result


def _written(fields: Fields) -> bytes:
    try:
        return msgspec.json.encode(fields)
    except UnicodeEncodeError:
        plain = json.loads(json.dumps(fields, default=decoded))
        return write_json(plain)
