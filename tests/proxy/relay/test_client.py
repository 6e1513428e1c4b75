"""Mimic's own calls: what one returns, raises and leaves behind, and when it is sent again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.backend import Backend, Request
from fakes.listener import Pools, answered, closed, dialled
from fakes.replies import answer, chunk, cut, hang, head, in_turn, reply, stream_head
from fakes.world import World
from mimic_proxy.errors import UpstreamBadResponse, UpstreamTimeout, UpstreamUnreachable
from mimic_proxy.http.headers import RequestFields
from mimic_proxy.relay.client import BackendResponse, Client
from mimic_proxy.relay.pool import Pool
from mimic_proxy.telemetry.record import Record

OK = answer(200, b'{"a":1}')


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend(reply(OK)) as server:
        yield server
        server.reset()


def client_of(pool: Pool, *, timeout: float = 5.0, **services: Any) -> Client:
    world = World(services=services)
    return Client(world.services, pool, pool.base, name="CHAT_API_URL", timeout=timeout)


async def ask(
    pool: Pool, *, timeout: float = 5.0, limit: int = 1000, suffix: bytes = b"/x", **services: Any
) -> BackendResponse:
    client = client_of(pool, timeout=timeout, **services)
    record = Record(0.0, "models", "POST", "/v1/x")
    response, _ = await client.ask(b"POST", suffix, RequestFields(), b"", record, body=b"{}", limit=limit)
    return response


async def one_kept(pool: Pool) -> None:
    """Put one used connection into the pool."""
    connection = await dialled(pool)
    await answered(connection)
    connection.release(reusable=True)


async def test_a_call_returns_the_whole_answer_and_keeps_its_connection(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    for _ in range(3):
        got = await ask(pool)
        assert (got.fields.status, got.body) == (200, b'{"a":1}')
    assert (len(backend.connections), len(pool.idle)) == (1, 1)
    assert (await backend.request(0)).body == b"{}"


@pytest.mark.parametrize("status", [204, 404, 500])
async def test_any_status_is_an_answer(backend: Backend, pools: Pools, status: int) -> None:
    backend.script = reply(head(204, []) if status == 204 else answer(status, b"no"))
    assert (await ask(pools(backend.url))).fields.status == status


async def test_an_answer_in_pieces_is_whole(backend: Backend, pools: Pools) -> None:
    backend.script = reply(stream_head([]) + chunk(b"one") + chunk(b"two") + b"0\r\n\r\n")
    assert (await ask(pools(backend.url))).body == b"onetwo"


async def test_a_kept_connection_that_was_dead_costs_one_more_try(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    await one_kept(pool)
    backend.script = in_turn(cut(), reply(OK))
    assert (await ask(pool)).body == b'{"a":1}'
    assert len(backend.connections) == 2


async def test_where_dead_connections_are_not_retried_the_loss_is_told(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    await one_kept(pool)
    backend.script = in_turn(cut(), reply(OK))
    with pytest.raises(UpstreamBadResponse, match="before it answered"):
        await ask(pool, retry_dead_connection=False)
    assert len(backend.connections) == 1


async def test_a_fresh_connection_that_dies_costs_no_more_tries(backend: Backend, pools: Pools) -> None:
    backend.script = cut()
    with pytest.raises(UpstreamBadResponse, match="before it answered"):
        await ask(pools(backend.url))
    assert len(backend.requests) == 1


async def test_an_answer_that_was_begun_is_not_asked_for_again(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    await one_kept(pool)
    backend.script = cut(head(200, [(b"content-length", b"100")]) + b"{")
    with pytest.raises(UpstreamBadResponse, match="before its answer was complete"):
        await ask(pool)
    assert len(backend.requests) == 2


async def test_a_loss_after_a_second_is_not_repeated(backend: Backend, pools: Pools) -> None:
    """It may be an input that kills the backend."""
    pool = pools(backend.url)
    await one_kept(pool)
    world = World()

    async def late(request: Request) -> None:
        world.clock.now += 1.1
        request.connection.close()

    backend.script = late
    client = Client(world.services, pool, pool.base, name="EMBEDDING_API_URL", timeout=5.0)
    record = Record(0.0, "embeddings", "POST", "/v1/embeddings")
    with pytest.raises(UpstreamBadResponse, match="before it answered"):
        await client.ask(b"POST", b"/x", RequestFields(), b"", record, body=b"{}", limit=1000)
    assert (len(backend.requests), record.attempts, record.earlier) == (2, 1, ())


async def test_two_dead_connections_in_a_row_are_an_error(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    await one_kept(pool)
    backend.script = cut()
    with pytest.raises(UpstreamBadResponse):
        await ask(pool)
    assert len(backend.connections) == 2


async def test_what_is_no_http_is_an_error_at_once(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    await one_kept(pool)
    backend.script = reply(b"nonsense\r\n\r\n")
    with pytest.raises(UpstreamBadResponse, match=r"HTTP/1\.1"):
        await ask(pool)
    assert len(backend.connections) == 1


async def test_an_answer_beyond_the_limit_is_an_error(backend: Backend, pools: Pools) -> None:
    backend.script = hang(stream_head([]), *[chunk(b"x" * 400)] * 3)
    pool = pools(backend.url)
    with pytest.raises(UpstreamBadResponse, match="longer than 1000 bytes"):
        await ask(pool)
    await closed(pool)


async def test_a_silent_backend_times_out_and_its_connection_is_closed(backend: Backend, pools: Pools) -> None:
    backend.script = hang()
    pool = pools(backend.url)
    with pytest.raises(UpstreamTimeout, match=r"within 0\.05 s \(total timer\)") as raised:
        await ask(pool, timeout=0.05)
    assert (raised.value.timer, raised.value.should_retry) == ("total", False)
    await closed(pool)
    await backend.until(lambda: not backend.open_connections)


async def test_no_timeout_waits_for_the_answer(backend: Backend, pools: Pools) -> None:
    assert (await ask(pools(backend.url), timeout=0.0)).fields.status == 200


async def test_a_dial_that_fails_is_raised(pools: Pools) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(UpstreamUnreachable):
        await ask(pools(f"http://127.0.0.1:{port}"))


async def test_a_caller_that_is_cancelled_leaves_no_connection_behind(backend: Backend, pools: Pools) -> None:
    backend.script = hang()
    pool = pools(backend.url)
    task = asyncio.ensure_future(ask(pool))
    await backend.request()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await closed(pool)


async def test_a_caller_that_is_cancelled_during_the_dial_leaves_its_connection_in_the_pool(
    backend: Backend, pools: Pools
) -> None:
    pool = pools(backend.url)
    task = asyncio.ensure_future(ask(pool))
    while not pool.dials:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        while pool.dials:
            await asyncio.sleep(0)
    assert len(pool.idle) == 1
    assert backend.requests == []


async def test_many_calls_at_once_each_get_their_own_answer(backend: Backend, pools: Pools) -> None:
    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(answer(200, request.target))

    backend.script = play
    pool = pools(backend.url)
    for _ in range(2):
        got = await asyncio.gather(*(ask(pool, suffix=b"/%d" % number) for number in range(20)))
        assert [one.body for one in got] == [b"/%d" % number for number in range(20)]
    assert len(backend.connections) == 20
