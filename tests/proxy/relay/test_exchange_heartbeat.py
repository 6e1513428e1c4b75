"""Heartbeat comments while a backend is silent, and what they cost: the status and the replay."""

import json

import pytest

from fakes import stages
from fakes.caller import STREAM_BODY, error_frame
from fakes.replies import COMPLETION, DONE, delta, event
from fakes.world import Call, World
from mimic_proxy.relay.admission import Budget
from mimic_proxy.relay.states import State

PING = b": ping\n\n"
FAILURE = b'{"error":{"message":"m",\n"type":"t","param":null,"code":"c"}}'


@pytest.fixture
def world() -> World:
    return World(heartbeat_after=20.0, idle=300.0, send=60.0)


def begun(world: World) -> Call:
    call = world.call(STREAM_BODY)
    world.advance(20.0)
    return call


def test_a_silent_backend_makes_a_heartbeat_begin_the_stream(world: World) -> None:
    call = world.call(STREAM_BODY)
    world.advance(19.9)
    assert call.caller.written == b""
    world.advance(0.1)
    assert (call.response.status, call.response.body) == (200, PING)
    assert call.response.value(b"content-type") == b"text/event-stream; charset=utf-8"
    for _ in range(2):
        world.advance(20.0)
    assert call.response.body == PING * 3


def test_the_stream_that_then_comes_is_passed_on(world: World) -> None:
    call = begun(world)
    call.connection.stream(delta("one"))
    assert (call.state, call.response.body) == (State.STREAMING, PING + delta("one"))
    call.connection.receive(DONE, ended=True)
    assert call.response.complete
    call.ended("completed", 200)


def test_it_beats_between_events_only_when_nothing_is_written(world: World) -> None:
    call = world.streaming(delta("one"))
    for _ in range(3):
        world.advance(19.0)
        call.connection.receive(delta("more"))
    assert PING not in call.response.body
    world.advance(20.0)
    assert call.response.body.endswith(PING)


def test_a_beat_begins_its_time_anew(world: World) -> None:
    call = stages.streaming(world)
    world.advance(20.0)
    for _ in range(10):
        world.advance(0.1)
    assert call.response.body.count(PING) == 1


def test_half_an_event_is_held_while_it_beats(world: World) -> None:
    call = stages.half_an_event(world)
    world.advance(20.0)
    call.connection.receive(delta("two")[20:])
    assert call.frames == [delta("one"), PING, delta("two")]


def test_it_does_not_beat_inside_an_overlong_event(world: World) -> None:
    call = stages.overlong_event(world)
    before = call.caller.written
    world.advance(100.0)
    assert call.caller.written == before


def test_it_does_not_beat_into_a_body(world: World) -> None:
    call = stages.body_of_an_answer(world)
    before = call.caller.written
    world.advance(100.0)
    assert call.caller.written == before


@pytest.mark.parametrize("stage", [stages.sent, stages.upload_sent, stages.uploading, stages.waiting_for_a_token])
def test_it_does_not_beat_where_no_stream_was_asked_for(stage: stages.Stage) -> None:
    world = World(heartbeat_after=20.0)
    call = stage(world)
    world.advance(50.0)
    assert call.caller.written == b""


@pytest.mark.parametrize("stage", [stages.waiting_for_a_token, stages.dialling, stages.queued])
def test_it_does_not_beat_before_the_request_is_sent(stage: stages.Stage) -> None:
    """A token or a slot that is not to be had needs its own status."""
    world = World(heartbeat_after=1.0, queue=0.0)
    call = stage(world)
    world.advance(50.0)
    assert call.caller.written == b""


def test_it_does_not_beat_while_the_caller_takes_nothing(world: World) -> None:
    call = stages.stalled_caller(world)
    before = call.caller.written
    world.advance(50.0)
    assert call.caller.written == before


def test_nothing_is_added_to_an_error_that_the_backend_told(world: World) -> None:
    call = stages.error_in_a_stream(world)
    before = call.caller.written
    world.advance(100.0)
    assert call.caller.written == before


def test_it_releases_the_head_of_a_stream_with_what_was_held() -> None:
    world = World(heartbeat_after=5.0)
    call = stages.held_comment(world)
    world.advance(5.0)
    assert (call.state, call.response.body) == (State.STREAMING, b": hello\n\n" + PING)


def test_the_backend_s_own_comments_count_as_signs_of_life(world: World) -> None:
    call = world.streaming(delta("one"))
    world.advance(19.0)
    call.connection.receive(b": still here\n\n")
    world.advance(19.0)
    assert PING not in call.response.body


def test_it_gives_up_the_replay_and_the_share_of_the_budget() -> None:
    budget = Budget(1 << 20)
    world = World(heartbeat_after=20.0, services={"budget": budget})
    call = begun(world)
    assert budget.held == 0
    call.connection.lose()
    assert error_frame(call.frames[-1])["code"] == "upstream_bad_response"
    call.ended("upstream_error", 200)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r", b""])
@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_error_that_comes_later_becomes_a_frame(world: World, status: int, line_end: bytes) -> None:
    """A line end of any kind inside of it would end the frame's data (WHATWG HTML, 9.2.5)."""
    call = begun(world)
    failure = FAILURE.replace(b"\n", line_end)
    call.connection.head(status, [(b"content-length", b"%d" % len(failure))], failure[:20])
    call.connection.receive(failure[20:], ended=True)
    ping, frame = call.frames
    assert (ping, b"\r" in frame, frame.count(b"\n")) == (PING, False, 2)
    assert error_frame(frame) == json.loads(FAILURE)["error"]
    assert call.response.complete
    seen = call.ended("client_error" if status < 500 else "upstream_error", 200)
    assert seen.upstream_status == status


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, COMPLETION),
        (500, b"<html>"),
        (404, b""),
        (500, b'{"error": half an obj'),
        (500, b'{"error":' + b"x" * 70_000),
    ],
)
def test_an_answer_that_is_no_stream_becomes_an_error_of_ours(world: World, status: int, body: bytes) -> None:
    call = begun(world)
    call.connection.answer(status, body)
    error = error_frame(call.frames[-1])
    assert (error["code"], f"status {status}" in error["message"]) == ("upstream_bad_response", True)
    call.ended("upstream_error", 200)


def test_an_endless_answer_that_is_no_stream_is_not_gathered(world: World) -> None:
    call = begun(world)
    connection = call.connection
    connection.head(200, [(b"content-type", b"text/plain")])
    connection.receive(b"x" * 65_536)
    assert not call.over
    connection.receive(b"x")
    assert connection.gone
    call.ended("upstream_error", 200)


def test_a_redirect_that_comes_later_becomes_a_frame(world: World) -> None:
    call = begun(world)
    call.connection.answer(307, b"", [(b"location", b"https://elsewhere.example")])
    assert b"elsewhere" not in call.caller.written
    call.ended("upstream_error", 200)


def test_an_error_event_that_comes_first_passes(world: World) -> None:
    call = begun(world)
    refusal = event({"error": {"message": "m", "code": 429}})
    call.connection.stream(refusal, ended=True)
    assert call.frames == [PING, refusal]
    call.ended("upstream_error", 200)


def test_a_first_event_that_refuses_the_token_condemns_it(world: World) -> None:
    call = begun(world)
    call.connection.stream(event({"error": {"message": "m", "code": 401}}), ended=True)
    assert len(world.tokens.refused) == 1
    assert call.frames[0] == PING
    assert b'"error"' in call.frames[1]
    assert len(call.frames) == 2
    assert call.over


def test_an_old_caller_gets_its_heartbeats_without_chunks(world: World) -> None:
    call = world.call(STREAM_BODY, http11=False, keep_alive=False)
    world.advance(20.0)
    call.connection.stream(delta("one", finish="stop"), DONE, ended=True)
    assert call.response.body == PING + delta("one", finish="stop") + DONE
    call.ended("completed", 200)
