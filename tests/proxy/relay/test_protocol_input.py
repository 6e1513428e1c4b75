"""What a caller may send: refused without guessing, bounded, and never answered twice."""

import logging

import pytest

from fakes.caller import chat, request
from fakes.replies import COMPLETION, DONE, delta
from fakes.transport import Line, turn
from fakes.world import FORM, World

HOST = b"host: localhost\r\n"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST
CHUNKED = HEAD + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


def refused(line: Line, status: int, code: str) -> None:
    """Assert one answer, this one, and a connection that closes without a reset."""
    (response,) = line.responses()
    assert (response.status, response.error()["code"]) == (status, code)
    assert response.fields(b"connection") == [b"close"]
    assert (response.value(b"x-request-id") or b"").startswith(b"req_")
    assert line.transport.eof_written
    assert not line.transport.aborted


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        HEAD + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        HEAD + b"content-length: +2\r\n\r\n{}",
        HEAD + b"content-length: 0x2\r\n\r\n{}",
        HEAD + b"content-length: 99999999999999999999\r\n\r\n{}",
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: identity\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"x : 1\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"x: 1\r\n folded\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"x: 1\ncontent-length: 2\n\n{}",
        HEAD + b"x: \x00\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + HOST + b"content-length: 2\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/3.0\r\n" + HOST + b"content-length: 2\r\n\r\n{}",
        b"GET ftp://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET v1/models HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_clear_request_gets_400(data: bytes) -> None:
    world = World()
    line = Line(world)
    await line.read(data)
    refused(line, 400, "invalid_request")
    assert world.pool.connections[0].sent == b""
    assert [seen.outcome for seen in world.observations] == ["client_error"]


@pytest.mark.parametrize("first", [b"", chat()])
async def test_a_head_of_too_many_fields_gets_431(first: bytes) -> None:
    line = Line(World())
    await line.read(HEAD + b"x: 1\r\n" * 128 + b"content-length: 2\r\n\r\n{}")
    refused(line, 431, "head_too_large")


@pytest.mark.parametrize("piece", [b"x: " + b"1" * 997 + b"\r\n", b"1" * 1000])
async def test_an_endless_head_gets_431_soon_after_64_kib(piece: bytes) -> None:
    line = Line(World())
    await line.read(HEAD + b"x: ")
    for _ in range(66):
        await line.read(piece)
    refused(line, 431, "head_too_large")


async def test_a_head_of_64_kib_in_one_read_gets_431() -> None:
    line = Line(World())
    await line.read(HEAD + b"x: " + b"1" * 65_536 + b"\r\ncontent-length: 2\r\n\r\n{}")
    refused(line, 431, "head_too_large")


@pytest.mark.parametrize("fill", [b"x-trailer: " + b"1" * 1000 + b"\r\n", b"1" * 1000])
async def test_endless_trailers_end_the_exchange(fill: bytes) -> None:
    world = World()
    line = Line(world)
    await line.read(CHUNKED + b"2\r\n{}\r\n0\r\nx: ")
    for _ in range(70):
        await line.read(fill)
    assert line.transport.eof_written or line.transport.aborted
    assert len(world.observations) == 1
    world.assert_all_given_back()


async def test_trailers_are_not_forwarded() -> None:
    world = World()
    line = Line(world)
    await line.read(CHUNKED + b"2\r\n{}\r\n0\r\nauthorization: Bearer evil\r\nhost: other\r\n\r\n")
    sent = world.pool.connections[0].request
    assert sent.body == b"{}"
    assert sent.fields(b"authorization") == [b"Bearer first-token"]


async def test_a_slow_head_gets_408() -> None:
    line = Line(World(), head_timeout=10.0)
    await line.read(HEAD[:20])
    await line.advance(9.9)
    assert line.transport.sent == b""
    for _ in range(3):
        await line.advance(0.1)
    refused(line, 408, "request_timeout")


async def test_a_caller_who_says_nothing_is_closed_without_a_word() -> None:
    line = Line(World(), head_timeout=10.0)
    await line.advance(10.0)
    assert (line.transport.sent, line.transport.lost) == (b"", True)


async def test_a_drip_of_line_ends_is_no_head() -> None:
    """They may stand before a request (RFC 9112, 2.2), and each would begin the time anew."""
    line = Line(World(), head_timeout=10.0)
    for _ in range(9):
        await line.read(b"\r\n")
        await line.advance(1.0)
    assert not line.transport.closing
    await line.read(b"\r\n")
    await line.advance(1.0)
    assert (line.transport.sent, line.transport.lost) == (b"", True)


async def test_a_flood_of_line_ends_is_cut_off() -> None:
    line = Line(World())
    for _ in range(66):
        await line.read(b"\r\n" * 500)
    refused(line, 431, "head_too_large")


async def test_line_ends_do_not_keep_a_kept_connection() -> None:
    world = World()
    line = Line(world, keep_alive_timeout=10.0)
    await line.read(chat())
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    for _ in range(3):
        await line.read(b"\r\n")
        await line.advance(4.0)
    assert (line.transport.lost, line.statuses) == (True, [200])


async def test_a_kept_connection_is_closed_after_its_time() -> None:
    world = World()
    line = Line(world, keep_alive_timeout=75.0)
    await line.read(chat())
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    for _ in range(14):
        await line.advance(5.0)
    assert not line.transport.closing
    await line.advance(5.0)
    assert (line.transport.lost, line.statuses) == (True, [200])


async def test_a_slow_head_on_a_kept_connection_gets_408() -> None:
    world = World()
    line = Line(world)
    await line.read(chat())
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    await line.advance(60.0)
    await line.read(HEAD[:20])
    for _ in range(3):
        await line.advance(5.0)
    assert line.statuses == [200, 408]


async def test_no_timer_runs_during_an_answer() -> None:
    world = World(total=0.0, first_byte=0.0)
    line = Line(world)
    await line.read(chat())
    for _ in range(40):
        await line.advance(5.0)
    assert (line.transport.sent, line.transport.closing) == (b"", False)


async def test_timers_of_zero_are_none() -> None:
    line = Line(World(), head_timeout=0.0, keep_alive_timeout=0.0)
    await line.read(HEAD[:20])
    for _ in range(40):
        await line.advance(100.0)
    assert not line.transport.closing


# ---- with an answer in flight


@pytest.mark.parametrize("committed", [True, False])
async def test_garbage_behind_a_request_is_told_behind_its_answer(committed: bool) -> None:
    world = World()
    line = Line(world)
    await line.read(chat() + b"\x00garbage\r\n\r\n")
    connection = world.pool.connections[0]
    if committed:
        connection.stream(delta("one", finish="stop"), DONE)
        await turn()
        assert b"400" not in line.transport.sent
        connection.end()
    else:
        connection.answer(200, COMPLETION)
    await turn()
    assert line.statuses == [200, 400]
    assert line.transport.eof_written
    assert [seen.outcome for seen in world.observations] == ["completed", "client_error"]
    world.assert_all_given_back()


async def test_a_broken_body_is_answered_while_nothing_else_was() -> None:
    world = World()
    line = Line(world)
    await line.read(CHUNKED + b"2\r\n{}\r\n")
    await line.read(b"nonsense\r\n")
    refused(line, 400, "invalid_request")
    assert len(world.observations) == 1
    world.assert_all_given_back()


async def test_a_broken_body_of_an_upload_in_flight_ends_it_upstream() -> None:
    world = World()
    line = Line(world)
    await line.read(request(b"POST", b"/v1/files", None, [*FORM, (b"transfer-encoding", b"chunked")]) + b"2\r\nab\r\n")
    connection = world.pool.connections[0]
    await line.read(b"nonsense\r\n")
    assert connection.gone
    refused(line, 400, "invalid_request")


async def test_a_broken_body_behind_an_early_answer_aborts_without_a_word() -> None:
    world = World()
    line = Line(world)
    await line.read(request(b"POST", b"/v1/files", None, [*FORM, (b"transfer-encoding", b"chunked")]) + b"2\r\nab\r\n")
    world.pool.connections[0].head(200, [(b"content-length", b"10")], b"12345")
    await turn()
    await line.read(b"nonsense\r\n")
    assert line.transport.closing
    assert line.transport.sent.endswith(b"\r\n\r\n12345")
    world.assert_all_given_back()


async def test_a_fault_in_a_callback_closes_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.services.new_trace = lambda: 1 / 0  # type: ignore[assignment,return-value]
    line = Line(world)
    with caplog.at_level(logging.ERROR, "mimic.relay"):
        await line.read(chat())
    assert (line.transport.aborted, line.transport.sent) == (True, b"")
    assert "fault while reading" in caplog.text


@pytest.mark.parametrize("calls", [1, 3])
async def test_a_fault_in_an_exchange_is_answered_and_observed_as_ours(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Also where the head is a known one, which no parser reads."""
    world = World(kept=0)
    for _ in range(calls):
        with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, "mimic.relay"):
            patched.setattr("mimic_proxy.relay.upstream_request.read_fields", lambda body: 1 / 0)
            line = Line(world)
            await line.read(chat())
        (got,) = line.responses(b"POST")
        assert (got.status, got.error()["code"]) == (500, "internal_error")
        assert line.transport.closing or line.transport.eof_written
    assert [seen.outcome for seen in world.observations] == ["internal_error"] * calls
    assert caplog.text.count("ZeroDivisionError") >= calls
    world.assert_all_given_back()
