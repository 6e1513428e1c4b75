"""Graceful stop: readiness off at once, what runs may end, what does not is told so, exit code 0."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from fakes.backend import Backend, Request
from fakes.caller import STREAM_BODY, Caller, ask, chat, error_frame, request
from fakes.mimic import Mimic, Start
from fakes.replies import COMPLETION, LAST_CHUNK, STORY, chunk, delta, hang, held, ok, stream_head
from fakes.token_service import TokenService

FIRST = delta("one")
FORCED = -signal.SIGKILL


async def is_unready(mimic: Mimic) -> bool:
    return not await mimic.is_ready()


async def test_readiness_goes_at_once_while_the_api_serves_on_for_the_delay(backend: Backend, start: Start) -> None:
    backend.script = ok()
    async with start(DRAIN_DELAY="4") as mimic:
        started = time.monotonic()
        mimic.signal(signal.SIGTERM)
        await mimic.until(lambda: is_unready(mimic))
        assert (await mimic.admin("/readyz")).status == 503
        assert await mimic.is_live()
        got = await ask(mimic.port, chat())
        assert (got.status, got.body, got.value(b"connection")) == (200, COMPLETION, b"close")
        assert await mimic.ended() == 0
        assert time.monotonic() - started > 3.9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_mimic_ends_at_once_with_code_0(backend: Backend, start: Start, number: signal.Signals) -> None:
    backend.script = ok()
    async with start(DRAIN_TIMEOUT="20") as mimic, await Caller.connect(mimic.port) as idle:
        await idle.send(chat())
        await idle.response()
        started = time.monotonic()
        mimic.signal(number)
        assert await mimic.ended() == 0
        assert time.monotonic() - started < 3
        assert await idle.ended() == b""


async def test_what_runs_may_end(backend: Backend, start: Start) -> None:
    gate = asyncio.Event()

    async def tell(request: Request) -> None:
        await request.whole.wait()
        await request.send(stream_head(), chunk(FIRST))
        await gate.wait()
        await request.send(chunk(STORY), LAST_CHUNK)

    async with (
        start(DRAIN_TIMEOUT="20") as mimic,
        await Caller.connect(mimic.port) as streamed,
        await Caller.connect(mimic.port) as plain,
    ):
        backend.script = tell
        await streamed.send(chat(STREAM_BODY))
        await streamed.head()
        backend.script = held(gate, ok())
        await plain.send(chat())
        await backend.request(1)
        mimic.signal(signal.SIGTERM)
        await mimic.until(lambda: _gone_or_unready(mimic))
        gate.set()
        got = await plain.response()
        assert (got.status, got.body, got.value(b"connection")) == (200, COMPLETION, b"close")
        assert await streamed.body_until(STORY) == FIRST + STORY
        assert await mimic.ended() == 0


async def _gone_or_unready(mimic: Mimic) -> bool:
    return mimic.exit_code is not None or not await mimic.is_ready()


async def test_what_outlives_the_drain_is_told_so(backend: Backend, start: Start) -> None:
    body = hang(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n", b'{"id":')
    async with start(DRAIN_TIMEOUT="0.5") as mimic:
        callers = [await Caller.connect(mimic.port) for _ in range(4)]
        streamed, silent, cut, half = callers
        for caller, script, data in (
            (streamed, hang(stream_head(), chunk(FIRST)), chat(STREAM_BODY)),
            (silent, hang(), chat()),
            (cut, body, chat()),
        ):
            backend.script = script
            number = len(backend.requests)
            await caller.send(data)
            await backend.request(number)
        await streamed.head()
        assert await streamed.body_until(FIRST) == FIRST
        await cut.head()
        await half.send(chat(b"{", [(b"content-length", b"100")]))
        mimic.signal(signal.SIGTERM)
        got = await silent.response()
        assert (got.status, got.error()["code"]) == (503, "shutting_down")
        assert int(got.value(b"retry-after-ms") or b"0") > 0
        rest = b""
        while data := await streamed.data():
            rest += data
        assert error_frame(rest)["code"] == "shutting_down"
        assert streamed.complete
        while await cut.data():
            continue
        assert not cut.complete
        told = await half.ended()
        assert told == b"" or b'"shutting_down"' in told or b" 408 " in told
        assert await mimic.ended() == 0
        for caller in callers:
            caller.close()
    await backend.until(lambda: not backend.in_use)


async def test_a_second_signal_ends_it_at_once(backend: Backend, start: Start) -> None:
    backend.script = hang()
    async with start(DRAIN_TIMEOUT="20", DRAIN_DELAY="20", stop=False) as mimic:
        async with await Caller.connect(mimic.port) as caller:
            await caller.send(chat())
            await backend.request()
            mimic.signal(signal.SIGTERM)
            await mimic.until(lambda: is_unready(mimic))
            started = time.monotonic()
            mimic.signal(signal.SIGTERM)
            code = await mimic.ended()
            assert time.monotonic() - started < 2
        assert code != FORCED
        mimic.judge_log()


async def test_a_signal_while_no_token_was_ever_held_ends_it_too(tokens: TokenService, start: Start) -> None:
    tokens.script = hang()
    async with start(ready=False) as mimic:
        await tokens.server.request()
        async with await Caller.connect(mimic.port) as waiting:
            await waiting.send(request(b"POST", b"/v1/embeddings", b"{}"))
            started = time.monotonic()
            mimic.signal(signal.SIGTERM)
            assert await mimic.ended() == 0
            # DRAIN_TIMEOUT is 1 s here, TOKEN_TIMEOUT 10 s: no stop waits for a token request that can be sent again.
            assert time.monotonic() - started < 6


async def test_a_stop_waits_for_a_refresh_token_no_longer_than_the_drain(
    tokens: TokenService, start: Start, tmp_path: Path
) -> None:
    tokens.script = hang()
    more = {"GRANT": "refresh_token", "REFRESH_TOKEN": "r", "TOKEN_STORE": str(tmp_path / "store.json")}
    async with start(ready=False, AUTH_CODE="", DRAIN_TIMEOUT="1", **more) as mimic:
        await tokens.server.request()
        started = time.monotonic()
        mimic.signal(signal.SIGTERM)
        assert await mimic.ended() == 0
        assert 0.9 < time.monotonic() - started < 6
