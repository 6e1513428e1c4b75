"""Outbound proxies by the usual variables, for the backend and the token service alike."""

import base64
import ssl
from pathlib import Path

import pytest
import trustme

from fakes.backend import Backend
from fakes.caller import ask, chat
from fakes.connect_proxy import ConnectProxy
from fakes.mimic import Mimic, Start, settings
from fakes.replies import COMPLETION, ok
from fakes.token_service import TokenService

USER, PASSWORD = "a user", "p@ss:word/1"
CREDENTIALS = "a%20user:p%40ss%3Aword%2F1"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode())


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_https_goes_through_connect_with_credentials(start: Start, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    secure = await Backend(ok()).start(server_context(authority, "backend.invalid"))
    service = TokenService(server_context(authority, "tokens.invalid"))
    async with (
        secure,
        service,
        ConnectProxy({"backend.invalid:443": secure.port, "tokens.invalid:443": service.server.port}) as between,
    ):
        more = {
            "HTTPS_PROXY": between.url.replace("//", f"//{CREDENTIALS}@"),
            "CHAT_API_URL": "https://backend.invalid/v1",
            "TOKEN_URL": "https://tokens.invalid/token",
            "CA_BUNDLE": str(tmp_path / "ca.pem"),
        }
        async with start(**more) as mimic:
            for _ in range(2):
                got = await ask(mimic.port, chat())
                assert (got.status, got.body) == (200, COMPLETION)
            assert_no_password(mimic)
        assert secure.requests[0].value(b"host") == b"backend.invalid"
        assert secure.requests[0].value(b"proxy-authorization") is None
        assert service.calls == 1
    assert {told.split(b"\r\n")[0] for told in between.heads} == {
        b"CONNECT backend.invalid:443 HTTP/1.1",
        b"CONNECT tokens.invalid:443 HTTP/1.1",
    }
    for told in between.heads:
        assert b"\r\nproxy-authorization: basic " + BASIC.lower() in told.lower()
        assert b"fake-access-token" not in told


def assert_no_password(mimic: Mimic) -> None:
    for secret in (PASSWORD, CREDENTIALS, BASIC.decode()):
        assert secret not in mimic.log


async def test_plain_http_goes_through_it_for_backend_and_token_service(
    start: Start, backend: Backend, tokens: TokenService
) -> None:
    backend.script = ok()
    routes = {"backend.invalid:80": backend.port, "tokens.invalid:80": tokens.server.port}
    async with ConnectProxy(routes) as between:
        more = {
            "HTTP_PROXY": between.url,
            "CHAT_API_URL": "http://backend.invalid/v1",
            "TOKEN_URL": "http://tokens.invalid/token",
        }
        async with start(**more) as mimic:
            assert (await ask(mimic.port, chat())).body == COMPLETION
        assert len(between.heads) == 2
    assert backend.requests[0].target == b"/v1/chat/completions"
    assert tokens.calls == 1


@pytest.mark.parametrize("spared", ["*", "example.com, 127.0.0.1"])
async def test_no_proxy_spares_hosts(start: Start, backend: Backend, spared: str) -> None:
    backend.script = ok()
    async with ConnectProxy({}) as between:
        async with start(HTTP_PROXY=between.url, HTTPS_PROXY=between.url, NO_PROXY=spared) as mimic:
            assert (await ask(mimic.port, chat())).status == 200
        assert between.heads == []


REFUSALS = [
    b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\nnope!",
    b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    b"no HTTP at all\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    b"",
]


async def test_a_proxy_that_refuses_makes_the_backend_unreachable(start: Start) -> None:
    async with ConnectProxy({}) as between:
        more = {
            "HTTPS_PROXY": between.url.replace("//", f"//{CREDENTIALS}@"),
            "CHAT_API_URL": "https://backend.invalid/v1",
        }
        async with start(**more) as mimic:
            for refusal in REFUSALS:
                between.refusal = refusal
                got = await ask(mimic.port, chat())
                assert (got.status, got.error()["code"]) == (502, "upstream_unreachable"), refusal
                assert PASSWORD not in got.error()["message"]
            assert_no_password(mimic)


async def test_a_proxy_that_is_reached_over_https_is_refused_at_the_start(
    backend: Backend, tokens: TokenService, tmp_path: Path
) -> None:
    environ = settings(backend, tokens, HTTPS_PROXY=f"https://{CREDENTIALS}@proxy.invalid:3128")
    mimic = Mimic(environ, tmp_path)
    try:
        assert await mimic.ended() == 2
    finally:
        mimic.kill()
    assert "HTTPS_PROXY" in mimic.log
    assert CREDENTIALS not in mimic.log
