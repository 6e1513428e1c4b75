"""The source hands out tokens: one flight, refreshed in time, replaced when refused."""

import asyncio
import contextvars
from typing import Any

import pytest

from mimic_proxy.errors import ShuttingDown, TokenRejected, TokenUnavailable, UpstreamAuthFailed
from mimic_proxy.settings.fields import SecretRef
from mimic_proxy.tokens.recipe import Grant
from mimic_proxy.tokens.response import Failure, TokenResponse
from mimic_proxy.tokens.token import AccessToken

STATIC = Grant("static", secrets=(SecretRef("ACCESS_TOKEN", "fixed"),))
NONE = Grant("none")


async def test_the_start_waits_for_nobody_and_a_token_is_held_soon_after(scene: Any) -> None:
    source = scene.source()
    source.start()
    assert (source.state().held, source.state().in_flight) == (False, True)
    await scene.turn()
    state = source.state()
    assert (state.held, state.in_flight, state.required, state.generation) == (True, False, True, 1)
    assert (state.issued, state.expires) == (scene.clock.wall, scene.clock.wall + 1000)
    assert (state.lifetime, state.refresh_margin) == (1000, pytest.approx(200))
    assert state.next_refresh == pytest.approx(scene.clock.wall + 800)
    assert (state.last_result, state.trouble, state.consecutive_failures) == ("success", None, 0)


async def test_a_held_token_is_handed_out_at_once_with_its_whole_header_line(scene: Any) -> None:
    source = await scene.started()
    caller = scene.caller()
    token = source.obtain(caller)
    assert isinstance(token, AccessToken)
    assert (token.value, token.field) == ("token-1", b"authorization: Bearer token-1\r\n")
    assert source.obtain(caller) is token
    await scene.turn()
    assert caller.told == []


async def test_a_thousand_requests_that_find_no_token_cost_one_call(scene: Any) -> None:
    source = scene.source()
    callers = [scene.caller() for _ in range(1000)]
    assert {source.obtain(caller) for caller in callers} == {None}
    await scene.turn()
    assert scene.service.calls == 1
    assert {caller.told[0].value for caller in callers} == {"token-1"}
    assert {len(caller.told) for caller in callers} == {1}
    assert (source.state().coalesced, source.state().waiters) == (999, 0)
    (seen,) = scene.observations
    assert (seen.result, seen.trigger, seen.waiters, seen.status, seen.lifetime_seconds) == (
        "success",
        "startup",
        1000,
        200,
        1000,
    )


async def test_two_hundred_refusals_of_one_generation_cost_one_more_call(scene: Any) -> None:
    source = await scene.started()
    token = source.obtain(scene.caller())
    sent_at = scene.clock.monotonic
    callers = [scene.caller() for _ in range(200)]
    assert {source.replace(token, sent_at, caller) for caller in callers} == {None}
    await scene.turn()
    assert scene.service.calls == 2
    assert {caller.told[0].value for caller in callers} == {"token-2"}
    assert scene.results == [("startup", "success"), ("unauthorized", "success")]


async def test_a_late_refusal_of_an_older_generation_gets_the_present_token_at_once(scene: Any) -> None:
    source = await scene.started()
    first = source.obtain(scene.caller())
    source.replace(first, scene.clock.monotonic, scene.caller())
    await scene.turn()
    again = source.replace(first, scene.clock.monotonic, scene.caller())
    assert again.value == "token-2"
    assert scene.service.calls == 2


async def test_a_refused_token_that_was_never_accepted_is_not_handed_out_during_its_refresh(
    scene: Any,
) -> None:
    source = await scene.started()
    token = source.obtain(scene.caller())
    scene.service.open.clear()
    assert source.replace(token, scene.clock.monotonic, scene.caller()) is None
    assert source.obtain(scene.caller()) is None
    assert not source.state().held


async def test_a_token_that_the_backend_accepted_meanwhile_is_not_replaced(scene: Any) -> None:
    source = await scene.started()
    token = source.obtain(scene.caller())
    sent_at = scene.clock.monotonic
    source.accepted(token, sent_at + 0.5)
    assert source.replace(token, sent_at, scene.caller()) is token
    assert scene.service.calls == 1
    assert source.replace(token, sent_at + 0.6, scene.caller()) is None


async def test_only_what_the_backend_said_of_this_token_counts_for_it(scene: Any) -> None:
    source = await scene.started()
    first = source.obtain(scene.caller())
    sent_at = scene.clock.monotonic
    source.accepted(first, sent_at + 1)
    await scene.clock.advance(801)
    second = source.obtain(scene.caller())
    source.accepted(first, sent_at + 1000)
    assert second.generation == 2
    assert source.replace(second, sent_at, scene.caller()) is None


async def test_a_refusal_that_joins_a_refresh_under_way_is_followed_by_the_floor_too(scene: Any) -> None:
    source = await scene.started(floor=5)
    scene.service.open.clear()
    await scene.clock.advance(801)
    caller = scene.caller()
    assert source.replace(source.obtain(scene.caller()), scene.clock.monotonic, caller) is None
    scene.service.open.set()
    await scene.turn()
    assert ([token.value for token in caller.told], scene.service.calls) == (["token-2"], 2)
    refusal = source.replace(caller.told[0], scene.clock.monotonic, scene.caller())
    assert isinstance(refusal, UpstreamAuthFailed)


async def test_the_floor_counts_from_the_end_of_a_slow_refresh(scene: Any) -> None:
    source = await scene.started(floor=5)
    token = source.obtain(scene.caller())
    scene.service.open.clear()
    source.replace(token, scene.clock.monotonic, scene.caller())
    await scene.clock.advance(8)
    scene.service.open.set()
    await scene.turn()
    refreshed = source.obtain(scene.caller())
    assert isinstance(source.replace(refreshed, scene.clock.monotonic, scene.caller()), UpstreamAuthFailed)


@pytest.mark.parametrize(("grant", "word"), [(STATIC, "ACCESS_TOKEN"), (NONE, "GRANT=none")])
async def test_where_nothing_can_be_refreshed_a_refusal_is_final_at_once(scene: Any, grant: Grant, word: str) -> None:
    source = await scene.started(grant)
    token = source.obtain(scene.caller())
    await scene.clock.advance(1000)
    refusal = source.replace(token, scene.clock.monotonic, scene.caller())
    assert isinstance(refusal, UpstreamAuthFailed)
    assert refusal.should_retry is False
    assert word in refusal.message
    assert source.obtain(scene.caller()) is token
    assert scene.service.calls == 0


@pytest.mark.parametrize(("grant", "line"), [(STATIC, b"authorization: Bearer fixed\r\n"), (NONE, b"")])
async def test_a_grant_without_a_token_service_holds_its_token_from_the_start(
    scene: Any, grant: Grant, line: bytes
) -> None:
    source = scene.source(grant)
    source.start()
    assert source.obtain(scene.caller()).field == line
    state = source.state()
    assert (state.required, state.held, state.expires, state.lifetime, state.next_refresh) == (
        False,
        True,
        None,
        None,
        None,
    )
    await scene.clock.advance(1e9)
    assert source.obtain(scene.caller()).field == line
    assert scene.observations == []


@pytest.mark.parametrize(("chance", "when"), [(0.0, 800), (1.0, 700)])
async def test_a_refresh_comes_by_itself_before_the_token_expires(scene: Any, chance: float, when: float) -> None:
    scene.jitter = chance
    await scene.started()
    await scene.clock.advance(when - 1)
    assert scene.service.calls == 1
    await scene.clock.advance(1.1)
    assert scene.results == [("startup", "success"), ("proactive", "success")]


async def test_a_timer_that_fires_early_is_set_again(scene: Any) -> None:
    later = scene.clock.call_later
    scene.clock.call_later = lambda delay, callback: later(delay * 0.9, callback)
    await scene.started()
    await scene.clock.advance(799)
    assert scene.service.calls == 1
    await scene.clock.advance(1.1)
    assert scene.service.calls == 2


async def test_a_request_refreshes_a_due_token_even_if_no_timer_fires(scene: Any) -> None:
    source = await scene.started()
    assert source.obtain(scene.caller()).value == "token-1"
    await scene.clock.advance(900, timers=False)
    assert source.obtain(scene.caller()).value == "token-1"
    await scene.turn()
    assert source.obtain(scene.caller()).value == "token-2"
    assert scene.results[1] == ("proactive", "success")


async def test_an_expired_token_is_never_handed_out_even_if_no_timer_fires(scene: Any) -> None:
    source = await scene.started()
    await scene.clock.advance(994.999, timers=False)
    scene.service.open.clear()
    assert source.obtain(scene.caller()).value == "token-1"
    await scene.clock.advance(0.001, timers=False)
    caller = scene.caller()
    assert source.obtain(caller) is None
    scene.service.open.set()
    await scene.turn()
    assert [token.value for token in caller.told] == ["token-2"]


async def test_the_old_token_serves_until_it_expires_then_503_and_it_heals_by_itself(scene: Any) -> None:
    source = await scene.started()
    scene.jitter = 0.5
    scene.service.answer(500)
    await scene.clock.advance(994)
    assert (await scene.ask(source)).value == "token-1"
    calls = scene.service.calls
    assert calls > 2
    assert source.state().consecutive_failures == calls - 1
    await scene.clock.advance(2)
    error = await scene.ask(source)
    assert isinstance(error, TokenUnavailable)
    assert "https://tokens.corp.example answered HTTP 500" in error.message
    assert 0 < error.retry_after <= 60
    assert not source.state().held
    scene.service.reply = scene.service.grant
    await scene.clock.advance(61)
    assert (await scene.ask(source)).value == f"token-{scene.service.calls}"
    assert (source.state().held, source.state().consecutive_failures, source.state().trouble) == (True, 0, None)


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (Failure("tls", "could not be reached over TLS: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), "CA_BUNDLE"),
        (Failure("tls", "could not be reached over TLS: [SSL: WRONG_VERSION_NUMBER]"), "Does TOKEN_URL speak https?"),
        (Failure("unreachable", "could not be reached: Connection refused"), "the network between"),
        (Failure("timeout", "did not answer within 10 s"), "the network between"),
        (TokenResponse(404, b""), "The path of TOKEN_URL may be wrong"),
        (TokenResponse(405, b""), "The path of TOKEN_URL may be wrong"),
        (TokenResponse(502, b""), "the owners of the token service"),
        (TokenResponse(429, b""), "another client may use the same account"),
        (TokenResponse(415, b""), "TOKEN_ENCODING"),
        (TokenResponse(302, b"", location_host="login.example"), "to login.example, which is not followed"),
        (TokenResponse(200, b"<html>"), "Check that TOKEN_URL names a token service"),
        (TokenResponse(200, b"{}"), "TOKEN_POINTER says where"),
    ],
)
async def test_what_to_try_fits_what_went_wrong(scene: Any, failure: TokenResponse | Failure, advice: str) -> None:
    scene.service.reply = lambda: failure
    error = await scene.ask(await scene.started())
    assert isinstance(error, TokenUnavailable)
    assert advice in error.message
    assert ("network" in error.message) is (advice == "the network between")


async def test_without_a_token_requests_trigger_no_try_before_it_is_due(scene: Any) -> None:
    scene.service.answer(503, retry_after="30")
    source = await scene.started()
    for _ in range(29):
        error = await scene.ask(source)
        assert isinstance(error, TokenUnavailable)
        assert error.retry_after == pytest.approx(source.state().next_refresh - scene.clock.wall)
        await scene.clock.advance(1, timers=False)
    assert scene.service.calls == 1
    scene.service.reply = scene.service.grant
    await scene.clock.advance(1, timers=False)
    assert (await scene.ask(source)).value == "token-2"


@pytest.mark.parametrize(("retry_after", "pause"), [("30", 30), ("600", 60), ("0", 1)])
async def test_the_service_says_when_to_try_again_within_a_minute(scene: Any, retry_after: str, pause: float) -> None:
    scene.service.answer(429, retry_after)
    await scene.started()
    await scene.clock.advance(pause - 0.01)
    assert scene.service.calls == 1
    await scene.clock.advance(0.02)
    assert scene.service.calls == 2


async def test_the_next_try_comes_before_half_of_what_is_left_has_gone(scene: Any) -> None:
    scene.service.expires_in = 50
    await scene.started()
    scene.service.answer(429, "60")
    await scene.clock.advance(40.1)
    assert scene.service.calls == 2
    await scene.clock.advance(3.8)
    assert scene.service.calls == 3


async def test_a_guessed_lifetime_schedules_refreshes_and_never_expires_the_token(scene: Any) -> None:
    scene.service.expires_in = None
    source = await scene.started()
    assert source.state().expires is None
    scene.jitter = 1.0
    scene.service.answer(500)
    await scene.clock.advance(10_000)
    assert scene.service.calls > 100
    assert (await scene.ask(source)).value == "token-1"


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_refused_secret_is_told_as_such_and_tried_at_most_once_a_minute(scene: Any, status: int) -> None:
    scene.service.answer(status)
    source = await scene.started()
    for _ in range(590):
        error = await scene.ask(source)
        await scene.clock.advance(0.1)
    assert isinstance(error, TokenRejected)
    assert error.should_retry is False
    assert f"HTTP {status}" in error.message
    assert "AUTH_CODE" in error.message
    assert "https://tokens.corp.example" in error.message
    assert scene.service.calls == 1
    scene.service.reply = scene.service.grant
    await scene.clock.advance(1.1)
    assert (await scene.ask(source)).value == "token-2"


async def test_a_refused_secret_does_not_withdraw_a_token_that_is_valid(scene: Any) -> None:
    source = await scene.started()
    scene.service.answer(401)
    await scene.clock.advance(994)
    assert (await scene.ask(source)).value == "token-1"
    assert scene.service.calls == 1 + 4
    await scene.clock.advance(2)
    assert isinstance(await scene.ask(source), TokenRejected)


@pytest.mark.parametrize("seconds", [900, 1e9])
async def test_a_wall_clock_that_steps_on_refreshes_but_is_no_hard_stop(scene: Any, seconds: float) -> None:
    source = await scene.started()
    assert source.obtain(scene.caller()).value == "token-1"
    await scene.clock.advance(1)
    scene.clock.wall += seconds
    scene.service.open.clear()
    assert source.obtain(scene.caller()).value == "token-1"
    await scene.turn()
    assert scene.service.calls == 2
    assert source.obtain(scene.caller()).value == "token-1"
    scene.service.open.set()
    await scene.turn()
    assert source.obtain(scene.caller()).value == "token-2"
    await scene.clock.advance(700)
    assert scene.service.calls == 2


async def test_a_wall_clock_that_steps_back_changes_nothing(scene: Any) -> None:
    source = await scene.started()
    scene.clock.wall -= 1e6
    await scene.clock.advance(799)
    assert (source.obtain(scene.caller()).value, scene.service.calls) == ("token-1", 1)
    await scene.clock.advance(2)
    assert (source.obtain(scene.caller()).value, scene.service.calls) == ("token-2", 2)


async def test_a_waiter_that_leaves_ends_no_flight_and_is_not_told(scene: Any) -> None:
    scene.service.open.clear()
    source = scene.source()
    leaves, stays = scene.caller(), scene.caller()
    assert (source.obtain(leaves), source.obtain(stays)) == (None, None)
    source.leave(leaves)
    scene.service.open.set()
    await scene.turn()
    assert (leaves.told, len(stays.told), scene.service.calls) == ([], 1, 1)


async def test_nobody_waits_longer_than_15_seconds_and_the_flight_goes_on(scene: Any) -> None:
    scene.service.open.clear()
    source = scene.source()
    caller = scene.caller()
    source.obtain(caller)
    await scene.clock.advance(14.9)
    assert (caller.told, source.state().waiters) == ([], 1)
    await scene.clock.advance(0.2)
    (error,) = caller.told
    assert isinstance(error, TokenUnavailable)
    assert error.retry_after >= 1
    scene.service.open.set()
    await scene.turn()
    assert (len(caller.told), source.obtain(caller).value, scene.service.calls) == (1, "token-1", 1)


async def test_a_port_that_breaks_is_a_failed_refresh_that_heals(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    def break_down() -> None:
        raise RuntimeError("first-code was in the request")

    scene.service.reply = break_down
    source = await scene.started()
    error = await scene.ask(source)
    assert isinstance(error, TokenUnavailable)
    assert "RuntimeError" in error.message
    assert "first-code" not in caplog.text + error.message
    scene.service.reply = scene.service.grant
    await scene.clock.advance(2)
    assert isinstance(await scene.ask(source), AccessToken)


async def test_a_token_that_no_header_can_carry_is_a_bad_response(scene: Any) -> None:
    scene.service.reply = lambda: scene.granted("abc\r\nx-injected: 1")
    source = await scene.started()
    error = await scene.ask(source)
    assert isinstance(error, TokenUnavailable)
    assert "x-injected" not in error.message
    assert scene.results == [("startup", "bad_response")]


async def test_the_flight_is_no_part_of_the_request_that_started_it(scene: Any) -> None:
    trace = contextvars.ContextVar("trace", default="none")
    seen: list[str] = []

    def reply() -> object:
        seen.append(trace.get())
        return scene.service.grant()

    scene.service.reply = reply
    trace.set("of the request")
    await scene.ask(scene.source())
    assert seen == ["none"]


async def test_the_same_token_after_a_refusal_is_remarked(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    scene.service.reply = lambda: scene.granted("same", 1000)
    source = await scene.started()
    source.replace(source.obtain(scene.caller()), scene.clock.monotonic, scene.caller())
    await scene.turn()
    assert "issued again the access token that the backend refused" in caplog.text


async def test_a_closed_source_tells_all_who_wait_and_starts_nothing_more(scene: Any) -> None:
    scene.service.open.clear()
    source = scene.source()
    waiting = scene.caller()
    source.obtain(waiting)
    await scene.turn()
    await source.close()
    await scene.turn()
    assert isinstance(waiting.told[0], ShuttingDown)
    assert isinstance(source.obtain(scene.caller()), ShuttingDown)
    await scene.clock.advance(1e6)
    assert (scene.service.calls, source.state().next_refresh) == (1, None)


async def test_a_closed_source_still_serves_the_token_it_holds(scene: Any) -> None:
    source = await scene.started()
    await source.close()
    assert source.obtain(scene.caller()).value == "token-1"
    await scene.clock.advance(900)
    assert (source.obtain(scene.caller()).value, scene.service.calls) == ("token-1", 1)


async def test_neither_log_nor_state_nor_error_shows_a_secret(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    source = await scene.started()
    token = source.obtain(scene.caller())
    source.replace(token, scene.clock.monotonic, scene.caller())
    await scene.turn()
    scene.service.answer(401)
    await scene.clock.advance(2000)
    error = await scene.ask(source)
    shown = caplog.text + repr(source.state()) + repr(token) + repr(error) + error.body().decode()
    for secret in ("first-code", "token-1", "token-2", "secret words", "tenant=7"):
        assert secret not in shown


async def test_each_refresh_is_one_log_line(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await scene.started()
    scene.service.answer(500)
    await scene.clock.advance(801)
    assert [record.levelname for record in caplog.records] == ["INFO", *["WARNING"] * (scene.service.calls - 1)]


async def test_a_thousand_callers_share_a_flight_that_fails(scene: Any) -> None:
    scene.service.answer(500)
    source = scene.source()
    found = await asyncio.gather(*(scene.ask(source) for _ in range(1000)))
    assert {type(error) for error in found} == {TokenUnavailable}
    assert scene.service.calls == 1
