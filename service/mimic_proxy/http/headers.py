"""Heads of both sides as bytes: which fields pass, which are replaced, which never leave.

The caller's head is walked once (`read_request`), the backend's once (`read_response`); both
walks collect the lines that pass, ready to be joined, and the few values that decide something.
Hop-by-hop fields: RFC 9110, 7.6.1. Framing fields: RFC 9112, 6.
"""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from mimic_proxy.errors import InvalidRequest, MimicError

MAX_FIELDS = 128
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
TRACEPARENT = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.DOTALL
)
"""W3C Trace Context, 3.2.2 and 4: what a version after 00 has behind the flags is none of ours."""
KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout=(\d{1,9})")

HOP_BY_HOP = (
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"http2-settings",
)
CREDENTIALS = (b"authorization", b"api-key", b"x-api-key", b"cookie", b"proxy-authorization")
CLIENT_KEYS = (b"authorization", b"api-key", b"x-api-key")
"""Where SDKs put their API key."""
NEVER_NAMED = frozenset(
    (
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"host",
        b"transfer-encoding",
        b"keep-alive",
        # What decides who is let in, and whether a body is asked for.
        b"origin",
        b"authorization",
        b"api-key",
        b"x-api-key",
        b"expect",
    )
)
"""What a Connection field cannot take away: what frames, describes or addresses a message, and what Mimic judges by."""
ABOUT_THE_BODY = (b"content-", b"etag:", b"last-modified:", b"accept-ranges:", b"digest:", b"repr-digest:")
CORS_LINES = b"access-control-expose-headers: *\r\nvary: origin\r\n"
"""Beside the allowed origin: without the first, pages read neither request ids nor hints to wait (Fetch, 3.3.3)."""
MAX_NAMES = 1024
LONGEST_NAME = 64
"""Bytes of a name that is remembered; with MAX_NAMES it bounds what callers can make the table hold."""

Reader = Callable[[Any, bytes, bytes], None]
"""Takes what it reads of one field into RequestFields or ResponseFields."""


class Names(dict[bytes, "Reader | None"]):
    """How a field of each spelling is treated, remembered from its first sight; None: it passes as it is."""

    def __init__(self, readers: "Mapping[bytes, Reader]", dropped: tuple[bytes, ...]) -> None:
        """readers: by lower-case name. dropped: beginnings of lower-case names that never pass."""
        super().__init__()
        self._readers = readers
        self._dropped = dropped

    def __missing__(self, name: bytes) -> "Reader | None":
        lower = name.lower()
        reader = self._readers.get(lower)
        if reader is None and lower.startswith(self._dropped):
            reader = _drop
        if len(self) < MAX_NAMES and len(name) <= LONGEST_NAME:
            self[name] = reader
        return reader


class RequestFields:
    """What the caller's head says, and its fields that pass to the backend as they are.

    What is not set in an instance was not in the head: one is made for every request, and heads are short.
    """

    host: bytes | None = None
    origin: bytes | None = None
    connection: bytes = b""
    content_length: int | None = None
    content_type: bytes = b""
    chunked: bool = False
    expect_continue: bool = False
    accept_encoding: bytes | None = None
    request_id: bytes | None = None
    traceparent: bytes | None = None
    tracestate: tuple[bytes, ...] = ()
    client_retry: bool = False
    credential: bytes | None = None
    """What the caller authenticates with, read only where client keys are wanted."""
    caller: str | None = None
    """The name of its entry among the client keys."""
    prepared: tuple[object, bool, bytes] | None = None
    """What `head_start` made of it last, behind what that depends on."""

    def __init__(self) -> None:
        self.passing: list[bytes] = []
        """Pieces of header lines, to be joined."""


class ResponseFields:
    """What the backend's head says, and its lines that pass to the caller as they are."""

    content_length: int | None = None
    content_type: bytes = b""
    chunked: bool = False
    connection: bytes = b""
    close: bool = False
    encoded: bool = False
    coding: bytes = b""
    """The content coding, lower case."""
    keep_alive_seconds: float | None = None
    location: bool = False
    request_id: bytes | None = None
    invalid_token: bool = False
    """A challenge says `error="invalid_token"` (RFC 6750, 3.1)."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.lines: list[bytes] = []

    @property
    def event_stream(self) -> bool:
        """A 2xx answer in server-sent events that can be read on the way."""
        return self.content_type.startswith(b"text/event-stream") and 200 <= self.status < 300 and not self.encoded

    @property
    def lines_beside_body(self) -> list[bytes]:
        """Its lines that hold for another body as well."""
        return [line for line in self.lines if not line.lower().startswith(ABOUT_THE_BODY)]


def _drop(fields: object, name: bytes, value: bytes) -> None:
    """The field does not pass."""


def _challenge(fields: ResponseFields, name: bytes, value: bytes) -> None:
    """It is meant for Mimic and does not pass."""
    if b'error="invalid_token"' in value.lower().replace(b" ", b""):
        fields.invalid_token = True


def _pass(fields: RequestFields, name: bytes, value: bytes) -> None:
    fields.passing += (name, b": ", value, b"\r\n")


def _host(fields: RequestFields, name: bytes, value: bytes) -> None:
    if fields.host is not None:
        raise InvalidRequest("The request has more than one Host field.")
    fields.host = value.strip()


def _content_type(fields: RequestFields, name: bytes, value: bytes) -> None:
    fields.content_type = value.lower()
    _pass(fields, name, value)


def _content_length(fields: "RequestFields | ResponseFields", name: bytes, value: bytes) -> None:
    # The parser has seen to it that these are digits, and one field.
    fields.content_length = int(value)


def _accept_encoding(fields: RequestFields, name: bytes, value: bytes) -> None:
    seen = fields.accept_encoding
    fields.accept_encoding = value if seen is None else b"%b, %b" % (seen, value)


def _connection(fields: RequestFields, name: bytes, value: bytes) -> None:
    if value.lower() != b"keep-alive":
        fields.connection += b"," + value.lower()


def _transfer_encoding(fields: RequestFields, name: bytes, value: bytes) -> None:
    if value.strip().lower() != b"chunked":
        raise InvalidRequest("The only transfer coding that Mimic takes is chunked.")
    fields.chunked = True


def _origin(fields: RequestFields, name: bytes, value: bytes) -> None:
    fields.origin = value.strip()
    _pass(fields, name, value)


def _expect(fields: RequestFields, name: bytes, value: bytes) -> None:
    fields.expect_continue = value.strip().lower() == b"100-continue"


def _request_id(fields: RequestFields, name: bytes, value: bytes) -> None:
    if fields.request_id is None and REQUEST_ID.fullmatch(value):
        fields.request_id = value


def _client_retry(fields: RequestFields, name: bytes, value: bytes) -> None:
    fields.client_retry = value != b"0"
    _pass(fields, name, value)


def _traceparent(fields: RequestFields, name: bytes, value: bytes) -> None:
    known = fields.traceparent is None and TRACEPARENT.fullmatch(value)
    fields.traceparent = value if known else b""


def _tracestate(fields: RequestFields, name: bytes, value: bytes) -> None:
    fields.tracestate += (value,)


REQUEST_READERS: Mapping[bytes, Reader] = {
    **dict.fromkeys(HOP_BY_HOP + CREDENTIALS, _drop),
    b"baggage": _drop,
    b"host": _host,
    b"content-type": _content_type,
    b"content-length": _content_length,
    b"accept-encoding": _accept_encoding,
    b"connection": _connection,
    b"transfer-encoding": _transfer_encoding,
    b"origin": _origin,
    b"expect": _expect,
    b"x-request-id": _request_id,
    b"x-stainless-retry-count": _client_retry,
    b"traceparent": _traceparent,
    b"tracestate": _tracestate,
}
"""Fields that do not simply pass. All others do."""


def request_names(token_header: bytes, *, baggage: bool = False, client_keys: bool = False) -> Names:
    """The table for callers' heads. `token_header`: lower-case name of the field that we write. baggage: it passes.

    client_keys: callers have to show one, so that it is read; it passes no more than else.
    """
    readers = dict(REQUEST_READERS)
    if baggage:
        del readers[b"baggage"]
    readers[token_header] = _drop
    if client_keys:
        readers.update(dict.fromkeys(CLIENT_KEYS, _credential))
    return Names(readers, (b"proxy-",))


def read_request(headers: list[tuple[bytes, bytes]], names: Names) -> RequestFields:
    """Walk the caller's head once.

    Raises InvalidRequest for what must not be guessed: two Host fields, codings beside chunked.
    """
    fields = RequestFields()
    passing = fields.passing
    for name, value in headers:
        read = names[name]
        if read is None:
            passing += (name, b": ", value, b"\r\n")
        else:
            read(fields, name, value)
    if fields.connection:
        return read_request(_without_named(headers, fields.connection), names)
    return fields


def _without_named(headers: list[tuple[bytes, bytes]], connection: bytes) -> list[tuple[bytes, bytes]]:
    """What Connection names is for this hop only (RFC 9110, 7.6.1), but for NEVER_NAMED."""
    named = {token.strip() for token in connection.split(b",")} - NEVER_NAMED | {b"connection"}
    return [pair for pair in headers if pair[0].lower() not in named]


def head_start(
    method: bytes, target: bytes, host: bytes, fields: RequestFields, credential: bytes, *, identity: bool
) -> bytes:
    """The part of the backend's head that is the same whenever the caller's head and the token are.

    credential: a whole line or empty. identity: ask for an unencoded answer (streams are read on the way).
    """
    parts = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, host), credential]
    parts += fields.passing
    if identity:
        parts.append(b"accept-encoding: identity\r\n")
    elif fields.accept_encoding is not None:
        parts.append(b"accept-encoding: %b\r\n" % fields.accept_encoding)
    if fields.request_id is not None:
        parts.append(b"x-request-id: %b\r\n" % fields.request_id)
    return b"".join(parts)


def head_end(trace: bytes, *, length: int | None, chunked: bool) -> bytes:
    """The rest of it, blank line included.

    trace: whole lines. length: bytes of the body, None where none is declared.
    """
    if length is not None:
        return b"%bcontent-length: %d\r\n\r\n" % (trace, length)
    coding = b"transfer-encoding: chunked\r\n" if chunked else b""
    return b"%b%b\r\n" % (trace, coding)


def _credential(fields: RequestFields, name: bytes, value: bytes) -> None:
    if fields.credential is None:
        fields.credential = value


def _response_type(fields: ResponseFields, name: bytes, value: bytes) -> None:
    fields.content_type = value.lower()
    fields.lines.append(b"%b: %b\r\n" % (name, value))


def _response_coding(fields: ResponseFields, name: bytes, value: bytes) -> None:
    if value.strip().lower() != b"chunked":
        raise ValueError("it has a transfer coding other than chunked")
    fields.chunked = True


def _response_connection(fields: ResponseFields, name: bytes, value: bytes) -> None:
    if value.lower() != b"keep-alive":
        fields.connection += b"," + value.lower()


def _keep_alive(fields: ResponseFields, name: bytes, value: bytes) -> None:
    match = KEEP_ALIVE_TIMEOUT.search(value.lower())
    fields.keep_alive_seconds = float(match[1]) if match else None


def _backend_id(fields: ResponseFields, name: bytes, value: bytes) -> None:
    if fields.request_id is None:
        fields.request_id = value


def _location(fields: ResponseFields, name: bytes, value: bytes) -> None:
    # Never passed on: SDKs follow redirects, and a prompt would leave Mimic.
    fields.location = True


def _content_encoding(fields: ResponseFields, name: bytes, value: bytes) -> None:
    fields.coding = value.strip().lower()
    fields.encoded = fields.coding not in (b"", b"identity")
    fields.lines.append(b"%b: %b\r\n" % (name, value))


RESPONSE_READERS: Mapping[bytes, Reader] = {
    **dict.fromkeys(HOP_BY_HOP, _drop),
    **dict.fromkeys((b"set-cookie", b"set-cookie2", b"proxy-authenticate"), _drop),
    b"connection": _response_connection,
    b"keep-alive": _keep_alive,
    b"content-length": _content_length,
    b"transfer-encoding": _response_coding,
    b"content-type": _response_type,
    b"content-encoding": _content_encoding,
    b"location": _location,
    b"www-authenticate": _challenge,
    b"x-request-id": _backend_id,
}
"""Fields that do not simply pass. All others do."""


def response_names(*, own_cors: bool) -> Names:
    """The table for backends' heads. `own_cors`: drop its CORS fields, Mimic decides on origins."""
    return Names(RESPONSE_READERS, (b"proxy-", b"access-control-") if own_cors else (b"proxy-",))


def read_response(status: int, headers: list[tuple[bytes, bytes]], names: Names) -> ResponseFields:
    """Walk the backend's head once.

    Raises ValueError for what must not be guessed: codings beside chunked, more than 128 fields.
    """
    if len(headers) > MAX_FIELDS:
        raise ValueError(f"it has more than {MAX_FIELDS} header fields")
    fields = ResponseFields(status)
    lines = fields.lines
    for name, value in headers:
        read = names[name]
        if read is None:
            lines.append(b"%b: %b\r\n" % (name, value))
        else:
            read(fields, name, value)
    if fields.connection:
        kept = read_response(status, _without_named(headers, fields.connection), names)
        kept.close = b"close" in fields.connection
        return kept
    return fields


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")


STATUS_LINES = {status: _status_line(status) for status in range(200, 1000)}


def request_ids(caller: bytes | None, backend: bytes | None, new: bytes) -> list[bytes]:
    """The x-request-id line of an answer, and the backend's own id when it differs.

    The caller's id wins, then the backend's, then `new`; never two fields of the same name.
    """
    valid = backend if backend is not None and REQUEST_ID.fullmatch(backend) else None
    chosen = caller or valid or new
    lines = [b"x-request-id: %b\r\n" % chosen]
    if backend is not None and backend != chosen:
        lines.append(b"x-upstream-request-id: %b\r\n" % backend)
    return lines


def error_fields(error: MimicError) -> list[bytes]:
    """The lines of an answer that Mimic originates, framing and ids aside."""
    return [b"content-type: application/json\r\n", *(b"%b: %b\r\n" % hint for hint in error.hints())]
