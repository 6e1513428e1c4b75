"""A server that answers whatever it gets, and a dialler's way to it."""

import asyncio
import ssl
from typing import Any

import pytest
import trustme

from mimic_proxy.errors import UpstreamUnreachable
from mimic_proxy.http.target import Base, parse_base
from mimic_proxy.relay.dial import Dialler, ForwardProxy


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
    """Listens on a port of 127.0.0.1; `tls` and `open` are of the connections that came."""

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
    url: str, *, context: ssl.SSLContext | None = None, proxy: ForwardProxy | None = None, timeout: float = 5.0
) -> Wire:
    def tls() -> ssl.SSLContext:
        assert context is not None
        return context

    def proxy_for(base: Base) -> ForwardProxy | None:
        assert base == parse_base(url)
        return proxy

    dialler = Dialler(context=tls, proxy_for=proxy_for, timeout=timeout)
    protocol = await dialler(parse_base(url), Wire)
    assert isinstance(protocol, Wire)
    return protocol


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """A server of these names, certified by the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def client_tls(authority: trustme.CA | None) -> ssl.SSLContext:
    """A client that checks, and trusts the authority."""
    context = ssl.create_default_context()
    if authority is not None:
        authority.configure_trust(context)
    return context


async def refusal(url: str, **how: Any) -> UpstreamUnreachable:
    """The error that such a connection fails with."""
    with pytest.raises(UpstreamUnreachable) as raised:
        await connect(url, **how)
    return raised.value


async def closed_port() -> int:
    """A port of this machine on which nobody listens."""
    gone = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = gone.sockets[0].getsockname()[1]
    gone.close()
    await gone.wait_closed()
    return port
