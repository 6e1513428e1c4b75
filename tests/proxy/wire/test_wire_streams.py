"""Streams over real sockets: the backend's bytes, at once, with bounded memory."""

import asyncio

import pytest

from fakes.backend import Backend, Request
from fakes.caller import STREAM_BODY, Caller, ask, chat, request
from fakes.mimic import Mimic
from fakes.replies import (
    DONE,
    JSON_FIELDS,
    LAST_CHUNK,
    SSE_FIELDS,
    STORY,
    answer,
    chunk,
    delta,
    event,
    hang,
    head,
    held,
    reply,
    stream,
    stream_head,
)

FIRST, SECOND = delta("one"), delta("two")
ODD_STORY = (
    b"\xef\xbb\xbf: a comment\r\n\r\ndata:"
    + delta("gr\u00fc\u00dfe")[5:].replace(b"\n", b"\r")
    + b'id: 7\ndata: {\ndata: "choices":[]}\n\n'
    + delta("two").replace(b"\n", b"\r\n")
    + b"event: x\n\n\n\n"
    + delta(finish="stop")
    + DONE
)
LARGE_STREAM_BYTES = 100 * 1024 * 1024
ALLOWED_GROWTH_BYTES = 24 * 1024 * 1024


@pytest.mark.parametrize("story", [STORY[-360:], ODD_STORY], ids=["plain", "odd line ends"])
async def test_a_stream_is_the_backends_bytes_at_every_split_point(
    mimic: Mimic, backend: Backend, story: bytes
) -> None:
    story = story[story.index(b"data") if story is not ODD_STORY else 0 :]
    async with await Caller.connect(mimic.port) as caller:
        for at in range(1, len(story)):
            backend.script = stream(story[:at], story[at:])
            await caller.send(chat(STREAM_BODY))
            got = await caller.response()
            assert (got.status, got.complete) == (200, True)
            assert got.body == story, f"split at {at}"


async def test_a_stream_is_the_backends_bytes_when_they_come_one_by_one(mimic: Mimic, backend: Backend) -> None:
    async def drip(request: Request) -> None:
        await request.whole.wait()
        await request.send(stream_head())
        for at in range(len(ODD_STORY)):
            await request.send(chunk(ODD_STORY[at : at + 1]))
            await asyncio.sleep(0)
        await request.send(LAST_CHUNK)

    backend.script = drip
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.body, got.complete) == (ODD_STORY, True)


async def test_the_first_event_reaches_the_caller_before_the_backend_sends_its_second(
    mimic: Mimic, backend: Backend
) -> None:
    gate = asyncio.Event()

    async def tell(request: Request) -> None:
        await request.whole.wait()
        await request.send(stream_head(), chunk(FIRST))
        await gate.wait()
        await request.send(chunk(SECOND + DONE), LAST_CHUNK)

    backend.script = tell
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(STREAM_BODY))
        assert (await caller.head()).status == 200
        assert await caller.body_until(b"\n\n") == FIRST
        gate.set()
        assert await caller.body_until(DONE) == SECOND + DONE


async def test_fields_of_a_stream_tell_proxies_to_leave_it_alone(mimic: Mimic, backend: Backend) -> None:
    backend.script = stream(STORY, fields=[(b"content-type", b"text/event-stream")])
    fields = [(b"accept-encoding", b"gzip, deflate"), (b"accept", b"application/json")]
    got = await ask(mimic.port, chat(STREAM_BODY, fields))
    assert got.value(b"content-type") == b"text/event-stream; charset=utf-8"
    assert got.value(b"cache-control") == b"no-cache"
    assert got.value(b"x-accel-buffering") == b"no"
    assert got.value(b"content-length") is None
    assert (await backend.request()).value(b"accept-encoding") == b"identity"


async def test_the_caller_of_no_stream_keeps_its_accept_encoding(mimic: Mimic, backend: Backend) -> None:
    backend.script = reply(answer(200, b"{}"))
    await ask(mimic.port, chat(fields=[(b"accept-encoding", b"gzip, deflate")]))
    assert (await backend.request()).value(b"accept-encoding") == b"gzip, deflate"


async def test_the_head_waits_until_an_event_with_data_tells_the_outcome(mimic: Mimic, backend: Backend) -> None:
    error = event({"error": {"message": "slow down", "type": "requests", "param": None, "code": 429}})
    backend.script = stream(b": wait\n\n", b"event: ping\n\n", b": more\n\n" + error)
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert got.status == 429
    assert got.json() == {"error": {"message": "slow down", "type": "requests", "param": None, "code": 429}}


@pytest.mark.parametrize(
    ("code", "status"), [(400, 400), (503, 503), (599, 599), ("rate", 502), (None, 502), (200, 502)]
)
async def test_a_first_event_that_is_an_error_becomes_a_true_status(
    mimic: Mimic, backend: Backend, code: object, status: int
) -> None:
    body = {"error": {"message": "no model today", "type": "t", "param": None, "code": code}}
    backend.script = stream(event(body))
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.status, got.json(), got.complete) == (status, body, True)
    assert (got.value(b"content-type") or b"").startswith(b"application/json")


async def test_a_first_event_that_is_an_error_is_answered_without_waiting_for_the_end(
    mimic: Mimic, backend: Backend
) -> None:
    body = {"error": {"message": "no model today", "type": "t", "param": None, "code": 503}}
    backend.script = hang(stream_head(), chunk(event(body)))
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.status, got.json()) == (503, body)
    await backend.until(lambda: not backend.in_use)


async def test_an_error_after_a_role_event_passes_and_nothing_is_added(mimic: Mimic, backend: Backend) -> None:
    story = delta(role="assistant") + event({"error": {"message": "broken", "code": 500}})
    backend.script = stream(story)
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.status, got.body, got.complete) == (200, story, True)


async def test_a_finish_reason_for_every_choice_without_done_is_a_whole_answer(mimic: Mimic, backend: Backend) -> None:
    story = delta("a") + delta("b", index=1) + delta(finish="stop") + delta(finish="length", index=1)
    backend.script = stream(story)
    got = await ask(mimic.port, chat(STREAM_BODY.replace(b'"stream"', b'"n":2,"stream"')))
    assert (got.body, got.complete) == (story, True)


async def test_an_event_beyond_64_kib_streams_through(mimic: Mimic, backend: Backend) -> None:
    long_event = delta("x" * 200_000)
    story = FIRST + long_event + SECOND + DONE
    gate = asyncio.Event()

    async def tell(request: Request) -> None:
        await request.send(stream_head(), chunk(FIRST), chunk(long_event[:150_000]))
        await gate.wait()
        await request.send(chunk(long_event[150_000:] + SECOND), chunk(DONE), LAST_CHUNK)

    backend.script = tell
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        seen = await caller.body_until(b"x" * 100)
        gate.set()
        assert seen + await caller.body_until(DONE) == story


async def test_an_answer_of_many_events_in_one_read_is_not_torn(mimic: Mimic, backend: Backend) -> None:
    story = b"".join(delta(f"word {number}") for number in range(20_000)) + DONE
    backend.script = stream(story)
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.body, got.complete) == (story, True)


@pytest.mark.timeout(40)
async def test_a_large_stream_to_a_slow_reader_keeps_memory_flat(mimic: Mimic, backend: Backend) -> None:
    part = delta("y" * 16_000) * 4
    parts = LARGE_STREAM_BYTES // len(part)

    async def flood(request: Request) -> None:
        await request.send(stream_head())
        for _ in range(parts):
            await request.send(chunk(part))
        await request.send(chunk(DONE), LAST_CHUNK)

    backend.script = flood
    async with await Caller.connect(mimic.port, receive_buffer=65536) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        before = mimic.resident_bytes
        await backend.until(lambda: bool(backend.requests) and backend.requests[0].connection.paused)
        assert backend.requests[0].connection.sent < LARGE_STREAM_BYTES
        received, most = 0, 0
        while data := await caller.data():
            received += len(data)
            most = max(most, mimic.resident_bytes)
        assert received == parts * len(part) + len(DONE)
    assert most - before < ALLOWED_GROWTH_BYTES


async def test_callers_that_hang_up_at_done_cost_no_backend_connection(mimic: Mimic, backend: Backend) -> None:
    for _ in range(10):
        gate = asyncio.Event()

        async def tell(request: Request, gate: asyncio.Event = gate) -> None:
            await request.send(stream_head(), chunk(STORY))
            await gate.wait()
            await request.send(LAST_CHUNK)

        backend.script = tell
        async with await Caller.connect(mimic.port) as caller:
            await caller.send(chat(STREAM_BODY))
            await caller.head()
            await caller.body_until(DONE)
        gate.set()
        await backend.until(lambda: not any(connection.busy for connection in backend.connections))
    assert len({id(seen.connection) for seen in backend.requests}) == 1


async def test_a_backend_that_lingers_after_done_does_not_hold_the_caller(mimic: Mimic, backend: Backend) -> None:
    backend.script = hang(stream_head(), chunk(STORY))
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.body, got.complete) == (STORY, True)
    await backend.until(lambda: not backend.requests[0].connection.open)


async def test_what_follows_done_is_bounded(mimic: Mimic, backend: Backend) -> None:
    async def flood(request: Request) -> None:
        await request.send(stream_head(), chunk(STORY))
        while True:
            await request.send(chunk(b": noise\n\n" * 1000))

    backend.script = flood
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert got.complete
    assert got.body.startswith(STORY)
    await backend.until(lambda: not backend.requests[0].connection.open)


async def test_a_caller_of_http_1_0_gets_a_stream_that_ends_with_the_connection(mimic: Mimic, backend: Backend) -> None:
    backend.script = stream(STORY)
    old = request(b"POST", b"/v1/chat/completions", STREAM_BODY).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(old)
        got = await caller.response()
        assert (got.status, got.body, got.complete) == (200, STORY, True)
        assert (got.value(b"transfer-encoding"), got.value(b"content-length")) == (None, None)
        assert await caller.ended() == b""


async def test_a_responses_stream_ends_with_its_own_terminal_event(mimic: Mimic, backend: Backend) -> None:
    story = (
        b'event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}\n\n'
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n'
        b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r"}}\n\n'
    )
    backend.script = stream(story)
    got = await ask(mimic.port, request(b"POST", b"/v1/responses", STREAM_BODY))
    assert (got.body, got.complete) == (story, True)


async def test_a_backend_that_does_not_stream_is_passed_on_as_it_answers(mimic: Mimic, backend: Backend) -> None:
    backend.script = reply(answer(200, b'{"choices": []}'))
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.body, got.value(b"content-type")) == (b'{"choices": []}', b"application/json")


async def test_a_refusal_of_a_stream_comes_back_as_it_is(mimic: Mimic, backend: Backend) -> None:
    refusal = b'{"error": {"message": "slow down", "type": "requests", "param": null, "code": "rate_limit_exceeded"}}'
    backend.script = reply(answer(429, refusal, [*JSON_FIELDS, (b"retry-after", b"7")]))
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.status, got.body, got.value(b"retry-after")) == (429, refusal, b"7")
    assert got.value(b"content-length") == b"%d" % len(refusal)


@pytest.mark.parametrize(
    "begun", [delta("x" * 100_000)[:90_000], b": wait\n\n" * 10_000], ids=["one long event", "comments"]
)
async def test_no_more_than_64_kib_are_held_back(mimic: Mimic, backend: Backend, begun: bytes) -> None:
    backend.script = hang(stream_head(), chunk(begun))
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(STREAM_BODY))
        assert (await caller.head()).status == 200
        assert begun.startswith(await caller.data())


async def test_what_is_no_event_stream_is_passed_on_as_it_comes_too(mimic: Mimic, backend: Backend) -> None:
    gate = asyncio.Event()

    async def play(request: Request) -> None:
        await request.send(stream_head([(b"content-type", b"audio/mpeg")]), chunk(b"first"))
        await gate.wait()
        await request.send(chunk(b"second"), LAST_CHUNK)

    backend.script = play
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", b"/v1/audio/speech", b'{"model":"m"}'))
        await caller.head()
        assert await caller.data() == b"first"
        gate.set()
        assert await caller.body_until(b"second") == b"second"


async def test_a_close_delimited_stream_is_relayed(mimic: Mimic, backend: Backend) -> None:
    backend.script = reply(head(200, SSE_FIELDS) + STORY, close=True)
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.body, got.complete) == (STORY, True)


async def test_streams_do_not_wait_for_each_other(mimic: Mimic, backend: Backend) -> None:
    gate = asyncio.Event()
    backend.script = held(gate, stream(STORY))
    async with await Caller.connect(mimic.port) as first:
        await first.send(chat(STREAM_BODY))
        await backend.request()
        backend.script = stream(STORY)
        assert (await ask(mimic.port, chat(STREAM_BODY))).body == STORY
        gate.set()
        assert (await first.response()).body == STORY
