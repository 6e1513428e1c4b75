"""What each token event adds to the metrics, exactly: refreshes by trigger and result, waits, refusals, new secrets."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.backend import Backend, Script
from fakes.caller import STREAM_BODY, Caller, ask, chat, request
from fakes.free_ports import free_port
from fakes.mimic import Mimic, Start
from fakes.replies import LAST_CHUNK, STORY, answer, chunk, event, hang, held, in_turn, ok, reply, stream_head
from fakes.scrape import Scrape, Series, attempt, events, exchange, key, one, times, total, unsent, usage, web
from fakes.token_service import REFUSAL, TokenService

SERVED = total(exchange("chat", 200), usage("chat", input=1, output=1))
WAIT = one("mimic_token_wait_seconds_count")
JOINED = one("mimic_token_coalesced_total")
FORCED_SOON = {"TOKEN_MIN_REFRESH_INTERVAL": "0.1"}
LATER = [(b"content-type", b"application/json"), (b"retry-after", b"50")]


def refresh(result: str, trigger: str) -> Series:
    """One call to the token service."""
    counted = one("mimic_token_refresh_total", result=result, trigger=trigger)
    return total(counted, one("mimic_token_refresh_duration_seconds_count", result=result))


def breaker(to: str) -> Series:
    return one("mimic_breaker_transitions_total", target="token", to=to)


def failures(number: int) -> Series:
    """What the token service's breaker does when its calls fail in a row."""
    return total(times(number, breaker("open")), times(number - 1, breaker("half_open")))


async def told(
    mimic: Mimic, before: Scrape, seconds: float, expected: Callable[[Scrape], Series], *more: Series
) -> Scrape:
    """Wait until what was added agrees with itself: refreshes that repeat are counted on while they are looked at."""
    found: list[Scrape] = []

    async def agrees() -> bool:
        now = await Scrape.of(mimic)
        found[:] = [now]
        return before.added(now) == total(expected(now), *more) and not now.running()

    try:
        await mimic.until(agrees, seconds)
    except AssertionError:
        assert before.added(found[0]) == total(expected(found[0]), *more), "the metrics disagree"
        raise
    return found[0]


def refreshes(now: Scrape, result: str, trigger: str) -> int:
    return int(now.counts[key("mimic_token_refresh_total", {"result": result, "trigger": trigger})])


async def test_the_first_token(start: Start) -> None:
    async with start() as mimic:
        now = await Scrape().then(mimic, refresh("success", "startup"))
        gauges = {
            name.removeprefix("mimic_token_"): value for name, value in now.gauges.items() if "mimic_token" in name
        }
        issued, margin = gauges.pop("issued_timestamp_seconds"), gauges.pop("refresh_margin_seconds")
        assert gauges == {
            "expiry_timestamp_seconds": issued + 3600,
            "lifetime_seconds": 3600,
            "required": 1,
            "waiters": 0,
            "consecutive_failures": 0,
        }
        assert 0.2 * 3600 <= margin <= 0.3 * 3600
        assert (
            now.gauges["mimic_ready{condition=token}"]
            == now.gauges["mimic_breaker_state{state=closed,target=token}"]
            == 1
        )


@pytest.mark.parametrize(
    ("script", "result", "code"),
    [
        (reply(answer(401, b"{}")), "rejected", 502),
        (reply(answer(503, b"down", LATER)), "http_error", 503),
    ],
)
async def test_a_token_service_that_fails_and_is_left_alone(
    tokens: TokenService, start: Start, script: Script, result: str, code: int
) -> None:
    tokens.script = script
    async with start(ready=False) as mimic:
        failed = total(refresh(result, "startup"), failures(1))
        after = await Scrape().then(mimic, failed)
        assert (await ask(mimic.port, chat())).status == code
        turned_away = one("mimic_breaker_rejected_total", target="token")
        now = await after.then(mimic, unsent("chat", code, "token_error", model="other"), turned_away, gauges={})
        assert now.gauges["mimic_token_consecutive_failures"] == 1
        assert now.gauges["mimic_breaker_state{state=open,target=token}"] == 1
        assert now.gauges["mimic_token_expiry_timestamp_seconds"] == now.gauges["mimic_ready{condition=token}"] == 0


@pytest.mark.parametrize("result", ["timeout", "unreachable", "not_json"])
async def test_a_token_service_that_fails_and_is_asked_again(tokens: TokenService, start: Start, result: str) -> None:
    tokens.script = hang() if result == "timeout" else reply(answer(200, b"<html>"))
    url = f"http://127.0.0.1:{free_port()}/token" if result == "unreachable" else tokens.url
    timeout = "0.3" if result == "timeout" else "5"
    async with start(ready=False, TOKEN_TIMEOUT=timeout, TOKEN_URL=url) as mimic:

        def expected(now: Scrape) -> Series:
            number = refreshes(now, result, "startup")
            return total(times(number, refresh(result, "startup")), failures(number)) if number else JOINED

        await told(mimic, Scrape(), 5, expected)
        if result == "not_json":
            tokens.script = tokens.issue
            await mimic.until(mimic.is_ready, 10)
            healed = total(refresh("success", "startup"), breaker("half_open"), breaker("closed"))
            now = await told(mimic, Scrape(), 5, expected, healed)
            assert now.gauges["mimic_token_consecutive_failures"] == 0


async def test_a_refresh_before_the_expiry(tokens: TokenService, start: Start) -> None:
    tokens.lifetime = 2
    async with start() as mimic:
        await tokens.server.until(lambda: tokens.calls >= 2)
        started = refresh("success", "startup")
        await told(
            mimic,
            Scrape(),
            5,
            lambda now: times(refreshes(now, "success", "proactive"), refresh("success", "proactive")),
            started,
        )


async def test_an_expiry_while_the_token_service_is_down(tokens: TokenService, start: Start) -> None:
    tokens.lifetime = 1
    tokens.script = in_turn(tokens.issue, reply(answer(500, b"down")))
    async with start(ready=False) as mimic:

        def expected(now: Scrape) -> Series:
            early, late = (refreshes(now, "http_error", trigger) for trigger in ("proactive", "expired"))
            seen = times(early, refresh("http_error", "proactive")), times(late, refresh("http_error", "expired"))
            return total(refresh("success", "startup"), *seen, failures(early + late)) if late else JOINED

        now = await told(mimic, Scrape(), 10, expected)
        assert now.gauges["mimic_ready{condition=token}"] == 0
        assert now.gauges["mimic_token_expiry_timestamp_seconds"] > 0


async def test_refusals_of_a_token_that_is_then_replaced(backend: Backend, tokens: TokenService, start: Start) -> None:
    backend.script = tokens.guard(ok())
    async with start(**FORCED_SOON) as mimic:
        assert (await ask(mimic.port, chat())).status == 200
        before = await Scrape.of(mimic)
        tokens.revoke()
        assert (await ask(mimic.port, chat())).status == 200
        replaced = total(
            attempt("chat", 401, "unauthorized"),
            one("mimic_retries_total", operation="chat", reason="unauthorized"),
            one("mimic_token_upstream_unauthorized_total", kind="http"),
            refresh("success", "unauthorized"),
            WAIT,
        )
        await before.then(mimic, SERVED, replaced)


async def test_a_refusal_whose_replacement_cannot_be_had(backend: Backend, tokens: TokenService, start: Start) -> None:
    """What was tried once counts once, and as no retry."""
    backend.script = tokens.guard(ok())
    async with start(**FORCED_SOON) as mimic:
        assert (await ask(mimic.port, chat())).status == 200
        before = await Scrape.of(mimic)
        tokens.revoke()
        tokens.script = reply(answer(401, b"{}"))
        assert (await ask(mimic.port, chat())).status == 502
        refused = total(
            unsent("chat", 502, "token_error"),
            attempt("chat", 401, "unauthorized"),
            one("mimic_token_upstream_unauthorized_total", kind="http"),
        )
        await before.then(mimic, refused, refresh("rejected", "unauthorized"), failures(1), WAIT)


async def test_a_refusal_in_the_first_event_of_a_stream(backend: Backend, start: Start) -> None:
    refusal = stream_head() + chunk(event({"error": {"message": "expired", "code": 401}})) + LAST_CHUNK
    story = reply(stream_head() + chunk(STORY) + LAST_CHUNK)
    backend.script = in_turn(ok(), reply(refusal), story)
    async with start(**FORCED_SOON) as mimic:
        await ask(mimic.port, chat())
        before = await Scrape.of(mimic)
        assert (await ask(mimic.port, chat(STREAM_BODY))).body == STORY
        replaced = total(
            attempt("chat", 200, "unauthorized"),
            one("mimic_retries_total", operation="chat", reason="unauthorized"),
            one("mimic_token_upstream_unauthorized_total", kind="envelope"),
            refresh("success", "unauthorized"),
            WAIT,
        )
        streamed = events("chat", STORY.count(b"\n\n") - 1, len(STORY))
        await before.then(mimic, exchange("chat", 200, stream=True), streamed, replaced)


async def test_refusals_of_every_token(backend: Backend, start: Start) -> None:
    backend.script = reply(answer(401, REFUSAL))
    async with start(**FORCED_SOON) as mimic:
        before = await Scrape.of(mimic)
        assert (await ask(mimic.port, chat())).status == 502
        refused = one("mimic_token_upstream_unauthorized_total", kind="http")
        again = total(
            attempt("chat", 401, "unauthorized"), one("mimic_retries_total", operation="chat", reason="unauthorized")
        )
        failed = exchange("chat", 502, "token_error", upstream=401, error_type="unauthorized", model="other")
        await before.then(mimic, failed, again, refused, refused, refresh("success", "unauthorized"), WAIT)


async def test_refusals_of_a_call_for_the_models(backend: Backend, tokens: TokenService, start: Start) -> None:
    backend.script = tokens.guard(reply(answer(200, b'{"object":"list","data":[]}')))
    async with start(**FORCED_SOON) as mimic:
        before = await Scrape.of(mimic)
        tokens.revoke()
        assert (await ask(mimic.port, request(b"GET", b"/v1/models"), b"GET")).status == 200
        replaced = total(
            attempt("models", 401, "unauthorized"),
            one("mimic_retries_total", operation="models", reason="unauthorized"),
            one("mimic_token_upstream_unauthorized_total", kind="http"),
            refresh("success", "unauthorized"),
            WAIT,
        )
        await before.then(mimic, web("models", 200), attempt("models", 200), replaced)


async def test_what_a_token_may_not_do_is_an_error_of_the_token(backend: Backend, start: Start) -> None:
    backend.script = reply(answer(403, REFUSAL))
    async with start() as mimic:
        before = await Scrape.of(mimic)
        assert (await ask(mimic.port, chat())).status == 403
        await before.then(mimic, exchange("chat", 403, "token_error", upstream=403, model="other"), gauges={})


async def test_those_who_wait_for_the_first_token(backend: Backend, tokens: TokenService, start: Start) -> None:
    gate = asyncio.Event()
    tokens.script = held(gate, tokens.issue)
    backend.script = ok()
    async with start(ready=False) as mimic:
        before = await Scrape.of(mimic)
        calls = [asyncio.ensure_future(ask(mimic.port, chat())) for _ in range(7)]
        await mimic.until(lambda: _waiting(mimic, 7))
        async with await Caller.connect(mimic.port) as leaving:
            await leaving.send(chat())
            await mimic.until(lambda: _waiting(mimic, 8))
        await mimic.until(lambda: _waiting(mimic, 7))
        gate.set()
        assert [(await call).status for call in calls] == [200] * 7
        # The seven were made before `m` had answered once; what counts is how it is called when it ends.
        left = unsent("chat", 499, "client_disconnect", model="other")
        await before.then(
            mimic, times(7, SERVED), left, times(8, WAIT), times(8, JOINED), refresh("success", "startup")
        )


async def _waiting(mimic: Mimic, number: int) -> bool:
    return (await Scrape.of(mimic)).gauges["mimic_token_waiters"] == number


async def test_a_new_secret_and_an_unreadable_one(tokens: TokenService, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "code"
    file.write_text(tokens.auth_code)
    async with start(AUTH_CODE="", AUTH_CODE_FILE=str(file)) as mimic:
        before = await Scrape.of(mimic)
        tokens.auth_code = "the-next-code-31f"
        _swap(file, tokens.auth_code)
        after = await before.then(
            mimic, one("mimic_config_reloads_total", result="success"), refresh("success", "config")
        )
        assert (
            after.gauges["mimic_config_last_reload_timestamp_seconds"]
            > before.gauges["mimic_config_last_reload_timestamp_seconds"]
        )
        _swap(file, "")
        failed = {"mimic_config_last_reload_success": 0.0}
        await after.then(mimic, one("mimic_config_reloads_total", result="failure"), gauges=failed)


def _swap(file: Path, text: str) -> None:
    staged = file.with_name("staged")
    staged.write_text(text)
    staged.rename(file)


@pytest.mark.parametrize("grant", [{"GRANT": "static", "ACCESS_TOKEN": "fixed-token-77aa"}, {"GRANT": "none"}])
async def test_a_grant_without_a_token_service(backend: Backend, start: Start, grant: dict[str, str]) -> None:
    backend.script = reply(answer(401, REFUSAL))
    async with start(**grant) as mimic:
        before = await Scrape.of(mimic)
        assert (await ask(mimic.port, chat())).status == 502
        failed = exchange("chat", 502, "token_error", upstream=401, error_type="unauthorized", model="other")
        refused = one("mimic_token_upstream_unauthorized_total", kind="http")
        now = await before.then(mimic, failed, refused, gauges={})
        assert (now.gauges["mimic_token_required"], now.gauges["mimic_token_lifetime_seconds"]) == (0, 0)
