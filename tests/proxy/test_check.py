"""`mimic-proxy check`: says in words what is wrong, and what to try."""

import json
from collections.abc import AsyncIterator

import pytest

from fakes.backend import Backend, Script
from fakes.mimic import free_port
from fakes.replies import answer, reply
from fakes.token_service import TokenService
from mimic_proxy.app import Mimic
from mimic_proxy.check import check, resolved_urls
from mimic_proxy.settings import load

LIST = {"object": "list", "data": [{"id": name} for name in ("org/a", "b", "c", "d")]}


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend(reply(answer(200, json.dumps(LIST).encode()))) as server:
        yield server


@pytest.fixture
async def tokens() -> AsyncIterator[TokenService]:
    async with TokenService() as service:
        yield service


async def checked(backend: Backend, tokens: TokenService, **more: str) -> tuple[bool, str]:
    environ = {
        "TOKEN_URL": tokens.url,
        "AUTH_CODE": tokens.auth_code,
        "CHAT_API_URL": f"{backend.url}/v1?api-version=1&key=sesame",
        "EMBEDDING_API_URL": f"{backend.url}/v1/embeddings",
    }
    mimic = Mimic(load({**environ, **more}), observe=lambda seen: None, observe_refresh=lambda seen: None)
    lines: list[str] = []
    try:
        well = await check(mimic, lines.append)
    finally:
        await mimic.close()
    said = "\n".join(lines)
    for secret in (tokens.auth_code, *tokens.issued, "sesame"):
        assert secret not in said
    assert all(line.isprintable() for line in lines)
    return well, said


async def test_all_is_well(backend: Backend, tokens: TokenService):
    well, said = await checked(backend, tokens)
    assert well
    assert said.splitlines() == [
        f"      Chat completions: POST {backend.url}/v1/chat/completions?api-version=***&key=***",
        f"      Embeddings: POST {backend.url}/v1/embeddings",
        f"      Models: GET {backend.url}/v1/models?api-version=***&key=***",
        f"      Access tokens: POST {tokens.url}",
        "ok    Access token: fetched, it lives 3600 s.",
        "ok    Models: 4, org/a, b, c, ...",
    ]
    assert (tokens.calls, len(backend.requests)) == (1, 1)
    assert backend.requests[0].target == b"/v1/models?api-version=1&key=sesame"


async def test_a_token_without_a_lifetime_is_told(backend: Backend, tokens: TokenService):
    tokens.lifetime = None
    well, said = await checked(backend, tokens)
    assert well
    assert "nobody says how long it lives, so TOKEN_DEFAULT_LIFETIME=300" in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"GRANT": "none"}, "ok    Access token: none is sent (GRANT=none)."),
        ({"GRANT": "static", "ACCESS_TOKEN": "t"}, "ok    Access token: taken from ACCESS_TOKEN."),
        ({"MODELS": "x"}, "note  MODELS is set: callers see its 1 and not what the backend lists."),
        ({"VERIFY_SSL": "no"}, "note  VERIFY_SSL=False"),
    ],
)
async def test_what_is_special_is_told(backend: Backend, tokens: TokenService, more: dict[str, str], said: str):
    well, lines = await checked(backend, tokens, **more)
    assert well
    assert said in lines


async def test_a_refused_secret_names_its_variable(backend: Backend, tokens: TokenService):
    well, said = await checked(backend, tokens, AUTH_CODE="wrong")
    assert not well
    assert "FAIL  Access token: " in said
    assert "get a new one and set AUTH_CODE." in said
    assert backend.requests == []


async def test_a_token_service_that_is_down_tells_of_network_and_proxies(backend: Backend, tokens: TokenService):
    well, said = await checked(backend, tokens, TOKEN_URL=f"http://127.0.0.1:{free_port()}/token")
    assert not well
    assert "FAIL  Access token: " in said
    assert "HTTPS_PROXY" in said


@pytest.mark.parametrize(
    ("script", "problem", "advice"),
    [
        (
            reply(answer(403, b'{"error":{"message":"no\\nentry"}}')),
            "answers 403: no entry",
            "what this account may use",
        ),
        (reply(answer(500, b"<html>")), "answers 500.", "ask its owners"),
        (reply(answer(200, b"<html>")), "something that is no list of models", "Does CHAT_API_URL name the base"),
        (reply(answer(200, b'{"data":"x"}')), "something that is no list of models", "Does CHAT_API_URL name"),
        (reply(answer(401, b"{}")), "FAIL  Models: ", "TOKEN_HEADER and TOKEN_FORMAT"),
        (reply(answer(302, b"", [(b"location", b"/login")])), "FAIL  Models: ", "Does CHAT_API_URL name"),
        (reply(b"SSH-2.0-OpenSSH_9.2\r\n", close=True), "FAIL  Models: ", "does not speak HTTP"),
    ],
)
async def test_a_backend_that_does_not_help_is_explained(
    backend: Backend, tokens: TokenService, script: Script, problem: str, advice: str
):
    backend.script = script
    well, said = await checked(backend, tokens)
    assert not well
    assert problem in said
    assert advice in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://127.0.0.1:{port}", "Are host and port in CHAT_API_URL right"),
        ("http://no-such-host.invalid", "spelt right"),
        ("https://127.0.0.1:{backend}", "http:// or https:// in CHAT_API_URL may be wrong"),
    ],
)
async def test_a_backend_out_of_reach_is_explained(backend: Backend, tokens: TokenService, url: str, advice: str):
    place = url.format(port=free_port(), backend=backend.port)
    well, said = await checked(backend, tokens, CHAT_API_URL=place)
    backend.faults.clear()
    assert not well
    assert advice in said.splitlines()[-1]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_backend_without_a_list_is_fine_and_told_of_models(backend: Backend, tokens: TokenService, status: int):
    backend.script = reply(answer(status, b"{}"))
    well, said = await checked(backend, tokens)
    assert well
    assert said.endswith("MODELS sets a list for callers that ask for one.")


def test_no_token_url_is_shown_where_none_is_asked():
    environ = {"GRANT": "none", "CHAT_API_URL": "http://a", "EMBEDDING_API_URL": "http://b:81/v1"}
    assert resolved_urls(load(environ)) == {
        "Chat completions": "POST http://a/chat/completions",
        "Embeddings": "POST http://b:81/v1/embeddings",
        "Models": "GET http://a/models",
    }
