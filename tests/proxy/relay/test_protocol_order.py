"""Requests on one connection: answered in their order, whatever the reads they came in and whoever answers them."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.caller import CHAT_BODY, chat, request
from fakes.replies import COMPLETION, DONE, delta
from fakes.transport import Line, turn
from fakes.world import FORM, World

UNKNOWN = request(b"GET", b"/v1/unknown")


def body(number: int) -> bytes:
    return b'{"model":"m","number":%d,"more":"' % number + b"x" * 200 + b'"}'


def numbered(number: int) -> bytes:
    return chat(body(number))


def answer(world: World, number: int) -> None:
    """The backend answers the one request that it has now, which is this one."""
    (held,) = [one for one in world.pool.connections if one.listener is not None]
    assert held.request.body == body(number)
    held.answer(200, b'{"answer":%d}' % number)


async def test_a_request_is_relayed_and_the_connection_kept() -> None:
    world = World()
    line = Line(world)
    for number in (1, 2, 3):
        await line.read(numbered(number))
        answer(world, number)
        await turn()
    assert [response.body for response in line.responses()] == [b'{"answer":1}', b'{"answer":2}', b'{"answer":3}']
    assert not line.transport.closing
    assert [seen.outcome for seen in world.observations] == ["completed"] * 3


async def test_pipelined_requests_are_answered_one_after_the_other() -> None:
    world = World()
    line = Line(world)
    await line.read(numbered(1) + numbered(2) + numbered(3))
    for number in (1, 2, 3):
        answer(world, number)
        await turn()
    assert [response.body for response in line.responses()] == [b'{"answer":1}', b'{"answer":2}', b'{"answer":3}']


async def test_requests_that_come_during_an_answer_wait() -> None:
    world = World()
    line = Line(world)
    await line.read(numbered(1))
    await line.read(numbered(2))
    await line.read(numbered(3)[:30])
    await line.read(numbered(3)[30:])
    for number in (1, 2, 3):
        answer(world, number)
        await turn()
    assert len(line.responses()) == 3


async def test_the_body_of_a_waiting_request_may_come_in_pieces_during_the_answer_before() -> None:
    world = World()
    line = Line(world)
    second = numbered(2)
    await line.read(numbered(1) + second[:-100])
    await line.read(second[-100:-50])
    answer(world, 1)
    await turn()
    await line.read(second[-50:])
    answer(world, 2)
    await turn()
    assert line.statuses == [200, 200]


async def test_the_body_of_a_waiting_request_may_come_whole_during_the_answer_before() -> None:
    world = World()
    line = Line(world)
    second = numbered(2)
    await line.read(numbered(1) + second[:-100])
    await line.read(second[-100:])
    answer(world, 1)
    await turn()
    answer(world, 2)
    await turn()
    assert line.statuses == [200, 200]


async def test_a_request_that_comes_in_the_turn_of_an_answer_overtakes_nobody() -> None:
    """Its head is known, so it could begin at once."""
    world = World()
    line = Line(world)
    await line.read(numbered(1))
    answer(world, 1)
    await turn()
    await line.read(numbered(2) + numbered(3))
    answer(world, 2)
    line.send(numbered(4))
    await turn()
    answer(world, 3)
    await turn()
    answer(world, 4)
    await turn()
    assert [response.body for response in line.responses()] == [b'{"answer":%d}' % number for number in (1, 2, 3, 4)]


async def test_no_timer_fires_between_two_answers() -> None:
    """The loop may have been held up: the next request waits already, nobody is slow."""
    world = World()
    line = Line(world)
    await line.read(numbered(1) + numbered(2))
    answer(world, 1)
    await line.advance(11.0)
    answer(world, 2)
    await turn()
    assert line.statuses == [200, 200]


async def test_bytes_that_come_in_the_turn_of_an_answer_are_parsed_behind_the_older_ones() -> None:
    world = World()
    line = Line(world)
    await line.read(numbered(1))
    second = numbered(2)
    await line.read(second[:100])
    answer(world, 1)
    line.send(second[100:])
    await turn()
    answer(world, 2)
    await turn()
    assert line.statuses == [200, 200]


async def test_relayed_and_other_requests_are_answered_in_one_order() -> None:
    world = World()
    line = Line(world)
    line.app.gate.clear()
    await line.read(numbered(1) + UNKNOWN + numbered(2) + UNKNOWN)
    assert line.app.scopes == []
    answer(world, 1)
    await turn()
    assert (len(line.app.scopes), world.pool.idle != []) == (1, True)
    line.app.gate.set()
    await turn()
    answer(world, 2)
    await turn()
    bodies = [response.body for response in line.responses(b"POST", b"GET", b"POST", b"GET")]
    assert bodies == [b'{"answer":1}', b"/v1/unknown", b'{"answer":2}', b"/v1/unknown"]


@given(st.lists(st.integers(0, 1000), max_size=12), st.data())
@settings(max_examples=60)
def test_any_split_into_reads_gives_the_same_answers(cuts: list[int], data: st.DataObject) -> None:
    first = request(b"POST", b"/v1/audio/translations", body(1), FORM)
    wire = first + numbered(2) + UNKNOWN + numbered(3)
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(wire)}), len(wire)]

    async def play() -> None:
        world = World()
        line = Line(world)
        answered = 0
        for begin, stop in itertools.pairwise(places):
            line.send(wire[begin:stop])
            if data.draw(st.booleans(), "a turn passes"):
                await turn()
                answered += answer_whole(world, answered)
        for _ in range(4):
            await turn()
            answered += answer_whole(world, answered)
        assert answered == 3
        await turn()
        bodies = [response.body for response in line.responses()]
        assert bodies == [b'{"answer":1}', b'{"answer":2}', b"/v1/unknown", b'{"answer":3}']

    asyncio.run(play())


def answer_whole(world: World, answered: int) -> int:
    """Answer the request in flight if it is whole; how many were answered."""
    held = [one for one in world.pool.connections if one.listener is not None]
    if not held or not held[0].request.complete:
        return 0
    answer(world, answered + 1)
    return 1


# ---- what may wait


async def test_any_number_of_requests_may_come_in_one_read() -> None:
    world = World()
    line = Line(world)
    await line.read(numbered(1) + UNKNOWN * 200 + b"".join(numbered(number) for number in range(2, 100)))
    answer(world, 1)
    for _ in range(201):
        await turn()
    for number in range(2, 100):
        answer(world, number)
        await turn()
    methods = [b"POST", *[b"GET"] * 200, *[b"POST"] * 98]
    assert len(line.responses(*methods)) == 299
    assert not line.transport.closing


async def test_many_pairs_of_requests_pass_on_one_connection() -> None:
    """Nothing of a request that has been answered counts against those that follow."""
    world = World()
    line = Line(world)
    large = chat(b'{"model":"m","user":"' + b"x" * 40_000 + b'"}')
    for _ in range(40):
        await line.read(large + large)
        for _ in range(2):
            world.pool.connections[0].answer(200, COMPLETION)
            await turn()
    assert line.statuses == [200] * 80


async def test_more_than_a_read_and_64_kib_ahead_end_the_connection_and_the_answer() -> None:
    world = World()
    line = Line(world)
    await line.read(numbered(1) + b"x" * 262_144)
    await line.read(b"x" * 65_536)
    assert not line.transport.closing
    await line.read(b"x")
    assert line.transport.aborted
    assert [seen.outcome for seen in world.observations] == ["client_disconnect"]
    assert line.transport.sent == b""
    world.assert_all_given_back()


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
async def test_trailers_of_a_request_behind_a_running_call_are_no_header_fields(cut: int) -> None:
    world = World()
    line = Line(world)
    coding = [(b"transfer-encoding", b"chunked")]
    waiting = request(b"POST", b"/v1/unknown", None, coding) + b"2\r\n{}\r\n0\r\nx-trailer: 1\r\nhost: evil\r\n\r\n"
    await line.read(numbered(1) + waiting[:-cut])
    await line.read(waiting[-cut:] + UNKNOWN)
    answer(world, 1)
    await turn()
    await turn()
    scope, _ = line.app.scopes
    assert {name for name, _ in scope["headers"]} == {b"host", b"transfer-encoding"}
    assert line.app.bodies == [b"{}", b""]
    assert [got.status for got in line.responses(b"POST", b"POST", b"GET")] == [200, 404, 404]


async def test_the_caller_is_not_paused_while_it_waits_for_an_answer() -> None:
    """A paused transport does not see the caller leave."""
    world = World()
    line = Line(world)
    await line.read(numbered(1) + numbered(2) + b"GET ")
    assert not line.transport.paused


# ---- what ends the order


@pytest.mark.parametrize("last", [chat(CHAT_BODY, [(b"connection", b"close")]), chat().replace(b"1.1", b"1.0")])
async def test_nothing_follows_a_request_that_says_close(last: bytes) -> None:
    world = World()
    line = Line(world)
    await line.read(last + numbered(2))
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    assert line.statuses == [200]
    assert line.transport.lost
    assert world.pool.connections[0].sent.count(b"number") == 0


async def test_bytes_behind_the_last_answer_are_thrown_away_up_to_a_limit() -> None:
    world = World()
    line = Line(world)
    await line.read(chat(CHAT_BODY, [(b"connection", b"close")]))
    line.transport.unsent = 1
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    assert line.transport.closing
    line.protocol.data_received(b"x" * 65_537)
    await turn()


@pytest.mark.parametrize("how", ["end", "lose"])
async def test_a_caller_who_leaves_ends_its_answer_and_those_that_wait(how: str) -> None:
    world = World()
    line = Line(world)
    await line.read(numbered(1) + numbered(2) + UNKNOWN)
    line.end() if how == "end" else line.transport.lose(ConnectionResetError())
    assert [seen.outcome for seen in world.observations] == ["client_disconnect"]
    await turn()
    assert line.transport.lost
    assert (len(world.observations), line.app.scopes, line.transport.sent) == (1, [], b"")
    world.assert_all_given_back()


async def test_a_caller_who_leaves_between_two_answers_is_not_answered_again() -> None:
    world = World()
    line = Line(world)
    await line.read(numbered(1) + numbered(2))
    answer(world, 1)
    line.transport.lose()
    await turn()
    assert len(world.observations) == 1
    world.assert_all_given_back()


async def test_the_web_application_hears_of_a_caller_who_leaves() -> None:
    world = World()
    line = Line(world)
    await line.read(request(b"POST", b"/v1/unknown", b"{}")[:-1])
    line.transport.lose()
    await turn()
    assert line.app.disconnected == 1


async def test_a_stream_that_ends_lets_the_next_request_begin() -> None:
    world = World()
    line = Line(world)
    await line.read(numbered(1) + numbered(2))
    connection = world.pool.connections[0]
    connection.stream(delta("one", finish="stop"), DONE)
    await turn()
    assert connection.request.body == body(1)
    connection.end()
    await turn()
    answer(world, 2)
    await turn()
    assert line.statuses == [200, 200]
