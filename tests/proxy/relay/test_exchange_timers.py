"""Every timer: when it fires, when it does not, what it answers, and that it names itself."""

import pytest

from fakes import stages
from fakes.caller import CHAT_BODY, STREAM_BODY, error_frame
from fakes.replies import COMPLETION, DONE, delta
from fakes.stages import Stage
from fakes.world import Call, World
from mimic_proxy.relay.admission import Slots
from mimic_proxy.relay.states import State

NEARLY = 0.25


def timed_out(call: Call, timer: str, *, retry: bytes | None) -> None:
    """Assert that the call was answered with 504 by this timer."""
    error = call.response.error()
    assert error["code"] == "upstream_timeout"
    assert f"({timer} timer)" in error["message"]
    assert call.response.value(b"x-should-retry") == retry


def test_first_byte_runs_from_the_request_to_the_first_event() -> None:
    world = World(first_byte=10.0)
    call = world.call(STREAM_BODY)
    world.advance(10.0 - NEARLY)
    call.connection.stream()
    assert call.state is State.HEAD
    world.advance(NEARLY)
    timed_out(call, "first_byte", retry=b"false")
    assert call.ended("timeout", 504).timer == "first_byte"


def test_first_byte_ends_with_the_first_event() -> None:
    world = World(first_byte=10.0, idle=300.0)
    call = world.call(STREAM_BODY)
    world.advance(9.0)
    call.connection.stream(delta("one"))
    world.advance(200.0)
    assert call.state is State.STREAMING


def test_first_byte_ends_with_the_head_of_an_answer_that_is_no_stream() -> None:
    world = World(first_byte=10.0, idle=300.0)
    call = world.call()
    call.connection.head(200, [(b"content-length", b"5")])
    world.advance(200.0)
    assert call.state is State.STREAMING


def test_first_byte_begins_anew_with_a_replay() -> None:
    world = World(kept=2, first_byte=10.0)
    call = world.call()
    world.advance(9.0)
    call.connection.answer(401, b"{}")
    world.advance(9.0)
    assert call.state is State.SENT
    world.advance(1.0)
    call.ended("timeout", 504)


@pytest.mark.parametrize("stage", [stages.streaming, stages.half_an_event])
def test_a_silent_stream_ends_with_an_error_frame(stage: Stage) -> None:
    world = World(idle=5.0, heartbeat_after=0.0)
    call = stage(world)
    world.advance(5.0 - NEARLY)
    assert call.state is State.STREAMING
    world.advance(NEARLY)
    error = error_frame(call.frames[-1])
    assert (error["code"], "(idle timer)" in error["message"]) == ("upstream_timeout", True)
    assert call.ended("idle_timeout", 200).timer == "idle"


def test_a_silent_body_is_cut() -> None:
    world = World(idle=5.0)
    call = stages.body_of_an_answer(world)
    world.advance(5.0)
    assert call.caller.was_cut
    assert call.ended("idle_timeout", 200).timer == "idle"


def test_every_read_of_the_backend_begins_idle_anew() -> None:
    world = World(idle=5.0)
    call = stages.body_of_an_answer(world)
    for _ in range(10):
        world.advance(4.0)
        call.connection.receive(b"x")
    assert call.state is State.STREAMING


def test_idle_stands_still_while_the_caller_takes_nothing() -> None:
    world = World(idle=5.0, send=60.0)
    call = stages.streaming(world)
    call.take_no_more()
    world.advance(59.0)
    assert call.state is State.STREAMING
    call.take_no_more(False)
    world.advance(5.0 - NEARLY)
    assert call.state is State.STREAMING
    world.advance(NEARLY)
    call.ended("idle_timeout", 200)


def test_a_caller_who_takes_nothing_counts_as_gone() -> None:
    world = World(send=60.0)
    call = stages.stalled_caller(world)
    call.caller.buffered = 70_000
    world.advance(60.0)
    assert call.state is State.STREAMING, "what the socket holds was not known when it began to stall"
    world.advance(60.0)
    seen = call.ended("client_disconnect", 200)
    assert (seen.timer, call.caller.dropped) == ("send", True)


def test_a_caller_who_takes_a_little_is_not_gone() -> None:
    world = World(send=60.0, idle=0.0)
    call = stages.streaming(world)
    call.caller.buffered = 70_000
    call.take_no_more()
    for _ in range(5):
        call.caller.buffered -= 10
        world.advance(60.0)
    assert call.state is State.STREAMING
    world.advance(60.0)
    call.ended("client_disconnect", 200)


def test_a_backend_that_takes_no_more_of_an_upload_times_out() -> None:
    world = World(send=60.0)
    call = stages.upload_held_back(world)
    world.advance(60.0 - NEARLY)
    assert call.state is State.UPLOADING
    world.advance(NEARLY)
    timed_out(call, "send", retry=None)
    assert call.ended("timeout", 504).timer == "send"


@pytest.mark.parametrize("stage", [stages.reading_the_body, stages.invited_to_send, stages.uploading])
def test_a_body_that_does_not_come_is_answered_with_408(stage: Stage) -> None:
    world = World(send=60.0)
    call = stage(world)
    world.advance(60.0 - NEARLY)
    assert not call.over
    world.advance(NEARLY)
    assert call.response.error()["code"] == "request_timeout"
    call.ended("client_error", 408)


def test_every_piece_of_a_body_begins_its_timer_anew() -> None:
    world = World(send=60.0)
    call = world.arrive(length=len(CHAT_BODY))
    for place in range(len(CHAT_BODY)):
        world.advance(50.0 if place < 16 else 0.0)
        call.send(CHAT_BODY[place : place + 1])
    call.end()
    assert call.state is State.SENT


def test_a_place_in_the_queue_is_given_up_after_its_time() -> None:
    world = World(queue=10.0, services={"slots": Slots(1, 1)})
    first, call = world.call(), world.call()
    world.advance(10.0 - NEARLY)
    assert call.state is State.QUEUED
    world.advance(NEARLY)
    error = call.response.error()
    assert (error["code"], "(queue timer)" in error["message"]) == ("overloaded", True)
    assert call.response.fields(b"retry-after-ms") == [b"1000"]
    call.ended("overloaded", 503, alone=False)
    first.leave()
    first.ended("client_disconnect", 499)


@pytest.mark.parametrize("stage", stages.BEFORE_THE_HEAD)
def test_the_total_timer_answers_whatever_is_waited_for(stage: Stage) -> None:
    slots = Slots(1, 1)
    world = World(total=10.0, queue=0.0, send=0.0, first_byte=0.0, idle=0.0, services={"slots": slots})
    call = stage(world)
    world.advance(10.0 - NEARLY)
    assert not call.over
    world.advance(NEARLY)
    timed_out(call, "total", retry=b"false")
    assert call.ended("timeout", 504, alone=False).timer == "total"


def test_the_total_timer_ends_a_stream_that_goes_on_for_ever() -> None:
    world = World(total=100.0, idle=30.0)
    call = stages.streaming(world)
    for _ in range(9):
        world.advance(11.0)
        call.connection.receive(delta("more"))
    world.advance(1.0)
    assert "(total timer)" in error_frame(call.frames[-1])["message"]
    call.ended("timeout", 200)


def test_the_head_of_a_stream_goes_out_after_fifteen_seconds_with_what_was_held(world: World) -> None:
    call = stages.held_comment(world)
    world.advance(15.0 - NEARLY)
    assert call.caller.written == b""
    world.advance(NEARLY)
    assert call.response.status == 200
    assert call.response.body == b": hello\n\n"
    assert call.state is State.STREAMING


def test_the_head_of_a_silent_stream_goes_out_after_fifteen_seconds(world: World) -> None:
    call = stages.head_of_a_stream(world)
    world.advance(15.0)
    assert call.response.status == 200, "the caller has to see the head"
    call.connection.receive(delta("one", finish="stop") + DONE, ended=True)
    call.ended("completed", 200)


def test_an_unclassified_stream_is_not_replayed_and_its_error_passes(world: World) -> None:
    call = stages.held_comment(world)
    world.advance(15.0)
    refusal = b'data: {"error":{"message":"expired","code":401}}\n\n'
    call.connection.receive(refusal, ended=True)
    assert call.response.body == b": hello\n\n" + refusal
    assert world.tokens.refused == []
    call.ended("upstream_error", 200)


def test_an_answer_is_ended_a_second_after_done(world: World) -> None:
    call = stages.after_done(world)
    world.advance(1.0 - NEARLY)
    assert not call.over
    world.advance(NEARLY)
    assert call.response.complete
    assert world.pool.idle == []
    call.ended("completed", 200)


def test_the_total_timer_after_done_completes_the_answer() -> None:
    world = World(total=10.0)
    call = stages.streaming(world)
    world.clock.now += 9.5
    call.connection.receive(DONE)
    world.advance(0.5)
    call.ended("completed", 200)


@pytest.mark.parametrize("stage", [*stages.BEFORE_THE_HEAD, *stages.INSIDE_A_BODY, stages.streaming])
def test_without_limits_nothing_is_ever_timed(stage: Stage) -> None:
    world = World(
        total=0.0, queue=0.0, send=0.0, first_byte=0.0, idle=0.0, heartbeat_after=0.0, services={"slots": Slots(1, 1)}
    )
    call = stage(world)
    world.advance(1e9)
    assert not call.over


def test_a_slow_dial_is_the_dialler_s_to_time() -> None:
    world = World(kept=0, first_byte=1.0, idle=1.0, send=1.0)
    call = world.call()
    world.advance(500.0)
    assert call.state is State.DIALLING
    world.pool.connect().answer(200, COMPLETION)
    call.ended("completed", 200)


def test_an_upload_that_was_taken_whole_is_not_timed_by_send(world: World) -> None:
    call = world.upload()
    call.send(b"--b\r\n")
    connection = call.connection
    connection.take_no_more()
    call.send(b"--b--")
    call.end()
    connection.take_no_more(False)
    world.advance(200.0)
    assert call.state is State.SENT, "a backend may think as long as first_byte allows"
    connection.answer(200, b"{}")
    call.ended("completed", 200)


def test_a_caller_who_took_nothing_of_the_answer_before_is_not_the_backend_s_fault() -> None:
    """Pipelining: the answer before this one is still in the caller's buffer."""
    world = World(first_byte=30.0, send=60.0)
    call = world.arrive(length=len(CHAT_BODY))
    call.caller.writable, call.caller.buffered = False, 70_000
    call.send(CHAT_BODY)
    call.end()
    assert call.connection.paused
    world.advance(59.0)
    assert call.state is State.SENT, "what the backend has answered cannot be seen"
    call.take_no_more(False)
    assert not call.connection.paused
    world.advance(29.0)
    assert call.state is State.SENT


def test_a_caller_who_takes_nothing_of_the_answer_before_is_given_up() -> None:
    world = World(send=60.0)
    call = world.arrive(length=len(CHAT_BODY))
    call.caller.writable, call.caller.buffered = False, 70_000
    call.send(CHAT_BODY)
    call.end()
    world.advance(60.0)
    world.advance(60.0)
    assert call.caller.dropped
    assert call.ended("client_disconnect", 499).timer == "send"
