"""A refusal costs the call that got it, and no other: a backend's 401s with a scripted clock."""

import itertools
from typing import Any

import pytest

from mimic_proxy.errors import TokenUnavailable, UpstreamAuthFailed
from mimic_proxy.tokens.response import TokenResponse
from mimic_proxy.tokens.source import TokenSource
from mimic_proxy.tokens.token import AccessToken


async def call(scene: Any, source: TokenSource, refused: Any, subject: str) -> str:
    """One call to a backend for which `refused(token, subject)` holds, replayed as the relay does; its outcome."""
    before: tuple[int, ...] = ()
    got = await scene.ask(source)
    while isinstance(got, AccessToken):
        sent_at = scene.clock.monotonic
        if not refused(got, subject):
            source.accepted(got, sent_at)
            return "ok"
        caller = scene.caller()
        found = source.replace(got, sent_at, caller, None, subject, before)
        before += (got.generation,)
        if found is None:
            await scene.turn()
            while not caller.told:
                await scene.clock.advance(0.05)
            (found,) = caller.told
        got = found
    return str(got.code)


def bad_model(token: AccessToken, subject: str) -> bool:
    return subject == "bad"


async def test_a_model_that_is_refused_takes_the_token_from_no_other(scene: Any) -> None:
    source = await scene.started(floor=1)
    outcomes = {"bad": set(), "good": set()}
    calls_by_second = []
    for _ in range(180):
        before = scene.service.calls
        for _ in range(10):
            outcomes["bad"].add(await call(scene, source, bad_model, "bad"))
            for _ in range(5):
                outcomes["good"].add(await call(scene, source, bad_model, "good"))
            await scene.clock.advance(0.1)
        calls_by_second.append(scene.service.calls - before)
    assert outcomes["good"] == {"ok"}
    assert outcomes["bad"] == {"upstream_auth_failed"}
    assert sum(calls_by_second[:60]) <= 12
    assert sum(calls_by_second[60:]) <= 6


@pytest.mark.parametrize("good_every", [1, 30])
async def test_it_takes_it_from_no_other_while_the_token_service_throttles(scene: Any, good_every: int) -> None:
    source = await scene.started(floor=1)
    scene.jitter = 0.5
    allowed = 5

    def reply() -> TokenResponse:
        if scene.service.calls > allowed:
            return TokenResponse(429, b"")
        return scene.service.grant()

    scene.service.reply = reply
    good = set()
    for turn in range(600):
        await call(scene, source, bad_model, "bad")
        if turn % good_every == 0:
            good.add(await call(scene, source, bad_model, "good"))
        await scene.clock.advance(0.1)
    assert good == {"ok"}
    assert scene.service.calls < 40


async def test_while_refreshed_tokens_are_refused_too_the_floor_grows_to_a_minute(scene: Any) -> None:
    source = await scene.started(floor=1)
    forced: list[float] = []
    for turn in range(4000):
        calls = scene.service.calls
        # Another model each time: nothing is remembered.
        outcome = await call(scene, source, lambda token, subject: True, f"model-{turn}")
        assert outcome == "upstream_auth_failed"
        if scene.service.calls > calls:
            forced.append(scene.clock.monotonic)
        await scene.clock.advance(0.1)
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(forced)]
    assert gaps[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_the_floor_returns_to_its_least_with_the_first_success(scene: Any) -> None:
    source = await scene.started(floor=1)
    for turn in range(200):
        await call(scene, source, lambda token, subject: True, f"model-{turn}")
        await scene.clock.advance(0.1)
    assert await call(scene, source, bad_model, "good") == "ok"
    revoked = source.obtain(scene.caller())
    began = scene.clock.monotonic
    assert await call(scene, source, lambda token, subject: token.generation <= revoked.generation, "good") == "ok"
    assert scene.clock.monotonic - began <= 1.1


async def test_a_second_revocation_within_the_floor_waits_and_heals(scene: Any) -> None:
    source = await scene.started(floor=1)
    valid: set[int] = set()

    def revoked(token: AccessToken, subject: str) -> bool:
        return token.generation not in valid

    valid.add(2)
    assert await call(scene, source, revoked, "m") == "ok"
    valid.clear()
    valid.add(3)
    began = scene.clock.monotonic
    assert await call(scene, source, revoked, "m") == "ok"
    assert 0.9 < scene.clock.monotonic - began < 1.2
    assert scene.service.calls == 3


async def test_a_call_that_meets_both_revocations_heals_too(scene: Any) -> None:
    source = await scene.started(floor=1)
    first = source.obtain(scene.caller())
    caller = scene.caller()
    assert source.replace(first, scene.clock.monotonic, caller, None, "m", ()) is None
    await scene.turn()
    (second,) = caller.told
    source.accepted(second, scene.clock.monotonic)
    await scene.clock.advance(0.1)
    # Revoked again: no request that was sent from now on succeeds.
    assert source.replace(second, scene.clock.monotonic, caller, None, "m", (1,)) is None
    await scene.turn()
    await scene.clock.advance(1.0)
    assert [token.generation for token in caller.told] == [2, 3]


async def test_a_token_that_was_accepted_serves_until_its_successor_is_there(scene: Any) -> None:
    source = await scene.started(floor=1)
    first = source.obtain(scene.caller())
    source.accepted(first, scene.clock.monotonic)
    await scene.clock.advance(0.1)
    scene.service.open.clear()
    assert source.replace(first, scene.clock.monotonic, scene.caller(), None, "bad") is None
    await scene.turn()
    assert source.obtain(scene.caller()) is first
    assert source.state().held
    scene.service.open.set()
    await scene.turn()
    assert source.obtain(scene.caller()).generation == 2


async def test_a_success_of_a_request_sent_before_the_refused_one_proves_nothing(scene: Any) -> None:
    """Slow answers go on coming for a while after a revocation."""
    source = await scene.started(floor=1)
    first = source.obtain(scene.caller())
    slow = scene.clock.monotonic
    await scene.clock.advance(1)
    sent_at = scene.clock.monotonic
    await scene.clock.advance(0.1)
    source.accepted(first, slow)
    assert source.replace(first, sent_at, scene.caller(), None, "m") is None


async def test_a_refused_call_is_told_of_an_outage_and_others_are_still_served(scene: Any) -> None:
    source = await scene.started(floor=1)
    scene.service.answer(500)
    assert await call(scene, source, bad_model, "bad") == "token_unavailable"
    assert await call(scene, source, bad_model, "good") == "ok"
    token = source.obtain(scene.caller())
    error = source.replace(token, scene.clock.monotonic + 1, scene.caller(), None, "bad")
    assert isinstance(error, TokenUnavailable)


async def test_the_refusal_of_a_remembered_model_says_so(scene: Any) -> None:
    source = await scene.started(floor=1)
    await call(scene, source, bad_model, "bad")
    calls = scene.service.calls
    token = source.obtain(scene.caller())
    error = source.replace(token, scene.clock.monotonic, scene.caller(), None, "bad")
    assert isinstance(error, UpstreamAuthFailed)
    assert (error.should_retry, error.error_type) == (False, "unauthorized")
    assert "for this model or route" in error.message
    assert scene.service.calls == calls
