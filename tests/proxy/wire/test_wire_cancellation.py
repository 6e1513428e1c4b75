"""A caller who leaves closes the backend's connection, in every phase, at once."""

import asyncio
import statistics
import time
from collections.abc import Callable

import pytest

from fakes.backend import Backend, Request, Script
from fakes.caller import CHAT_BODY, STREAM_BODY, Caller, chat, request
from fakes.mimic import Mimic, eventually
from fakes.replies import JSON_FIELDS, answer, chunk, delta, hang, head, ok, reply, stream_head

ROUNDS = 15
MEDIAN_SECONDS = 0.1
WORST_SECONDS = 1.0
FIRST = delta("one")

PHASES: list[tuple[str, bytes, Script, bool]] = [
    ("before the head", CHAT_BODY, hang(), False),
    ("before the head of a stream", STREAM_BODY, hang(), False),
    ("before the first event", STREAM_BODY, hang(stream_head(), chunk(b": wait\n\n")), False),
    ("within a stream", STREAM_BODY, hang(stream_head(), chunk(FIRST)), True),
    ("within a body", CHAT_BODY, hang(head(200, [*JSON_FIELDS, (b"content-length", b"99")]), b'{"id":'), True),
]
LEAVING: list[tuple[str, Callable[[Caller], None]]] = [
    ("close", Caller.close),
    ("reset", Caller.reset),
    ("half-close", Caller.half_close),
]


async def leave(mimic: Mimic, backend: Backend, body: bytes, answered: bool, how: Callable[[Caller], None]) -> float:
    """One call that is given up; seconds until the backend sees its connection closed."""
    number = len(backend.requests)
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(body))
        seen = await backend.request(number)
        if answered:
            await caller.head()
            await caller.data()
        started = time.monotonic()
        how(caller)
        async with asyncio.timeout(5):
            await seen.connection.lost.wait()
    assert seen.connection.lost_at is not None
    return seen.connection.lost_at - started


@pytest.mark.parametrize("how", [how for _, how in LEAVING], ids=[name for name, _ in LEAVING])
@pytest.mark.parametrize(
    ("body", "script", "answered"), [phase[1:] for phase in PHASES], ids=[phase[0] for phase in PHASES]
)
async def test_the_backend_sees_its_connection_closed_when_the_caller_leaves(
    mimic: Mimic, backend: Backend, body: bytes, script: Script, answered: bool, how: Callable[[Caller], None]
) -> None:
    backend.script = script
    seconds = [await leave(mimic, backend, body, answered, how) for _ in range(ROUNDS)]
    assert statistics.median(seconds) < MEDIAN_SECONDS
    assert max(seconds) < WORST_SECONDS


async def flood(request: Request) -> None:
    await request.whole.wait()
    await request.send(stream_head())
    while True:
        await request.send(chunk(delta("y" * 16_000)))


@pytest.mark.parametrize("how", [how for _, how in LEAVING], ids=[name for name, _ in LEAVING])
async def test_the_same_with_back_pressure_on(mimic: Mimic, backend: Backend, how: Callable[[Caller], None]) -> None:
    backend.script = flood
    seconds = []
    for number in range(5):
        async with await Caller.connect(mimic.port, receive_buffer=32768) as caller:
            await caller.send(chat(STREAM_BODY))
            seen = await backend.request(number)
            await backend.until(lambda seen=seen: seen.connection.paused)  # type: ignore[misc]
            started = time.monotonic()
            how(caller)
            async with asyncio.timeout(5):
                await seen.connection.lost.wait()
            assert seen.connection.lost_at is not None
            seconds.append(seen.connection.lost_at - started)
    assert statistics.median(seconds) < MEDIAN_SECONDS
    assert max(seconds) < WORST_SECONDS


async def test_a_caller_that_leaves_within_an_upload_closes_the_backends_connection(
    mimic: Mimic, backend: Backend
) -> None:
    backend.script = hang()
    fields = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"1000000")]
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", b"/v1/files", b"x" * 1000, fields))
        await backend.until(lambda: bool(backend.requests) and len(backend.requests[0].body) == 1000)
        caller.close()
        async with asyncio.timeout(5):
            await backend.requests[0].connection.lost.wait()


async def test_a_caller_that_leaves_within_its_json_body_never_reaches_the_backend(
    mimic: Mimic, backend: Backend
) -> None:
    backend.script = ok()
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(CHAT_BODY, [(b"content-length", b"1000")]))
        caller.reset()
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat())
        assert (await caller.response()).status == 200
    assert len(backend.requests) == 1


async def test_nothing_is_left_open_after_a_thousand_aborted_calls(mimic: Mimic, backend: Backend) -> None:
    files = mimic.open_files

    async def abort(number: int) -> None:
        _, body, _, answered = PHASES[number % len(PHASES)]
        async with await Caller.connect(mimic.port) as caller:
            await caller.send(chat(body, [(b"x-phase", b"%d" % (number % len(PHASES)))]))
            if answered:
                await caller.head()
            LEAVING[number % len(LEAVING)][1](caller)
            await caller.ended()

    async def play(request: Request) -> None:
        await PHASES[int(request.value(b"x-phase") or b"0")][2](request)

    backend.script = play
    for batch in range(10):
        await asyncio.gather(*(abort(batch * 100 + number) for number in range(100)))
    assert len(backend.requests) >= 400, "those that were answered at least"
    await backend.until(lambda: not any(connection.busy for connection in backend.connections))
    idle = len(backend.open_connections)
    await eventually(lambda: mimic.open_files <= files + idle, what="descriptors closed")
    backend.script = reply(answer(200, b"{}"))
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat())
        assert (await caller.response()).status == 200
