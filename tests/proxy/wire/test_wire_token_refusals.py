"""One model that is refused costs no other call anything; a second revocation heals, and so does an outage."""

import asyncio
import json
import time

import pytest

from fakes.backend import Backend, Request
from fakes.caller import STREAM_BODY, Caller, Response, ask, chat
from fakes.free_ports import free_port
from fakes.mimic import Start
from fakes.replies import COMPLETION, LAST_CHUNK, STORY, answer, chunk, event, head, in_turn, ok, reply, stream
from fakes.token_service import REFUSAL, TokenService

SECONDS = 6.0
GOOD, BAD = b'{"model":"good","messages":[]}', b'{"model":"bad","messages":[]}'


def refusing_a_model(tokens: TokenService) -> object:
    """Refuses `bad` whatever the token, and all others whose token is not valid."""

    async def play(request: Request) -> None:
        await request.whole.wait()
        if json.loads(request.body)["model"] == "bad":
            await request.send(answer(401, REFUSAL))
        else:
            await tokens.guard(ok())(request)

    return play


async def calling(port: int, body: bytes, pause: float, until: float) -> list[Response]:
    """One call after the other on one connection."""
    found = []
    async with await Caller.connect(port) as caller:
        while time.monotonic() < until:
            await caller.send(chat(body))
            found.append(await caller.response())
            await asyncio.sleep(pause)
    return found


@pytest.mark.parametrize("throttled", [False, True], ids=["tokens for all", "five tokens, then 429"])
async def test_a_refused_model_beside_good_calls(
    backend: Backend, tokens: TokenService, start: Start, throttled: bool
) -> None:
    backend.script = refusing_a_model(tokens)  # type: ignore[assignment]

    async def few(request: Request) -> None:
        if tokens.calls > 5:
            await reply(head(429, [(b"content-length", b"0")]))(request)
        else:
            await tokens.issue(request)

    if throttled:
        tokens.script = few
    async with start(LOG_LEVEL="WARNING") as mimic:
        until = time.monotonic() + SECONDS
        bad = asyncio.ensure_future(calling(mimic.port, BAD, 0.1, until))
        good = [asyncio.ensure_future(calling(mimic.port, GOOD, 0.02, until)) for _ in range(10)]
        served = [got for calls in await asyncio.gather(*good) for got in calls]
        assert {(got.status, got.body) for got in served} == {(200, COMPLETION)}
        assert len(served) > 500
        assert {got.status for got in await bad} <= ({502} if not throttled else {502, 503})
        # Refused at 0, 1, 3 s after the memory of the first has begun, and each time it may take a second token.
        assert tokens.calls <= 10


async def test_a_second_revocation_within_the_least_interval_waits_and_heals(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    backend.script = tokens.guard(ok())
    async with start() as mimic:
        for _ in range(3):
            tokens.revoke()
            answers = await asyncio.gather(*(ask(mimic.port, chat()) for _ in range(20)))
            assert {got.status for got in answers} == {200}
    assert tokens.calls == 4


async def test_calls_succeed_a_second_after_the_token_service_is_there(backend: Backend, start: Start) -> None:
    backend.script = ok()
    port = free_port()
    async with start(ready=False, TOKEN_URL=f"http://127.0.0.1:{port}/token") as mimic:
        # Long enough for the pauses to have grown.
        until = time.monotonic() + 8
        while time.monotonic() < until:
            assert (await ask(mimic.port, chat())).status == 503
            await asyncio.sleep(0.1)
        async with TokenService(port=port) as late:
            back = time.monotonic()
            while (await ask(mimic.port, chat())).status != 200:
                await asyncio.sleep(0.05)
            assert time.monotonic() - back < 2.5
            assert late.calls == 1


async def test_an_operator_s_refresh_ends_the_pause_after_a_refused_secret(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    backend.script = tokens.guard(ok())
    tokens.script = reply(answer(401, b"{}"))
    async with start(ready=False) as mimic:
        assert (await ask(mimic.port, chat())).status == 502
        tokens.script = tokens.issue
        await asyncio.sleep(1)
        assert (await mimic.admin("/refresh", b"POST")).status == 202
        await mimic.until(mimic.is_ready)
        assert (await ask(mimic.port, chat())).status == 200


EXPIRED = b'{"error":{"message":"expired","type":"invalid_request_error","param":null,"code":"ExpiredToken"}}'
CHALLENGE = [(b"www-authenticate", b'Bearer realm="x", error="invalid_token"'), (b"content-type", b"text/plain")]
FORMS = {
    "403 with a challenge": (reply(answer(403, b"expired", CHALLENGE)), GOOD),
    "400 with a code": (reply(answer(400, EXPIRED)), GOOD),
    "403 with a type, in chunks": (
        reply(
            head(403, [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")])
            + chunk(b'{"error":{"message":"x",')
            + chunk(b'"type":"token_expired"}}')
            + LAST_CHUNK
        ),
        GOOD,
    ),
    "a text code in the first event": (stream(event({"error": {"message": "expired", "code": "401"}})), STREAM_BODY),
    "a flat type in the first event": (stream(event({"error": "x", "type": "invalid_token"})), STREAM_BODY),
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_refusal_is_recognised_and_healed(
    backend: Backend, tokens: TokenService, start: Start, form: str
) -> None:
    refusal, body = FORMS[form]
    backend.script = in_turn(refusal, stream(STORY) if body == STREAM_BODY else ok())
    async with start() as mimic:
        got = await ask(mimic.port, chat(body))
    assert (got.status, got.body) == (200, STORY if body == STREAM_BODY else COMPLETION)
    assert tokens.calls == 2


async def test_a_refusal_that_a_fresh_token_does_not_cure_passes_as_it_came_and_costs_one_refresh(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    backend.script = reply(answer(403, EXPIRED, [(b"content-type", b"application/json"), (b"x-of", b"the backend")]))
    async with start() as mimic:
        for _ in range(10):
            got = await ask(mimic.port, chat(GOOD))
            assert (got.status, got.body, got.value(b"x-of")) == (403, EXPIRED, b"the backend")
    assert tokens.calls == 2


@pytest.mark.parametrize("size", [10, 15_000, 200_000])
async def test_other_errors_pass_byte_for_byte_and_cost_no_refresh(
    backend: Backend, tokens: TokenService, start: Start, size: int
) -> None:
    body = b'{"error":{"message":"%s","type":"permission_error","param":null,"code":"no_access"}}' % (b"x" * size)
    backend.script = reply(answer(403, body))
    async with start() as mimic:
        for _ in range(3):
            got = await ask(mimic.port, chat(GOOD))
            assert (got.status, got.body) == (403, body)
    assert tokens.calls == 1


async def test_a_text_code_of_a_first_event_becomes_the_status(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    backend.script = stream(event({"error": {"message": "slow down", "code": "429"}}))
    async with start() as mimic:
        assert (await ask(mimic.port, chat(STREAM_BODY))).status == 429
    assert tokens.calls == 1
