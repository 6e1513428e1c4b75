"""Each grant of the demo's token service: what it takes, and what a wrong client is told. And Mimic as the client."""

import base64
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mimic_proxy.demo.oauth import (
    CLIENT_ASSERTION,
    GRANT_TYPES,
    GRANTS,
    JWT_TYPE,
    KEY_ID,
    SUBJECT_AUDIENCE,
    SUBJECT_ISSUER,
    Credentials,
)
from mimic_proxy.demo.options import DemoOptions
from mimic_proxy.settings.fields import Settings, load
from mimic_proxy.tokens.grants import GRANTS as PROXY_GRANTS
from mimic_proxy.tokens.grants import choose
from mimic_proxy.tokens.refresh import Attempt, Refresher, TokenPolicy
from mimic_proxy.tokens.response import Failure
from mimic_proxy.tokens.service import TokenService
from mimic_proxy.tokens.token import AccessToken

Play = Callable[..., "Played"]


class Played:
    """A demo backend of one grant, what its clients have to show, and a client that shows what it likes."""

    def __init__(self, grant: str, url: str, credentials: Credentials) -> None:
        self.grant = grant
        self.url = f"{url}/token"
        self.credentials = credentials
        self.http = httpx2.Client(base_url=url, trust_env=False)
        self.basic = self.authorization(credentials.client_secret)

    def authorization(self, secret: str) -> dict[str, str]:
        pair = f"{self.credentials.client_id}:{secret}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def ask(self, headers: dict[str, str] | None = None, **form: str) -> tuple[int, dict[str, Any]]:
        fields = {"grant_type": GRANT_TYPES[self.grant], **form}
        answer = self.http.post("/token", data=fields, headers=headers or {})
        return answer.status_code, answer.json()

    def opens(self, token: str) -> bool:
        return self.http.get("/v1/models", headers={"authorization": f"Bearer {token}"}).status_code == 200

    def assertion(self, key: Any = None, kid: str = KEY_ID, **claims: Any) -> dict[str, str]:
        now, client = int(time.time()), self.credentials.client_id
        usual = {"iss": client, "sub": client, "aud": self.url, "iat": now, "exp": now + 60, "jti": str(time.time_ns())}
        kept = {name: value for name, value in (usual | claims).items() if value is not None}
        signed = jwt.encode(kept, key or self.credentials.client_key, algorithm="ES256", headers={"kid": kid})
        return {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": signed}

    def subject(self, key: Any = None, **claims: Any) -> dict[str, str]:
        now = int(time.time())
        usual = {"iss": SUBJECT_ISSUER, "sub": "pod", "aud": SUBJECT_AUDIENCE, "iat": now, "exp": now + 60}
        signed = jwt.encode(usual | claims, key or self.credentials.cluster_key, algorithm="ES256")
        return {"subject_token": signed, "subject_token_type": JWT_TYPE}


@pytest.fixture
def play(start: Callable[..., str]) -> Iterator[Play]:
    made: list[Played] = []

    def playing(grant: str) -> Played:
        credentials = Credentials("the-code")
        url = start(DemoOptions(code="the-code", grant=grant), credentials=credentials)
        made.append(Played(grant, url, credentials))
        return made[-1]

    yield playing
    for each in made:
        each.http.close()


def test_the_demo_plays_every_grant_of_the_proxy() -> None:
    assert set(GRANTS) == set(PROXY_GRANTS)


def test_client_credentials_are_taken_in_both_ways_and_no_others(play: Play) -> None:
    demo = play("client_credentials")
    own = {"client_id": demo.credentials.client_id, "client_secret": demo.credentials.client_secret}
    for status, answer in (demo.ask(demo.basic), demo.ask(**own)):
        assert (status, answer["expires_in"]) == (200, 60)
        assert demo.opens(answer["access_token"])
    for headers, form, error in (
        (demo.authorization("wrong"), {}, "invalid_client"),
        ({"authorization": "Basic !"}, {}, "invalid_client"),
        ({"authorization": "Bearer x"}, {}, "invalid_client"),
        ({}, {**own, "client_secret": "wrong"}, "invalid_client"),
        ({}, {**own, "client_id": "wrong"}, "invalid_client"),
        (demo.basic, own, "invalid_request"),
        (demo.basic, {"grant_type": "password"}, "unsupported_grant_type"),
    ):
        status, answer = demo.ask(headers, **form)
        assert (status in (400, 401), answer["error"]) == (True, error)
    assert demo.http.post("/token", json={"grant_type": "client_credentials"}).status_code == 400


def test_an_assertion_is_checked_in_every_part(play: Play) -> None:
    demo = play("private_key_jwt")
    right = demo.assertion()
    status, answer = demo.ask(**right)
    assert status == 200
    assert demo.opens(answer["access_token"])
    now = int(time.time())
    for wrong in (
        right,  # a second time
        demo.assertion(key=ec.generate_private_key(ec.SECP256R1())),
        demo.assertion(kid="other"),
        demo.assertion(aud="https://elsewhere.example"),
        demo.assertion(iss="other"),
        demo.assertion(sub="other"),
        demo.assertion(exp=now - 60, iat=now - 120),
        demo.assertion(exp=now + 7200),
        demo.assertion(jti=None),
        {**demo.assertion(), "client_assertion_type": "other"},
        {**demo.assertion(), "client_assertion": "none"},
    ):
        assert demo.ask(**wrong)[1]["error"] == "invalid_client"


def test_a_subject_token_is_checked_in_every_part(play: Play) -> None:
    demo = play("token_exchange")
    status, answer = demo.ask(demo.basic, **demo.subject())
    assert status == 200
    assert demo.opens(answer["access_token"])
    for wrong, error in (
        (demo.subject(key=ec.generate_private_key(ec.SECP256R1())), "invalid_grant"),
        (demo.subject(aud="elsewhere"), "invalid_grant"),
        (demo.subject(iss="other"), "invalid_grant"),
        (demo.subject(exp=int(time.time()) - 60), "invalid_grant"),
        ({**demo.subject(), "subject_token_type": "other"}, "invalid_request"),
    ):
        assert demo.ask(demo.basic, **wrong)[1]["error"] == error
    assert demo.ask(demo.authorization("wrong"), **demo.subject())[1]["error"] == "invalid_client"


def test_a_refresh_token_that_comes_twice_ends_the_session(play: Play) -> None:
    demo = play("refresh_token")
    first = demo.credentials.refresh_token
    _, answer = demo.ask(demo.basic, refresh_token=first)
    second, token = answer["refresh_token"], answer["access_token"]
    assert second != first
    assert demo.opens(token)
    assert demo.ask(demo.basic, refresh_token=first)[1]["error"] == "invalid_grant"
    assert not demo.opens(token)
    assert demo.ask(demo.basic, refresh_token=second)[1]["error"] == "invalid_grant"
    assert demo.ask(demo.basic, refresh_token="")[1]["error"] == "invalid_grant"


def settings(demo: Played, folder: Path, **more: str) -> Settings:
    base = demo.url.removesuffix("/token")
    urls = {"TOKEN_URL": demo.url, "CHAT_API_URL": f"{base}/v1", "EMBEDDING_API_URL": f"{base}/v1"}
    return load({**urls, **demo.credentials.settings(demo.grant, folder, time.time()), **more})


def refresher(found: Settings) -> Refresher:
    async def never(request: object) -> Failure:
        raise AssertionError("nobody is asked")

    service = TokenService(timeout=30, verify=lambda: pytest.fail("http needs no TLS"))
    post = never if found.grant in ("static", "none") else service
    clocks: dict[str, Any] = {"clock": time.monotonic, "wall": time.time, "jitter": lambda: 0.0}
    return Refresher(choose(found), TokenPolicy.of(found), post=post, **clocks)


async def tried(made: Refresher, found: Settings, generation: int = 1) -> Attempt:
    """One attempt with files that were written long ago."""
    for secret in (found.subject_token, found.private_key):
        if secret is not None and secret.file is not None:
            os.utime(secret.file, (0, 0))
    return await made.fetch(generation)


async def token_of(made: Refresher, found: Settings) -> AccessToken:
    attempt = await tried(made, found)
    assert isinstance(attempt.outcome, AccessToken), attempt.outcome
    return attempt.outcome


@pytest.mark.parametrize("grant", GRANTS)
async def test_mimic_gets_a_token_that_opens_the_backend_again_and_again(
    play: Play, tmp_path: Path, grant: str
) -> None:
    demo = play(grant)
    found = settings(demo, tmp_path)
    made = refresher(found)
    for _ in range(3):
        assert demo.opens((await token_of(made, found)).value or "any")
    made.close()


async def test_mimic_sends_its_secret_in_the_body_where_that_is_asked(play: Play, tmp_path: Path) -> None:
    demo = play("client_credentials")
    found = settings(demo, tmp_path, TOKEN_SECRET_IN="body")
    assert demo.opens((await token_of(refresher(found), found)).value)


async def test_a_subject_token_is_read_again_for_each_refresh(play: Play, tmp_path: Path) -> None:
    demo = play("token_exchange")
    found = settings(demo, tmp_path)
    made = refresher(found)
    await token_of(made, found)
    assert found.subject_token is not None
    file = found.subject_token.file
    assert file is not None
    file.write_text(demo.subject(exp=int(time.time()) - 60)["subject_token"])
    attempt = await tried(made, found, 2)
    assert attempt.result == "rejected"
    file.write_text(demo.subject()["subject_token"])
    await token_of(made, found)


async def test_a_key_that_is_replaced_is_used_for_the_next_assertion(play: Play, tmp_path: Path) -> None:
    demo = play("private_key_jwt")
    found = settings(demo, tmp_path)
    made = refresher(found)
    assert found.private_key is not None
    file = found.private_key.file
    assert file is not None
    right = file.read_text()
    file.write_text("no key")
    attempt = await tried(made, found)
    assert attempt.result is None, "nothing was sent"
    assert "PRIVATE_KEY_FILE holds no private key" in str(attempt.outcome)
    assert "no key" not in str(attempt.outcome).replace("holds no private key", "")
    file.write_text(right)
    await token_of(made, found)
