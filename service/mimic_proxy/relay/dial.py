"""Open a connection to an origin: names, addresses, outbound proxy, TLS.

uvloop knows no happy eyeballs, so this resolves by itself, alternates the address families and
starts the next address after 250 ms (RFC 8305, 5). The CONNECT exchange with an outbound proxy is
read by hand under the connect timer (RFC 9110, 9.3.6).
"""

import asyncio
import base64
import ipaddress
import itertools
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from mimic_proxy.errors import ErrorType, UpstreamTimeout, UpstreamUnreachable
from mimic_proxy.http.target import Base

STAGGER_SECONDS = 0.25
MAX_PROXY_HEAD_BYTES = 16384

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """An HTTP proxy on the way to an origin; `credentials` is user:password or None."""

    host: str
    port: int
    credentials: str | None = None

    def __repr__(self) -> str:
        return f"ForwardProxy(host={self.host!r}, port={self.port})"


class Dialler:
    """Opens connections. One for the process; `context` gives the TLS context of the moment."""

    def __init__(
        self,
        *,
        context: Callable[[], ssl.SSLContext],
        proxy_for: Callable[[Base], ForwardProxy | None],
        timeout: float,
    ) -> None:
        self.context = context
        self.proxy_for = proxy_for
        self.timeout = timeout

    def __call__(self, base: Base, factory: Callable[[], asyncio.Protocol]) -> "asyncio.Task[asyncio.Protocol]":
        """A task that ends with the connected protocol, or with a MimicError."""
        return asyncio.get_running_loop().create_task(self._dial(base, factory))

    async def _dial(self, base: Base, factory: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        place = f"{base.host}:{base.port}"
        try:
            async with asyncio.timeout(self.timeout or None):
                return await self._connect(base, factory)
        except TimeoutError as error:
            message = f"No connection to the backend at {place} within {self.timeout:g} s (connect timer)."
            raise UpstreamTimeout(message, timer="connect") from error
        except socket.gaierror as error:
            message = f"The name of the backend, {base.host}, does not resolve ({error.strerror})."
            raise UpstreamUnreachable(message, error_type="dns") from error
        except ssl.SSLCertVerificationError as error:
            message = (
                f"The certificate of {place} was not accepted: {error.verify_message}. "
                "Set CA_BUNDLE to the issuer's certificate, or VERIFY_SSL=False where that is safe."
            )
            raise UpstreamUnreachable(message, error_type="tls") from error
        except ssl.SSLError as error:
            message = f"TLS with {place} failed ({error.reason or 'handshake'}). Does it speak https?"
            raise UpstreamUnreachable(message, error_type="tls") from error
        except OSError as error:
            reason = _reason(error)
            kind: ErrorType = "tls" if base.scheme == "https" and isinstance(error, ConnectionError) else "connect"
            message = f"The backend at {place} cannot be reached: {reason}."
            raise UpstreamUnreachable(message, error_type=kind) from error

    async def _connect(self, base: Base, factory: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        loop = asyncio.get_running_loop()
        proxy = self.proxy_for(base)
        if proxy is None:
            sock = await open_socket(base.host, base.port)
        else:
            sock = await _through_proxy(proxy, base)
        try:
            if base.scheme == "https":
                # A host given as an IP address gets no SNI; Python leaves it out and checks the IP SAN.
                _, protocol = await loop.create_connection(
                    factory, sock=sock, ssl=self.context(), server_hostname=base.host
                )
            else:
                _, protocol = await loop.create_connection(factory, sock=sock)
        except BaseException:
            sock.close()
            raise
        return protocol


def _reason(error: OSError) -> str:
    """The system's words; asyncio puts its own in front of them."""
    return os.strerror(error.errno) if error.errno else error.strerror or type(error).__name__


async def open_socket(host: str, port: int) -> socket.socket:
    """A connected TCP socket, the addresses of both families tried in turn, staggered.

    Raises OSError (the first address's) or socket.gaierror.
    """
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = interleave([(family, address) for family, _, _, _, address in infos])  # type: ignore[misc]
    if len(addresses) == 1:
        return await _connect_one(addresses[0])
    return await _race(addresses)


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """Alternate the families, in the resolver's order of preference (RFC 8305, 4)."""
    first = [item for item in addresses if item[0] == addresses[0][0]]
    second = [item for item in addresses if item[0] != addresses[0][0]]
    pairs = itertools.zip_longest(first, second)
    return [item for pair in pairs for item in pair if item is not None]


async def _connect_one(address: Address) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


async def _race(addresses: list[Address]) -> socket.socket:
    """The first that connects wins; a failure starts the next address at once."""
    running: set[asyncio.Task[socket.socket]] = set()
    waiting = list(addresses)
    failures: list[OSError] = []
    winner: socket.socket | None = None
    try:
        while winner is None and (waiting or running):
            if waiting:
                running.add(asyncio.ensure_future(_connect_one(waiting.pop(0))))
            pause = STAGGER_SECONDS if waiting else None
            done, running = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None and winner is None:
                    winner = task.result()
                elif error is None:
                    task.result().close()
                elif isinstance(error, OSError):
                    failures.append(error)
                else:
                    raise error
    finally:
        for task in running:
            task.add_done_callback(_close_late)
            task.cancel()
    if winner is None:
        raise failures[0]
    return winner


def _close_late(task: "asyncio.Task[socket.socket]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _through_proxy(proxy: ForwardProxy, base: Base) -> socket.socket:
    """A tunnel to the origin. Raises UpstreamUnreachable when the proxy refuses it."""
    loop = asyncio.get_running_loop()
    place = f"{proxy.host}:{proxy.port}"
    try:
        sock = await open_socket(proxy.host, proxy.port)
    except OSError as error:
        reason = _reason(error)
        message = f"The outbound proxy at {place} cannot be reached: {reason}."
        raise UpstreamUnreachable(message, error_type="connect") from error
    try:
        await loop.sock_sendall(sock, connect_request(proxy, base))
        status = await _read_connect_answer(sock, place)
        if status != 200:
            hint = " Check the credentials in the proxy variable." if status == 407 else ""
            message = f"The outbound proxy at {place} refused the tunnel with status {status}.{hint}"
            raise UpstreamUnreachable(message, error_type="connect")
    except BaseException:
        sock.close()
        raise
    return sock


def connect_request(proxy: ForwardProxy, base: Base) -> bytes:
    """The CONNECT request's head as bytes."""
    host = f"[{base.host}]" if ":" in base.host else base.host
    lines = [f"CONNECT {host}:{base.port} HTTP/1.1", f"host: {host}:{base.port}"]
    if proxy.credentials is not None:
        lines.append("proxy-authorization: Basic " + base64.b64encode(proxy.credentials.encode()).decode())
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


async def _read_connect_answer(sock: socket.socket, place: str) -> int:
    loop = asyncio.get_running_loop()
    head = b""
    while b"\r\n\r\n" not in head:
        # One byte at a time: what follows the head belongs to the tunnel.
        piece = await loop.sock_recv(sock, 1)
        head += piece
        if not piece or len(head) > MAX_PROXY_HEAD_BYTES:
            message = f"The outbound proxy at {place} did not answer CONNECT in HTTP/1.1."
            raise UpstreamUnreachable(message, error_type="connect")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        message = f"The outbound proxy at {place} did not answer CONNECT in HTTP/1.1."
        raise UpstreamUnreachable(message, error_type="connect")
    return 200 if words[1].startswith(b"2") and len(words[1]) == 3 else int(words[1])


def forward_proxy(
    base: Base, *, http_proxy: str | None, https_proxy: str | None, no_proxy: Sequence[str]
) -> ForwardProxy | None:
    """The proxy for this origin, or None for a direct connection. Loopback is always direct."""
    url = https_proxy if base.scheme == "https" else http_proxy
    if url is None or bypasses(base.host, base.port, no_proxy):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    credentials = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return ForwardProxy(parts.hostname or "", parts.port or 80, credentials)


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
