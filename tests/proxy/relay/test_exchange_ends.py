"""Every way out of every state: everything is given back, one observation is made, the caller is told what fits."""

import pytest

from fakes import stages
from fakes.caller import error_frame
from fakes.replies import COMPLETION
from fakes.stages import BEFORE_THE_HEAD, EVERY_STAGE, IN_AN_EVENT_STREAM, INSIDE_A_BODY, Stage
from fakes.world import Call, World
from mimic_proxy.errors import TokenRejected, TokenUnavailable
from mimic_proxy.relay.states import State


def name(stage: Stage) -> str:
    return stage.__name__


def begun(stage: Stage) -> tuple[World, Call]:
    world = stages.world()
    return world, stage(world)


def give_the_other_slot_back(world: World, stage: Stage) -> None:
    if stage is stages.queued:
        world.services.slots.give()


# ---- the caller leaves


@pytest.mark.parametrize("stage", [stage for stage in EVERY_STAGE if stage is not stages.after_done], ids=name)
def test_a_caller_who_leaves_ends_the_upstream_in_the_same_call(stage: Stage) -> None:
    world, call = begun(stage)
    status = call.exchange.record.status
    call.leave()
    give_the_other_slot_back(world, stage)

    assert call.state is State.ENDED
    call.ended("client_disconnect", status)
    assert len([kept for kept in world.pool.connections if not kept.gone]) == len(world.pool.idle)


@pytest.mark.parametrize("stage", EVERY_STAGE, ids=name)
def test_nothing_happens_after_the_caller_has_left(stage: Stage) -> None:
    world, call = begun(stage)
    call.leave()
    call.leave()
    call.send(b"more")
    call.end()
    call.exchange.caller_writable(False)
    call.exchange.caller_writable(True)
    call.exchange.drain()
    world.advance(10_000.0)
    give_the_other_slot_back(world, stage)
    while world.pool.dials:
        world.pool.connect()
    assert len(call.observations) == 1
    world.assert_all_given_back()


def test_a_dial_that_outlives_its_caller_is_pooled_unused() -> None:
    world, call = begun(stages.dialling)
    call.leave()
    connection = world.pool.connect()
    assert (world.pool.idle, connection.sent) == ([connection], b"")
    call.ended("client_disconnect", 499)


def test_a_dial_that_fails_after_its_caller_has_left_tells_nobody() -> None:
    world, call = begun(stages.dialling)
    call.leave()
    world.pool.refuse()
    assert world.services.breaker.state == "closed"
    call.ended("client_disconnect", 499)


def test_a_token_that_comes_after_its_caller_has_left_changes_nothing() -> None:
    world, call = begun(stages.waiting_for_a_token)
    late = list(world.tokens.waiting)
    call.leave()
    for waiter in late:
        waiter(world.tokens.next)  # type: ignore[arg-type]
    call.ended("client_disconnect", 499)


def test_a_caller_who_leaves_after_done_aborts_nothing() -> None:
    world, call = begun(stages.after_done)
    connection = call.connection
    call.leave()
    assert (call.state, connection.listener) == (State.AFTER_DONE, call.exchange)
    connection.end()
    assert world.pool.idle == [connection]
    call.ended("completed", 200)


# ---- the process stops


@pytest.mark.parametrize("stage", BEFORE_THE_HEAD, ids=name)
def test_a_stop_before_the_head_is_answered_with_503(stage: Stage) -> None:
    world, call = begun(stage)
    call.exchange.drain()
    give_the_other_slot_back(world, stage)
    assert call.response.error()["code"] == "shutting_down"
    assert call.response.fields(b"retry-after") == [b"1"]
    assert call.ended("shutdown", 503).error_code == "shutting_down"


@pytest.mark.parametrize("stage", IN_AN_EVENT_STREAM, ids=name)
def test_a_stop_in_a_stream_ends_it_with_an_error_frame_between_events(stage: Stage) -> None:
    _, call = begun(stage)
    call.exchange.drain()
    assert error_frame(call.frames[-1])["code"] == "shutting_down"
    assert b"[DONE]" not in call.response.body
    assert call.response.complete
    call.ended("shutdown", 200)


@pytest.mark.parametrize("stage", INSIDE_A_BODY, ids=name)
def test_a_stop_inside_a_body_cuts_it(stage: Stage) -> None:
    _, call = begun(stage)
    before, status = call.caller.written, call.response.status
    call.exchange.drain()
    assert (call.caller.was_cut, call.response.complete) == (True, False)
    assert call.caller.written == before
    call.ended("shutdown", status)


def test_a_stop_adds_nothing_to_an_error_that_the_backend_told() -> None:
    _, call = begun(stages.error_in_a_stream)
    before = call.response.body
    call.exchange.drain()
    assert (call.response.body, call.response.complete) == (before, True)
    call.ended("shutdown", 200)


def test_a_stop_after_done_completes_the_answer() -> None:
    _, call = begun(stages.after_done)
    call.exchange.drain()
    assert call.response.complete
    call.ended("completed", 200)


@pytest.mark.parametrize("stage", EVERY_STAGE, ids=name)
def test_a_second_stop_changes_nothing(stage: Stage) -> None:
    _, call = begun(stage)
    call.exchange.drain()
    written = call.caller.written
    call.exchange.drain()
    assert call.caller.written == written
    assert len(call.observations) == 1


# ---- the backend fails


@pytest.mark.parametrize(
    "stage", [stages.sent, stages.uploading, stages.upload_sent, stages.head_of_a_stream], ids=name
)
def test_a_loss_before_the_head_is_answered_with_502(stage: Stage) -> None:
    world, call = begun(stage)
    world.advance(2.0)
    call.connection.lose()
    assert call.response.error()["code"] == "upstream_bad_response"
    assert call.ended("upstream_error", 502).attempts == 1


@pytest.mark.parametrize("stage", IN_AN_EVENT_STREAM, ids=name)
def test_a_loss_in_a_stream_ends_it_with_an_error_frame_between_events(stage: Stage) -> None:
    _, call = begun(stage)
    call.connection.lose()
    assert error_frame(call.frames[-1])["code"] == "upstream_bad_response"
    assert all(frame.endswith(b"}\n\n") or frame == b": ping\n\n" for frame in call.frames)
    assert call.response.complete
    call.ended("upstream_error", 200)


@pytest.mark.parametrize("stage", INSIDE_A_BODY, ids=name)
def test_a_loss_inside_a_body_cuts_it(stage: Stage) -> None:
    _, call = begun(stage)
    status = call.response.status
    call.connection.lose()
    assert (call.caller.was_cut, call.response.complete) == (True, False)
    call.ended("upstream_error", status)


@pytest.mark.parametrize("stage", [stages.after_done], ids=name)
def test_a_loss_after_done_is_no_fault(stage: Stage) -> None:
    world, call = begun(stage)
    call.connection.lose()
    assert call.response.complete
    call.ended("completed", 200)
    assert world.pool.idle == []


def test_a_loss_after_an_error_that_the_backend_told_adds_nothing() -> None:
    _, call = begun(stages.error_in_a_stream)
    before = call.response.body
    call.connection.lose()
    assert (call.response.body, call.response.complete) == (before, True)
    call.ended("upstream_error", 200)


def test_a_dial_that_fails_is_answered_with_its_error() -> None:
    world, call = begun(stages.dialling)
    world.pool.refuse()
    assert call.response.error()["code"] == "upstream_unreachable"
    assert call.ended("upstream_error", 502).attempts == 1


def test_a_token_that_is_not_to_be_had_is_answered_with_its_error() -> None:
    for error, status in (
        (TokenUnavailable("The service is down.", retry_after=7), 503),
        (TokenRejected("The secret is wrong."), 502),
    ):
        world, call = begun(stages.waiting_for_a_token)
        world.tokens.deliver(error)
        assert call.response.error()["code"] == error.code
        assert call.ended("token_error", status).attempts == 0


@pytest.mark.parametrize("stage", [stages.sent, stages.body_of_an_answer, stages.streaming], ids=name)
def test_the_connection_of_an_answer_that_was_broken_off_is_never_pooled(stage: Stage) -> None:
    world, call = begun(stage)
    connection = call.connection
    call.exchange.drain()
    assert (connection.gone, world.pool.idle) == (True, [])


def test_a_connection_with_bytes_of_an_answer_left_is_never_pooled() -> None:
    world = World()
    call = world.call()
    connection = call.connection
    connection.head(200, [(b"content-length", b"%d" % len(COMPLETION))], COMPLETION[:-1])
    call.leave()
    assert connection.gone
