"""Heartbeat comments while the backend is silent, for balancers that cut idle streams."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fakes.backend import Backend, Request
from fakes.caller import STREAM_BODY, Caller, ask, chat, error_frame
from fakes.mimic import Mimic, behind
from fakes.replies import (
    DONE,
    LAST_CHUNK,
    SSE_FIELDS,
    STORY,
    answer,
    chunk,
    delta,
    hang,
    held,
    reply,
    stream,
    stream_head,
)

PING = b": ping\n\n"
FIRST, SECOND = delta("one"), delta("two")


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Mimic, Backend]]:
    """A Mimic that pings after 0.2 s of silence, and its backend."""
    async with behind(tmp_path_factory.mktemp("beating"), HEARTBEAT_AFTER="0.2") as found:
        yield found


@pytest.fixture
async def quiet(pair: tuple[Mimic, Backend]) -> AsyncIterator[Backend]:
    """The backend behind `beating`."""
    _, backend = pair
    backend.reset()
    yield backend
    backend.reset()


@pytest.fixture
async def beating(pair: tuple[Mimic, Backend], quiet: Backend) -> AsyncIterator[Mimic]:
    """A Mimic that pings after 0.2 s of silence."""
    mimic, _ = pair
    yield mimic
    mimic.judge()


async def test_before_the_head_a_heartbeat_commits_a_200(beating: Mimic, quiet: Backend) -> None:
    gate = asyncio.Event()
    quiet.script = held(gate, stream(STORY))
    async with await Caller.connect(beating.port) as caller:
        await caller.send(chat(STREAM_BODY))
        got = await caller.head()
        assert (got.status, got.value(b"content-type")) == (200, SSE_FIELDS[0][1])
        seen = await caller.body_until(PING + PING)
        assert seen.replace(PING, b"") == b""
        gate.set()
        assert (await caller.body_until(DONE)).replace(PING, b"") == STORY


async def test_a_refusal_after_a_heartbeat_becomes_an_error_frame(beating: Mimic, quiet: Backend) -> None:
    gate = asyncio.Event()
    quiet.script = held(
        gate, reply(answer(429, b'{"error":{"message":"slow down","type":"t","param":null,"code":"c"}}'))
    )
    async with await Caller.connect(beating.port) as caller:
        await caller.send(chat(STREAM_BODY))
        assert (await caller.head()).status == 200
        await caller.body_until(PING)
        gate.set()
        rest = b""
        while data := await caller.data():
            rest += data
        assert caller.complete
    assert error_frame(rest.replace(PING, b""))["message"]


async def test_pings_stand_between_events_only(beating: Mimic, quiet: Backend) -> None:
    gates = [asyncio.Event(), asyncio.Event()]

    async def tell(request: Request) -> None:
        await request.send(stream_head(), chunk(FIRST))
        await gates[0].wait()
        await request.send(chunk(SECOND[:20]))
        await gates[1].wait()
        await request.send(chunk(SECOND[20:] + DONE), LAST_CHUNK)

    quiet.script = tell
    async with await Caller.connect(beating.port) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        seen = await caller.body_until(PING)
        gates[0].set()
        seen += await caller.body_until(PING + PING)
        gates[1].set()
        seen += await caller.body_until(DONE)
    assert seen.replace(PING, b"") == FIRST + SECOND + DONE
    assert all(piece in (FIRST, SECOND, DONE, PING) for piece in whole_events(seen))


def whole_events(data: bytes) -> list[bytes]:
    return [piece + b"\n\n" for piece in data.split(b"\n\n")[:-1]]


async def test_no_ping_stands_within_an_event_beyond_64_kib(beating: Mimic, quiet: Backend) -> None:
    long_event = delta("x" * 150_000)
    gate = asyncio.Event()

    async def tell(request: Request) -> None:
        await request.send(stream_head(), chunk(FIRST), chunk(long_event[:100_000]))
        await gate.wait()
        await request.send(chunk(long_event[100_000:] + DONE), LAST_CHUNK)

    quiet.script = tell
    async with await Caller.connect(beating.port) as caller, await Caller.connect(beating.port) as clock:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        await quiet.request()
        quiet.script = hang()
        await clock.send(chat(STREAM_BODY))
        await clock.head()
        await clock.body_until(PING + PING)
        gate.set()
        seen = await caller.body_until(DONE)
    assert seen.replace(PING, b"") == FIRST + long_event + DONE
    assert PING not in seen[seen.index(long_event[:50]) : seen.index(long_event[-50:])]


async def test_what_is_no_stream_gets_no_pings(beating: Mimic, quiet: Backend) -> None:
    gate = asyncio.Event()
    quiet.script = held(gate, reply(answer(503, b"{}")))
    async with await Caller.connect(beating.port) as plain, await Caller.connect(beating.port) as clock:
        await plain.send(chat())
        await quiet.request()
        await clock.send(chat(STREAM_BODY))
        await clock.head()
        await clock.body_until(PING + PING)
        gate.set()
        got = await plain.response()
    assert (got.status, got.body) == (503, b"{}")


async def test_without_the_setting_a_silent_stream_gets_no_pings(mimic: Mimic, backend: Backend) -> None:
    backend.script = stream(STORY)
    assert PING not in (await ask(mimic.port, chat(STREAM_BODY))).body
