"""Back-pressure is a state that both sides are asked for, and a slow caller costs the backend nothing but time."""

import pytest

from fakes import stages
from fakes.caller import CHAT_BODY
from fakes.replies import COMPLETION, DONE, delta
from fakes.world import World
from mimic_proxy.relay.states import State


@pytest.mark.parametrize("stage", [stages.sent, stages.head_of_a_stream, stages.streaming, stages.body_of_an_answer])
def test_a_caller_who_takes_no_more_pauses_the_backend(world: World, stage: stages.Stage) -> None:
    call = stage(world)
    connection = call.connection
    call.take_no_more()
    assert connection.paused
    call.take_no_more(False)
    assert not connection.paused


def test_a_caller_who_was_full_before_pauses_the_backend_when_it_is_attached() -> None:
    world = World()
    call = world.arrive(length=len(CHAT_BODY))
    call.caller.writable = False
    call.send(CHAT_BODY)
    call.end()
    assert call.connection.paused
    call.take_no_more(False)
    call.connection.answer(200, COMPLETION)
    call.ended("completed", 200)


def test_a_replay_is_attached_with_the_same_state() -> None:
    world = World(kept=2)
    call = world.call()
    call.take_no_more()
    first = call.connection
    call.take_no_more(False)
    call.caller.writable = False
    first.answer(401, b"{}")
    assert call.connection.paused


@pytest.mark.parametrize("stage", [stages.queued, stages.waiting_for_a_token, stages.dialling])
def test_before_there_is_a_backend_nothing_is_paused(stage: stages.Stage) -> None:
    world = stages.world()
    call = stage(world)
    call.take_no_more()
    call.take_no_more(False)
    call.leave()
    assert len(call.observations) == 1


def test_a_connection_that_is_paused_at_the_end_is_not_pooled(world: World) -> None:
    call = stages.streaming(world)
    connection = call.connection
    call.take_no_more()
    connection.receive(delta(finish="stop") + DONE, ended=True)
    assert connection.gone
    call.ended("completed", 200)


def test_an_answer_is_ended_after_done_though_its_caller_is_slow(world: World) -> None:
    call = stages.after_done(world)
    call.take_no_more()
    world.advance(1.0)
    assert call.response.complete
    call.ended("completed", 200)


def test_a_stalled_caller_who_takes_again_gets_the_rest(world: World) -> None:
    call = stages.stalled_caller(world)
    world.advance(59.0)
    call.take_no_more(False)
    call.connection.receive(delta(finish="stop") + DONE, ended=True)
    assert call.response.complete
    call.ended("completed", 200)


@pytest.mark.parametrize("writable", [True, False])
def test_the_caller_s_socket_says_nothing_of_an_upload_that_the_backend_holds_back(
    world: World, writable: bool
) -> None:
    call = stages.upload_held_back(world)
    call.take_no_more(not writable)
    world.advance(30.0)
    assert (call.state, call.caller.paused) == (State.UPLOADING, True)


def test_an_upload_stays_timed_when_its_caller_s_socket_says_it_is_writable() -> None:
    world = World(send=60.0)
    call = stages.upload_held_back(world)
    world.advance(30.0)
    call.take_no_more(False)
    world.advance(30.0)
    assert "(send timer)" in call.response.error()["message"]
    call.ended("timeout", 504)


def test_the_backend_s_socket_says_nothing_of_a_body_that_was_sent_whole(world: World) -> None:
    call = world.call()
    call.connection.take_no_more()
    assert not call.caller.paused
    call.connection.take_no_more(False)
    call.connection.answer(200, COMPLETION)
    call.ended("completed", 200)


def test_a_backend_that_takes_nothing_of_a_large_body_is_timed_by_send() -> None:
    world = World(send=60.0, first_byte=600.0)
    call = world.call()
    call.connection.take_no_more()
    world.advance(60.0)
    assert "(send timer)" in call.response.error()["message"]
    call.ended("timeout", 504)


def test_a_replay_is_not_timed_by_what_stalled_before_it(world: World) -> None:
    """The dead connection took no more; the fresh one takes all at once and never says so."""
    call = world.call()
    call.connection.take_no_more()
    call.connection.lose()
    connection = world.pool.connect()
    world.advance(100.0)
    assert call.state is State.SENT, "the backend may think"
    connection.answer(200, COMPLETION)
    call.ended("completed", 200)


def test_a_caller_who_took_again_during_a_replay_is_not_timed(world: World) -> None:
    """Pipelining: the answer before this one drains while the fresh connection is dialled."""
    call = world.call()
    call.caller.buffered = 70_000
    call.take_no_more()
    call.connection.lose()
    call.caller.buffered = 0
    call.take_no_more(False)
    connection = world.pool.connect()
    for _ in range(4):
        world.advance(60.0)
    assert call.state is State.SENT
    connection.answer(200, COMPLETION)
    call.ended("completed", 200)
