"""Which method and raw path is relayed, and where.

1. Only what stands in the tables, or in EXTRA_ROUTES, is relayed: all of OpenAI's API but its administration
   (organization, projects) and its sockets.
2. Paths are compared as the bytes they came as and forwarded so: `/v1/files/a%2Fb` keeps its `%2F`.
3. A path is refused, not normalised, if it has an empty segment, one that could be read as `.` or `..`, a backslash or
   a control character, however often they are encoded: Mimic and the backend must not disagree about which route it is.
4. HEAD is not relayed: an HTTP/1.1 parser has to be told that its answer has no body (RFC 9112, 6.3).
5. A path that is not served is told what to change, where a served one is near it.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from mimic_proxy.errors import MethodNotAllowed, MimicError, UnknownRoute
from mimic_proxy.http.target import read_extra_route

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
    """json: read whole and kept for a replay, unless its content type says that it is no JSON; may be empty on routes
    that are not first class. stream: passed on as it comes. none: the method takes no body."""
    template: str
    """The path with its variable parts named, for spans."""
    first_class: bool
    stream_end: StreamEnd
    """How an event stream of this route ends: with `[DONE]`, or with a terminal event of its own, if it has one."""


@dataclass(frozen=True, slots=True)
class _Rule:
    template: str
    path: re.Pattern[bytes]
    methods: dict[bytes, Body]
    stream_end: StreamEnd
    extra: bool


def _rule(below: str, methods: dict[bytes, Body], stream_end: StreamEnd = "responses", *, extra: bool = False) -> _Rule:
    """`{id}` stands for one segment, `{rest}` for one or more; neither is ever empty."""
    path = re.escape(f"/v1{below}").replace(r"\{id\}", "[^/]+").replace(r"\{rest\}", "[^/]+(?:/[^/]+)*")
    return _Rule(f"/v1{below}", re.compile(path.encode("ascii")), methods, stream_end, extra)


_GET: dict[bytes, Body] = {b"GET": "none"}
_DELETE: dict[bytes, Body] = {b"DELETE": "none"}
_POST: dict[bytes, Body] = {b"POST": "json"}
_UPLOAD: dict[bytes, Body] = {b"POST": "stream"}
_ALL = _GET | _POST | _DELETE

_RULES = (
    _rule("/chat/completions", _GET, "done"),
    _rule("/chat/completions/{id}", _ALL, "done"),
    _rule("/chat/completions/{id}/messages", _GET, "done"),
    _rule("/completions", _POST, "done"),
    _rule("/responses", _POST),
    _rule("/responses/{rest}", _ALL),
    _rule("/moderations", _POST),
    _rule("/images/edits", _UPLOAD),
    _rule("/images/variations", _UPLOAD),
    _rule("/images/{rest}", _POST),
    _rule("/audio/transcriptions", _UPLOAD),
    _rule("/audio/translations", _UPLOAD),
    _rule("/audio/{rest}", _ALL),
    _rule("/files", _GET | _UPLOAD),
    _rule("/files/{rest}", _ALL),
    _rule("/models/{rest}", _DELETE),
    _rule("/realtime/{rest}", _POST),
    _rule("/decisions", _POST),
    _rule("/content_provenance_checks", _POST),
    _rule("/webhook_event_types", _GET),
    *(
        rule
        for group in (
            "agents",
            "assistants",
            "batches",
            "chatkit",
            "containers",
            "conversations",
            "evals",
            "fine_tuning",
            "live",
            "safety",
            "skills",
            "threads",
            "uploads",
            "vaults",
            "vector_stores",
            "videos",
            "webhook_endpoints",
        )
        for rule in (_rule(f"/{group}", _GET | _POST), _rule(f"/{group}/{{rest}}", _ALL))
    ),
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
_READ = frozenset({b"GET", b"HEAD"})


class Routes:
    """The routes of one configuration.

    translated: the backend does not speak OpenAI's API, so that nothing is passed through. extra: the entries of
    EXTRA_ROUTES, as in `POST /v1/rerank` or `GET /v1/reports/*`.
    """

    def __init__(self, *, translated: bool = False, extra: tuple[str, ...] = ()) -> None:
        self._translated = translated
        rules: tuple[_Rule, ...] = () if translated else (*map(_extra_rule, extra), *_RULES)
        self._groups: dict[bytes, list[_Rule]] = {}
        for rule in rules:
            self._groups.setdefault(_group(rule.template.encode("ascii")), []).append(rule)

    def match(self, method: bytes, raw_path: bytes) -> Route | MimicError | None:
        """Find the route of a request.

        raw_path: the request target's path as it came, without the query.
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
            return self._unknown(method, raw_path)
        found = self._rules(raw_path)
        for rule in found:
            body = rule.methods.get(method)
            if body is not None:
                return Route(
                    operation="passthrough",
                    base="chat",
                    suffix=raw_path[len(_PREFIX) :],
                    body=body,
                    template=rule.template,
                    first_class=False,
                    stream_end=rule.stream_end,
                )
        served = {name for rule in found for name in rule.methods}
        if _MODELS.fullmatch(raw_path):
            if method in _READ:
                return None
            served |= _READ
        if raw_path in _FIRST_CLASS:
            served.add(b"POST")
        return _not_allowed(method, raw_path, served) if served else self._unknown(method, raw_path)

    def _rules(self, raw_path: bytes) -> list[_Rule]:
        """The rules that hold for a path: those of EXTRA_ROUTES, and the first one beside them."""
        found: list[_Rule] = []
        for rule in self._groups.get(_group(raw_path), ()):
            if rule.path.fullmatch(raw_path):
                found.append(rule)
                if not rule.extra:
                    break
        return found

    def _serves(self, raw_path: bytes) -> bool:
        if _ambiguous(raw_path):
            return False
        return bool(raw_path in _FIRST_CLASS or _MODELS.fullmatch(raw_path) or self._rules(raw_path))

    def _unknown(self, method: bytes, raw_path: bytes) -> UnknownRoute:
        message = f"Mimic does not serve {_echo(method)} {_echo(raw_path)}."
        near, advice = _near(raw_path)
        if near != raw_path and self._serves(near):
            message += f" Did you mean {_echo(near)}? {advice}"
        elif raw_path.startswith(b"/openai/"):
            message += " Use the plain OpenAI client with a base URL that ends in /v1, not the one for Azure."
        elif self._translated:
            message += _TRANSLATED
        return UnknownRoute(message)


def _extra_rule(entry: str) -> _Rule:
    method, path, below = read_extra_route(entry)
    body: Body = "none" if method in ("GET", "DELETE") else "json"
    return _rule(path.removeprefix("/v1") + ("/{rest}" if below else ""), {method.encode("ascii"): body}, extra=True)


def _group(path: bytes) -> bytes:
    """The first segment below `/v1`."""
    return path[len(_PREFIX) + 1 :].partition(b"/")[0] if path.startswith(b"/v1/") else b""


def _near(raw_path: bytes) -> tuple[bytes, str]:
    """A path that was perhaps meant, and what to change for it."""
    path, advice = raw_path, []
    if b"//" in path:
        path = re.sub(rb"/{2,}", b"/", path)
        advice.append("The path has // in it: take the / off the end of the SDK's base URL.")
    if path.endswith(b"/"):
        path = path.rstrip(b"/")
        advice.append("Take the / off the end of the path.")
    if path.startswith(b"/v1/v1/"):
        while path.startswith(b"/v1/v1/"):
            path = path[len(_PREFIX) :]
        advice.append("The path has /v1 twice: take one off the SDK's base URL.")
    elif not path.startswith(b"/v1/"):
        path = _PREFIX + path
        advice.append("The SDK's base URL has to end in /v1.")
    return path, " ".join(advice)


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


def _not_allowed(method: bytes, raw_path: bytes, allowed: set[bytes]) -> MethodNotAllowed:
    names = sorted(name.decode("ascii") for name in allowed)
    message = f"Mimic does not take {_echo(method)} for {_echo(raw_path)}; use {' or '.join(names)}."
    return MethodNotAllowed(message, allowed=names)


def _echo(text: bytes) -> str:
    """What the caller sent, fit for a message: printable and short."""
    shown = text[:_LONGEST_ECHO].decode("latin-1").encode("unicode_escape").decode("ascii")
    return shown + "..." if len(text) > _LONGEST_ECHO else shown
