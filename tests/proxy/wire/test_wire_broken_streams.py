"""A stream that breaks ends with one error frame, or, where a frame cannot stand, without its last chunk."""

import asyncio
import gzip
from collections.abc import Callable

import openai
import pytest

from fakes.backend import Backend, Connection, Script
from fakes.caller import STREAM_BODY, Caller, ask, chat, error_frame, request
from fakes.mimic import Mimic
from fakes.replies import DONE, LAST_CHUNK, SSE_FIELDS, STORY, chunk, cut, delta, hang, head, stream, stream_head

FIRST, SECOND = delta("one"), delta("two")
HALF = SECOND[:30]
TOLD = chunk(FIRST + SECOND)


def garbage(connection: Connection) -> asyncio.Task[None]:
    """A chunk size that is none."""
    return asyncio.get_running_loop().create_task(connection.send(b"xyz\r\n"))


CUTS: list[tuple[str, Script, bytes]] = [
    ("ends without [DONE]", stream(FIRST, SECOND), FIRST + SECOND),
    ("ends within an event", stream(FIRST + HALF), FIRST),
    ("is closed between events", cut(stream_head(), TOLD), FIRST + SECOND),
    ("is closed within an event", cut(stream_head(), chunk(FIRST + HALF)), FIRST),
    ("is closed within a chunk", cut(stream_head(), b"fff\r\n" + FIRST + HALF), FIRST),
    ("closes a close-delimited body without [DONE]", cut(head(200, SSE_FIELDS), FIRST + SECOND), FIRST + SECOND),
    ("has finished one of two choices", stream(FIRST + delta(finish="stop")), FIRST + delta(finish="stop")),
]


@pytest.mark.parametrize(
    ("script", "told"), [(script, told) for _, script, told in CUTS], ids=[name for name, *_ in CUTS]
)
async def test_whole_events_then_one_error_frame_and_a_proper_end_when_a_stream(
    mimic: Mimic, backend: Backend, script: Script, told: bytes
) -> None:
    backend.script = script
    got = await ask(mimic.port, chat(STREAM_BODY.replace(b'"stream"', b'"n":2,"stream"')))
    assert got.status == 200
    assert got.body.startswith(told)
    error = error_frame(got.body[len(told) :])
    assert error["code"] in ("upstream_bad_response", "upstream_unreachable")
    assert got.complete
    assert DONE not in got.body


@pytest.mark.parametrize("end", [Connection.reset, Connection.close, garbage], ids=["reset", "close", "garbage"])
async def test_a_running_stream_that_breaks_gets_its_error_frame(
    mimic: Mimic, backend: Backend, end: Callable[[Connection], object]
) -> None:
    backend.script = hang(stream_head(), chunk(FIRST))
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        await caller.body_until(FIRST)
        end(backend.requests[0].connection)
        rest = b""
        while data := await caller.data():
            rest += data
        assert caller.complete
    assert error_frame(rest)["code"] in ("upstream_bad_response", "upstream_unreachable")


async def test_a_cut_after_done_is_a_whole_answer(mimic: Mimic, backend: Backend) -> None:
    backend.script = cut(stream_head(), chunk(STORY))
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.body, got.complete) == (STORY, True)


async def test_a_cut_before_the_first_event_is_an_error_with_its_status(mimic: Mimic, backend: Backend) -> None:
    backend.script = cut(stream_head(), chunk(b": wait\n\n" + HALF))
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.status, got.error()["type"]) == (502, "upstream_error")


async def test_a_stream_that_ends_before_its_first_event_is_an_error_with_its_status(
    mimic: Mimic, backend: Backend
) -> None:
    backend.script = stream(b": nothing to tell\n\n")
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.status, got.error()["code"]) == (502, "upstream_bad_response")


async def test_a_cut_within_an_event_beyond_64_kib_closes_without_the_last_chunk(
    mimic: Mimic, backend: Backend
) -> None:
    long_piece = delta("x" * 200_000)[:150_000]
    backend.script = cut(stream_head(), chunk(FIRST), chunk(long_piece))
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert not got.complete
    assert (FIRST + long_piece).startswith(got.body)
    assert b'"error"' not in got.body


async def test_a_cut_in_an_encoded_stream_closes_without_the_last_chunk(mimic: Mimic, backend: Backend) -> None:
    packed = gzip.compress(STORY)
    backend.script = cut(stream_head([*SSE_FIELDS, (b"content-encoding", b"gzip")]), chunk(packed[:-20]))
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert not got.complete
    assert packed.startswith(got.body)


async def test_an_encoded_stream_passes_as_it_is(mimic: Mimic, backend: Backend) -> None:
    packed = gzip.compress(STORY)
    backend.script = stream(packed[:30], packed[30:], fields=[*SSE_FIELDS, (b"content-encoding", b"gzip")])
    got = await ask(mimic.port, chat(STREAM_BODY))
    assert (got.body, got.value(b"content-encoding"), got.complete) == (packed, b"gzip", True)


async def test_a_responses_stream_that_ends_before_its_terminal_event_gets_an_error_frame(
    mimic: Mimic, backend: Backend
) -> None:
    told = b'event: response.created\ndata: {"type":"response.created","response":{"id":"r"}}\n\n'
    backend.script = stream(told)
    got = await ask(mimic.port, request(b"POST", b"/v1/responses", STREAM_BODY))
    assert got.body.startswith(told)
    assert b'"error"' in got.body[len(told) :]
    assert got.complete


@pytest.mark.parametrize("framing", [(b"content-length", b"1000"), (b"transfer-encoding", b"chunked")])
async def test_a_cut_in_any_other_body_is_a_cut_for_the_caller(
    mimic: Mimic, backend: Backend, framing: tuple[bytes, bytes]
) -> None:
    part = b'{"object":"list","data":[1.0,'
    sent = part if framing[0] == b"content-length" else chunk(part)
    backend.script = cut(head(200, [(b"content-type", b"application/json"), framing]), sent)
    got = await ask(mimic.port, chat())
    assert not got.complete
    assert part.startswith(got.body)


async def test_the_python_sdk_raises_its_own_error_for_a_stream_without_done(mimic: Mimic, backend: Backend) -> None:
    backend.script = stream(FIRST, SECOND)
    base = f"http://127.0.0.1:{mimic.port}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="any", max_retries=0) as client:
        answer = await client.chat.completions.create(model="m", messages=[], stream=True)
        first, second = await anext(answer), await anext(answer)
        with pytest.raises(openai.APIError) as caught:
            await anext(answer)
    assert [part.choices[0].delta.content for part in (first, second)] == ["one", "two"]
    assert type(caught.value) is openai.APIError
    assert LAST_CHUNK not in str(caught.value).encode()
