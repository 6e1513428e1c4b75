"""Connect, first byte, idle, send, total, and those of the caller's side: each ends a call in its own words."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fakes.backend import Backend, Request
from fakes.caller import STREAM_BODY, Caller, ask, chat, error_frame, request
from fakes.connect_proxy import ConnectProxy
from fakes.mimic import Mimic, Start, behind
from fakes.replies import JSON_FIELDS, LAST_CHUNK, STORY, chunk, delta, hang, head, ok, stream_head

SHORT = {
    "HEAD_TIMEOUT": "0.5",
    "KEEP_ALIVE_TIMEOUT": "0.5",
    "FIRST_BYTE_TIMEOUT": "0.5",
    "IDLE_TIMEOUT": "0.5",
    "SEND_TIMEOUT": "0.5",
    "TOTAL_TIMEOUT": "2.5",
}
FIRST = delta("one")


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Mimic, Backend]]:
    """A Mimic with short timers, and its backend."""
    async with behind(tmp_path_factory.mktemp("impatient"), **SHORT) as found:
        yield found


@pytest.fixture
async def silent(pair: tuple[Mimic, Backend]) -> AsyncIterator[Backend]:
    """The backend behind `impatient`."""
    _, backend = pair
    backend.reset()
    yield backend
    backend.reset()


@pytest.fixture
async def impatient(pair: tuple[Mimic, Backend], silent: Backend) -> AsyncIterator[Mimic]:
    """A Mimic with short timers."""
    mimic, _ = pair
    yield mimic
    mimic.judge()


@pytest.mark.parametrize("body", [b"{}", STREAM_BODY])
async def test_a_backend_that_hangs_before_its_head_is_a_504_of_the_first_byte_timer(
    impatient: Mimic, silent: Backend, body: bytes
) -> None:
    silent.script = hang()
    got = await ask(impatient.port, chat(body))
    assert (got.status, got.error()["code"], got.value(b"x-should-retry")) == (504, "upstream_timeout", b"false")
    assert "first_byte" in got.error()["message"]
    await silent.until(lambda: not silent.in_use)


async def test_a_head_without_an_event_is_a_504_of_the_first_byte_timer(impatient: Mimic, silent: Backend) -> None:
    silent.script = hang(stream_head(), chunk(b": wait\n\n"))
    got = await ask(impatient.port, chat(STREAM_BODY))
    assert (got.status, got.error()["code"]) == (504, "upstream_timeout")
    await silent.until(lambda: not silent.in_use)


async def test_a_stream_that_falls_silent_ends_with_an_error_frame_of_the_idle_timer(
    impatient: Mimic, silent: Backend
) -> None:
    silent.script = hang(stream_head(), chunk(FIRST))
    got = await ask(impatient.port, chat(STREAM_BODY))
    assert got.body.startswith(FIRST)
    error = error_frame(got.body[len(FIRST) :])
    assert error["code"] == "upstream_timeout"
    assert "idle" in str(error["message"]).lower()
    assert got.complete
    await silent.until(lambda: not silent.in_use)


async def test_a_body_that_falls_silent_is_a_cut(impatient: Mimic, silent: Backend) -> None:
    silent.script = hang(head(200, [*JSON_FIELDS, (b"content-length", b"100")]), b'{"id":')
    got = await ask(impatient.port, chat())
    assert (got.status, got.complete) == (200, False)
    await silent.until(lambda: not silent.in_use)


async def test_a_stream_that_drips_ends_at_the_total_timer(impatient: Mimic, silent: Backend) -> None:
    async def drip(request: Request) -> None:
        await request.send(stream_head())
        while True:
            await request.send(chunk(FIRST))
            await asyncio.sleep(0.1)

    silent.script = drip
    got = await ask(impatient.port, chat(STREAM_BODY))
    frames = got.body.split(b"\n\n")
    error = error_frame(frames[-2] + b"\n\n")
    assert error["code"] == "upstream_timeout"
    assert "total" in str(error["message"]).lower()
    assert len(frames) > 10
    assert got.complete


async def test_a_drip_of_comments_does_not_outlive_the_timers(impatient: Mimic, silent: Backend) -> None:
    async def drip(request: Request) -> None:
        await request.send(stream_head())
        while True:
            await request.send(chunk(b": wait\n\n"))
            await asyncio.sleep(0.1)

    silent.script = drip
    got = await ask(impatient.port, chat(STREAM_BODY))
    assert (got.status, got.error()["code"], got.value(b"x-should-retry")) == (504, "upstream_timeout", b"false")


async def test_a_caller_that_stops_reading_is_dropped_by_the_send_timer(impatient: Mimic, silent: Backend) -> None:
    async def flood(request: Request) -> None:
        await request.send(stream_head())
        while True:
            await request.send(chunk(delta("y" * 16_000)))

    silent.script = flood
    async with await Caller.connect(impatient.port, receive_buffer=32768) as caller:
        await caller.send(chat(STREAM_BODY))
        seen = await silent.request()
        async with asyncio.timeout(5):
            await seen.connection.lost.wait()


async def test_a_slow_reader_that_makes_progress_outlives_the_idle_timer(impatient: Mimic, silent: Backend) -> None:
    part = delta("y" * 16_000)
    parts = 600

    async def flood(request: Request) -> None:
        await request.whole.wait()
        await request.send(stream_head(), *(chunk(part) for _ in range(parts)), chunk(STORY), LAST_CHUNK)

    silent.script = flood
    received = 0
    async with await Caller.connect(impatient.port, receive_buffer=32768) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        while data := await caller.data():
            received += len(data)
            await asyncio.sleep(0.001)
        assert caller.complete
    assert received == parts * len(part) + len(STORY)


@pytest.mark.parametrize("begun", [b"", b"POST /v1/chat", b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"])
async def test_a_slow_head_is_timed_out(impatient: Mimic, silent: Backend, begun: bytes) -> None:
    async with await Caller.connect(impatient.port) as caller:
        await caller.send(begun)
        rest = await caller.ended()
    assert rest.startswith(b"HTTP/1.1 408 ") if begun else rest == b"" or rest.startswith(b"HTTP/1.1 408 ")
    if rest:
        assert b'"request_timeout"' in rest
    assert silent.requests == []


async def test_a_head_that_drips_is_timed_out(impatient: Mimic, silent: Backend) -> None:
    async with await Caller.connect(impatient.port) as caller:
        ended = asyncio.ensure_future(caller.ended())
        await caller.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
        number = 0
        while not ended.done() and number < 100:
            await caller.send_if_open(b"x-%d: y\r\n" % number)
            number += 1
            await asyncio.wait([ended], timeout=0.1)
        assert b" 408 " in await ended
    assert number < 50


@pytest.mark.parametrize(
    "data",
    [
        chat(b'{"model":', [(b"content-length", b"100")]),
        request(b"POST", b"/v1/models", b"{", [(b"content-length", b"100")]),
    ],
)
async def test_a_slow_body_is_timed_out(impatient: Mimic, silent: Backend, data: bytes) -> None:
    async with await Caller.connect(impatient.port) as caller:
        await caller.send(data)
        got = await caller.response()
        assert got.status in (408, 405)
        got.error()
        await caller.ended()
    assert silent.requests == []


async def test_a_slow_upload_is_timed_out(impatient: Mimic, silent: Backend) -> None:
    silent.script = hang()
    fields = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"1000")]
    async with await Caller.connect(impatient.port) as caller:
        await caller.send(request(b"POST", b"/v1/files", b"x" * 100, fields))
        got = await caller.response()
        assert got.status in (408, 504)
        got.error()
    await silent.until(lambda: not silent.in_use)


async def test_an_idle_connection_is_closed(impatient: Mimic, silent: Backend) -> None:
    silent.script = ok()
    async with await Caller.connect(impatient.port) as caller:
        await caller.send(chat())
        assert (await caller.response()).status == 200
        assert await caller.ended() == b""


async def test_a_connection_that_cannot_be_made_in_time_is_a_504_of_the_connect_timer(start: Start) -> None:
    async with ConnectProxy({}) as between:
        between.hangs = True
        more = {"HTTPS_PROXY": between.url, "CHAT_API_URL": "https://backend.invalid/v1", "CONNECT_TIMEOUT": "0.3"}
        async with start(**more) as mimic:
            got = await ask(mimic.port, chat())
    assert (got.status, got.error()["code"]) == (504, "upstream_timeout")
    assert "connect" in got.error()["message"].lower()
