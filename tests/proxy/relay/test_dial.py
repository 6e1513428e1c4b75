"""The way to an origin: names, addresses of both families, outbound proxies, TLS, and one timer for all of it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from fakes.connect_proxy import ConnectProxy
from mimic_proxy.errors import UpstreamTimeout, UpstreamUnreachable
from mimic_proxy.relay import dial
from mimic_proxy.relay.dial import Address, Dialler, OutboundProxy, connect_request, interleave, open_socket
from mimic_proxy.relay.target import Base, parse_base

FOUR, SIX = socket.AF_INET, socket.AF_INET6


def four(number: int) -> Address:
    return (FOUR, (f"192.0.2.{number}", 80))


def six(number: int) -> Address:
    return (SIX, (f"2001:db8::{number}", 80, 0, 0))


class Echo(asyncio.Protocol):
    """Answers whatever it gets."""

    def __init__(self, server: "Server") -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.open.append(transport)
        self.server.tls.append(transport.get_extra_info("ssl_object"))

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.server.open.remove(self.transport)


class Server:
    def __init__(self) -> None:
        self.open: list[asyncio.Transport] = []
        self.tls: list[ssl.SSLObject | None] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Echo(self), "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for transport in list(self.open):
            transport.abort()
        async with asyncio.timeout(5):
            while self.open:
                await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    yield made
    await made.stop()


class Wire(asyncio.Protocol):
    """Our end."""

    def __init__(self) -> None:
        self.received = b""
        self.heard = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.heard.set()

    async def echoes(self, data: bytes = b"hello") -> bool:
        """The other end answers; the connection is closed then."""
        self.transport.write(data)
        async with asyncio.timeout(5):
            while len(self.received) < len(data):
                self.heard.clear()
                await self.heard.wait()
        self.transport.abort()
        return self.received == data


async def connect(
    url: str, *, context: ssl.SSLContext | None = None, proxy: OutboundProxy | None = None, timeout: float = 5.0
) -> Wire:
    def tls() -> ssl.SSLContext:
        assert context is not None
        return context

    def proxy_for(base: Base) -> OutboundProxy | None:
        assert base == parse_base(url)
        return proxy

    dialler = Dialler(context=tls, proxy_for=proxy_for, timeout=timeout)
    protocol = await dialler(parse_base(url), Wire)
    assert isinstance(protocol, Wire)
    return protocol


async def refusal(url: str, **how: Any) -> UpstreamUnreachable:
    with pytest.raises(UpstreamUnreachable) as raised:
        await connect(url, **how)
    return raised.value


async def closed_port() -> int:
    gone = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = gone.sockets[0].getsockname()[1]
    gone.close()
    await gone.wait_closed()
    return port


# ---- addresses


@pytest.mark.parametrize(
    ("given_addresses", "expected"),
    [
        ([], []),
        ([four(1)], [four(1)]),
        ([four(1), four(2)], [four(1), four(2)]),
        ([six(1), six(2), four(1), four(2)], [six(1), four(1), six(2), four(2)]),
        ([four(1), six(1), six(2)], [four(1), six(1), six(2)]),
        ([six(1), six(2), six(3), four(1)], [six(1), four(1), six(2), six(3)]),
    ],
)
def test_families_alternate_in_the_order_of_the_resolver(given_addresses: Any, expected: Any) -> None:
    assert interleave(given_addresses) == expected


@given(st.lists(st.one_of(st.integers(1, 9).map(four), st.integers(1, 9).map(six)), max_size=12))
def test_no_address_is_lost_and_none_overtakes_its_own_family(addresses: list[Address]) -> None:
    got = interleave(addresses)
    for family in (FOUR, SIX):
        assert [one for one in got if one[0] == family] == [one for one in addresses if one[0] == family]


class Resolver:
    """What the resolver answers, and what becomes of each address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[Address] = []
        self.cancelled: list[Address] = []
        self.gates: dict[Address, asyncio.Future[None]] = {}
        self.sockets: list[socket.socket] = []
        monkeypatch.setattr(dial, "_connect_one", self.connect_one)
        self.monkeypatch = monkeypatch

    def resolve(self, *addresses: Address) -> None:
        async def getaddrinfo(host: str, port: int, **how: Any) -> Any:
            return [(family, socket.SOCK_STREAM, 6, "", where) for family, where in addresses]

        self.monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        self.gates = {address: asyncio.get_running_loop().create_future() for address in addresses}

    async def connect_one(self, address: Address) -> socket.socket:
        self.tried.append(address)
        try:
            await self.gates[address]
        except asyncio.CancelledError:
            self.cancelled.append(address)
            raise
        made = socket.socket()
        self.sockets.append(made)
        return made

    async def until_tried(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.tried) < number:
                await asyncio.sleep(0)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver(monkeypatch)
    yield made
    for one in made.sockets:
        one.close()


async def test_a_failure_starts_the_next_address_at_once(resolver: Resolver) -> None:
    resolver.resolve(six(1), four(1), four(2))
    task = asyncio.ensure_future(open_socket("backend.test", 80))
    await resolver.until_tried(1)
    resolver.gates[six(1)].set_exception(OSError(101, "Network is unreachable"))
    await resolver.until_tried(2)
    resolver.gates[four(1)].set_result(None)
    assert await task is resolver.sockets[0]
    assert resolver.tried == [six(1), four(1)]


async def test_a_silent_address_is_overtaken_and_given_up(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "STAGGER_SECONDS", 0.001)
    resolver.resolve(six(1), six(2), four(1))
    task = asyncio.ensure_future(open_socket("backend.test", 80))
    await resolver.until_tried(3)
    resolver.gates[four(1)].set_result(None)
    assert await task is resolver.sockets[0]
    await asyncio.sleep(0)
    assert sorted(resolver.cancelled) == [six(1), six(2)]


async def test_of_two_that_connect_at_once_the_second_is_closed(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "STAGGER_SECONDS", 0.001)
    resolver.resolve(six(1), four(1))
    task = asyncio.ensure_future(open_socket("backend.test", 80))
    await resolver.until_tried(2)
    for gate in resolver.gates.values():
        gate.set_result(None)
    winner = await task
    for _ in range(5):
        await asyncio.sleep(0)
    assert [one.fileno() >= 0 for one in resolver.sockets] == [one is winner for one in resolver.sockets]


async def test_when_all_fail_the_first_failure_is_told(resolver: Resolver) -> None:
    resolver.resolve(six(1), four(1))
    resolver.gates[six(1)].set_exception(OSError(101, "first"))
    resolver.gates[four(1)].set_exception(OSError(111, "second"))
    with pytest.raises(OSError, match="first"):
        await open_socket("backend.test", 80)


async def test_who_is_cancelled_gives_up_all_addresses(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "STAGGER_SECONDS", 0.001)
    resolver.resolve(six(1), four(1))
    task = asyncio.ensure_future(open_socket("backend.test", 80))
    await resolver.until_tried(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(5):
        await asyncio.sleep(0)
    assert sorted(resolver.cancelled) == sorted([six(1), four(1)])


# ---- on sockets


async def test_a_plain_connection(server: Server) -> None:
    await server.start()
    wire = await connect(f"http://127.0.0.1:{server.port}")
    raw = wire.transport.get_extra_info("socket")
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
    assert await wire.echoes()


async def test_a_port_where_nobody_listens() -> None:
    port = await closed_port()
    error = await refusal(f"http://127.0.0.1:{port}")
    assert (error.error_type, f"127.0.0.1:{port}" in error.message) == ("connect", True)


async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*given: Any, **how: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    error = await refusal("http://nowhere.test")
    assert (error.error_type, "nowhere.test" in error.message) == ("dns", True)


async def test_a_silent_address_is_given_up_by_the_connect_timer(resolver: Resolver) -> None:
    resolver.resolve(four(1))
    with pytest.raises(UpstreamTimeout, match=r"backend\.test:80 within 0\.02 s \(connect timer\)") as raised:
        await connect("http://backend.test", timeout=0.02)
    assert (raised.value.timer, resolver.cancelled) == ("connect", [four(1)])


async def test_no_timer_waits(server: Server) -> None:
    await server.start()
    assert await (await connect(f"http://127.0.0.1:{server.port}", timeout=0.0)).echoes()


# ---- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def client_tls(authority: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authority is not None:
        authority.configure_trust(context)
    return context


@pytest.mark.parametrize(("host", "sni"), [("localhost", "localhost"), ("127.0.0.1", None)])
async def test_the_certificate_is_checked_against_name_or_address(
    server: Server, authority: trustme.CA, host: str, sni: str | None
) -> None:
    names: list[str | None] = []
    context = server_tls(authority, host)
    context.sni_callback = lambda ssl_object, name, own: names.append(name)
    await server.start(context)
    wire = await connect(f"https://{host}:{server.port}", context=client_tls(authority))
    assert await wire.echoes()
    assert names == [sni]


@pytest.mark.parametrize("names", [("other.test",), ("127.0.0.2",)])
async def test_a_certificate_of_another_name_is_refused(
    server: Server, authority: trustme.CA, names: tuple[str, ...]
) -> None:
    await server.start(server_tls(authority, *names))
    error = await refusal(f"https://127.0.0.1:{server.port}", context=client_tls(authority))
    assert (error.error_type, "CA_BUNDLE" in error.message) == ("tls", True)


async def test_a_certificate_of_an_unknown_authority_is_refused(server: Server, authority: trustme.CA) -> None:
    await server.start(server_tls(authority, "127.0.0.1"))
    error = await refusal(f"https://127.0.0.1:{server.port}", context=client_tls(None))
    assert (error.error_type, "VERIFY_SSL" in error.message) == ("tls", True)


async def test_a_server_without_tls_is_told_apart(server: Server, authority: trustme.CA) -> None:
    await server.start()
    error = await refusal(f"https://127.0.0.1:{server.port}", context=client_tls(authority))
    assert (error.error_type, "https" in error.message) == ("tls", True)


# ---- outbound proxies


@pytest.mark.parametrize(
    ("url", "credentials", "expected"),
    [
        ("https://models.test/v1", None, b"CONNECT models.test:443 HTTP/1.1\r\nhost: models.test:443\r\n\r\n"),
        ("http://models.test:8080", None, b"CONNECT models.test:8080 HTTP/1.1\r\nhost: models.test:8080\r\n\r\n"),
        ("https://[2001:db8::1]", None, b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nhost: [2001:db8::1]:443\r\n\r\n"),
        (
            "https://models.test",
            "user:p\u00e4ss",
            b"CONNECT models.test:443 HTTP/1.1\r\nhost: models.test:443\r\n"
            b"proxy-authorization: Basic dXNlcjpww6Rzcw==\r\n\r\n",
        ),
    ],
)
def test_the_request_for_a_tunnel(url: str, credentials: str | None, expected: bytes) -> None:
    assert connect_request(OutboundProxy("proxy.test", 3128, credentials), parse_base(url)) == expected


async def test_a_tunnel_carries_the_connection(server: Server, authority: trustme.CA) -> None:
    await server.start(server_tls(authority, "models.test"))
    async with ConnectProxy({"models.test:443": server.port}) as proxy:
        way = OutboundProxy("127.0.0.1", proxy.port, "user:pass")
        wire = await connect("https://models.test", context=client_tls(authority), proxy=way)
        assert await wire.echoes()
        assert [head.split(b"\r\n")[0] for head in proxy.heads] == [b"CONNECT models.test:443 HTTP/1.1"]
        assert b"proxy-authorization: Basic dXNlcjpwYXNz" in proxy.heads[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", ["status 407", "credentials"]),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", ["status 403"]),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", ["status 502"]),
        (b"HTTP/1.1 2000 What\r\n\r\n", ["status 2000"]),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ["did not answer CONNECT"]),
        (b"HTTP/1.1\r\n\r\n", ["did not answer CONNECT"]),
        (b"HTTP/1.1 200", ["did not answer CONNECT"]),
        (b"", ["did not answer CONNECT"]),
        (b"HTTP/1.1 200 OK\r\nx: " + b"1" * 20_000, ["did not answer CONNECT"]),
    ],
)
async def test_a_tunnel_that_is_refused_says_why(answer: bytes, words: list[str]) -> None:
    async with ConnectProxy({}) as proxy:
        proxy.refusal = answer
        error = await refusal("http://models.test", proxy=OutboundProxy("127.0.0.1", proxy.port, "user:s3cr3t"))
    assert error.error_type == "connect"
    assert [word for word in words if word not in error.message] == []
    assert "s3cr3t" not in error.message


async def test_a_proxy_that_hangs_is_given_up_by_the_connect_timer() -> None:
    async with ConnectProxy({}) as proxy:
        proxy.hangs = True
        with pytest.raises(UpstreamTimeout, match="connect timer"):
            await connect("http://models.test", proxy=OutboundProxy("127.0.0.1", proxy.port), timeout=0.05)


async def test_a_proxy_that_is_not_there_is_told_apart_from_the_backend() -> None:
    port = await closed_port()
    error = await refusal("http://models.test", proxy=OutboundProxy("127.0.0.1", port))
    assert f"outbound proxy at 127.0.0.1:{port}" in error.message


async def test_bytes_behind_the_proxy_s_head_belong_to_the_tunnel() -> None:
    """A backend that speaks first: not a byte of it may be lost."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst words")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    wire = await connect("http://models.test", proxy=OutboundProxy("127.0.0.1", port))
    async with asyncio.timeout(5):
        while wire.received != b"first words":
            wire.heard.clear()
            await wire.heard.wait()
    wire.transport.abort()
    listening.close()
    await listening.wait_closed()
