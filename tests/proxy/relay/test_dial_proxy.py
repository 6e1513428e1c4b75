"""The way through an outbound proxy: the tunnel, its refusals, and that nobody waits for ever."""

import asyncio

import pytest
import trustme

from fakes.connect_proxy import ConnectProxy
from fakes.echo import Server, client_tls, closed_port, connect, refusal, server_tls
from mimic_proxy.errors import UpstreamTimeout
from mimic_proxy.http.target import parse_base
from mimic_proxy.relay.dial import ForwardProxy, connect_request

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
    assert connect_request(ForwardProxy("proxy.test", 3128, credentials), parse_base(url)) == expected


async def test_a_tunnel_carries_the_connection(server: Server, authority: trustme.CA) -> None:
    await server.start(server_tls(authority, "models.test"))
    async with ConnectProxy({"models.test:443": server.port}) as proxy:
        way = ForwardProxy("127.0.0.1", proxy.port, "user:pass")
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
        error = await refusal("http://models.test", proxy=ForwardProxy("127.0.0.1", proxy.port, "user:s3cr3t"))
    assert error.error_type == "connect"
    assert [word for word in words if word not in error.message] == []
    assert "s3cr3t" not in error.message


async def test_a_proxy_that_hangs_is_given_up_by_the_connect_timer() -> None:
    async with ConnectProxy({}) as proxy:
        proxy.hangs = True
        with pytest.raises(UpstreamTimeout, match="connect timer"):
            await connect("http://models.test", proxy=ForwardProxy("127.0.0.1", proxy.port), timeout=0.05)


async def test_a_proxy_that_is_not_there_is_told_apart_from_the_backend() -> None:
    port = await closed_port()
    error = await refusal("http://models.test", proxy=ForwardProxy("127.0.0.1", port))
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
    wire = await connect("http://models.test", proxy=ForwardProxy("127.0.0.1", port))
    async with asyncio.timeout(5):
        while wire.received != b"first words":
            wire.heard.clear()
            await wire.heard.wait()
    wire.transport.abort()
    listening.close()
    await listening.wait_closed()
