"""Refresh tokens that are replaced each time: none is lost, and none is turned in twice but after an unknown end."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from mimic_proxy.errors import TokenRejected, TokenUnavailable
from mimic_proxy.settings.fields import SecretRef, Settings
from mimic_proxy.tokens.grants import choose
from mimic_proxy.tokens.recipe import Grant
from mimic_proxy.tokens.response import Failure, TokenResponse

BASE: dict[str, Any] = {
    "chat_api_url": "https://b.example",
    "embedding_api_url": "https://b.example",
    "token_url": "https://tokens.corp.example/token",
}
TIMEOUT = Failure("timeout", "did not answer within 10 s", unknown=True)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.json"


def refreshing(store: Path | None = None, token: SecretRef | None = None, **more: Any) -> Grant:
    token = token or SecretRef("REFRESH_TOKEN", "refresh-0")
    return choose(Settings(**BASE, grant="refresh_token", refresh_token=token, token_store=store, **more))


def by_code(store: Path | None = None, **more: Any) -> Grant:
    code = SecretRef("AUTH_CODE", "first-code")
    return choose(Settings(**BASE, auth_code=code, token_store=store, **more))


def turned_in(scene: Any) -> list[str]:
    """What was sent: refresh tokens, and codes."""
    found = []
    for request in scene.service.requests:
        json_body = dict(request.headers)["content-type"] == "application/json"
        fields = json.loads(request.body) if json_body else dict(parse_qsl(request.body.decode()))
        found.append(fields.get("refresh_token") or fields["code"])
    return found


def rotates(scene: Any) -> None:
    """From now on each answer brings the next refresh token."""

    def answer() -> TokenResponse:
        number = scene.service.calls
        body = {"access_token": f"token-{number}", "expires_in": 1000, "refresh_token": f"refresh-{number}"}
        return TokenResponse(200, json.dumps(body).encode())

    scene.service.reply = answer


def refuses(scene: Any, error: str = "invalid_grant") -> None:
    scene.service.reply = lambda: TokenResponse(400, json.dumps({"error": error}).encode())


def kept(store: Path) -> str:
    """The refresh token in the file."""
    found: str = json.loads(store.read_text())["refresh_token"]
    return found


async def settled(scene: Any) -> None:
    """Until the store's thread has done its work too."""
    for source in scene.sources:
        while source._flight is not None:
            await asyncio.sleep(0.001)
    await scene.turn()


async def called(scene: Any) -> None:
    """Until the store's thread has let a request go."""
    while not scene.service.calls:
        await asyncio.sleep(0.001)


async def test_the_next_one_is_turned_in_next(scene: Any) -> None:
    rotates(scene)
    source = await scene.started(refreshing())
    for _ in range(3):
        await scene.clock.advance(801)
    assert turned_in(scene) == ["refresh-0", "refresh-1", "refresh-2", "refresh-3"]
    assert source.obtain(scene.caller()).value == "token-4"


async def test_one_that_is_not_replaced_is_turned_in_again(scene: Any) -> None:
    await scene.started(refreshing())
    await scene.clock.advance(801)
    assert turned_in(scene) == ["refresh-0", "refresh-0"]


async def test_the_next_one_is_in_the_store_before_the_access_token_is_used(scene: Any, store: Path) -> None:
    rotates(scene)
    source = scene.source(refreshing(store))
    stored: list[str] = []

    def waiter(result: object) -> None:
        stored.append(kept(store))

    assert source.obtain(waiter) is None
    await settled(scene)
    assert stored == ["refresh-1"]


async def test_a_restart_goes_on_where_the_last_process_ended(scene: Any, store: Path) -> None:
    rotates(scene)
    first = await scene.started(refreshing(store))
    await settled(scene)
    await first.close()
    await scene.started(refreshing(store))
    await settled(scene)
    assert turned_in(scene) == ["refresh-0", "refresh-1"]
    assert kept(store) == "refresh-2"


async def test_a_refresh_token_that_is_set_anew_counts_more_than_the_store(scene: Any, store: Path) -> None:
    rotates(scene)
    first = await scene.started(refreshing(store))
    await settled(scene)
    await first.close()
    await scene.started(refreshing(store, SecretRef("REFRESH_TOKEN", "mended")))
    await settled(scene)
    assert turned_in(scene) == ["refresh-0", "mended"]


async def test_a_changed_file_is_turned_in_at_once(scene: Any, tmp_path: Path) -> None:
    file = tmp_path / "refresh"
    file.write_text("from-file\n")
    rotates(scene)
    source = await scene.started(refreshing(token=SecretRef("REFRESH_TOKEN", file=file)))
    file.write_text("mended")
    source.secrets_changed()
    await scene.turn()
    assert turned_in(scene) == ["from-file", "mended"]
    source.secrets_changed()
    await scene.clock.advance(801)
    assert turned_in(scene)[2:] == ["refresh-2"], "what it has brought, and not the file's again"


async def test_a_store_that_cannot_be_written_keeps_the_refresh_token_from_being_used_up(
    scene: Any, tmp_path: Path
) -> None:
    source = await scene.started(refreshing(tmp_path / "nowhere" / "store.json"))
    await settled(scene)
    error = await scene.ask(source)
    assert isinstance(error, TokenUnavailable)
    assert "TOKEN_STORE=" in error.message
    assert "Nothing was sent" in error.message
    assert scene.service.calls == 0
    (tmp_path / "nowhere").mkdir()
    await scene.clock.advance(1.1)
    await settled(scene)
    assert turned_in(scene) == ["refresh-0"]


async def test_a_store_that_fails_later_leaves_the_next_one_in_memory_and_is_written_when_it_can(
    scene: Any, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rotates(scene)
    source = scene.source(refreshing(store))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    scene.service.open.clear()
    source.start()
    await called(scene)
    monkeypatch.setattr("os.fsync", full)
    scene.service.open.set()
    await settled(scene)
    assert (await scene.ask(source)).value == "token-1"
    assert "in memory only" in caplog.text
    assert "refresh-1" not in caplog.text
    monkeypatch.undo()
    await scene.clock.advance(801)
    await settled(scene)
    assert turned_in(scene) == ["refresh-0", "refresh-1"]
    assert kept(store) == "refresh-2"


async def test_an_unknown_end_is_repeated_with_the_same_one_and_may_well_succeed(scene: Any) -> None:
    scene.service.reply = lambda: TIMEOUT
    source = await scene.started(refreshing())
    rotates(scene)
    await scene.clock.advance(3)
    assert turned_in(scene) == ["refresh-0", "refresh-0"]
    assert source.state().last_result == "success"


async def test_a_refusal_after_an_unknown_end_is_a_lost_refresh_token(scene: Any) -> None:
    scene.service.reply = lambda: TIMEOUT
    source = await scene.started(refreshing())
    refuses(scene)
    await scene.clock.advance(3)
    error = await scene.ask(source)
    assert isinstance(error, TokenRejected)
    assert "set a new REFRESH_TOKEN" in error.message
    assert "is lost" in error.message
    assert scene.results == [("startup", "timeout"), ("startup", "lost")]
    await scene.clock.advance(50)
    assert scene.service.calls == 2, "not hammered"


async def test_a_second_unknown_end_is_told_and_not_repeated_for_a_minute(scene: Any) -> None:
    scene.service.reply = lambda: TIMEOUT
    source = await scene.started(refreshing())
    await scene.clock.advance(3)
    assert scene.results == [("startup", "timeout"), ("startup", "lost")]
    assert "twice in a row" in source.state().trouble
    await scene.clock.advance(50)
    assert scene.service.calls == 2
    rotates(scene)
    await scene.clock.advance(10)
    assert source.state().held


async def test_what_never_reached_the_token_service_is_no_unknown_end(scene: Any) -> None:
    scene.service.reply = lambda: Failure("unreachable", "could not be reached: Connection refused")
    source = await scene.started(refreshing())
    await scene.clock.advance(100)
    assert {result for _, result in scene.results} == {"unreachable"}
    assert scene.service.calls > 2
    assert isinstance(await scene.ask(source), TokenUnavailable)


async def test_a_stop_waits_for_the_answer_that_brings_the_next_one(scene: Any, store: Path) -> None:
    rotates(scene)
    scene.service.open.clear()
    source = scene.source(refreshing(store))
    source.start()
    await called(scene)
    closing = asyncio.create_task(source.close())
    await scene.turn()
    assert not closing.done()
    scene.service.open.set()
    await closing
    assert kept(store) == "refresh-1"


async def test_a_code_that_brings_a_refresh_token_is_not_sent_again(scene: Any) -> None:
    rotates(scene)
    await scene.started(by_code())
    await scene.clock.advance(801)
    await scene.clock.advance(801)
    assert turned_in(scene) == ["first-code", "refresh-1", "refresh-2"]
    body = json.loads(scene.service.requests[1].body)
    assert body == {"grant_type": "refresh_token", "refresh_token": "refresh-1"}


async def test_a_code_that_can_be_used_again_takes_the_place_of_a_refused_refresh_token(scene: Any) -> None:
    rotates(scene)
    source = await scene.started(by_code())
    refuses(scene)
    await scene.clock.advance(800.5)
    rotates(scene)
    await scene.clock.advance(5)
    assert turned_in(scene) == ["first-code", "refresh-1", "first-code"]
    assert source.obtain(scene.caller()).value == "token-3"
    await scene.clock.advance(801)
    assert turned_in(scene)[3:] == ["first-code"], "a refresh token that never bought anything is not tried again"


async def test_a_code_for_one_use_lives_on_in_its_refresh_tokens_over_a_restart(scene: Any, store: Path) -> None:
    rotates(scene)
    first = await scene.started(by_code(store, auth_code_single_use=True))
    await settled(scene)
    await scene.clock.advance(801)
    await settled(scene)
    await first.close()
    await scene.started(by_code(store, auth_code_single_use=True))
    await settled(scene)
    assert turned_in(scene) == ["first-code", "refresh-1", "refresh-2"]


async def test_no_secret_stands_in_what_is_told(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    rotates(scene)
    caplog.set_level("DEBUG")
    source = await scene.started(refreshing(client_id="me", client_secret=SecretRef("CLIENT_SECRET", "hidden")))
    refuses(scene)
    await scene.clock.advance(801)
    told = f"{caplog.text}{source.state()}{source.explanation()}"
    assert "invalid_grant" in told
    for secret in ("hidden", "refresh-0", "refresh-1", "token-1"):
        assert secret not in told
