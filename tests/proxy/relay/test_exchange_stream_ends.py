"""How event streams end: whole, cut, told by an error, read on after [DONE]; and usage on our own account."""

import json

import pytest

from fakes import stages
from fakes.caller import STREAM_BODY, error_frame
from fakes.replies import DONE, delta, event
from fakes.world import Call, World
from mimic_proxy.relay.delivery import AFTER_DONE_BYTES

USAGE = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
ASKED = b'{"stream_options":{"include_usage":true},"model":"m","stream":true}'
RESPONSES = b"/v1/responses"


def whole(call: Call, body: bytes) -> None:
    """The caller has got exactly this stream, properly ended."""
    assert call.response.body == body
    assert call.response.complete


# ---- the end


def test_finish_reasons_for_all_choices_complete_a_stream_without_done(world: World) -> None:
    call = world.streaming(delta("one"), body=b'{"model":"m","stream":true,"n":2}')
    call.connection.receive(delta(finish="stop") + delta(finish="length", index=1))
    call.connection.end()
    assert call.response.complete
    assert b"error" not in call.response.body
    call.ended("completed", 200)


def test_a_choice_that_is_not_finished_makes_a_stream_incomplete(world: World) -> None:
    call = world.streaming(delta("one"), delta(finish="stop"), body=b'{"model":"m","stream":true,"n":2}')
    call.connection.end()
    assert error_frame(call.frames[-1])["type"] == "upstream_error"
    call.ended("upstream_error", 200)


@pytest.mark.parametrize("how", ["end", "lose"])
def test_an_unfinished_stream_ends_with_our_error_frame_and_no_done(world: World, how: str) -> None:
    call = stages.half_an_event(world)
    getattr(call.connection, how)()
    assert call.frames[0] == delta("one")
    assert error_frame(call.frames[-1])["code"] == "upstream_bad_response"
    assert len(call.frames) == 2
    seen = call.ended("upstream_error", 200)
    assert seen.error_code == "upstream_bad_response"


def test_an_error_that_the_backend_told_is_the_last_frame(world: World) -> None:
    call = stages.error_in_a_stream(world)
    before = call.response.body
    call.connection.end()
    whole(call, before)
    assert call.ended("upstream_error", 200).error_code is None


@pytest.mark.parametrize(
    ("stage", "outcome"), [(stages.error_in_a_stream, "upstream_error"), (stages.after_done, "completed")]
)
def test_half_an_event_behind_the_last_one_is_not_written(world: World, stage: stages.Stage, outcome: str) -> None:
    call = stage(world)
    before = call.response.body
    call.connection.receive(delta("never")[:12], ended=True)
    whole(call, before)
    call.ended(outcome, 200)


def test_a_last_done_without_its_blank_line_completes(world: World) -> None:
    call = world.streaming(delta("one"), b"data: [DONE]\n")
    call.connection.end()
    whole(call, delta("one") + b"data: [DONE]\n")
    call.ended("completed", 200)


def test_responses_end_with_an_event_of_their_own(world: World) -> None:
    opening = event({"type": "response.created", "response": {"model": "m"}})
    closing = event({"type": "response.completed", "response": {"usage": {"input_tokens": 1, "output_tokens": 2}}})
    call = world.call(STREAM_BODY, RESPONSES)
    call.connection.stream(opening)
    call.connection.receive(closing)
    world.advance(1.0)
    whole(call, opening + closing)
    seen = call.ended("completed", 200)
    assert (seen.shown.usage.input, seen.shown.usage.output) == (1, 2)


def test_responses_without_their_end_are_incomplete(world: World) -> None:
    call = world.call(STREAM_BODY, RESPONSES)
    call.connection.stream(event({"type": "response.created"}), ended=True)
    assert "error" in json.loads(call.frames[-1][6:])
    call.ended("upstream_error", 200)


# ---- after [DONE]


def test_the_answer_waits_for_the_upstream_s_end_after_done(world: World) -> None:
    call = stages.after_done(world)
    connection = call.connection
    assert not call.response.complete
    connection.end()
    assert call.response.complete
    assert world.pool.idle == [connection]
    call.ended("completed", 200)


def test_what_follows_done_passes_up_to_a_limit(world: World) -> None:
    call = stages.after_done(world)
    connection = call.connection
    more = b": more\n\n" * 1000
    for _ in range(AFTER_DONE_BYTES // len(more)):
        connection.receive(more)
    assert not call.over
    connection.receive(more)
    assert connection.gone
    assert call.response.body.count(more) == AFTER_DONE_BYTES // len(more) + 1
    call.ended("completed", 200)


def test_a_caller_who_left_at_done_is_written_to_no_more_and_counts_as_completed(world: World) -> None:
    call = stages.after_done(world)
    connection = call.connection
    call.leave()
    connection.receive(b": more\n\n")
    connection.end()
    assert world.pool.idle == [connection]
    call.ended("completed", 200)


def test_a_stalled_caller_who_leaves_at_done_lets_the_upstream_be_read_to_its_end(world: World) -> None:
    call = stages.after_done(world)
    connection = call.connection
    call.take_no_more()
    assert connection.paused
    call.leave()
    assert not connection.paused
    connection.end()
    assert world.pool.idle == [connection]
    call.ended("completed", 200)


# ---- usage on our own account


def test_usage_is_asked_for_and_taken_out_again() -> None:
    world = World(services={"include_usage": True})
    call = world.call(STREAM_BODY.replace(b"}]", b"}] "))
    sent = call.connection.request
    assert sent.body.startswith(b'{"stream_options":{"include_usage":true},')
    assert sent.fields(b"content-length") == [b"%d" % len(sent.body)]
    call.connection.stream(delta("one"), delta(finish="stop"), USAGE, DONE, ended=True)
    whole(call, delta("one") + delta(finish="stop") + DONE)
    seen = call.ended("completed", 200)
    assert (seen.shown.usage.input, seen.shown.usage.output, seen.events) == (3, 4, 2)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (b"/v1/chat/completions", ASKED),
        (b"/v1/chat/completions", b'{"stream":true,"stream_options":null}'),
        (b"/v1/chat/completions", b'{"model":"m"}'),
        (b"/v1/embeddings", STREAM_BODY),
        (b"/v1/completions", STREAM_BODY),
        (RESPONSES, STREAM_BODY),
    ],
)
def test_a_body_that_must_not_be_touched_is_sent_as_it_came(path: bytes, body: bytes) -> None:
    world = World(services={"include_usage": True})
    call = world.call(body, path)
    assert call.connection.request.body == body


def test_the_caller_s_own_usage_event_stays() -> None:
    world = World(services={"include_usage": True})
    call = world.streaming(delta("one", finish="stop"), USAGE, body=ASKED)
    call.connection.receive(DONE, ended=True)
    whole(call, delta("one", finish="stop") + USAGE + DONE)


def test_the_replay_asks_for_usage_once() -> None:
    world = World(services={"include_usage": True})
    call = world.call(STREAM_BODY)
    call.connection.answer(401, b"{}")
    assert call.connection.request.body.count(b"stream_options") == 1
