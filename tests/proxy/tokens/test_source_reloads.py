"""Other settings apply to the source that runs: no reload takes a token away that a restart-free Mimic could have used.

The matrix: each grant, each kind of change, with the token service up and down.
"""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.tokens.grants import choose
from mimic_proxy.tokens.recipe import TokenRequest
from mimic_proxy.tokens.refresh import TokenPolicy
from mimic_proxy.tokens.response import Failure, TokenResponse
from mimic_proxy.tokens.source import TokenSource
from mimic_proxy.tokens.store import StoreError, TokenStore
from mimic_proxy.tokens.token import AccessToken

OLD, NEW = "https://old.example/token", "https://new.example/token"
BASE = Settings(chat_api_url="https://b.example", embedding_api_url="https://b.example", token_url=OLD)
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SECRETS: dict[str, str] = {
    "auth_code": "auth_code",
    "single_use": "auth_code",
    "client_credentials": "client_secret",
    "private_key_jwt": "private_key",
    "token_exchange": "subject_token",
    "refresh_token": "refresh_token",
    "refresh_token_stored": "refresh_token",
}
"""The grants with a token service, and the secret of each."""


class Service:
    """A token service that takes each refresh token and each code for one use once, and each replaces its token."""

    def __init__(self, *, one_use: bool) -> None:
        self.up = True
        self.one_use = one_use
        self.urls: list[str] = []
        self.sent: list[str] = []
        self.tokens = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, request: TokenRequest) -> TokenResponse | Failure:
        self.urls.append(request.url)
        if not self.up:
            return Failure("unreachable", "could not be reached: Connection refused")
        kind = dict(request.headers)["content-type"]
        fields = dict(json.loads(request.body) if kind == "application/json" else parse_qsl(request.body.decode()))
        secret = fields.get("refresh_token") or fields.get("code")
        await self.hold.wait()
        if secret is not None:
            assert not self.one_use or secret not in self.sent, f"{secret} was sent twice"
            self.sent.append(secret)
        self.tokens += 1
        body: dict[str, object] = {"access_token": f"token-{self.tokens}", "expires_in": 1000}
        if self.one_use:
            body["refresh_token"] = f"refresh-{self.tokens}"
        return TokenResponse(200, json.dumps(body).encode())


@dataclasses.dataclass
class Reloads:
    """A source whose settings change."""

    scene: Any
    service: Service
    settings: Settings
    source: TokenSource

    async def apply(self, *, other_way: bool = False, **changed: Any) -> None:
        """other_way: the token service is reached by another connection."""
        self.settings = dataclasses.replace(self.settings, **changed)
        post = Way(self.service) if other_way else self.source._refresher._post
        self.source.apply(choose(self.settings), TokenPolicy.of(self.settings), post)
        await self.done()

    async def done(self) -> None:
        """Until no refresh runs; the store works in a thread."""
        await self.scene.turn()
        while self.source._flight is not None and self.service.hold.is_set():
            await asyncio.sleep(0.001)
        await self.scene.turn()

    def token(self) -> AccessToken:
        """What a call gets, at once."""
        got = self.source.obtain(self.scene.caller())
        assert isinstance(got, AccessToken), got
        return got


class Way:
    """The same service over another connection."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, request: TokenRequest) -> TokenResponse | Failure:
        return await self.service(request)


def settings_of(grant: str, tmp_path: Path) -> Settings:
    kind = {"single_use": "auth_code", "refresh_token_stored": "refresh_token"}.get(grant, grant)
    name = SECRETS[grant]
    secret = SecretRef(name.upper(), PEM if name == "private_key" else "first-secret")
    return dataclasses.replace(
        BASE,
        **{"grant": kind, name: secret},
        client_id="me",
        auth_code_single_use=grant == "single_use",
        token_store=tmp_path / "store.json" if grant in ("refresh_token_stored", "single_use") else None,
    )


async def started(scene: Any, grant: str, tmp_path: Path) -> Reloads:
    settings = settings_of(grant, tmp_path)
    service = Service(one_use=grant in ("single_use", "refresh_token", "refresh_token_stored"))
    scene.service = service
    source = scene.source(choose(settings))
    source.start()
    found = Reloads(scene, service, settings, source)
    await found.done()
    return found


CHANGES: dict[str, tuple[bool, dict[str, Any]]] = {
    "connection": (False, {"other_way": True}),
    "lifetime": (False, {"token_default_lifetime": 7.0}),
    "floor": (False, {"token_min_refresh_interval": 3.0}),
    "pointer": (False, {"token_pointer": ("access_token",)}),
    "encoding": (False, {"token_encoding": "form"}),
    "format": (False, {"token_format": "Key {token}"}),
    "scope": (True, {"scope": "other"}),
    "audience": (True, {"audience": "other"}),
    "url": (True, {"token_url": NEW}),
    "client": (True, {"client_id": "you"}),
    "fields": (True, {"token_fields": (("tenant", "7"),)}),
}
"""Whether a token is requested for someone or something else, and the change."""


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("grant", SECRETS)
async def test_no_reload_takes_a_token_away(scene: Any, tmp_path: Path, grant: str, change: str, up: bool) -> None:
    anew, changed = CHANGES[change]
    if grant == "private_key_jwt" and change == "encoding":
        changed = {"token_encoding": "json"}
    mimic = await started(scene, grant, tmp_path)
    before = mimic.token()
    await scene.clock.advance(10)
    mimic.service.up = up
    calls = len(mimic.service.urls)
    mimic.source.apply(choose(mimic.settings), TokenPolicy.of(mimic.settings), mimic.source._refresher._post)
    assert mimic.token() is before, "nothing has changed"
    await mimic.apply(**changed)
    now = mimic.token()
    replaced = anew and up
    assert now.value == ("token-2" if replaced else "token-1")
    assert (len(mimic.service.urls) > calls) == anew
    assert now.field.startswith(b"authorization: Key " if change == "format" else b"authorization: Bearer ")
    assert (now.generation > before.generation) == (replaced or change == "format")
    # The old one serves to its end, and a service that comes back is found by the first call within a second.
    while scene.clock.monotonic < 1980:
        await scene.clock.advance(97)
        await mimic.done()
        mimic.token()
    await scene.clock.advance(20)
    mimic.service.up = True
    await scene.clock.advance(1.1)
    mimic.source.obtain(scene.caller())
    await mimic.done()
    assert mimic.token().value == f"token-{mimic.service.tokens}"
    if change == "url":
        assert set(mimic.service.urls[calls:]) <= {NEW}, "the secret goes to the old URL no more"


@pytest.mark.parametrize("grant", SECRETS)
async def test_a_changed_secret_is_used_at_once_and_the_old_token_meanwhile(
    scene: Any, tmp_path: Path, grant: str
) -> None:
    mimic = await started(scene, grant, tmp_path)
    name = SECRETS[grant]
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    mimic.service.hold.clear()
    await mimic.apply(**{name: SecretRef(name.upper(), pem if name == "private_key" else "second-secret")})
    assert mimic.token().value == "token-1"
    mimic.service.hold.set()
    await mimic.done()
    assert mimic.token().value == "token-2"
    if mimic.service.one_use:
        assert mimic.service.sent == ["first-secret", "second-secret"]


@pytest.mark.parametrize("grant", ["refresh_token", "refresh_token_stored"])
async def test_a_rotated_refresh_token_is_used_after_each_reload(scene: Any, tmp_path: Path, grant: str) -> None:
    mimic = await started(scene, grant, tmp_path)
    await mimic.apply(scope="a")
    await mimic.apply(token_url=NEW)
    await mimic.apply(client_id="you")
    assert mimic.service.sent == ["first-secret", "refresh-1", "refresh-2", "refresh-3"]


async def test_another_grant_and_back_sends_no_refresh_token_twice(scene: Any, tmp_path: Path) -> None:
    mimic = await started(scene, "refresh_token", tmp_path)
    await mimic.apply(grant="none")
    assert mimic.token().field == b""
    await mimic.apply(grant="static", access_token=SecretRef("ACCESS_TOKEN", "fixed"))
    assert mimic.token().value == "fixed"
    await mimic.apply(grant="refresh_token")
    assert mimic.token().value == "token-2"
    assert mimic.service.sent == ["first-secret", "refresh-1"]


async def test_a_static_token_whose_file_is_missing_leaves_the_old_token(scene: Any, tmp_path: Path) -> None:
    mimic = await started(scene, "client_credentials", tmp_path)
    await mimic.apply(grant="static", access_token=SecretRef("ACCESS_TOKEN", file=tmp_path / "nowhere"))
    assert mimic.token().value == "token-1"
    (tmp_path / "nowhere").write_text("fixed")
    mimic.source.secrets_changed()
    await mimic.done()
    await scene.clock.advance(1.1)
    assert mimic.token().value == "fixed"


async def test_a_spent_code_is_not_sent_again_whatever_changes(scene: Any, tmp_path: Path) -> None:
    mimic = await started(scene, "auth_code", tmp_path)
    await mimic.apply(auth_code_single_use=True, scope="other")
    assert mimic.service.sent == ["first-secret"]
    assert mimic.token().value == "token-1"
    assert "is used up" in str(mimic.source.state().trouble)


async def test_the_store_stays_locked_by_the_same_process_and_moves_with_its_token(scene: Any, tmp_path: Path) -> None:
    mimic = await started(scene, "refresh_token_stored", tmp_path)
    await mimic.apply(scope="other")
    with pytest.raises(StoreError, match="another Mimic"):
        TokenStore(tmp_path / "store.json").open()
    await mimic.apply(token_store=tmp_path / "other.json", scope="third")
    assert json.loads((tmp_path / "other.json").read_text())["refresh_token"] == "refresh-3"
    freed = TokenStore(tmp_path / "store.json")
    freed.open()
    freed.close()
    assert mimic.service.sent == ["first-secret", "refresh-1", "refresh-2"]


async def test_a_corrected_url_ends_a_request_that_hangs_at_the_old_one(scene: Any, tmp_path: Path) -> None:
    mimic = await started(scene, "client_credentials", tmp_path)
    await scene.clock.advance(500)
    mimic.service.hold.clear()
    mimic.source.refresh()
    await scene.turn()
    mimic.service.hold = asyncio.Event()
    mimic.service.hold.set()
    await mimic.apply(token_url=NEW)
    assert mimic.service.urls == [OLD, OLD, NEW]
    assert mimic.token().value == "token-2"


async def test_a_response_that_brings_a_refresh_token_is_awaited_before_the_new_way(scene: Any, tmp_path: Path) -> None:
    mimic = await started(scene, "refresh_token", tmp_path)
    await scene.clock.advance(500)
    mimic.service.hold.clear()
    mimic.source.refresh()
    await scene.turn()
    await mimic.apply(token_url=NEW)
    assert mimic.service.urls == [OLD, OLD]
    mimic.service.hold.set()
    await mimic.done()
    assert mimic.service.urls == [OLD, OLD, NEW]
    assert mimic.service.sent == ["first-secret", "refresh-1", "refresh-2"]


async def test_settings_that_fix_what_failed_are_tried_at_once(scene: Any, tmp_path: Path) -> None:
    mimic = await started(scene, "client_credentials", tmp_path)
    mimic.service.up = False
    await scene.clock.advance(1000)
    assert not mimic.source.state().held
    mimic.service.up = True
    await mimic.apply(other_way=True)
    assert mimic.token().value == "token-2"
