"""One answer for each request whatever follows it, and an end for callers who take nothing."""

from typing import Any

import pytest

from fakes.caller import CHAT_BODY, chat, request
from fakes.replies import COMPLETION, delta
from fakes.transport import App, Line, turn
from fakes.world import World
from mimic_proxy.relay.access import OriginPolicy
from mimic_proxy.relay.request import CALLER_LEFT

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


async def test_a_slow_caller_who_reads_on_gets_its_last_answer_whole() -> None:
    world = World(send=60.0)
    line = Line(world)
    await line.read(chat(CHAT_BODY, [(b"connection", b"close")]))
    world.pool.connections[0].answer(200, COMPLETION)
    line.transport.unsent = 70_000
    await turn()
    for _ in range(60):
        line.transport.unsent -= 1_000
        await line.advance(30.0)
        assert not line.transport.aborted
    line.transport.unsent = 0
    line.transport.lose()
    await line.advance(120.0)
    assert (line.transport.aborted, line.statuses) == (False, [200])


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


async def test_a_stop_in_the_turn_of_an_answer_does_not_lose_it() -> None:
    world = World()
    line = Line(world)
    await line.read(chat())
    world.pool.connections[0].answer(200, COMPLETION)
    line.protocol.shutdown()
    await turn()
    assert (line.statuses, line.responses()[0].complete) == ([200], True)
    assert line.transport.lost


async def test_an_application_that_answers_nobody_after_the_callers_fin_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Between the FIN and the loss of the connection lies a turn of the loop."""

    class Silent(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            assert scope[CALLER_LEFT]()

    line = Line(World(), app=Silent())
    line.send(request(b"GET", b"/v1/models"))
    line.protocol.eof_received()
    await turn()
    line.transport.close()
    await turn()
    assert caplog.records == []
