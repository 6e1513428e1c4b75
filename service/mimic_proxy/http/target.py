"""Where an operation goes: a configured base URL, and the request target below it.

1. Scheme, host and port come from the configuration alone; no caller changes them.
2. The caller's path and query are appended as the bytes they are: nothing is decoded or normalised.
3. A base may name an operation in full (`.../chat/completions`). It is used as it is for that operation, and the
   operation's path is taken off it for all others.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CHAT = b"/chat/completions"
EMBEDDINGS = b"/embeddings"
MODELS = b"/models"

_NAMED_IN_FULL = (CHAT, EMBEDDINGS, MODELS)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")
_BRACKETED = re.compile(r"\[[0-9A-Fa-f:.]+\](:.*)?")
_BAD_BRACKETS = "must hold an IPv6 address without a zone between brackets, and nothing but a port after them"
_NOT_A_URI = re.compile(r"[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]")
"""Anything but the characters of RFC 3986, section 2."""
_EXTRA_ROUTE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/v1(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+)(/\*)?")


@dataclass(frozen=True, slots=True)
class Base:
    """A base URL in parts. `path` has no trailing slash, `query` no question mark; both may be empty."""

    scheme: str
    host: str
    """Lower case; an IPv6 address stands without brackets."""
    port: int
    path: bytes = b""
    query: bytes = field(default=b"", repr=False)
    """Kept out of the repr: some gateways want a key here."""
    exact: bool = False
    """Every operation goes to this path as it is."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """What connections are pooled by (RFC 9110, 4.3.1)."""
        return (self.scheme, self.host, self.port)

    @property
    def host_field(self) -> bytes:
        """The value of the Host field: the port only if it is not the scheme's own (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}").encode("ascii")


def parse_base(url: str, *, exact: bool = False) -> Base:
    """Split a configured base URL. exact: it is the whole URL of its operation.

    Raises ValueError with a message that says what to write instead and never shows the URL, since it may hold a
    password or a key.
    """
    _check_characters(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(_BAD_BRACKETS) from None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password; the credential comes from the token settings")
    if "#" in url:
        raise ValueError("must not hold a fragment (#...); a server never sees it")
    return Base(
        scheme=scheme,
        host=_host(parts.netloc, parts.hostname),
        port=_port(parts.netloc) or _DEFAULT_PORTS[scheme],
        path=(parts.path if exact else parts.path.rstrip("/")).encode("ascii"),
        query=parts.query.encode("ascii"),
        exact=exact,
    )


def operation_target(base: Base, suffix: bytes, raw_query: bytes) -> bytes:
    """The origin-form request target (RFC 9112, 3.2.1) of an operation below a base.

    suffix: the operation's raw path, `/chat/completions` or whatever stands after the caller's `/v1`.
    raw_query: the caller's query without its question mark; it follows the base's own.
    """
    path = base.path
    if base.exact:
        path = path or b"/"
    elif suffix not in _NAMED_IN_FULL or not path.endswith(suffix):
        path = path.removesuffix(CHAT) + suffix
    query = base.query + b"&" + raw_query if base.query and raw_query else base.query or raw_query
    return path + b"?" + query if query else path


def read_extra_route(entry: str) -> tuple[str, str, bool]:
    """Method and path of one entry of EXTRA_ROUTES, and whether it holds for all paths below this one.

    Raises ValueError, which says what is wanted.
    """
    match = _EXTRA_ROUTE.fullmatch(entry)
    if match is None:
        raise ValueError(
            "must be routes separated by commas, each a method (GET, POST, PUT, PATCH or DELETE), a space and a path "
            "below /v1 that may end in /*, for example POST /v1/rerank, GET /v1/reports/*"
        )
    return match[1], match[2], match[3] is not None


def _check_characters(url: str) -> None:
    if not url:
        raise ValueError("is empty; write the URL, as in https://models.example.com/v1")
    odd = _NOT_A_URI.search(url)
    if odd is None:
        return
    if odd.group() <= " " or odd.group() == "\x7f":
        raise ValueError(f"holds a space or a control character at position {odd.start() + 1}; remove it")
    raise ValueError(f"holds a character at position {odd.start() + 1} that a URL has to percent-encode")


def _host(netloc: str, hostname: str | None) -> str:
    if not hostname:
        raise ValueError("names no host; write it after the scheme, as in https://models.example.com/v1")
    if netloc.startswith("["):
        if not _BRACKETED.fullmatch(netloc):
            raise ValueError(_BAD_BRACKETS)
        try:
            return str(ipaddress.IPv6Address(hostname))
        except ValueError:
            raise ValueError(_BAD_BRACKETS) from None
    if len(hostname) > 253 or not _HOST_NAME.fullmatch(hostname):
        raise ValueError("names a host that is neither a DNS name nor an address")
    return hostname


def _port(netloc: str) -> int | None:
    """The port, or None where none stands. `urlsplit` takes signs, spaces and underscores for digits."""
    text = netloc.rpartition("]")[2] if netloc.startswith("[") else netloc
    digits = text.partition(":")[2]
    if not digits:
        return None
    if not (digits.isdecimal() and len(digits) < 6 and 0 < int(digits) < 65536):
        raise ValueError("names a port that is not between 1 and 65535")
    return int(digits)
