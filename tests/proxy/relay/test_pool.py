"""The connections of one origin: which is taken, how long it is kept, and what becomes of a dial."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fakes.backend import Backend
from fakes.listener import Listener, Pools, answered, closed, dialled
from fakes.replies import answer, reply
from mimic_proxy.errors import UpstreamUnreachable
from mimic_proxy.relay.connection import Connection
from mimic_proxy.relay.pool import IDLE_MARGIN_SECONDS, IDLE_SECONDS, RETIRE_SECONDS, Pool

OK = answer(200, b"{}")


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend(reply(OK)) as server:
        yield server
        server.reset()


async def used(pool: Pool, number: int = 1) -> list[Connection]:
    """Connections that have carried one exchange and are idle."""
    made = [await dialled(pool) for _ in range(number)]
    for connection in made:
        await answered(connection)
    for connection in made:
        connection.release(reusable=True)
    return made


async def test_the_newest_idle_connection_is_taken_first(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    first, second = await used(pool, 2)
    assert (pool.take(), pool.take(), pool.take()) == (second, first, None)


async def test_an_idle_connection_is_kept_for_its_time(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    (connection,) = await used(pool)
    pools.clock.now += IDLE_SECONDS - 0.1
    pool.sweep()
    assert list(pool.idle) == [connection]
    pools.clock.now += 0.1
    assert pool.take() is None
    await closed(pool)


async def test_the_sweep_closes_what_nobody_takes(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    await used(pool, 3)
    pools.clock.now += IDLE_SECONDS
    pool.sweep()
    await backend.until(lambda: not backend.open_connections)
    await closed(pool)
    assert list(pool.idle) == []


@pytest.mark.parametrize(("timeout", "kept_for"), [(b"5", 1.0), (b"75", 71.0), (b"4", None), (b"0", None)])
async def test_the_backend_s_own_limit_counts(
    backend: Backend, pools: Pools, timeout: bytes, kept_for: float | None
) -> None:
    fields = [(b"keep-alive", b"timeout=" + timeout + b", max=100")]
    backend.script = reply(answer(200, b"{}", fields))
    pool = pools(backend.url)
    (connection,) = await used(pool)
    if kept_for is None:
        assert list(pool.idle) == []
        return
    assert kept_for == float(timeout) - IDLE_MARGIN_SECONDS
    pools.clock.now += kept_for - 0.1
    assert pool.take() is connection
    connection.abort()


async def test_a_connection_retires_though_it_is_used(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    (connection,) = await used(pool)
    for _ in range(int(RETIRE_SECONDS // 20) - 1):
        pools.clock.now += 20.0
        assert pool.take() is connection
        await answered(connection)
        connection.release(reusable=True)
    assert connection.expires <= 1000.0 + RETIRE_SECONDS
    pools.clock.now = 1000.0 + RETIRE_SECONDS
    assert pool.take() is None


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
async def test_connections_do_not_all_retire_together(
    backend: Backend, pools: Pools, chance: float, share: float
) -> None:
    pool = pools(backend.url)
    pool.random = lambda: chance
    connection = await dialled(pool)
    assert connection.retires - 1000.0 == pytest.approx(RETIRE_SECONDS * share)
    connection.abort()


async def test_retiring_closes_idle_connections_and_lets_busy_ones_end(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    busy, idle = await used(pool, 2)
    assert pool.take() is idle
    assert pool.take() is busy
    idle.release(reusable=False)
    await answered(busy)
    pool.retire()
    busy.release(reusable=True)
    assert (pool.take(), list(pool.idle)) == (None, [])
    await closed(pool)


async def test_a_dead_connection_is_never_taken(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    (connection,) = await used(pool)
    assert connection.transport is not None
    connection.transport.abort()
    assert pool.take() is None


async def test_a_dial_that_nobody_waits_for_is_pooled_unused(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    listener = Listener()
    pool.dial(listener).cancel()
    async with asyncio.timeout(5):
        while not pool.idle:
            await asyncio.sleep(0)
    assert (listener.connection, listener.error) == (None, None)
    connection = pool.take()
    assert connection is not None
    assert (await answered(connection)).body == b"{}"
    connection.abort()


async def test_callers_who_leave_while_nothing_is_accepted_open_no_socket_each(pools: Pools) -> None:
    pool = pools("http://backend.test")
    never: list[asyncio.Future[asyncio.Protocol]] = []

    def black_hole(base: object, factory: object) -> "asyncio.Future[asyncio.Protocol]":
        never.append(asyncio.get_running_loop().create_future())
        return never[-1]

    pool.dialler = black_hole
    for _ in range(50):
        dials = [pool.dial(Listener()) for _ in range(10)]
        for dial in dials:
            dial.cancel()
    assert len(never) == 26, "ten at once, and sixteen that nobody waits for"
    last = Listener()
    waiting = [pool.dial(Listener()) for _ in range(25)] + [pool.dial(last)]
    assert len(waiting) == 26
    for future in never:
        future.set_exception(UpstreamUnreachable("It cannot be reached.", error_type="connect"))
    await last.until(lambda: last.error)
    assert (pool.dials, pool.given_up) == (set(), [])


async def test_a_dial_that_fails_tells_why(pools: Pools) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    pool, listener = pools(f"http://127.0.0.1:{port}"), Listener()
    pool.dial(listener)
    assert listener.error is None, "never within the call"
    await listener.until(lambda: listener.error)
    assert isinstance(listener.error, UpstreamUnreachable)
    assert (listener.error.error_type, f"127.0.0.1:{port}" in listener.error.message) == ("connect", True)


async def test_a_dial_that_fails_after_its_listener_has_gone_is_silent(pools: Pools) -> None:
    pool, listener = pools("http://127.0.0.1:1"), Listener()
    pool.dial(listener).cancel()
    await closed(pool)
    assert listener.error is None


async def test_a_dial_that_broke_otherwise_is_an_error_as_well(pools: Pools) -> None:
    async def broken() -> asyncio.Protocol:
        raise UnicodeError("label too long")

    pool, listener = pools("http://backend.test"), Listener()
    pool.dialler = lambda base, factory: asyncio.ensure_future(broken())
    pool.dial(listener)
    await listener.until(lambda: listener.error)
    assert isinstance(listener.error, UpstreamUnreachable)
    assert "label" not in listener.error.message


async def test_closing_ends_connections_and_dials(backend: Backend, pools: Pools) -> None:
    pool, listener = pools(backend.url), Listener()
    await used(pool)
    pool.dial(listener)
    pool.close()
    await listener.until(lambda: listener.error)
    assert isinstance(listener.error, UpstreamUnreachable)
    await closed(pool)
    assert pool.take() is None


async def test_a_closed_pool_keeps_nothing(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    connection = await dialled(pool)
    await answered(connection)
    pool.closed = True
    connection.release(reusable=True)
    assert list(pool.idle) == []
    await closed(pool)
