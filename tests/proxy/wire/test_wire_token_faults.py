"""Everything a token service can do wrong, over real sockets: each has its own word, and no secret goes elsewhere."""

import json
from collections.abc import AsyncIterator
from email.utils import formatdate

import pytest

from fakes.backend import Backend, Script
from fakes.free_ports import free_port
from fakes.replies import answer, hang, reply
from fakes.token_service import TokenService
from mimic_proxy.app.mimic import Mimic
from mimic_proxy.cli.check import obtained
from mimic_proxy.errors import MimicError
from mimic_proxy.settings.fields import load
from mimic_proxy.telemetry.port import Telemetry

HTML = answer(200, b"<!doctype html><title>Sign in</title>", [(b"content-type", b"text/html; charset=utf-8")])
FAULTS: dict[str, tuple[Script, str, str]] = {
    "html": (reply(HTML), "not_json", "a web page (HTML) instead of JSON"),
    "html without a type": (reply(answer(200, b"\n<HTML>")), "not_json", "a web page (HTML)"),
    "empty": (reply(answer(200, b"")), "empty", "an empty body"),
    "no content": (reply(answer(204, b"")), "empty", "answered 204 with an empty body"),
    "no token": (reply(answer(200, b'{"data":{}}')), "no_token", "at data.access_token or access_token"),
    "errorCode": (
        reply(answer(200, b'{"errorCode":401,"errorMsg":"no"}')),
        "error_answer",
        "an error (401) in its body",
    ),
    "error": (reply(answer(200, b'{"error":"invalid_grant"}')), "error_answer", "an error (invalid_grant)"),
    "throttled": (reply(answer(429, b"", [(b"retry-after", b"7")])), "throttled", "asks to wait 7 s"),
    "throttled until": (
        reply(answer(429, b"", [(b"retry-after", formatdate(4e9, usegmt=True).encode())])),
        "throttled",
        "asks to wait",
    ),
    "500": (reply(answer(500, b"{}")), "http_error", "answered HTTP 500"),
    "refused": (reply(answer(401, b"{}")), "rejected", "refused the secret with HTTP 401"),
    "silence": (hang(), "timeout", "did not answer within 0.2 s"),
}


@pytest.fixture
async def tokens() -> AsyncIterator[TokenService]:
    async with TokenService() as service:
        yield service


async def tried(tokens: TokenService, **more: str) -> tuple[MimicError, str | None]:
    """What a request is told, and the result of the first call."""
    environ = {
        "TOKEN_URL": tokens.url,
        "AUTH_CODE": tokens.auth_code,
        "CHAT_API_URL": "https://models.example/v1",
        "EMBEDDING_API_URL": "https://models.example/v1",
        "TOKEN_TIMEOUT": "5",
    }
    mimic = Mimic(load({**environ, **more}), Telemetry())
    try:
        error = await obtained(mimic)
        assert isinstance(error, MimicError)
        assert tokens.auth_code not in f"{error.message}{mimic.tokens.explanation()}"
        return error, mimic.tokens.state().last_result
    finally:
        await mimic.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_has_its_own_word_and_a_sentence(tokens: TokenService, fault: str) -> None:
    tokens.script, result, said = FAULTS[fault]
    error, found = await tried(tokens, **({"TOKEN_TIMEOUT": "0.2"} if fault == "silence" else {}))
    assert found == result
    assert said in error.message
    lasting = fault in ("refused", "errorCode", "error")
    assert error.code == ("token_rejected" if lasting else "token_unavailable")


async def test_what_is_not_there_and_what_speaks_no_tls_are_told_apart(tokens: TokenService) -> None:
    error, result = await tried(tokens, TOKEN_URL=f"http://127.0.0.1:{free_port()}/token")
    assert (result, "could not be reached" in error.message) == ("unreachable", True)
    error, result = await tried(tokens, TOKEN_URL=tokens.url.replace("http:", "https:"))
    assert (result, "over TLS" in error.message) == ("tls", True)
    tokens.server.faults.clear()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("same_host", [False, True])
async def test_the_secret_follows_no_redirect(tokens: TokenService, status: int, same_host: bool) -> None:
    async with Backend(reply(answer(200, json.dumps({"access_token": "x"}).encode()))) as elsewhere:
        target = "/elsewhere?secret=1" if same_host else f"http://localhost:{elsewhere.port}/token?secret=1"
        tokens.script = reply(answer(status, b"", [(b"location", target.encode())]))
        error, result = await tried(tokens)
        assert result == "redirected"
        host = "127.0.0.1" if same_host else "localhost"
        assert f"a redirect ({status}) to {host}, which is not followed" in error.message
        assert "secret" not in error.message.replace("the secret goes nowhere else", "")
        assert elsewhere.requests == []
    assert tokens.calls == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"result":{"tokens":[{"value":"the-token"}]}}', "result.tokens.0.value"),
        (b'{"a/b":{"c.d":"the-token"}}', "/a~1b/c.d"),
        (b'"the-token"', "."),
    ],
)
async def test_a_pointer_finds_the_token_wherever_it_stands(tokens: TokenService, body: bytes, pointer: str) -> None:
    tokens.script = reply(answer(200, body))
    environ = {"TOKEN_URL": tokens.url, "AUTH_CODE": "c", "GRANT": "auth_code", "TOKEN_POINTER": pointer}
    urls = {"CHAT_API_URL": "https://models.example/v1", "EMBEDDING_API_URL": "https://models.example/v1"}
    mimic = Mimic(load({**environ, **urls}), Telemetry())
    try:
        token = await obtained(mimic)
        assert not isinstance(token, MimicError)
        assert token.value == "the-token"
    finally:
        await mimic.close()
