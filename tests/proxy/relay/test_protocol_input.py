"""What a caller may send: refused without guessing, bounded, and never answered twice."""

import logging

import pytest

from fakes.caller import CHAT_BODY, chat, request
from fakes.replies import COMPLETION, delta
from fakes.transport import App, Line, turn
from fakes.world import FORM, World
from mimic_proxy.relay.origins import OriginPolicy

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
async def test_garbage_behind_a_request_does_not_get_into_its_answer(committed: bool) -> None:
    world = World()
    line = Line(world)
    line.send(chat() + b"\x00garbage\r\n\r\n")
    if world.pool.connections[0].listener is not None and committed:
        world.pool.connections[0].stream(delta("one"))
    await turn()
    assert line.transport.closing
    assert b"400" not in line.transport.sent
    assert len(world.observations) == 1
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


# ---- one answer, whatever follows


async def test_the_rest_of_a_refused_body_is_thrown_away_for_a_while_then_the_connection_closes() -> None:
    world = World(max_body_bytes=100)
    line = Line(world)
    await line.read(chat(b"{" + b" " * 200))
    (response,) = line.responses()
    assert response.error()["code"] == "request_too_large"
    await line.read(b" " * 100_000)
    assert not line.transport.closing
    await line.advance(2.0)
    assert line.transport.lost
    assert len(world.observations) == 1


@pytest.mark.parametrize("tls", [True, False])
async def test_a_body_that_was_refused_early_closes_without_a_reset(tls: bool) -> None:
    line = Line(World(max_body_bytes=100), tls=tls)
    await line.read(request(b"POST", b"/v1/chat/completions", None, [(b"content-length", b"200")]))
    assert line.statuses == [413]
    assert (line.transport.eof_written, line.transport.closing) == (not tls, False)
    await line.advance(2.0)
    assert line.transport.lost


async def test_the_rest_of_a_body_that_the_application_did_not_want_is_read_past() -> None:
    world, app = World(), App()
    app.reads_body = False
    line = Line(world, app=app)
    wanted = request(b"POST", b"/v1/unknown", b"x" * 1000)
    await line.read(wanted[:-500])
    assert line.statuses == [404]
    await line.read(wanted[-500:] + chat())
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    assert line.statuses == [404, 200]


async def test_a_slow_rest_of_an_unwanted_body_brings_no_second_answer() -> None:
    app = App()
    app.reads_body = False
    line = Line(World(), app=app)
    await line.read(request(b"POST", b"/v1/unknown", b"x" * 1000)[:-500])
    for _ in range(20):
        await line.advance(5.0)
    assert line.statuses == [404]
    assert line.transport.closing, "and it is not waited for for ever"


async def test_a_broken_rest_of_an_unwanted_body_brings_no_second_answer() -> None:
    app = App()
    app.reads_body = False
    line = Line(World(), app=app)
    await line.read(request(b"POST", b"/v1/unknown", None, [(b"transfer-encoding", b"chunked")]) + b"2\r\nab\r\n")
    await line.read(b"nonsense\r\n")
    assert line.statuses == [404]
    await line.advance(2.0)
    assert line.transport.closing


async def test_the_application_s_bodies_are_limited() -> None:
    world, app = World(max_body_bytes=1000), App()
    line = Line(world, app=app)
    await line.read(request(b"POST", b"/v1/unknown", b"x" * 2000)[:-1])
    assert line.transport.lost
    assert (app.bodies, line.transport.sent) == ([], b"")


async def test_an_old_caller_gets_one_answer_and_a_close() -> None:
    world = World()
    line = Line(world)
    await line.read(chat().replace(b"HTTP/1.1", b"HTTP/1.0"))
    world.pool.connections[0].head(200, [(b"transfer-encoding", b"chunked")], COMPLETION, ended=True)
    await turn()
    assert (line.responses()[0].body, line.transport.lost) == (COMPLETION, True)


# ---- upgrade offers


@pytest.mark.parametrize("cut", [None, 60, -1])
async def test_an_offer_to_upgrade_is_ignored(cut: int | None) -> None:
    world = World()
    line = Line(world)
    offer = [(b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABk")]
    data = chat(CHAT_BODY, offer)
    if cut is None:
        await line.read(data)
    else:
        await line.read(data[:cut])
        await line.read(data[cut:])
    connection = world.pool.connections[0]
    sent = connection.request
    assert (sent.body, sent.fields(b"upgrade"), sent.fields(b"http2-settings")) == (CHAT_BODY, [], [])
    connection.answer(200, COMPLETION)
    await turn()
    await line.read(chat())
    connection.answer(200, COMPLETION)
    await turn()
    assert line.statuses == [200, 200]


async def test_an_offer_to_upgrade_that_says_close_is_the_last_request() -> None:
    world = World()
    line = Line(world)
    await line.read(chat(CHAT_BODY, [(b"connection", b"upgrade, close"), (b"upgrade", b"websocket")]))
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    assert (line.statuses, line.transport.lost) == ([200], True)


async def test_an_offer_to_upgrade_behind_another_request_waits_its_turn() -> None:
    world = World()
    line = Line(world)
    await line.read(chat() + chat(CHAT_BODY, [(b"connection", b"Upgrade"), (b"upgrade", b"h2c")]) + chat())
    for _ in range(3):
        world.pool.connections[0].answer(200, COMPLETION)
        await turn()
    assert line.statuses == [200, 200, 200]


async def test_an_old_caller_who_offers_an_upgrade_gets_no_chunks() -> None:
    world = World()
    line = Line(world)
    data = chat(CHAT_BODY, [(b"connection", b"Upgrade"), (b"upgrade", b"h2c")]).replace(b"HTTP/1.1", b"HTTP/1.0")
    await line.read(data)
    world.pool.connections[0].head(200, [(b"transfer-encoding", b"chunked")], COMPLETION, ended=True)
    await turn()
    assert line.responses()[0].fields(b"transfer-encoding") == []
    assert line.transport.lost


# ---- targets and origins


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v1/unknown?a=1", b"/v1/unknown"),
        (b"http://other.example/v1/unknown", b"/v1/unknown"),
        (b"HTTPS://other.example:1/v1/unknown?x=/", b"/v1/unknown"),
        (b"http://other.example", b"/"),
        (b"http://other.example?x=/v1/chat/completions", b"/"),
        (b"/v1/unknown#fragment", b"/v1/unknown"),
        (b"/v1/models/a%2Fb", b"/v1/models/a%2Fb"),
    ],
)
async def test_a_target_is_read_as_any_server_reads_it(target: bytes, path: bytes) -> None:
    line = Line(World())
    await line.read(request(b"GET", target))
    assert [scope["raw_path"] for scope in line.app.scopes] == [path]


async def test_the_application_gets_a_complete_scope() -> None:
    line = Line(World())
    await line.read(request(b"GET", b"/v1/models/a%2Fb?x=%20", None, [(b"X-Vendor", b"v")]))
    (scope,) = line.app.scopes
    assert (scope["type"], scope["method"], scope["http_version"]) == ("http", "GET", "1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
        "/v1/models/a/b",
        b"/v1/models/a%2Fb",
        b"x=%20",
    )
    assert (b"x-vendor", b"v") in scope["headers"]
    assert scope["client"] == ("127.0.0.1", 50000)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([(b"host", b"rebound.example")], "forbidden_host"),
        ([(b"origin", b"https://page.example")], "forbidden_origin"),
    ],
)
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/unknown"])
async def test_a_foreign_page_or_host_is_refused_everywhere(
    path: bytes, fields: list[tuple[bytes, bytes]], code: str
) -> None:
    world = World()
    line = Line(world)
    await line.read(request(b"POST", path, CHAT_BODY, fields))
    refused(line, 403, code)
    assert (line.app.scopes, world.pool.connections[0].sent) == ([], b"")


async def test_an_allowed_page_may_read_the_answer_and_ask_before() -> None:
    world = World()
    line = Line(world, origins=OriginPolicy(allowed_origins=("https://page.example",)))
    origin = (b"origin", b"https://page.example")
    asks = [origin, (b"access-control-request-headers", b"authorization, x-stainless-os")]
    await line.read(request(b"OPTIONS", b"/v1/chat/completions", None, asks))
    await line.read(chat(CHAT_BODY, [origin]))
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    preflight, answer = line.responses(b"OPTIONS")
    assert preflight.status == 204
    assert preflight.value(b"access-control-allow-headers") == b"authorization, x-stainless-os"
    assert preflight.value(b"x-request-id") is not None
    for response in (preflight, answer):
        assert response.value(b"access-control-allow-origin") == b"https://page.example"
        assert response.value(b"vary") == b"origin"


# ---- stopping


async def test_a_stop_closes_idle_connections_at_once() -> None:
    line = Line(World())
    line.protocol.shutdown()
    await turn()
    assert line.transport.lost


async def test_a_stop_lets_running_answers_end() -> None:
    world = World()
    line = Line(world)
    await line.read(chat() + request(b"GET", b"/v1/unknown"))
    world.services.draining = True
    line.protocol.shutdown()
    await turn()
    assert not line.transport.closing
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    assert (line.statuses, line.transport.lost) == ([200], True)
    assert line.responses()[0].fields(b"connection") == [b"close"]


async def test_a_stop_lets_the_application_end() -> None:
    line = Line(World())
    line.app.gate.clear()
    await line.read(request(b"GET", b"/v1/unknown"))
    line.world.services.draining = True
    line.protocol.shutdown()
    line.app.gate.set()
    await turn()
    assert (line.statuses, line.transport.lost) == ([404], True)


# ---- callers who take nothing


async def test_a_caller_who_takes_nothing_of_the_last_answer_is_dropped_in_the_end() -> None:
    world = World(send=60.0)
    line = Line(world)
    await line.read(chat(CHAT_BODY, [(b"connection", b"close")]))
    world.pool.connections[0].answer(200, COMPLETION)
    line.transport.unsent = 70_000
    await turn()
    for _ in range(30):
        await line.advance(10.0)
    assert line.transport.lost


async def test_an_idle_caller_who_takes_nothing_is_dropped_in_the_end() -> None:
    world = World(send=60.0)
    line = Line(world)
    await line.read(chat())
    world.pool.connections[0].answer(200, COMPLETION)
    line.transport.unsent = 70_000
    await turn()
    for _ in range(60):
        await line.advance(5.0)
    assert line.transport.lost


async def test_a_refused_caller_who_takes_nothing_is_dropped_in_the_end() -> None:
    line = Line(World(send=60.0))
    line.transport.unsent = 70_000
    await line.read(b"nonsense\r\n\r\n")
    for _ in range(60):
        await line.advance(5.0)
    assert line.transport.lost


async def test_a_stalled_stream_is_dropped() -> None:
    world = World(send=60.0)
    line = Line(world)
    await line.read(chat())
    world.pool.connections[0].stream(delta("one"))
    await turn()
    line.transport.unsent = 70_000
    line.protocol.pause_writing()
    assert world.pool.connections[0].paused
    for _ in range(3):
        await line.advance(60.0)
    assert (line.transport.lost, line.transport.aborted) == (True, True)
    assert [seen.outcome for seen in world.observations] == ["client_disconnect"]
    world.assert_all_given_back()


# ---- known heads


async def test_a_known_head_gets_a_request_of_its_own_limits_and_times() -> None:
    world = World(max_body_bytes=200)
    line = Line(world)
    for number, (body, status) in enumerate(((CHAT_BODY, 200), (CHAT_BODY + b" ", 200), (CHAT_BODY + b" " * 200, 413))):
        world.clock.now += 5.0
        await line.read(chat(body))
        if status == 200:
            world.pool.connections[0].answer(200, COMPLETION)
            await turn()
        seen = world.observations[number]
        assert (seen.status, seen.started, seen.duration_seconds) == (status, world.clock.now, 0.0)
    assert len({seen.request_id for seen in world.observations}) == 3


async def test_a_known_head_with_half_a_body_is_parsed() -> None:
    world = World()
    line = Line(world)
    for _ in range(2):
        await line.read(chat()[:-10])
        await line.read(chat()[-10:])
        world.pool.connections[0].answer(200, COMPLETION)
        await turn()
    await line.read(chat())
    assert world.pool.connections[0].request.body == CHAT_BODY


async def test_a_known_head_is_refused_by_another_policy_as_before() -> None:
    """Heads are known to the process, and its policy is one."""
    world = World()
    allowed = Line(world, origins=OriginPolicy(allowed_hosts=("models.example",)))
    await allowed.read(chat(CHAT_BODY, [(b"host", b"models.example")]))
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    assert allowed.statuses == [200]
