"""A parsed request: its head judged and read, and the few heads that are answered without an exchange. Pure."""

import re
import urllib.parse
from typing import Any

from mimic_proxy.errors import HeadTooLarge, InvalidRequest
from mimic_proxy.http.headers import MAX_FIELDS, REQUEST_ID, Names, read_request
from mimic_proxy.relay.ports import Request
from mimic_proxy.relay.routes import Route, Routes

MAX_HEAD_BYTES = 65536
ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)

UPGRADE_OFFER = (b"upgrade", b"http2-settings")

CALLER_LEFT = "mimic.left"
"""Key of the ASGI scope for a function that tells whether the caller has gone."""

CALLER = "mimic.caller"
"""Key of the ASGI scope for the name of the caller among the client keys, or None."""

Headers = list[tuple[bytes, bytes]]


class Inbound:
    """A request as its head has it."""

    __slots__ = ("headers", "request", "route", "target")

    def __init__(self, request: Request, route: Route | None, headers: Headers, target: bytes) -> None:
        self.request = request
        self.route = route
        """None: the web application answers."""
        self.headers = headers
        self.target = target


def read_head(
    method: bytes,
    url: bytes,
    headers: Headers,
    *,
    version: str,
    keep_alive: bool,
    names: Names,
    now: float,
    routes: Routes,
) -> Inbound:
    """What the parser has found, judged where the parser is lenient. Raises InvalidRequest and HeadTooLarge."""
    if len(headers) > MAX_FIELDS:
        raise HeadTooLarge(f"The request's head has more than {MAX_FIELDS} fields.")
    if head_size(url, headers) > MAX_HEAD_BYTES:
        raise HeadTooLarge("The request's head is larger than 64 KiB.")
    fields = read_request(headers, names)
    if version not in ("1.1", "1.0") or (version == "1.0" and fields.chunked):
        raise InvalidRequest(f"HTTP/{version} with these framing fields is not served. Use HTTP/1.1.")
    if version == "1.1" and fields.host is None:
        raise InvalidRequest("The request has no Host field (RFC 9112, 3.2).")
    target = _origin_form(url, method)
    path, _, query = target.partition(b"?")
    request = Request(
        method=method,
        path=path,
        query=query,
        fields=fields,
        http11=version == "1.1",
        keep_alive=version == "1.1" and keep_alive,
        started=now,
        content_length=fields.content_length,
        cors_origin=fields.origin,
    )
    found = routes.match(method, path)
    return Inbound(request, found if isinstance(found, Route) else None, headers, target)


def asked_id(headers: Headers) -> bytes | None:
    """The x-request-id that the caller asks for, if it is fit for one."""
    found = (value for name, value in headers if name.lower() == b"x-request-id" and REQUEST_ID.fullmatch(value))
    return next(found, None)


def head_size(url: bytes, headers: Headers) -> int:
    """Bytes of the head as far as it is parsed, about."""
    return len(url) + 16 + sum(len(name) + len(value) + 4 for name, value in headers)


def _origin_form(url: bytes, method: bytes) -> bytes:
    """The target as path and query (RFC 9112, 3.2); an absolute one loses its origin, as with any server."""
    if url == b"*" and method == b"OPTIONS":
        return b"/*"
    target = url
    absolute = ABSOLUTE.match(url)
    if absolute is not None:
        target = url[absolute.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    if not target.startswith(b"/"):
        raise InvalidRequest("The request's target is neither a path nor an http URL.")
    return target.split(b"#", 1)[0]


def without_upgrade(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """The head again, without its offer to switch protocols (RFC 9110, 7.8)."""
    lines = [b"%b %b HTTP/%b\r\n" % (method, url, version.encode("ascii"))]
    for name, value in headers:
        lower = name.lower()
        if lower == b"connection":
            # What else it names still is for this hop only.
            named = [token.strip() for token in value.lower().split(b",")]
            still = b", ".join(token for token in named if token and token not in UPGRADE_OFFER)
            if still:
                lines.append(b"connection: %b\r\n" % still)
        elif lower not in UPGRADE_OFFER:
            lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(b"\r\n")
    return b"".join(lines)


def preflight_answer(inbound: Inbound, request_id: bytes) -> bytes:
    """For the CORS preflight of a page that ALLOWED_ORIGINS names (Fetch standard, 3.2.2)."""
    asked = next((v for n, v in inbound.headers if n.lower() == b"access-control-request-headers"), b"*")
    return (
        b"HTTP/1.1 204 No Content\r\naccess-control-allow-origin: %b\r\nvary: origin\r\n"
        b"access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\naccess-control-allow-headers: %b\r\n"
        b"access-control-max-age: 600\r\nx-request-id: %b\r\n\r\n"
        % (inbound.request.fields.origin or b"", asked, request_id)
    )


def asgi_scope(inbound: Inbound, connection: dict[str, Any]) -> dict[str, Any]:
    """The ASGI connection scope of a request; `connection` is what all of its connection have in common."""
    request = inbound.request
    path, _, query = inbound.target.partition(b"?")
    return {
        **connection,
        "type": "http",
        "http_version": "1.1" if request.http11 else "1.0",
        "headers": [(name.lower(), value) for name, value in inbound.headers],
        "method": request.method.decode("ascii"),
        "path": urllib.parse.unquote(path.decode("ascii", "replace")),
        "raw_path": path,
        "query_string": query,
    }
