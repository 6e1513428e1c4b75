"""Reading one setting: from the text of a variable, or a value of the YAML file, to what the program uses.

Every reader takes a value and returns it typed, or raises ValueError with a sentence that says what is wanted. The
sentence never repeats the value: somebody may have put a secret into the wrong variable.
"""

import ipaddress
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mimic_proxy import pointer
from mimic_proxy.http.target import parse_base, read_extra_route

TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})
HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")
FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A field name by RFC 9110, 5.1."""
FIXED_FIELDS = frozenset({"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade"})
"""Fields that frame a message or choose a route; a credential cannot go there."""

SECRET_PLACE = "{secret}"
TOKEN_TYPE_URN = "urn:ietf:params:oauth:token-type:"
TOKEN_TYPES = ("jwt", "access_token", "id_token", "refresh_token", "saml1", "saml2")

Reader = Callable[[object], object]
Pairs = tuple[tuple[str, object], ...]
"""Names with JSON values."""


def text(value: object) -> str:
    """One plain value as text; numbers and booleans of the YAML file included."""
    if isinstance(value, (str, int, float)):
        return str(value).strip()
    raise ValueError("must be one plain value, not a list or a mapping")


def secret(value: object) -> str:
    """A secret as it was written, blanks included; one newline at its end is dropped, editors add it."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value).removesuffix("\n").removesuffix("\r")
    raise ValueError("must be text; put it between quotes")


def flag(value: object) -> bool:
    """True, 1, yes, on or False, 0, no, off, in any case."""
    word = text(value).lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise ValueError("must be True or False (1, 0, yes and no do as well)")


@dataclass(frozen=True, slots=True)
class Whole:
    """Reads a whole number between two bounds, both included."""

    least: int
    most: int | None

    @property
    def wanted(self) -> str:
        """In words."""
        if self.most is None:
            return f"a whole number of at least {self.least}"
        return f"a whole number from {self.least} to {self.most}"

    def __call__(self, value: object) -> int:
        digits = text(value)
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
            raise ValueError(f"must be {self.wanted}")
        number = int(digits)
        if number < self.least or (self.most is not None and number > self.most):
            raise ValueError(f"must be {self.wanted}")
        return number


def whole(least: int, most: int | None = None) -> Whole:
    """A whole number between two bounds, both included."""
    return Whole(least, most)


def seconds(value: object) -> float:
    """A duration in seconds, fractions allowed; 0 switches the limit off."""
    wanted = "must be a number of seconds, 0 or more"
    try:
        number = float(text(value))
    except ValueError:
        raise ValueError(wanted) from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(wanted)
    return number


def positive_seconds(value: object) -> float:
    """A duration in seconds that cannot be switched off."""
    number = seconds(value)
    if number == 0:
        raise ValueError("must be more than 0 seconds")
    return number


@dataclass(frozen=True, slots=True)
class OneOf:
    """Reads one word of a closed list, in any case."""

    words: tuple[str, ...]

    def __call__(self, value: object) -> str:
        known = {word.lower(): word for word in self.words}
        found = known.get(text(value).lower())
        if found is None:
            *first, last = self.words
            raise ValueError(f"must be {' or '.join([', '.join(first), last] if first else [last])}")
        return found


def one_of(*words: str) -> OneOf:
    """One word of a closed list, in any case."""
    return OneOf(words)


def comma_list(value: object) -> tuple[str, ...]:
    """Comma separated text, or a list of the YAML file; blanks trimmed, empty and repeated entries dropped."""
    parts = [text(part) for part in value] if isinstance(value, list) else text(value).split(",")
    return tuple(dict.fromkeys(stripped for part in parts if (stripped := part.strip())))


def addresses(value: object) -> tuple[str, ...]:
    """Addresses or names to listen on, without a port; `[::1]` is read as `::1`."""
    found = tuple(_address(part) for part in comma_list(value))
    if not found:
        raise ValueError("must name at least one address, for example 127.0.0.1")
    return found


def host_names(value: object) -> tuple[str, ...]:
    """Names that the Host field may carry, without scheme and path; `*` stands for all, `::1` is read as `[::1]`."""
    names = comma_list(value)
    if any("/" in name or "@" in name for name in names):
        raise ValueError("must be host names separated by commas, without scheme or path")
    return tuple(f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name for name in names)


def extra_routes(value: object) -> tuple[str, ...]:
    """Routes that are relayed beside OpenAI's own: a method and a path below `/v1`."""
    entries = comma_list(value)
    for entry in entries:
        read_extra_route(entry)
    return entries


def networks(value: object) -> tuple[str, ...]:
    """IP addresses and networks, in their shortest form; `172.16.0.0/12` or one address."""
    try:
        return tuple(str(ipaddress.ip_network(part)) for part in comma_list(value))
    except ValueError:
        raise ValueError("must be IP addresses or networks separated by commas, for example 172.16.0.0/12") from None


def origins(value: object) -> tuple[str, ...]:
    """Origins as a browser writes them (RFC 6454, 6.2): scheme, host and port, no slash at the end; `*` for all."""
    found = comma_list(value)
    for origin in found:
        if origin not in ("*", "null") and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\s]+", origin):
            raise ValueError("must be origins like https://app.example.com separated by commas, no slash at the end")
    return found


def path(value: object) -> Path:
    """A file's path, as it was written; relative to the working directory."""
    written = text(value)
    if "\0" in written:
        raise ValueError("must be the path of a file")
    return Path(written)


def url(value: object) -> str:
    """A base URL as it was written; `http.target` says what one may hold."""
    written = text(value)
    parse_base(written)
    return written


def proxy(value: object) -> str:
    """An outbound HTTP proxy; without a scheme http is meant, as curl does it. Credentials may stand in it."""
    written = text(value)
    scheme, separator, rest = written.partition("://")
    if not separator:
        scheme, rest = "http", written
    if scheme.lower() == "https":
        raise ValueError("must be an http:// proxy; TLS to the proxy itself is not supported")
    if scheme.lower() != "http":
        raise ValueError("must be an http:// proxy; no other kind is supported")
    credentials, at, place = rest.rpartition("@")
    base = parse_base(f"http://{place}")
    if base.path or base.query:
        raise ValueError("must be http://host:port with nothing behind the port")
    if not (credentials.isascii() and credentials.isprintable()) or set(credentials) & set("/?# @"):
        raise ValueError("must have its user name and password percent-encoded")
    return f"http://{credentials}{at}{place}"


def header_name(value: object) -> str:
    """The name of a request header field that may carry a credential."""
    name = text(value)
    if not FIELD_NAME.fullmatch(name):
        raise ValueError("must be the name of a header field, for example Authorization")
    if name.lower() in FIXED_FIELDS:
        raise ValueError("must not be a header field that frames or routes the request")
    return name


def token_format(value: object) -> str:
    """The value of that field, with the place of the token marked once, for example `Bearer {token}`."""
    written = text(value)
    if written.count("{token}") != 1 or not written.isascii() or not written.isprintable():
        raise ValueError("must contain {token} once, for example: Bearer {token}")
    return written


def segment(value: object) -> str:
    """A word that becomes part of a URL's path: letters, digits and `. _ ~ -`."""
    written = text(value)
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", written) or set(written) == {"."}:
        raise ValueError("must be letters, digits, dots and dashes, since it becomes part of a URL")
    return written


def base_url(value: object) -> str:
    """A URL that paths are appended to; slashes at its end do not count."""
    return url(value).rstrip("/")


def pointers(value: object) -> tuple[str, ...]:
    """Places in a JSON document as `mimic_proxy.pointer` reads them, separated by commas; the first that is there
    counts."""
    found = comma_list(value)
    for part in found:
        pointer.parse(part)
    return found


def pairs(value: object) -> Pairs:
    """`name=value` separated by commas, a JSON object, or a mapping of the YAML file."""
    wanted = "must be name=value separated by commas, or a JSON object"
    if isinstance(value, dict):
        document: object = value
    elif (written := text(value)).startswith("{"):
        try:
            document = json.loads(written)
        except (ValueError, RecursionError):
            raise ValueError("begins with { and is not a JSON object") from None
    else:
        parts = [part.partition("=") for part in written.split(",") if part.strip()]
        if not all(separator and name.strip() for name, separator, _ in parts):
            raise ValueError(wanted)
        document = {name.strip(): given.strip() for name, _, given in parts}
    if not isinstance(document, dict) or not all(isinstance(name, str) and name for name in document):
        raise ValueError(wanted)
    return tuple(document.items())


def header_pairs(value: object) -> Pairs:
    """As `pairs`: header fields of a request."""
    found = pairs(value)
    for name, content in found:
        if not FIELD_NAME.fullmatch(name) or name.lower() in FIXED_FIELDS:
            raise ValueError("must name header fields that neither frame nor route the request")
        if not isinstance(content, str) or not content.isascii() or not content.isprintable():
            raise ValueError("must give each header field a value of printable ASCII")
    return found


def token_type(value: object) -> str:
    """A token type identifier (RFC 8693, 3): its last word, or a URI."""
    written = text(value)
    if written.lower() in TOKEN_TYPES:
        return f"{TOKEN_TYPE_URN}{written.lower()}"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", written):
        raise ValueError(f"must be {', '.join(TOKEN_TYPES[:-1])} or {TOKEN_TYPES[-1]}, or a URI")
    return written


def secret_format(value: object) -> str:
    """What is sent for a secret, with its place marked once, for example `Api-Key {secret}`."""
    written = text(value)
    if written.count(SECRET_PLACE) != 1 or not written.isprintable():
        raise ValueError("must contain {secret} once, for example: Api-Key {secret}")
    return written


def masked_url(written: str) -> str:
    """A URL that may be shown: without user name and password, the values of its query hidden."""
    parts = urlsplit(written)
    query = "&".join(f"{pair.partition('=')[0]}=***" if "=" in pair else "***" for pair in parts.query.split("&"))
    netloc = parts.netloc.rpartition("@")[2]
    shown = f"***@{netloc}" if "@" in parts.netloc else netloc
    return parts._replace(netloc=shown, query=query if parts.query else "").geturl()


def _address(part: str) -> str:
    bare = part[1:-1] if part.startswith("[") and part.endswith("]") else part
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if HOST_NAME.fullmatch(part):
            return part
    raise ValueError("must be addresses or host names separated by commas, without a port")


def one_pointer(value: object) -> str:
    """One place in a JSON document as `mimic_proxy.pointer` reads it, as it was written."""
    written = text(value)
    if not written:
        raise ValueError("must name a place in the JSON, for example data.content")
    try:
        pointer.parse(written)
    except ValueError as wrong:
        raise ValueError(str(wrong)) from None
    return written


def some_pointers(value: object) -> tuple[str, ...]:
    """At least one place in a JSON document."""
    found = pointers(value)
    if not found:
        raise ValueError("must name at least one place in the JSON, for example data.content")
    return found


def renames(value: object) -> tuple[str, ...]:
    """`name=other` for each top-level field that has another name, separated by commas; a mapping in YAML."""
    pairs = [f"{name}={other}" for name, other in value.items()] if isinstance(value, dict) else comma_list(value)
    names = [pair.partition("=")[::2] for pair in pairs]
    if not all(name.strip() and other.strip() for name, other in names):
        raise ValueError("must be pairs like messages=conversation, separated by commas")
    if len({name for name, _ in names}) < len(names) or len({other for _, other in names}) < len(names):
        raise ValueError("must not name a field twice")
    return tuple(f"{name.strip()}={other.strip()}" for name, other in names)


def json_object(value: object) -> str:
    """A JSON object as compact text; a mapping in YAML."""
    wanted = 'must be a JSON object, for example {"application": "crm"}'
    try:
        found: Any = json.loads(value) if isinstance(value, str) else value
        if not isinstance(found, dict):
            raise ValueError(wanted)
        return json.dumps(found, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(wanted) from None
