"""Which method and raw path is relayed, and where.

1. Only what stands in the tables is relayed; organisation, projects and realtime do not.
2. Paths are compared as the bytes they came as and forwarded so: `/v1/files/a%2Fb` keeps its `%2F`.
3. A path is refused, not normalised, if it has an empty segment, one that could be read as `.` or `..`, a backslash or
   a control character, however often they are encoded: Mimic and the backend must not disagree about which route it is.
4. HEAD is not relayed: an HTTP/1.1 parser has to be told that its answer has no body (RFC 9112, 6.3).
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from mimic_proxy.errors import MethodNotAllowed, MimicError, UnknownRoute

Body = Literal["json", "stream", "none"]
StreamEnd = Literal["done", "responses"]

_PREFIX = b"/v1"
_LONGEST_ECHO = 200
_REFUSED = re.compile(rb"[\x00-\x20\x7f?#]")
_AMBIGUOUS = re.compile(rb"[\x00-\x1f\x7f\\]|//|/$")
_MOST_DECODINGS = 3


@dataclass(frozen=True, slots=True)
class Route:
    """How one operation is relayed."""

    operation: Literal["chat", "embeddings", "passthrough"]
    base: Literal["chat", "embeddings"]
    suffix: bytes
    """The caller's raw path after `/v1`."""
    body: Body
    """json: read whole and kept for a replay; may be empty on routes that are not first class. stream: passed on as it
    comes. none: the method takes no body."""
    template: str
    """The path with its variable parts named, for spans."""
    first_class: bool
    stream_end: StreamEnd
    """How an event stream of this route ends: with `[DONE]`, or with a terminal event of its own."""


@dataclass(frozen=True, slots=True)
class _Rule:
    template: str
    path: re.Pattern[bytes]
    methods: dict[bytes, Body]
    stream_end: StreamEnd


def _rule(below: str, methods: dict[bytes, Body], stream_end: StreamEnd = "done") -> _Rule:
    """`{id}` stands for one segment, `{rest}` for one or more; neither is ever empty."""
    path = re.escape(f"/v1{below}").replace(r"\{id\}", "[^/]+").replace(r"\{rest\}", "[^/]+(?:/[^/]+)*")
    return _Rule(f"/v1{below}", re.compile(path.encode("ascii")), methods, stream_end)


_GET: dict[bytes, Body] = {b"GET": "none"}
_DELETE: dict[bytes, Body] = {b"DELETE": "none"}
_POST: dict[bytes, Body] = {b"POST": "json"}
_UPLOAD: dict[bytes, Body] = {b"POST": "stream"}

_RULES = (
    _rule("/chat/completions", _GET),
    _rule("/chat/completions/{id}", _GET | _POST | _DELETE),
    _rule("/chat/completions/{id}/messages", _GET),
    _rule("/completions", _POST),
    _rule("/responses", _POST, "responses"),
    _rule("/responses/{rest}", _GET | _POST | _DELETE, "responses"),
    _rule("/moderations", _POST),
    _rule("/images/edits", _UPLOAD, "responses"),
    _rule("/images/variations", _UPLOAD),
    _rule("/images/{rest}", _POST, "responses"),
    _rule("/audio/transcriptions", _UPLOAD, "responses"),
    _rule("/audio/translations", _UPLOAD, "responses"),
    _rule("/audio/{rest}", _GET | _POST | _DELETE, "responses"),
    _rule("/files", _GET | _UPLOAD),
    _rule("/files/{rest}", _GET | _POST | _DELETE),
    _rule("/batches", _GET | _POST),
    _rule("/batches/{rest}", _GET | _POST | _DELETE),
)
"""The first rule that a path matches decides."""

_FIRST_CLASS = {
    b"/v1/chat/completions": Route(
        "chat", "chat", b"/chat/completions", "json", "/v1/chat/completions", first_class=True, stream_end="done"
    ),
    b"/v1/embeddings": Route(
        "embeddings", "embeddings", b"/embeddings", "json", "/v1/embeddings", first_class=True, stream_end="done"
    ),
}
_TRANSLATED = " With DIALECT=envelope it serves chat completions, embeddings and models."
_SERVED_HERE = frozenset({b"/docs", b"/docs/oauth2-redirect", b"/openapi.json"})
_MODELS = re.compile(rb"/v1/models(?:/[^/]+)*")
"""The id of a model may hold slashes that a caller did not encode."""


def match(method: bytes, raw_path: bytes, *, translated: bool = False) -> Route | MimicError | None:
    """Find the route of a request.

    raw_path: the request target's path as it came, without the query. translated: the backend does not speak OpenAI's
    API, so that nothing is passed through.
    Returns the route, the error to answer with, or None for what is served here by the web application: the models
    and the API's own documentation.
    """
    if method == b"POST":
        route = _FIRST_CLASS.get(raw_path)
        if route is not None:
            return route
    if raw_path in _SERVED_HERE:
        return None
    if _ambiguous(raw_path):
        return _unknown(method, raw_path)
    if _MODELS.fullmatch(raw_path):
        return None if method == b"GET" else _not_allowed(method, raw_path, {b"GET"})
    if translated and raw_path not in _FIRST_CLASS:
        return _unknown(method, raw_path, _TRANSLATED)
    rule = next((rule for rule in _RULES if rule.path.fullmatch(raw_path)), None)
    if rule is not None and not translated and (body := rule.methods.get(method)) is not None:
        return Route(
            operation="passthrough",
            base="chat",
            suffix=raw_path[len(_PREFIX) :],
            body=body,
            template=rule.template,
            first_class=False,
            stream_end=rule.stream_end,
        )
    served = set(rule.methods if rule is not None and not translated else ()) | (
        {b"POST"} if raw_path in _FIRST_CLASS else set()
    )
    return _not_allowed(method, raw_path, served) if served else _unknown(method, raw_path)


def _ambiguous(raw_path: bytes) -> bool:
    """A server behind might resolve it to another path than the one that is matched here (RFC 3986, 5.2.4).

    Servers differ in how often they decode a path, and in what they take for a separator or leave off a segment's end.
    """
    if _REFUSED.search(raw_path):
        return True
    path = unquote_to_bytes(raw_path)
    for _ in range(_MOST_DECODINGS):
        before, path = path, unquote_to_bytes(path)
        if path == before:
            break
    else:
        return True
    if _AMBIGUOUS.search(path) or not _is_utf8(path):
        return True
    # `..;x` is a parent segment with a parameter to some servers, and `.. ` is one to others.
    return any(part.partition(b";")[0].strip() in (b".", b"..") for part in path.split(b"/"))


def _is_utf8(text: bytes) -> bool:
    """Overlong forms of a dot or a slash are not, and some decoders take them all the same (RFC 3629, 10)."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _unknown(method: bytes, raw_path: bytes, hint: str = "") -> UnknownRoute:
    message = f"Mimic does not serve {_echo(method)} {_echo(raw_path)}.{hint}"
    if raw_path.startswith(b"/v1/v1/"):
        message += " The path has /v1 twice; take one off the SDK's base URL."
    elif _PREFIX + raw_path in _FIRST_CLASS or raw_path.startswith(b"/models"):
        message += " The SDK's base URL has to end in /v1."
    return UnknownRoute(message)


def _not_allowed(method: bytes, raw_path: bytes, allowed: set[bytes]) -> MethodNotAllowed:
    names = sorted(name.decode("ascii") for name in allowed)
    message = f"Mimic does not take {_echo(method)} for {_echo(raw_path)}; use {' or '.join(names)}."
    return MethodNotAllowed(message, allowed=names)


def _echo(text: bytes) -> str:
    """What the caller sent, fit for a message: printable and short."""
    shown = text[:_LONGEST_ECHO].decode("latin-1").encode("unicode_escape").decode("ascii")
    return shown + "..." if len(text) > _LONGEST_ECHO else shown
