"""The way to an origin: names, addresses of both families, outbound proxies, TLS, and one timer for all of it."""

import asyncio
import socket
from typing import Any

import pytest
import trustme

from fakes.echo import Server, client_tls, closed_port, connect, refusal, server_tls

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


async def test_no_timer_waits(server: Server) -> None:
    await server.start()
    assert await (await connect(f"http://127.0.0.1:{server.port}", timeout=0.0)).echoes()


# ---- TLS


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
