"""Which outbound proxy an origin is reached through: HTTP_PROXY, HTTPS_PROXY, NO_PROXY. Pure."""

import ipaddress
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from mimic_proxy.http.target import Base
from mimic_proxy.relay.dial import OutboundProxy


def outbound_proxy(
    base: Base, *, http_proxy: str | None, https_proxy: str | None, no_proxy: Sequence[str]
) -> OutboundProxy | None:
    """The proxy for this origin, or None for a direct connection. Loopback is always direct."""
    url = https_proxy if base.scheme == "https" else http_proxy
    if url is None or bypasses(base.host, base.port, no_proxy):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    credentials = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return OutboundProxy(parts.hostname or "", parts.port or 80, credentials)


def bypasses(host: str, port: int, no_proxy: Sequence[str]) -> bool:
    """NO_PROXY as curl and Python read it: names with their subdomains, addresses, networks, `*`, optional ports."""
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(host, port, address, entry.strip().lower()) for entry in no_proxy if entry.strip())


def _matches(host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, entry: str) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdigit() and (":" not in name or name.startswith("[")):
        if int(digits) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").lstrip(".")
    if address is not None:
        return _address(entry) == address
    return host == entry or host.endswith(f".{entry}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
