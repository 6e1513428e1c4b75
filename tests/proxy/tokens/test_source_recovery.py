"""Calls find a token service that is back, operators request a refresh, and secrets are whole when they are sent."""

import os
from pathlib import Path
from typing import Any

import pytest

from mimic_proxy.errors import TokenRejected, TokenUnavailable
from mimic_proxy.settings.fields import SecretRef
from mimic_proxy.tokens.recipe import Grant
from mimic_proxy.tokens.response import Failure, TokenResponse
from mimic_proxy.tokens.store import Secret
from mimic_proxy.tokens.token import AccessToken

REFUSED = Failure("unreachable", "could not be reached: Connection refused")
TIMEOUT = Failure("timeout", "did not answer within 10 s", unknown=True)


@pytest.mark.parametrize(
    ("failure", "within"),
    [(REFUSED, 1.1), (TIMEOUT, 5.1), (TokenResponse(500, b""), 5.1)],
    ids=["refused", "timeout", "500"],
)
async def test_calls_succeed_soon_after_the_token_service_is_back(
    scene: Any, failure: Failure | TokenResponse, within: float
) -> None:
    scene.jitter = 1.0
    scene.service.reply = lambda: failure
    source = await scene.started()
    for _ in range(1200):
        error = await scene.ask(source)
        assert isinstance(error, TokenUnavailable)
        assert 0 <= error.retry_after <= within
        await scene.clock.advance(0.1)
    assert scene.service.calls <= 2 + 120 / (within - 0.1)
    scene.service.reply = scene.service.grant
    began = scene.clock.monotonic
    while not isinstance(await scene.ask(source), AccessToken):
        await scene.clock.advance(0.1)
    assert scene.clock.monotonic - began <= within


async def test_without_calls_the_pauses_grow_as_ever(scene: Any) -> None:
    scene.jitter = 1.0
    scene.service.reply = lambda: REFUSED
    await scene.started()
    await scene.clock.advance(600)
    assert scene.service.calls < 20


async def test_a_throttling_service_and_a_refused_secret_are_left_alone(scene: Any) -> None:
    scene.jitter = 1.0
    scene.service.answer(429)
    source = await scene.started()
    for _ in range(600):
        await scene.ask(source)
        await scene.clock.advance(0.1)
    assert scene.service.calls <= 7
    scene.service.answer(401)
    await scene.clock.advance(60)
    calls = scene.service.calls
    for _ in range(500):
        assert isinstance(await scene.ask(source), TokenRejected)
        await scene.clock.advance(0.1)
    assert scene.service.calls <= calls + 1


async def test_an_operator_requests_a_refresh_whatever_failed_before(scene: Any) -> None:
    scene.service.answer(401)
    source = await scene.started()
    await scene.clock.advance(10)
    scene.service.reply = scene.service.grant
    for _ in range(10):
        source.refresh()
        await scene.turn()
    assert scene.service.calls == 2
    assert scene.results[-1] == ("requested", "success")
    assert (await scene.ask(source)).value == "token-2"


async def test_a_half_written_secret_is_never_sent(scene: Any, tmp_path: Path) -> None:
    file = tmp_path / "code"

    def write(content: str) -> None:
        file.write_text(content)
        os.utime(file, (scene.clock.wall, scene.clock.wall))

    write("fi")
    source = scene.source(scene.auth_code(SecretRef("AUTH_CODE", file=file)))
    source.start()
    await scene.turn()
    await scene.clock.advance(0.2)
    write("first-code")
    await scene.clock.advance(1.5)
    assert scene.service.codes == ["first-code"]
    write("sec")
    source.secrets_changed()
    await scene.turn()
    await scene.clock.advance(0.3)
    write("second-code")
    await scene.clock.advance(0.6)
    source.secrets_changed()
    await scene.turn()
    assert scene.service.codes == ["first-code", "second-code"]


async def test_a_half_written_static_token_is_never_sent(scene: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hal")
    os.utime(file, (scene.clock.wall, scene.clock.wall))
    source = scene.source(Grant("static", secrets=(SecretRef("ACCESS_TOKEN", file=file),)))
    source.start()
    assert not source.state().held
    await scene.turn()
    file.write_text("half")
    os.utime(file, (scene.clock.wall, scene.clock.wall - 1))
    await scene.clock.advance(0.6)
    assert source.obtain(scene.caller()).value == "half"


@pytest.mark.parametrize(("age", "wait"), [(0.0, 0.5), (0.4, 0.1), (0.5, 0.0), (1000.0, 0.0), (-1000.0, 0.0)])
def test_a_file_has_settled_half_a_second_after_its_last_change(tmp_path: Path, age: float, wait: float) -> None:
    file = tmp_path / "code"
    file.write_text("x")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    assert Secret(SecretRef("AUTH_CODE", file=file)).unsettled(1_700_000_000 + age) == pytest.approx(wait)


def test_a_value_and_a_missing_file_have_settled(tmp_path: Path) -> None:
    assert Secret(SecretRef("AUTH_CODE", "x")).unsettled(0.0) == 0
    assert Secret(SecretRef("AUTH_CODE", file=tmp_path / "no")).unsettled(0.0) == 0
