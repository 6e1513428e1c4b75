"""Connections to the backend: kept, retired, and replaced without a caller noticing."""

import asyncio

import pytest

from fakes.backend import Backend, Connection, Request, Script
from fakes.caller import CHAT_BODY, Caller, ask, chat, request
from fakes.mimic import Mimic, Start
from fakes.replies import COMPLETION, JSON_FIELDS, answer, hang, ok, reply, stream

LOSS_WINDOW_SECONDS = 1.0
"""A reused connection that is lost later may have been killed by the request itself."""


async def warm(mimic: Mimic, backend: Backend) -> Connection:
    """A pooled connection, the only one there is."""
    for connection in backend.open_connections:
        connection.cancel()
    backend.script = ok()
    backend.requests.clear()
    assert (await ask(mimic.port, chat())).status == 200
    await backend.until(lambda: not any(connection.busy for connection in backend.connections))
    found = backend.requests[0].connection
    backend.requests.clear()
    return found


def dying(old: Connection, death: Script, otherwise: Script) -> Script:
    """`death` on the connection that was pooled, `otherwise` on any other."""

    async def play(request: Request) -> None:
        await (death if request.connection is old else otherwise)(request)

    return play


async def close(request: Request) -> None:
    await request.whole.wait()
    request.connection.close()


async def reset(request: Request) -> None:
    await request.whole.wait()
    request.connection.reset()


async def time_out(request: Request) -> None:
    await request.send(answer(408, b"", [(b"connection", b"close")]))
    request.connection.close()


async def close_late(request: Request) -> None:
    await asyncio.sleep(LOSS_WINDOW_SECONDS + 0.2)
    request.connection.close()


@pytest.mark.parametrize("end", [Connection.close, Connection.reset])
async def test_no_caller_notices_a_connection_that_was_closed_while_idle(mimic: Mimic, backend: Backend, end) -> None:  # type: ignore[no-untyped-def]
    for _ in range(20):
        end(await warm(mimic, backend))
        assert (await ask(mimic.port, chat())).status == 200


@pytest.mark.parametrize("death", [close, reset, time_out])
@pytest.mark.parametrize("body", [CHAT_BODY, b'{"model":"m","stream":true}'])
async def test_no_caller_notices_a_connection_that_dies_just_as_it_is_used_again(
    mimic: Mimic, backend: Backend, death: Script, body: bytes
) -> None:
    old = await warm(mimic, backend)
    backend.script = dying(old, death, ok())
    got = await ask(mimic.port, chat(body))
    assert (got.status, got.body) == (200, COMPLETION)
    assert [seen.body for seen in backend.requests] == [body, body]


async def test_a_request_without_a_body_is_replayed_too(mimic: Mimic, backend: Backend) -> None:
    old = await warm(mimic, backend)
    backend.script = dying(old, close, reply(answer(200, b"{}")))
    got = await ask(mimic.port, request(b"GET", b"/v1/files"), b"GET")
    assert (got.status, got.body, len(backend.requests)) == (200, b"{}", 2)


async def test_it_is_replayed_once_only(mimic: Mimic, backend: Backend) -> None:
    await warm(mimic, backend)
    backend.script = close
    got = await ask(mimic.port, chat())
    assert (got.status, got.error()["type"]) == (502, "upstream_error")
    assert len(backend.requests) == 2


async def test_a_fresh_connection_that_dies_is_not_tried_again(mimic: Mimic, backend: Backend) -> None:
    (await warm(mimic, backend)).cancel()
    await backend.until(lambda: not backend.open_connections)
    backend.script = close
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat())
        assert (await caller.response()).status == 502
    assert len(backend.requests) == 1


async def test_a_request_that_may_have_killed_the_backend_is_not_sent_again(mimic: Mimic, backend: Backend) -> None:
    await warm(mimic, backend)
    backend.script = close_late
    assert (await ask(mimic.port, chat())).status == 502
    assert len(backend.requests) == 1


async def test_a_byte_of_an_answer_forbids_the_replay(mimic: Mimic, backend: Backend) -> None:
    await warm(mimic, backend)

    async def begin(request: Request) -> None:
        await request.whole.wait()
        await request.send(b"HTTP/1.1 2")
        request.connection.close()

    backend.script = begin
    assert (await ask(mimic.port, chat())).status == 502
    assert len(backend.requests) == 1


async def test_uploads_are_not_replayed(mimic: Mimic, backend: Backend) -> None:
    await warm(mimic, backend)
    backend.script = close
    fields = [(b"content-type", b"multipart/form-data; boundary=x")]
    got = await ask(mimic.port, request(b"POST", b"/v1/files", b"x" * 1000, fields))
    assert (got.status, len(backend.requests)) == (502, 1)


async def test_the_replay_can_be_switched_off(backend: Backend, start: Start) -> None:
    async with start(RETRY_DEAD_CONNECTION="false") as mimic:
        await warm(mimic, backend)
        backend.script = close
        assert (await ask(mimic.port, chat())).status == 502
        assert len(backend.requests) == 1


async def test_idle_connections_end_before_the_backend_ends_them(mimic: Mimic, backend: Backend) -> None:
    await warm(mimic, backend)
    backend.script = reply(answer(200, COMPLETION, [*JSON_FIELDS, (b"keep-alive", b"timeout=5, max=100")]))
    await ask(mimic.port, chat())
    async with asyncio.timeout(4):
        await backend.requests[0].connection.lost.wait()


async def test_a_keep_alive_shorter_than_the_margin_is_not_pooled(mimic: Mimic, backend: Backend) -> None:
    await warm(mimic, backend)
    backend.script = reply(answer(200, COMPLETION, [*JSON_FIELDS, (b"keep-alive", b"timeout=3")]))
    await ask(mimic.port, chat())
    async with asyncio.timeout(2):
        await backend.requests[0].connection.lost.wait()


async def test_connections_are_used_again_whatever_the_answer_was(mimic: Mimic, backend: Backend) -> None:
    await warm(mimic, backend)
    for script in (ok(), stream(b"data: {}\n\ndata: [DONE]\n\n"), reply(answer(429, b"{}")), reply(answer(500, b"x"))):
        backend.script = script
        async with await Caller.connect(mimic.port) as caller:
            await caller.send(chat())
            assert (await caller.response()).complete
        await backend.until(lambda: not any(connection.busy for connection in backend.connections))
    assert len({id(seen.connection) for seen in backend.requests}) == 1


async def test_answers_are_never_mixed_up(mimic: Mimic, backend: Backend) -> None:
    """Callers that share connections, some of which leave in the middle, get their own answers only."""

    async def split_echo(request: Request) -> None:
        await request.whole.wait()
        data = answer(200, request.body)
        await request.send(data[:-5])
        await asyncio.sleep(0)
        await request.send(data[-5:])

    async def talk(number: int) -> None:
        async with await Caller.connect(mimic.port) as caller:
            for turn in range(8):
                body = b'{"caller":%d,"turn":%d,"padding":"%s"}' % (number, turn, b"p" * (number * 37 % 500))
                await caller.send(chat(body))
                if (number + turn) % 5 == 0:
                    return
                assert (await caller.response()).body == body

    backend.script = split_echo
    await asyncio.gather(*(talk(number) for number in range(100)))
    # What those who left had sent may still be on its way to the backend, which would take it for the next test's.
    await mimic.until(mimic.is_idle)


async def test_a_connection_whose_answer_was_given_up_is_not_used_again(mimic: Mimic, backend: Backend) -> None:
    await warm(mimic, backend)
    backend.script = hang(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat())
        await caller.head()
    backend.script = ok()
    assert (await ask(mimic.port, chat())).body == COMPLETION
    assert len({id(seen.connection) for seen in backend.requests}) == 2
