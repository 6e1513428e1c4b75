"""`mimic-proxy check`: says in words what is wrong, and what to try."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from fakes.backend import Backend, Request, Script
from fakes.free_ports import free_port
from fakes.replies import answer, reply
from fakes.token_service import TokenService
from mimic_proxy.app.mimic import Mimic
from mimic_proxy.cli.check import check, resolved_urls
from mimic_proxy.settings.fields import load
from mimic_proxy.telemetry.port import Telemetry
from mimic_proxy.tokens.store import TokenStore

LIST = {"object": "list", "data": [{"id": name} for name in ("org/a", "b", "c", "d")]}


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend(reply(answer(200, json.dumps(LIST).encode()))) as server:
        yield server


@pytest.fixture
async def tokens() -> AsyncIterator[TokenService]:
    async with TokenService() as service:
        yield service


async def checked(backend: Backend, tokens: TokenService, model: str | None = None, **more: str) -> tuple[bool, str]:
    environ = {
        "TOKEN_URL": tokens.url,
        "AUTH_CODE": tokens.auth_code,
        "CHAT_API_URL": f"{backend.url}/v1?api-version=1&key=sesame",
        "EMBEDDING_API_URL": f"{backend.url}/v1/embeddings",
    }
    mimic = Mimic(load({**environ, **more}), Telemetry())
    lines: list[str] = []
    try:
        well = await check(mimic, lines.append, model)
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


async def test_a_refused_secret_is_told_once(backend: Backend, tokens: TokenService, caplog: pytest.LogCaptureFixture):
    """Standard error and standard output end in the same terminal."""
    _, said = await checked(backend, tokens, AUTH_CODE="wrong")
    assert said.count("refused the secret with HTTP 401") == 1
    assert [record.getMessage() for record in caplog.records if record.name == "mimic.tokens"] == []
    assert not logging.getLogger("mimic.tokens").disabled


async def test_a_secret_whose_file_is_missing_is_asked_for(backend: Backend, tokens: TokenService, tmp_path: Path):
    well, said = await checked(backend, tokens, AUTH_CODE="", AUTH_CODE_FILE=str(tmp_path / "later"))
    assert not well
    assert "Put the secret into the file that AUTH_CODE_FILE names" in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("script", "advice"),
    [
        (reply(answer(404, b"<html>")), "Its path may be wrong"),
        (reply(answer(405, b"{}")), "Its path may be wrong"),
        (reply(answer(503, b"{}")), "ask its owners"),
        (reply(answer(200, b"<html>")), "no token service as GRANT=auth_code needs it"),
        (reply(answer(200, b"{}")), "no token service as GRANT=auth_code needs it"),
        (reply(answer(302, b"", [(b"location", b"/login")])), "TOKEN_URL must name the address that it redirects to"),
        (reply(answer(429, b"")), "somebody else uses the same account"),
        (reply(answer(415, b"")), "TOKEN_ENCODING"),
    ],
)
async def test_a_token_service_that_answers_is_no_matter_of_the_network(
    backend: Backend, tokens: TokenService, script: Script, advice: str
):
    tokens.script = script
    well, said = await checked(backend, tokens)
    assert not well
    assert advice in said.splitlines()[-1]
    assert "HTTPS_PROXY" not in said
    assert "network" not in said


async def test_a_token_service_whose_certificate_is_strange_tells_of_ca_bundle(backend: Backend):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(server)
    async with TokenService(tls=server) as tokens:
        well, said = await checked(backend, tokens)
        tokens.server.faults.clear()
    assert not well
    assert "CA_BUNDLE" in said.splitlines()[-1]
    assert "HTTPS_PROXY" not in said


async def test_a_token_service_without_tls_tells_of_the_scheme(backend: Backend, tokens: TokenService):
    well, said = await checked(backend, tokens, TOKEN_URL=tokens.url.replace("http:", "https:"))
    tokens.server.faults.clear()
    assert not well
    assert "http:// or https:// in TOKEN_URL may be wrong" in said.splitlines()[-1]


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
    well, said = await checked(backend, tokens, CHAT_API_URL=place, EMBEDDING_API_URL=place)
    backend.faults.clear()
    assert not well
    assert advice in said.splitlines()[-1]


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize(("path", "wrong"), [("/v1", "has a wrong path"), ("/api", "lacks /v1")])
async def test_a_backend_without_a_list_may_be_fine_or_a_wrong_base(
    backend: Backend, tokens: TokenService, status: int, path: str, wrong: str
):
    backend.script = reply(answer(status, b"{}"))
    well, said = await checked(backend, tokens, CHAT_API_URL=f"{backend.url}{path}")
    assert well
    assert said.splitlines()[-1] == (
        f"note  Models: GET {backend.url}{path}/models answered {status}: "
        f"either this backend has no list (then MODELS sets one), or CHAT_API_URL {wrong}."
    )


@pytest.mark.parametrize(
    ("status", "models", "well"), [(404, "", False), (404, "chat-large", True), (405, "", True), (501, "", True)]
)
async def test_a_base_without_a_path_where_nothing_is_found_fails_unless_models_are_set(
    backend: Backend, tokens: TokenService, status: int, models: str, well: bool
):
    backend.script = reply(answer(status, b'{"detail":"Not Found"}'))
    found, said = await checked(backend, tokens, CHAT_API_URL=backend.url, MODELS=models)
    assert found is well
    assert f"{'note' if well else 'FAIL'}  Models: GET {backend.url}/models answered {status}" in said
    assert ("CHAT_API_URL has no path: most backends want /v1 at its end." in said) is not well


async def test_an_empty_list_is_fine_and_tells_of_models(backend: Backend, tokens: TokenService):
    backend.script = reply(answer(200, b'{"data":[]}'))
    well, said = await checked(backend, tokens)
    assert well
    assert said.endswith("lists none.\nnote  MODELS sets a list for callers that ask for one.")


async def test_embeddings_elsewhere_get_a_connection_and_no_call(backend: Backend, tokens: TokenService):
    async with Backend() as elsewhere:
        well, said = await checked(backend, tokens, EMBEDDING_API_URL=f"{elsewhere.url}/v1")
        assert elsewhere.requests == []
    assert well
    assert said.endswith(f"ok    Embeddings: 127.0.0.1:{elsewhere.port} takes connections; no call was made.")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://127.0.0.1:{port}/v1", "Are host and port in EMBEDDING_API_URL right"),
        ("http://no-such-host.invalid", "Is the host in EMBEDDING_API_URL spelt right?"),
        ("https://localhost:{backend}", "http:// or https:// in EMBEDDING_API_URL may be wrong"),
    ],
)
async def test_embeddings_out_of_reach_are_explained(backend: Backend, tokens: TokenService, url: str, advice: str):
    place = url.format(port=free_port(), backend=backend.port)
    well, said = await checked(backend, tokens, EMBEDDING_API_URL=place)
    backend.faults.clear()
    assert not well
    assert "ok    Models: 4" in said
    assert "FAIL  Embeddings: " in said
    assert advice in said.splitlines()[-1]


async def test_a_connection_that_does_not_come_in_time_is_a_matter_of_the_network(
    backend: Backend, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
):
    async def never(host: str, port: int) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr("mimic_proxy.relay.dial.open_socket", never)
    well, said = await checked(backend, tokens, CONNECT_TIMEOUT="0.01")
    assert not well
    assert "connect timer" in said
    assert "Are host and port in CHAT_API_URL right" in said.splitlines()[-1]


def test_no_token_url_is_shown_where_none_is_asked():
    environ = {"GRANT": "none", "CHAT_API_URL": "http://a", "EMBEDDING_API_URL": "http://b:81/v1"}
    assert resolved_urls(load(environ)) == {
        "Chat completions": "POST http://a/chat/completions",
        "Embeddings": "POST http://b:81/v1/embeddings",
        "Models": "GET http://a/models",
    }


async def test_a_wrong_pointer_is_explained_by_what_came(backend: Backend, tokens: TokenService):
    body = json.dumps({"result": {"jwt_token": "sesame-and-more-letters", "ttl": 60}}).encode()
    tokens.script = reply(answer(200, body, [(b"content-type", b"application/json")]))
    well, said = await checked(backend, tokens, TOKEN_POINTER="result.token")
    assert not well
    assert "answered 200 without an access token at result.token" in said
    assert f"      Sent: POST {tokens.url}; json with code=***" in said
    assert "      Came: 200, application/json, " in said
    assert "      Keys: result (object), result.jwt_token (text), result.ttl (number)" in said
    assert "      Try: TOKEN_POINTER=result.jwt_token holds a text that may be the token." in said


async def test_an_odd_lifetime_is_noted(backend: Backend, tokens: TokenService):
    tokens.lifetime = 0
    well, said = await checked(backend, tokens)
    assert well
    assert "note  Access token: the lifetime in the response is no positive number of seconds; 300 s" in said


async def test_a_refresh_token_without_a_store_is_noted_before_it_is_used(backend: Backend, tokens: TokenService):
    tokens.script = reply(answer(200, b'{"access_token":"t","expires_in":60}'))
    _, said = await checked(backend, tokens, GRANT="refresh_token", REFRESH_TOKEN="r", AUTH_CODE="")
    assert "note  GRANT=refresh_token without TOKEN_STORE" in said


async def test_a_store_that_another_mimic_uses_is_left_alone(backend: Backend, tokens: TokenService, tmp_path: Path):
    store = tmp_path / "store.json"
    other = TokenStore(store)
    other.open()
    more = {
        "GRANT": "refresh_token",
        "REFRESH_TOKEN": "r",
        "AUTH_CODE": "",
        "TOKEN_STORE": str(tmp_path / "store.json"),
    }
    well, said = await checked(backend, tokens, **more)
    other.close()
    assert not well
    assert "is used by another Mimic" in said
    assert "One Mimic at a time" in said.splitlines()[-1]
    assert tokens.calls == 0


async def test_a_key_that_is_none_is_told_before_anything_is_sent(backend: Backend, tokens: TokenService):
    more = {"GRANT": "private_key_jwt", "CLIENT_ID": "me", "PRIVATE_KEY": "sesame", "AUTH_CODE": ""}
    well, said = await checked(backend, tokens, **more)
    assert not well
    assert "PRIVATE_KEY holds no private key in PEM" in said
    assert "Nothing was sent: mend what PRIVATE_KEY holds" in said.splitlines()[-1]
    assert tokens.calls == 0


GATEWAY = {"DIALECT": "envelope"}


async def test_a_gateway_is_shown_as_it_is_called_and_a_chat_offered(backend: Backend, tokens: TokenService):
    well, said = await checked(backend, tokens, CHAT_API_URL=f"{backend.url}/chat", **GATEWAY)
    assert well
    assert f"Chat completions: POST {backend.url}/chat\n" in said
    assert "Models: GET" not in said
    assert "check --chat MODEL" in said
    assert backend.requests == []


async def test_one_small_chat_is_made_where_a_model_is_named(backend: Backend, tokens: TokenService):
    hello = {"data": {"content": {"content": "a word that nobody logs"}}}
    backend.script = reply(answer(200, json.dumps(hello).encode()))
    well, said = await checked(backend, tokens, "m", **GATEWAY)
    assert well
    assert "ok    Chat: m answered with 23 characters." in said
    assert json.loads(backend.requests[-1].body)["model"] == "m"
    assert "a word that nobody logs" not in said


async def test_a_wrong_path_is_explained_by_the_keys_that_came(backend: Backend, tokens: TokenService):
    backend.script = reply(answer(200, b'{"data":{"answer":{"words":"a word that nobody logs"}}}'))
    well, said = await checked(backend, tokens, "m", **GATEWAY)
    assert not well
    assert "nothing at data.content.content (ENVELOPE_TEXT_PATH)" in said
    assert "data.answer" in said
    assert "a word that nobody logs" not in said


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [(404, b'{"error":{"message":"no such model"}}', "404: no such model"), (200, b"<html>", "200")],
)
async def test_a_chat_that_fails_is_told_with_the_backends_words(
    backend: Backend, tokens: TokenService, status: int, body: bytes, told: str
):
    async def play(request: Request) -> None:
        await request.whole.wait()
        models = request.method == b"GET"
        await request.send(answer(200, json.dumps(LIST).encode()) if models else answer(status, body))

    backend.script = play
    well, said = await checked(backend, tokens, "m")
    assert not well
    assert f"FAIL  Chat: the answer would be {told}" in said
