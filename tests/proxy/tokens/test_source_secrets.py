"""Secrets that change, appear, or work only once, while the source runs."""

from pathlib import Path
from typing import Any

import pytest

from mimic_proxy.errors import TokenRejected, TokenUnavailable, UpstreamAuthFailed
from mimic_proxy.settings.fields import SecretRef
from mimic_proxy.tokens.recipe import Grant
from mimic_proxy.tokens.token import AccessToken


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "code"
    path.write_text("first-code\n")
    return path


def put(file: Path, content: str) -> None:
    file.write_text(content)


def code(file: Path) -> SecretRef:
    return SecretRef("AUTH_CODE", file=file)


async def test_a_changed_file_is_used_at_the_next_refresh_though_nobody_tells_of_it(scene: Any, file: Path) -> None:
    await scene.started(scene.auth_code(code(file)))
    put(file, "second-code")
    await scene.clock.advance(801)
    assert scene.service.codes == ["first-code", "second-code"]


async def test_a_changed_file_that_is_told_of_is_used_at_once(scene: Any, file: Path) -> None:
    source = await scene.started(scene.auth_code(code(file)))
    put(file, "second-code")
    source.secrets_changed()
    assert source.obtain(scene.caller()).value == "token-1", "the old token serves meanwhile"
    await scene.turn()
    assert source.obtain(scene.caller()).value == "token-2"
    assert scene.service.codes == ["first-code", "second-code"]
    assert scene.results[-1] == ("config", "success")


async def test_a_file_that_holds_what_it_held_costs_no_call(scene: Any, file: Path) -> None:
    source = await scene.started(scene.auth_code(code(file)))
    put(file, "first-code")
    source.secrets_changed()
    await scene.turn()
    assert scene.service.calls == 1


@pytest.mark.parametrize("status", [401, 500])
async def test_a_changed_secret_clears_the_back_off(scene: Any, file: Path, status: int) -> None:
    scene.service.answer(status, retry_after="60")
    source = await scene.started(scene.auth_code(code(file)))
    put(file, "second-code")
    scene.service.reply = scene.service.grant
    source.secrets_changed()
    caller = scene.caller()
    assert source.obtain(caller) is None, "who comes now waits for the new secret's flight"
    await scene.turn()
    assert [token.value for token in caller.told] == ["token-2"]


@pytest.mark.parametrize("in_flight", [False, True])
async def test_a_changed_secret_begins_with_the_shortest_pause(scene: Any, file: Path, in_flight: bool) -> None:
    scene.jitter = 1.0
    scene.service.answer(500)
    source = await scene.started(scene.auth_code(code(file)))
    await scene.clock.advance(1000)
    assert source.state().consecutive_failures > 9
    if in_flight:
        scene.service.open.clear()
        await scene.clock.advance(61)
    put(file, "second-code")
    source.secrets_changed()
    scene.service.open.set()
    await scene.turn()
    assert source.state().consecutive_failures == 1
    assert source.state().next_refresh == pytest.approx(scene.clock.wall + 2)


async def test_a_refusal_of_a_secret_that_was_replaced_meanwhile_counts_for_nothing(scene: Any, file: Path) -> None:
    scene.service.open.clear()
    scene.service.answer(401)
    source = scene.source(scene.auth_code(code(file)))
    caller = scene.caller()
    assert source.obtain(caller) is None
    await scene.turn()
    put(file, "second-code")
    source.secrets_changed()
    scene.service.reply = iter([scene.service.reply(), scene.granted("token-2")]).__next__
    scene.service.open.set()
    await scene.turn()
    assert [token.value for token in caller.told] == ["token-2"]
    assert scene.service.codes == ["first-code", "second-code"]
    assert scene.results == [("startup", "rejected"), ("config", "success")]
    assert source.state().consecutive_failures == 0


async def test_a_secret_replaced_during_a_flight_that_succeeds_is_used_right_after(scene: Any, file: Path) -> None:
    scene.service.open.clear()
    source = scene.source(scene.auth_code(code(file)))
    source.start()
    await scene.turn()
    put(file, "second-code")
    scene.service.open.set()
    await scene.turn()
    assert scene.service.codes == ["first-code", "second-code"]
    assert source.obtain(scene.caller()).generation == 2


async def test_a_new_secret_that_is_refused_leaves_the_old_token_in_service(scene: Any, file: Path) -> None:
    source = await scene.started(scene.auth_code(code(file)))
    put(file, "wrong-code")
    scene.service.answer(401)
    source.secrets_changed()
    await scene.clock.advance(700)
    assert (await scene.ask(source)).value == "token-1"
    assert scene.service.calls == 2
    assert "AUTH_CODE_FILE" in source.state().trouble


async def test_a_missing_file_is_503_with_its_name_and_heals_when_it_appears(
    scene: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "not-yet"
    source = await scene.started(scene.auth_code(code(file)))
    await scene.clock.advance(100)
    error = await scene.ask(source)
    assert isinstance(error, TokenUnavailable)
    assert "AUTH_CODE_FILE" in error.message
    assert str(file) in error.message
    assert error.retry_after <= 1
    assert (scene.service.calls, scene.observations, source.state().held) == (0, [], False)
    assert len(caplog.records) == 2
    put(file, "first-code")
    await scene.clock.advance(1.1)
    assert (await scene.ask(source)).value == "token-1"


async def test_a_missing_file_heals_at_once_when_its_appearing_is_told(scene: Any, tmp_path: Path) -> None:
    file = tmp_path / "not-yet"
    source = await scene.started(scene.auth_code(code(file)))
    put(file, "first-code")
    source.secrets_changed()
    assert (await scene.ask(source)).value == "token-1"


async def test_a_file_that_is_emptied_keeps_the_last_secret(scene: Any, file: Path) -> None:
    source = await scene.started(scene.auth_code(code(file)))
    put(file, "")
    source.secrets_changed()
    await scene.clock.advance(801)
    assert scene.service.codes == ["first-code", "first-code"]


async def test_a_static_token_follows_its_file(scene: Any, file: Path) -> None:
    grant = Grant("static", secrets=(SecretRef("ACCESS_TOKEN", file=file),))
    source = await scene.started(grant)
    first = source.obtain(scene.caller())
    assert first.value == "first-code"
    put(file, "second-code")
    source.secrets_changed()
    second = source.obtain(scene.caller())
    assert (second.value, second.generation) == ("second-code", 2)
    assert source.replace(first, scene.clock.monotonic, scene.caller()) is second
    put(file, "broken\ncode")
    source.secrets_changed()
    assert source.obtain(scene.caller()) is second
    assert "ACCESS_TOKEN_FILE" in source.state().trouble


async def test_a_static_token_that_no_header_can_carry_is_told_and_heals(scene: Any, file: Path) -> None:
    put(file, "broken\ncode")
    source = await scene.started(Grant("static", secrets=(SecretRef("ACCESS_TOKEN", file=file),)))
    error = source.obtain(scene.caller())
    assert isinstance(error, TokenRejected)
    assert "ACCESS_TOKEN_FILE" in error.message
    assert "broken" not in error.message
    put(file, "good-code")
    source.secrets_changed()
    assert source.obtain(scene.caller()).value == "good-code"


async def test_a_static_token_whose_file_is_missing_heals_by_itself(scene: Any, tmp_path: Path) -> None:
    file = tmp_path / "not-yet"
    source = await scene.started(Grant("static", secrets=(SecretRef("ACCESS_TOKEN", file=file),)))
    assert isinstance(source.obtain(scene.caller()), TokenUnavailable)
    put(file, "there")
    await scene.clock.advance(1.1)
    assert source.obtain(scene.caller()).value == "there"


async def test_a_code_that_works_once_is_never_sent_twice(scene: Any, file: Path) -> None:
    source = await scene.started(scene.auth_code(code(file), single_use=True))
    token = source.obtain(scene.caller())
    assert isinstance(token, AccessToken)
    refusal = source.replace(token, scene.clock.monotonic, scene.caller())
    assert isinstance(refusal, UpstreamAuthFailed)
    assert "used up" in refusal.message
    await scene.clock.advance(799)
    assert source.state().trouble is None
    await scene.clock.advance(191)
    assert source.obtain(scene.caller()) is token
    assert "used up" in source.state().trouble, "told before the token expires"
    await scene.clock.advance(100)
    error = await scene.ask(source)
    assert isinstance(error, TokenRejected)
    assert "AUTH_CODE_FILE" in error.message
    assert scene.service.codes == ["first-code"]
    put(file, "second-code")
    await scene.clock.advance(61)
    assert (await scene.ask(source)).value == "token-2"


async def test_a_code_that_works_once_is_sent_again_if_it_bought_nothing(scene: Any, file: Path) -> None:
    scene.service.answer(500)
    source = await scene.started(scene.auth_code(code(file), single_use=True))
    scene.service.reply = scene.service.grant
    await scene.clock.advance(2)
    assert (await scene.ask(source)).value == "token-2"
