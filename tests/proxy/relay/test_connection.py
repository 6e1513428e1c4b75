"""One connection to the backend on a real socket: what is read of it, and when it may be used again."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fakes.backend import Backend, Request
from fakes.listener import REQUEST, Listener, Pools, answered, ask, dialled
from fakes.ports import Clock
from fakes.replies import LAST_CHUNK, answer, chunk, cut, hang, head, reply, stream_head
from fakes.transport import Transport
from mimic_proxy.http.headers import response_names
from mimic_proxy.http.target import parse_base
from mimic_proxy.relay.connection import Connection
from mimic_proxy.relay.loop import CoalescedWrites
from mimic_proxy.relay.pool import Pool

OK = answer(200, b"{}")


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as server:
        yield server
        server.reset()


async def test_an_answer_comes_as_head_body_and_end_and_its_connection_is_used_again(
    backend: Backend, pools: Pools
) -> None:
    backend.script = reply(answer(200, b'{"a":1}', [(b"x-vendor", b"v")]))
    pool = pools(backend.url)
    connection = await dialled(pool)
    assert not connection.reused
    for _ in range(3):
        got = await answered(connection)
        assert ([fields.status for fields in got.heads], got.body, got.error) == ([200], b'{"a":1}', None)
        assert got.heads[0].lines == [b"x-vendor: v\r\n"]
        connection.release(reusable=True)
        assert pool.take() is connection
        assert connection.reused
    assert len(backend.connections) == 1
    connection.abort()


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (stream_head([]) + chunk(b"one") + chunk(b"two") + LAST_CHUNK, b"onetwo"),
        (stream_head([]) + b"3;ext=1\r\none\r\n0\r\ntrailer: t\r\nhost: evil\r\n\r\n", b"one"),
        (head(204, []), b""),
        (head(304, [(b"content-length", b"5")]), b""),
        (answer(200, b""), b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK, b"{}"),
        (b"HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: h2,h2c\r\ncontent-length: 2\r\n\r\n{}", b"{}"),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}", b"{}"),
    ],
)
async def test_answers_after_which_a_connection_is_kept(
    backend: Backend, pools: Pools, data: bytes, body: bytes
) -> None:
    backend.script = reply(data)
    pool = pools(backend.url)
    got = await answered(connection := await dialled(pool))
    assert (got.body, got.ended, got.error) == (body, True, None)
    assert [fields.status for fields in got.heads if fields.status < 200] == []
    connection.release(reusable=True)
    assert list(pool.idle) == [connection]


@pytest.mark.parametrize(
    ("data", "close"),
    [
        (head(200, [(b"content-length", b"2"), (b"connection", b"close")]) + b"{}", False),
        (head(200, [(b"content-length", b"2"), (b"connection", b"x, Close")]) + b"{}", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", False),
        (head(200, []) + b"{}", True),
        (OK + b"surplus", False),
        (OK + OK, False),
        (head(204, [(b"content-length", b"7")]) + b"surplus", False),
        (head(200, [(b"content-length", b"2"), (b"keep-alive", b"timeout=4")]) + b"{}", False),
    ],
)
async def test_answers_after_which_a_connection_is_closed(
    backend: Backend, pools: Pools, data: bytes, close: bool
) -> None:
    backend.script = reply(data, close=close)
    pool = pools(backend.url)
    got = await answered(connection := await dialled(pool))
    assert (got.ended, got.error, len(got.heads)) == (True, None, 1)
    assert got.body in (b"{}", b"")
    connection.release(reusable=True)
    assert list(pool.idle) == []
    await backend.until(lambda: not backend.open_connections)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"nonsense\r\n\r\n", "HTTP/1.1"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nbytes", "switched protocols"),
        (head(200, [(b"content-length", b"2"), (b"content-length", b"3")]) + b"{}", "HTTP/1.1"),
        (head(200, [(b"content-length", b"2"), (b"transfer-encoding", b"chunked")]) + b"{}", "HTTP/1.1"),
        (head(200, [(b"transfer-encoding", b"gzip, chunked")]) + LAST_CHUNK, "coding"),
        (head(200, [(b"transfer-encoding", b"gzip")]), "coding"),
        (b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0"),
        (b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", "HTTP/"),
        (head(200, [(b"x", b"1")] * 129), "128"),
        (head(200, [(b"x", b"1" * 65_536)]) + b"{}", "64 KiB"),
        (head(200, [(b"x", b"a\x00b")]), "HTTP/1.1"),
        (head(200, [(b"x", b"a\r\n folded")]), "HTTP/1.1"),
        (b"HTTP/1.1 100 Continue\r\nx: " + b"1" * 30_000 + b"\r\n\r\n", "64 KiB"),
    ],
)
async def test_what_is_no_clear_answer_is_a_loss(backend: Backend, pools: Pools, data: bytes, word: str) -> None:
    backend.script = hang(data, data, data)
    got = await answered(await dialled(pools(backend.url)))
    assert got.error is not None
    assert (got.error.code, word in got.error.message) == ("upstream_bad_response", True), got.error.message
    assert (got.error.error_type, got.heads) == ("protocol", [])
    await backend.until(lambda: not backend.open_connections)


async def test_an_endless_head_is_a_loss_soon_after_64_kib(backend: Backend, pools: Pools) -> None:
    async def play(request: Request) -> None:
        await request.send(b"HTTP/1.1 200 OK\r\nx: ")
        for _ in range(1000):
            await request.send(b"1" * 1000)

    backend.script = play
    got = await answered(await dialled(pools(backend.url)))
    assert got.error is not None
    assert "64 KiB" in got.error.message


async def test_endless_trailers_are_a_loss(backend: Backend, pools: Pools) -> None:
    async def play(request: Request) -> None:
        await request.send(stream_head([]) + chunk(b"one") + b"0\r\nx: ")
        for _ in range(1000):
            await request.send(b"1" * 1000)

    backend.script = play
    got = await answered(await dialled(pools(backend.url)))
    assert got.error is not None
    assert got.body == b"one"


async def test_a_broken_chunk_gives_what_came_before_it_and_is_a_loss(backend: Backend, pools: Pools) -> None:
    backend.script = hang(stream_head([]) + chunk(b"one") + b"zzz\r\n")
    got = await answered(await dialled(pools(backend.url)))
    assert (got.body, got.ended, got.error is not None) == (b"one", False, True)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize(
    ("data", "answered_at_all"),
    [
        (b"", False),
        (b"HTTP/1.1 20", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n", True),
        (head(200, [(b"content-length", b"5")]) + b"{}", True),
        (stream_head([]) + chunk(b"one"), True),
    ],
)
async def test_a_cut_is_a_loss(backend: Backend, pools: Pools, data: bytes, answered_at_all: bool, reset: bool) -> None:
    backend.script = cut(data, reset=False)
    connection = await dialled(pools(backend.url))
    got = await answered(connection)
    assert got.error is not None
    assert (got.error.error_type, got.ended, connection.answered) == ("reset", False, answered_at_all)


async def test_a_reset_of_a_close_delimited_answer_is_a_cut_not_an_end(backend: Backend, pools: Pools) -> None:
    gate = asyncio.Event()

    async def play(request: Request) -> None:
        await request.send(head(200, []) + b"half")
        await gate.wait()
        request.connection.reset()

    backend.script = play
    got = ask(await dialled(pools(backend.url)))
    await got.until(lambda: got.body == b"half")
    gate.set()
    await got.over()
    assert (got.ended, got.error is not None) == (False, True)


async def test_a_close_delimited_answer_ends_with_the_connection(backend: Backend, pools: Pools) -> None:
    backend.script = reply(head(200, []) + b"all of it", close=True)
    got = await answered(await dialled(pools(backend.url)))
    assert (got.body, got.ended, got.error) == (b"all of it", True, None)


@pytest.mark.parametrize("data", [b"x", OK, b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"])
async def test_bytes_on_an_idle_connection_close_it(backend: Backend, pools: Pools, data: bytes) -> None:
    backend.script = reply(OK)
    pool = pools(backend.url)
    connection = await dialled(pool)
    await answered(connection)
    connection.release(reusable=True)
    await backend.connections[0].send(data)
    await backend.until(lambda: not backend.open_connections)
    assert pool.take() is None


async def test_bytes_on_a_connection_that_was_never_used_close_it(backend: Backend, pools: Pools) -> None:
    pool = pools(backend.url)
    connection = await dialled(pool)
    await backend.connections[0].send(OK)
    await backend.until(lambda: not backend.open_connections)
    assert connection.transport is None


async def test_a_close_of_an_idle_connection_is_seen(backend: Backend, pools: Pools) -> None:
    backend.script = reply(OK)
    pool = pools(backend.url)
    connection = await dialled(pool)
    await answered(connection)
    connection.release(reusable=True)
    backend.connections[0].close()
    async with asyncio.timeout(5):
        while pool.connections:
            await asyncio.sleep(0)
    assert (pool.take(), connection.exchange) == (None, None)


@pytest.mark.parametrize("how", ["abort", "release"])
async def test_a_connection_that_was_given_up_tells_nobody(backend: Backend, pools: Pools, how: str) -> None:
    backend.script = hang(stream_head([]) + chunk(b"one"))
    connection = await dialled(pools(backend.url))
    got = ask(connection)
    await got.until(lambda: got.body)
    connection.abort() if how == "abort" else connection.release(reusable=True)
    await backend.until(lambda: not backend.open_connections)
    assert (got.error, got.ended) == (None, False)
    connection.send(b"more")
    connection.pause(True)
    connection.release(reusable=True)
    connection.abort()


async def test_reading_is_paused_as_a_state(backend: Backend, pools: Pools) -> None:
    backend.script = hang(stream_head([]) + chunk(b"one"))
    connection = await dialled(pools(backend.url))
    got = ask(connection)
    await got.until(lambda: got.body == b"one")
    connection.pause(True)
    connection.pause(True)
    await backend.connections[0].send(chunk(b"two"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert got.body == b"one"
    connection.pause(False)
    connection.pause(False)
    await got.until(lambda: got.body == b"onetwo")


async def test_a_backend_that_does_not_read_makes_the_connection_unwritable(backend: Backend, pools: Pools) -> None:
    async def play(request: Request) -> None:
        request.connection.stop_reading()
        await request.connection.lost.wait()

    backend.script = play
    connection = await dialled(pools(backend.url))
    got = ask(connection, b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 80000000\r\n\r\n")
    await backend.until(lambda: bool(backend.requests))
    connection.send(b"x" * 40_000_000)
    await got.until(lambda: got.writable)
    assert (got.writable, connection.writable) == ([False], False)
    backend.connections[0].go_on_reading()
    await got.until(lambda: got.writable == [False, True])
    assert connection.writable


# ---- without a socket


def made() -> tuple[Pool, Connection, Transport]:
    """A connection on a transport that keeps what is written, in a pool whose writes has its turn at `flush`."""
    clock = Clock()
    writes = CoalescedWrites(lambda flush: None)
    pool = Pool(parse_base("http://backend.test"), None, clock, response_names(own_cors=False), writes)  # type: ignore[arg-type]
    connection = Connection(pool, clock.now + 300.0)
    transport = Transport(connection)
    connection.connection_made(transport)
    return pool, connection, transport


async def test_a_connection_whose_request_is_not_sent_in_full_is_not_pooled() -> None:
    pool, connection, transport = made()
    ask(connection)
    pool.writes.flush()
    transport.unsent = 1
    connection.data_received(OK)
    connection.release(reusable=True)
    assert (list(pool.idle), transport.aborted) == ([], True)


async def test_a_connection_whose_request_still_waits_for_its_turn_is_not_pooled() -> None:
    """An answer to nothing: what is written next would be another exchange's."""
    pool, connection, transport = made()
    ask(connection)
    connection.data_received(OK)
    connection.release(reusable=True)
    pool.writes.flush()
    assert list(pool.idle) == [] or transport.sent == REQUEST, "the request went out on a pooled connection"
    assert list(pool.idle) == []


async def test_a_paused_connection_is_not_pooled() -> None:
    pool, connection, transport = made()
    ask(connection)
    pool.writes.flush()
    connection.pause(True)
    connection.data_received(OK)
    connection.release(reusable=True)
    assert (list(pool.idle), transport.aborted) == ([], True)


class Gathering(Listener):
    """As an exchange: releases the connection within the event that ends the answer."""

    def upstream_received(self, fields: object, body: bytes, ended: bool) -> None:
        super().upstream_received(fields, body, ended)  # type: ignore[arg-type]
        if ended and self.connection is not None:
            self.connection.release(reusable=True)


_ANSWERS = st.sampled_from(
    [
        (answer(200, b'{"a":1}'), b'{"a":1}', True),
        (stream_head([]) + chunk(b"one") + chunk(b"two") + LAST_CHUNK, b"onetwo", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"{}", True),
        (head(204, []), b"", True),
        (stream_head([]) + chunk(b"x" * 300) + b"0\r\na: b\r\n\r\n", b"x" * 300, True),
        (OK + b"HTTP/1.1 200", b"{}", False),
        (head(200, [(b"connection", b"close"), (b"content-length", b"2")]) + b"{}", b"{}", False),
    ]
)


@given(_ANSWERS, st.lists(st.integers(1, 400), max_size=6))
@example((OK + b"HTTP/1.1 200", b"{}", False), [len(OK)])
@settings(max_examples=100)
def test_any_split_of_an_answer_is_read_the_same(kind: tuple[bytes, bytes, bool], cuts: list[int]) -> None:
    import asyncio

    data, body, kept = kind
    places = [0, *sorted({place for place in cuts if place < len(data)}), len(data)]

    async def play() -> None:
        pool, connection, transport = made()
        got = Gathering()
        got.connection = connection
        connection.attach(got)
        connection.send(REQUEST)
        pool.writes.flush()
        for begin, stop in itertools.pairwise(places):
            if not transport.closing:
                connection.data_received(data[begin:stop])
        assert (got.body, got.ended, len(got.heads)) == (body, True, 1)
        # One that was pooled before more came than was asked for is aborted, and leaves the pool when it is lost.
        assert bool(pool.idle and not transport.closing) is kept

    asyncio.run(play())
