"""What each timer adds to the metrics when it runs out, exactly."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fakes.backend import Request
from fakes.caller import STREAM_BODY, Caller, ask, chat, request
from fakes.connect_proxy import ConnectProxy
from fakes.metered import Meter, Metered, metering
from fakes.replies import (
    JSON_FIELDS,
    LAST_CHUNK,
    STORY,
    answer,
    chunk,
    delta,
    hang,
    head,
    held,
    in_turn,
    ok,
    reply,
    stream_head,
)
from fakes.scrape import attempt, events, exchange, total, unsent, web

SHORT = {
    "HEAD_TIMEOUT": "0.5",
    "FIRST_BYTE_TIMEOUT": "0.5",
    "IDLE_TIMEOUT": "0.5",
    "SEND_TIMEOUT": "0.6",
    "TOTAL_TIMEOUT": "1.5",
}
FIRST = delta("one")
LONG = head(200, [*JSON_FIELDS, (b"content-length", b"100000000")])
FORM = [(b"content-type", b"multipart/form-data; boundary=x")]


@pytest.fixture(scope="module")
async def _hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Metered]:
    async with metering(tmp_path_factory.mktemp("hasty"), **SHORT) as found:
        yield found


@pytest.fixture
async def hasty(_hasty: Metered) -> AsyncIterator[Metered]:
    """A metered Mimic with short timers."""
    _hasty.backend.reset()
    yield _hasty
    _hasty.mimic.judge()
    _hasty.backend.reset()


async def test_first_byte(hasty: Metered) -> None:
    hasty.backend.script = hang()
    before = await hasty.scrape()
    assert (await ask(hasty.port, chat())).status == 504
    await before.then(
        hasty.mimic, exchange("chat", 504, "timeout", upstream=None, error_type="read_timeout"), gauges={}
    )


async def test_first_byte_of_a_stream_whose_head_has_come(hasty: Metered) -> None:
    hasty.backend.script = hang(stream_head(), chunk(b": wait\n\n"))
    before = await hasty.scrape()
    assert (await ask(hasty.port, chat(STREAM_BODY))).status == 504
    await before.then(hasty.mimic, exchange("chat", 504, "timeout", error_type="read_timeout", stream=True), gauges={})


async def test_idle_in_a_stream(hasty: Metered) -> None:
    hasty.backend.script = hang(stream_head() + chunk(FIRST))
    before = await hasty.scrape()
    got = await ask(hasty.port, chat(STREAM_BODY))
    ended = exchange("chat", 200, "idle_timeout", error_type="read_timeout", stream=True)
    await before.then(hasty.mimic, ended, events("chat", 1, len(got.body)), gauges={})


async def test_idle_in_a_body(hasty: Metered) -> None:
    hasty.backend.script = hang(LONG + b"{")
    before = await hasty.scrape()
    assert not (await ask(hasty.port, chat())).complete
    await before.then(hasty.mimic, exchange("chat", 200, "idle_timeout", error_type="read_timeout"), gauges={})


async def test_total(hasty: Metered) -> None:
    async def drip(request: Request) -> None:
        await request.send(LONG)
        while True:
            await request.send(b"x")
            await asyncio.wait([asyncio.ensure_future(request.connection.lost.wait())], timeout=0.1)

    hasty.backend.script = drip
    before = await hasty.scrape()
    assert not (await ask(hasty.port, chat())).complete
    await before.then(hasty.mimic, exchange("chat", 200, "timeout", error_type="read_timeout"), gauges={})


async def test_send_where_the_caller_takes_nothing(hasty: Metered) -> None:
    """The caller counts as gone; the backend did nothing wrong."""

    async def flood(request: Request) -> None:
        await request.send(LONG)
        while True:
            await request.send(b"x" * 65536)

    hasty.backend.script = flood
    before = await hasty.scrape()
    async with await Caller.connect(hasty.port, receive_buffer=32768) as caller:
        await caller.send(chat())
        seen = await hasty.backend.request()
        await hasty.backend.until(lambda: not seen.connection.open)
        await before.then(hasty.mimic, exchange("chat", 200, "client_disconnect"), gauges={})


async def test_send_where_the_caller_of_a_stream_takes_nothing(hasty: Metered) -> None:
    """Its time is counted, whoever is the slow one."""
    long = delta("x" * 4_000_000)
    hasty.backend.script = hang(stream_head() + chunk(FIRST), chunk(long))
    before = await hasty.scrape()
    async with await Caller.connect(hasty.port, receive_buffer=32768) as caller:
        await caller.send(chat(STREAM_BODY))
        seen = await hasty.backend.request()
        await hasty.backend.until(lambda: not seen.connection.open)
        blocked = "mimic_stream_send_blocked_seconds_total{operation=chat}"
        now = await hasty.scrape()
        assert 0.5 < now.sums[blocked] - before.sums[blocked] < now.taken - before.taken


async def test_send_where_the_backend_takes_nothing(hasty: Metered) -> None:
    async def refuse_to_read(request: Request) -> None:
        request.connection.stop_reading()
        await request.connection.lost.wait()

    hasty.backend.script = refuse_to_read
    before = await hasty.scrape()
    async with await Caller.connect(hasty.port) as caller:
        sending = asyncio.ensure_future(caller.send_if_open(request(b"POST", b"/v1/files", b"x" * 30_000_000, FORM)))
        assert (await caller.response()).status == 504
        sending.cancel()
    ended = exchange("passthrough", 504, "timeout", upstream=None, error_type="read_timeout", model=None)
    await before.then(hasty.mimic, ended, gauges={})


async def test_body(hasty: Metered) -> None:
    before = await hasty.scrape()
    assert (await ask(hasty.port, chat(b"{", [(b"content-length", b"100")]))).status == 408
    await before.then(hasty.mimic, unsent("chat", 408, "client_error", model="other"), gauges={})


async def test_head(hasty: Metered) -> None:
    before = await hasty.scrape()
    assert (await ask(hasty.port, b"POST /v1/chat/completions HTTP/1.1\r\n")).status == 408
    await before.then(hasty.mimic, web("unmatched", 408, "client_error"), gauges={})


async def test_total_of_a_list_of_models(hasty: Metered) -> None:
    hasty.backend.script = hang()
    before = await hasty.scrape()
    assert (await ask(hasty.port, request(b"GET", b"/v1/models?x"), b"GET")).status == 504
    await before.then(hasty.mimic, web("models", 504, "timeout"), attempt("models", None, "read_timeout"), gauges={})


async def test_connect(meter: Meter) -> None:
    async with ConnectProxy({}) as between:
        between.hangs = True
        more = {"HTTPS_PROXY": between.url, "EMBEDDING_API_URL": "https://backend.invalid/v1", "CONNECT_TIMEOUT": "0.3"}
        async with meter(**more) as metered:
            before = await metered.scrape()
            got = await ask(metered.port, request(b"POST", b"/v1/embeddings", b'{"model":"m"}'))
            assert got.status == 504
            ended = exchange("embeddings", 504, "timeout", upstream=None, error_type="connect")
            await before.then(metered.mimic, ended, gauges={})


async def test_heartbeats(meter: Meter) -> None:
    """What is sent while the backend is silent is counted, and is neither an event nor content."""
    gate = asyncio.Event()
    async with meter(HEARTBEAT_AFTER="0.2") as metered:
        late = held(gate, reply(stream_head() + chunk(STORY) + LAST_CHUNK))
        metered.backend.script = in_turn(late, held(gate, ok()), held(gate, reply(answer(500, b"{}"))))
        for script_ends in ("completed", "protocol", "http_5xx"):
            gate.clear()
            before = await metered.scrape()
            async with await Caller.connect(metered.port) as caller:
                await caller.send(chat(STREAM_BODY))
                await caller.head()
                body = await caller.body_until(b": ping\n\n" * 2)
                gate.set()
                while data := await caller.data():
                    body += data
            beats = {"mimic_stream_heartbeats_total{operation=chat}": float(body.count(b": ping\n\n"))}
            if script_ends == "completed":
                ended = total(exchange("chat", 200, stream=True), events("chat", STORY.count(b"\n\n") - 1, len(body)))
            else:
                sent = unsent("chat", 200, "upstream_error", stream=True)
                ended = total(sent, attempt("chat", 200 if script_ends == "protocol" else 500, script_ends))
            await before.then(metered.mimic, ended, beats, gauges={})
