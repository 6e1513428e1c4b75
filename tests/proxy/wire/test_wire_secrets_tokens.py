"""Secrets stand in nothing that Mimic shows, whatever the token service makes of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.backend import Backend, Request
from fakes.caller import ask
from fakes.mimic import eventually
from fakes.planted import AUTH_CODE, REFRESH_TOKEN, Planting, chat, planting
from fakes.replies import answer, head, reply
from fakes.token_service import TokenService

COMPLETION = b'{"model":"m","choices":[]}'
HTML = [(b"content-type", b"text/html")]


@pytest.fixture
def plant(tmp_path: Path, backend: Backend, tokens: TokenService) -> Planting:
    """A Mimic full of planted words: `async with plant("json", A_SETTING="1")`."""
    return lambda form="json", **more: planting(form, tmp_path, backend, tokens, **more)


TOKEN_ANSWERS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "refused": (lambda code: answer(401, b'{"error":"invalid code %s"}' % code), "token_rejected"),
    "refused as OAuth does": (
        lambda code: answer(400, b'{"error":"invalid_grant","error_description":"%s is old"}' % code),
        "token_rejected",
    ),
    "down": (lambda code: answer(500, b"<html>%s</html>" % code, HTML), "token_unavailable"),
    "no JSON": (lambda code: answer(200, b'{"data":{"access_token":"%s"' % code), "token_unavailable"),
    "another shape": (lambda code: answer(200, b'{"%s":{"token":"%s"}}' % (code, code)), "token_unavailable"),
    "no token for a field": (
        lambda code: answer(200, b'{"access_token":"%s\\r\\nx: %s"}' % (code, code)),
        "token_unavailable",
    ),
    "a redirect": (
        lambda code: head(302, [(b"location", b"/?code=" + code), (b"content-length", b"0")]),
        "token_unavailable",
    ),
    "no HTTP": (lambda code: code + b"\r\n\r\n", "token_unavailable"),
}


@pytest.mark.parametrize("why", TOKEN_ANSWERS)
async def test_a_token_service_that_tells_the_secret(plant: Planting, tokens: TokenService, why: str) -> None:
    make, code = TOKEN_ANSWERS[why]

    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(make(json.loads(request.body)["code"].encode()))
        request.connection.close()

    tokens.script = play
    async with plant(ready=False) as witness:
        await tokens.server.request()
        await eventually(lambda: "next attempt in" in witness.mimic.log, what="a failed refresh")
        await witness.ask(why, chat(), code=code)


async def test_a_token_service_that_fails_later(plant: Planting, backend: Backend, tokens: TokenService) -> None:
    """Every generation of the token is looked for, and the refresh token that came with one."""
    backend.script = tokens.guard(reply(answer(200, COMPLETION)))

    async def generous(request: Request) -> None:
        await request.whole.wait()
        granted = {**tokens.new_token(), "refresh_token": REFRESH_TOKEN, "scope": REFRESH_TOKEN}
        await request.send(answer(200, json.dumps({"data": granted}).encode()))

    tokens.script = generous
    async with plant() as witness:
        for _ in range(3):
            tokens.revoke()
            assert (await ask(witness.mimic.port, chat())).status in (200, 502)
        assert len(tokens.issued) > 1
        tokens.revoke()
        tokens.script = reply(answer(401, AUTH_CODE.encode()))
        got = await ask(witness.mimic.port, chat())
        assert got.status in (502, 503)
        witness.answers.append(("a refresh that is refused", got))
