"""The call to the token service, over real sockets."""

import asyncio
import gzip
import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from mimic_proxy.errors import TokenUnavailable
from mimic_proxy.tokens.recipe import TokenRequest
from mimic_proxy.tokens.response import Failure, TokenResponse
from mimic_proxy.tokens.service import MAX_ANSWER_BYTES, TokenService

Listen = Callable[..., Any]


def response(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"content-length: {len(body)}", *fields))
    return f"{head}\r\n".encode() + body


def never() -> ssl.SSLContext:
    raise AssertionError("no TLS context is needed for http")


def request(url: str) -> TokenRequest:
    return TokenRequest(url, "POST", (("content-type", "application/json"), ("x-key", "abc")), b'{"code":"hidden"}')


async def failing(service: TokenService, url: str) -> Failure:
    found = await service(request(url))
    assert isinstance(found, Failure)
    assert "hidden" not in repr(found)
    return found


async def test_the_request_goes_out_as_the_recipe_says_and_the_answer_comes_back(listen: Listen) -> None:
    listener = await listen(response(b'{"a":1}', "429 Too Many", "Retry-After: 7"))
    found = await TokenService(timeout=30, verify=never)(request(f"http://127.0.0.1:{listener.port}/token?tenant=7"))
    assert found == TokenResponse(429, b'{"a":1}', "7")
    (head,), (body,) = listener.heads, listener.bodies
    assert head.startswith(b"POST /token?tenant=7 HTTP/1.1\r\n")
    fields = dict(line.split(b": ", 1) for line in head.lower().splitlines()[1:] if line)
    assert fields[b"host"] == f"127.0.0.1:{listener.port}".encode()
    assert (fields[b"content-type"], fields[b"x-key"]) == (b"application/json", b"abc")
    assert body == b'{"code":"hidden"}'


async def test_a_redirect_is_not_followed(listen: Listen) -> None:
    elsewhere = await listen(response(b"{}"))
    location = f"Location: http://127.0.0.1:{elsewhere.port}/"
    listener = await listen(response(b"", "307 Temporary Redirect", location))
    found = await TokenService(timeout=30, verify=never)(request(f"http://127.0.0.1:{listener.port}"))
    assert (isinstance(found, TokenResponse), found.status, elsewhere.heads) == (True, 307, [])


@pytest.mark.parametrize(("size", "fits"), [(MAX_ANSWER_BYTES, True), (MAX_ANSWER_BYTES + 1, False)])
@pytest.mark.parametrize("coded", [False, True])
async def test_an_answer_is_read_up_to_one_mebibyte(listen: Listen, size: int, fits: bool, coded: bool) -> None:
    body = b"x" * size
    listener = await listen(
        response(gzip.compress(body, mtime=0), "200 OK", "Content-Encoding: gzip") if coded else response(body)
    )
    found = await TokenService(timeout=30, verify=never)(request(f"http://127.0.0.1:{listener.port}"))
    if fits:
        assert found == TokenResponse(200, body)
    else:
        assert isinstance(found, Failure)
        assert (found.result, found.status) == ("bad_response", 200)


async def test_a_body_without_an_end_is_cut_off(listen: Listen) -> None:
    listener = await listen(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3 * MAX_ANSWER_BYTES)
    found = await failing(TokenService(timeout=30, verify=never), f"http://127.0.0.1:{listener.port}")
    assert found.result == "bad_response"


@pytest.mark.parametrize(
    ("body", "encoding"), [(b"no gzip", "gzip"), (gzip.compress(b"{}", mtime=0)[:-4], "gzip"), (b"{}", "br")]
)
async def test_a_content_coding_that_cannot_be_undone_is_a_bad_response(
    listen: Listen, body: bytes, encoding: str
) -> None:
    listener = await listen(response(body, "200 OK", f"Content-Encoding: {encoding}"))
    found = await failing(TokenService(timeout=30, verify=never), f"http://127.0.0.1:{listener.port}")
    assert found.result == "bad_response"


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-what\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"])
async def test_what_is_no_whole_http_answer_is_a_bad_response(listen: Listen, data: bytes) -> None:
    listener = await listen(data)
    found = await failing(TokenService(timeout=30, verify=never), f"http://127.0.0.1:{listener.port}")
    assert found.result == "bad_response"


async def test_a_service_that_hangs_costs_the_timeout(listen: Listen) -> None:
    listener = await listen(hangs=True)
    found = await failing(TokenService(timeout=0.05, verify=never), f"http://127.0.0.1:{listener.port}")
    assert (found.result, found.detail) == ("timeout", "did not answer within 0.05 s")


async def test_a_service_that_is_not_there_is_unreachable_with_the_reason(listen: Listen) -> None:
    found = await failing(TokenService(timeout=30, verify=never), "http://127.0.0.1:1/token")
    assert found.result == "unreachable"
    assert "Connect call failed" in found.detail


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    found = await failing(TokenService(timeout=30, verify=never), "http://no-such-host.invalid/token")
    assert found.result == "unreachable"


async def test_certificates_are_checked_by_the_context_that_was_given(listen: Listen) -> None:
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    listener = await listen(response(b"{}"), tls=server)
    url = f"https://localhost:{listener.port}/token"
    trusting, strange = ssl.create_default_context(), ssl.create_default_context()
    authority.configure_trust(trusting)
    contexts = [trusting, strange]
    service = TokenService(timeout=30, verify=lambda: contexts.pop(0))
    assert await service(request(url)) == TokenResponse(200, b"{}")
    found = await failing(service, url)
    assert (found.result, "CERTIFICATE_VERIFY_FAILED" in found.detail) == ("tls", True)
    assert len(listener.heads) == 1


async def test_a_context_that_cannot_be_made_is_a_failure_and_no_crash() -> None:
    def missing() -> ssl.SSLContext:
        raise FileNotFoundError("ca.pem")

    found = await failing(TokenService(timeout=30, verify=missing), "https://127.0.0.1:1/token")
    assert (found.result, "FileNotFoundError" in found.detail) == ("unreachable", True)


async def test_a_proxy_is_used_with_its_credentials(listen: Listen) -> None:
    proxy = await listen(response(b'{"via":"proxy"}'))
    service = TokenService(timeout=30, verify=never, proxy=f"http://user:word@127.0.0.1:{proxy.port}")
    assert await service(request("http://tokens.corp.example/token")) == TokenResponse(200, b'{"via":"proxy"}')
    assert proxy.heads[0].startswith(b"POST http://tokens.corp.example/token HTTP/1.1\r\n")
    assert b"basic dxnlcjp3b3jk" in proxy.heads[0].lower()


async def test_a_proxy_that_refuses_is_unreachable_without_its_password(listen: Listen) -> None:
    proxy = await listen(response(b"", "407 Proxy Authentication Required"))
    service = TokenService(
        timeout=30, verify=ssl.create_default_context, proxy=f"http://user:proxy-word@127.0.0.1:{proxy.port}"
    )
    found = await failing(service, "https://tokens.corp.example/token")
    assert (found.result, "407" in found.detail, "proxy-word" in found.detail) == ("unreachable", True, False)


async def test_the_environment_names_no_proxy(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    listener = await listen(response(b"{}"))
    assert await TokenService(timeout=30, verify=never)(request(f"http://127.0.0.1:{listener.port}")) == TokenResponse(
        200, b"{}"
    )


async def test_a_source_over_a_real_socket_fetches_refreshes_and_heals(scene: Any, listen: Listen) -> None:
    listener = await listen(response(json.dumps({"data": {"access_token": "t1", "expires_in": 1000}}).encode()))
    outcomes: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    scene.service = TokenService(timeout=30, verify=never)
    scene.observe = lambda seen: outcomes.put_nowait((seen.trigger, seen.result))
    source = scene.source(scene.auth_code(url=f"http://127.0.0.1:{listener.port}/token"))
    callers = [scene.caller() for _ in range(1000)]
    assert {source.obtain(caller) for caller in callers} == {None}
    assert await outcomes.get() == ("startup", "success")
    await scene.turn()
    assert {caller.told[0].value for caller in callers} == {"t1"}
    assert listener.bodies == [b'{"code":"first-code"}']

    listener.data = response(b"", "503 Unavailable")
    await scene.clock.advance(801)
    assert await outcomes.get() == ("proactive", "http_error")
    assert source.obtain(scene.caller()).value == "t1"
    await scene.clock.advance(195)
    assert await outcomes.get() == ("proactive", "http_error")
    error = source.obtain(scene.caller())
    assert isinstance(error, TokenUnavailable)
    assert 0 < error.retry_after <= 60

    listener.data = response(b'{"access_token":"t2","expires_in":3600}')
    await scene.clock.advance(60)
    assert await outcomes.get() == ("expired", "success")
    assert source.obtain(scene.caller()).value == "t2"
    assert len(listener.heads) == 4
    await source.close()
