"""Who may call: which hosts and web pages, and which client keys. Pure.

1. Any page can post to a port on localhost, and DNS rebinding lets it read the response. A Host that is not a loopback
   name or address was looked up in somebody's DNS: refused unless allowed by name.
2. An Origin (RFC 6454, 7) is sent by browsers only: refused unless allowed. `null` is an origin like any other.
3. Client keys are compared by their digests and in constant time, each of them whatever the others said: how long it
   takes tells nothing of how much of a key was right, nor which entry it was.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from mimic_proxy.errors import ClientKeyRefused, ClientKeysMissing, Forbidden, MimicError

MOST_NAMES = 256
"""Entries of more names are accepted, but told apart no further: each name is a series of the metrics."""
OTHERS = "other"
_ANY = "*"
_LONGEST_HOST = 255 + len("[]:65535")


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """What is allowed beside loopback; `*` in a list allows all. Compared without regard to case.

    allowed_hosts: names or addresses; without a port they hold for any port, with one an IPv6 address has brackets.
    allowed_origins: as browsers write them, `https://app.example.com`.
    """

    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


def judge(host: bytes | None, origin: bytes | None, policy: OriginPolicy) -> Forbidden | None:
    """The error to answer with, or None.

    host, origin: the values of the fields. An absent Host is accepted: HTTP/1.0 has none, and browsers send one.
    """
    if origin is not None and not _listed(_text(origin), policy.allowed_origins):
        return Forbidden(
            "Requests from web pages are refused; name the page's origin in ALLOWED_ORIGINS to let it in.",
            code="forbidden_origin",
        )
    if host is not None and (len(host) > _LONGEST_HOST or not _host_allowed(host, policy.allowed_hosts)):
        return Forbidden(
            "The Host of this request is not a loopback name; name it in ALLOWED_HOSTS to let it in.",
            code="forbidden_host",
        )
    return None


@lru_cache(maxsize=256)
def _host_allowed(host: bytes, allowed: tuple[str, ...]) -> bool:
    """Remembered, since a caller sends the same Host for ever; bounded in number and by _LONGEST_HOST."""
    text = _text(host)
    name = _without_port(text).removesuffix(".")
    return _is_loopback(name) or any(_listed(form, allowed) for form in (text, name, name.strip("[]")))


def _is_loopback(name: str) -> bool:
    """Loopback by RFC 6761, 6.3, RFC 1122, 3.2.1.3 and RFC 4291, 2.5.3; other spellings of addresses are not."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        if not name.startswith("["):
            return ipaddress.IPv4Address(name).is_loopback
        address = ipaddress.IPv6Address(name[1:-1])
    except ValueError:
        return False
    return (address.ipv4_mapped or address).is_loopback


def _without_port(host: str) -> str:
    """The name of a Host value; the value itself where no port follows (RFC 9110, 7.2)."""
    name, colon, port = host.rpartition(":")
    bare = name if colon and (not port or (port.isascii() and port.isdecimal())) else host
    return host if ":" in bare and not (bare.startswith("[") and bare.endswith("]")) else bare


def _listed(value: str, allowed: tuple[str, ...]) -> bool:
    return any(entry in (_ANY, value) or entry.lower() == value for entry in allowed)


def _text(value: bytes) -> str:
    return value.decode("latin-1").lower()


class AcceptedKeys:
    """The keys of one moment. entries: name and key; a name may have several keys, so that one can be replaced."""

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._known: list[tuple[bytes, str]] = []
        names: dict[str, None] = {}
        for name, key in entries:
            apart = name in names or len(names) < MOST_NAMES
            if apart:
                names[name] = None
            self._known.append((hashlib.sha256(key.encode()).digest(), name if apart else OTHERS))

    def __len__(self) -> int:
        return len(self._known)

    def name_of(self, credential: bytes | None) -> str | MimicError:
        """The name of the entry whose key this is, or why the caller is not let in.

        credential: what stands in Authorization (with or without `Bearer`), api-key or x-api-key.
        """
        if not self._known:
            return ClientKeysMissing("No client key is accepted yet: CLIENT_KEYS lists none.", retry_after=5)
        if credential is None:
            return ClientKeyRefused("This Mimic wants a client key. Set the SDK's API key to the one you were given.")
        digest = hashlib.sha256(bare(credential)).digest()
        found: str | None = None
        for known, name in self._known:
            if hmac.compare_digest(known, digest):
                found = name
        if found is None:
            return ClientKeyRefused("This client key is not accepted. Set the SDK's API key to the one you were given.")
        return found


def bare(credential: bytes) -> bytes:
    """The key without the word before it (RFC 6750, 2.1)."""
    scheme, _, rest = credential.partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" else credential.strip()
