"""Event streams: a head that is held for the verdict, whole events only, and an end that the caller can trust."""

import itertools
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import stages
from fakes.caller import STREAM_BODY, error_frame
from fakes.replies import DONE, SSE_FIELDS, STORY, delta, event
from fakes.world import Call, World
from mimic_proxy.relay.exchange import AFTER_DONE_BYTES, State

USAGE = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
ASKED = b'{"stream_options":{"include_usage":true},"model":"m","stream":true}'
RESPONSES = b"/v1/responses"


def whole(call: Call, body: bytes) -> None:
    """The caller has got exactly this stream, properly ended."""
    assert call.response.body == body
    assert call.response.complete


# ---- the head


def test_the_head_of_a_stream_is_ours_with_the_backend_s_fields_kept(world: World) -> None:
    fields = [
        (b"Content-Type", b"text/event-stream"),
        (b"Cache-Control", b"max-age=60"),
        (b"X-Accel-Buffering", b"yes"),
        (b"x-ratelimit-remaining", b"7"),
        (b"openai-model", b"m"),
        (b"set-cookie", b"a=b"),
        (b"x-request-id", b"backend-1"),
    ]
    call = world.call(STREAM_BODY)
    call.connection.stream(STORY, fields=fields, ended=True)
    got = call.response
    assert got.value(b"content-type") == b"text/event-stream; charset=utf-8"
    assert (got.value(b"cache-control"), got.value(b"x-accel-buffering")) == (b"no-cache", b"no")
    assert (got.value(b"x-ratelimit-remaining"), got.value(b"openai-model")) == (b"7", b"m")
    assert (got.value(b"set-cookie"), got.value(b"x-request-id")) == (None, b"backend-1")
    whole(call, STORY)
    call.ended("completed", 200)


def test_the_backend_is_asked_for_a_stream_that_can_be_read_on_the_way(world: World) -> None:
    fields = [(b"content-type", b"application/json"), (b"accept-encoding", b"gzip, br")]
    call = world.call(STREAM_BODY, fields=fields)
    assert call.connection.request.fields(b"accept-encoding") == [b"identity"]


def test_the_head_is_held_until_an_event_classifies_the_stream(world: World) -> None:
    call = world.streaming(b"\n", b": hello\n\n", b"event: ping\n\n")
    assert (call.state, call.caller.written) == (State.HEAD, b"")
    call.connection.receive(delta(role="assistant")[:-1])
    assert call.caller.written == b""
    call.connection.receive(b"\n")
    assert call.state is State.STREAMING
    assert call.response.body == b"\n: hello\n\nevent: ping\n\n" + delta(role="assistant")


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        ({"message": "m", "code": 429}, 429, "client_error"),
        ({"message": "m", "code": 503}, 503, "upstream_error"),
        ({"message": "m", "code": 403}, 403, "token_error"),
        ({"message": "m", "code": 600}, 502, "upstream_error"),
        ({"message": "m", "code": 200}, 502, "upstream_error"),
        ({"message": "m", "code": "rate_limit"}, 502, "upstream_error"),
        ({"message": "m"}, 502, "upstream_error"),
        ("overloaded", 502, "upstream_error"),
    ],
)
@pytest.mark.parametrize("ended", [True, False])
def test_a_first_event_that_is_an_error_becomes_an_answer_with_its_status(
    world: World, error: object, status: int, outcome: str, ended: bool
) -> None:
    call = world.call(STREAM_BODY)
    connection = call.connection
    connection.stream(b": hello\n\n", event({"error": error}), fields=[*SSE_FIELDS, (b"x-request-id", b"backend-1")])
    assert call.response.json() == {"error": error}
    assert call.response.fields(b"content-type") == [b"application/json"]
    assert call.response.value(b"x-request-id") == b"backend-1"
    assert connection.gone, "its stream was not read to the end"
    seen = call.ended(outcome, status)
    assert (seen.upstream_status, seen.error_code) == (200, None)


def test_an_error_event_that_was_all_keeps_its_connection(world: World) -> None:
    call = world.call(STREAM_BODY)
    call.connection.stream(event({"error": {"message": "m"}}), ended=True)
    assert len(world.pool.idle) == 1
    call.ended("upstream_error", 502)


def test_a_stream_of_done_alone_is_an_answer(world: World) -> None:
    call = world.streaming(DONE)
    call.connection.end()
    whole(call, DONE)
    call.ended("completed", 200)


@pytest.mark.parametrize("events", [b"", b": hello\n\n", b"\n\n", b"data: {"])
def test_a_stream_that_ends_before_its_first_event_is_answered_with_502(world: World, events: bytes) -> None:
    call = world.streaming(events)
    call.connection.end()
    assert call.response.error()["code"] == "upstream_bad_response"
    call.ended("upstream_error", 502)


def test_no_more_than_64_kib_are_held_of_what_classifies_nothing(world: World) -> None:
    comment = b": " + b"x" * 30_000 + b"\n\n"
    call = world.streaming(comment, comment)
    assert call.state is State.HEAD
    call.connection.receive(comment)
    assert call.state is State.STREAMING
    assert call.response.body == comment * 3


def test_an_overlong_first_event_releases_the_head(world: World) -> None:
    call = world.streaming(stages.LONG_EVENT)
    assert call.state is State.STREAMING
    assert call.response.body == stages.LONG_EVENT


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_stream_with_another_status_passes_as_it_is(world: World, status: int) -> None:
    call = world.call(STREAM_BODY)
    call.connection.head(status, [*SSE_FIELDS, (b"content-length", b"10")], b"data: half")
    assert call.response.body == b"data: half"
    call.connection.end()
    assert call.over


def test_an_encoded_stream_passes_unread(world: World) -> None:
    packed = zlib.compress(STORY)
    fields = [
        (b"content-type", b"text/event-stream"),
        (b"content-encoding", b"gzip"),
        (b"transfer-encoding", b"chunked"),
    ]
    call = world.call(STREAM_BODY)
    call.connection.head(200, fields, packed[:9])
    assert call.response.value(b"content-encoding") == b"gzip"
    call.connection.receive(packed[9:])
    call.connection.lose()
    assert (call.response.body, call.response.complete) == (packed, False)
    call.ended("upstream_error", 200)


# ---- events


def test_only_whole_events_are_written(world: World) -> None:
    call = world.streaming(delta("one"))
    seen = [call.response.body]
    for byte in (delta("two") + delta("three")).split(b",")[:-1]:
        call.connection.receive(byte + b",")
        seen.append(call.response.body)
    assert {body.endswith(b"\n\n") for body in seen} == {True}


def test_a_read_is_written_at_once(world: World) -> None:
    call = world.streaming(delta("one"))
    for text in ("two", "three"):
        before = call.caller.written
        call.connection.receive(delta(text))
        assert call.caller.written == before + b"%x\r\n%b\r\n" % (len(delta(text)), delta(text))


def test_a_cut_inside_an_overlong_event_is_a_cut_for_the_caller(world: World) -> None:
    call = world.streaming(delta("one"), stages.LONG_EVENT)
    call.connection.end()
    assert (call.caller.was_cut, call.response.complete) == (True, False)
    call.ended("upstream_error", 200)


def test_after_an_overlong_event_our_own_frames_fit_again(world: World) -> None:
    call = world.streaming(delta("one"), stages.LONG_EVENT, b'"}}]}\n\n')
    call.connection.lose()
    assert error_frame(call.frames[-1])["code"] == "upstream_bad_response"
    call.ended("upstream_error", 200)


@given(st.lists(st.integers(1, len(STORY) - 1), max_size=12))
@settings(max_examples=80)
def test_any_split_of_a_stream_reaches_the_caller_the_same(cuts: list[int]) -> None:
    call = World().streaming()
    places = [0, *sorted(set(cuts)), len(STORY)]
    for begin, stop in itertools.pairwise(places):
        call.connection.receive(STORY[begin:stop])
    call.connection.end()
    whole(call, STORY)
    call.ended("completed", 200)


_PIECES = st.sampled_from(
    [
        b"data: {}\n\n",
        b"\r\n",
        b"\r",
        b"\n",
        b": c\n\n",
        delta("x"),
        delta("x")[:9],
        b"\xff\x00",
        b"id: 1\ndata:\n\n",
        b"data",
    ]
)


@given(st.lists(_PIECES, max_size=20), st.booleans())
@settings(max_examples=150)
def test_any_bytes_reach_the_caller_in_order_and_never_half_an_event(pieces: list[bytes], done: bool) -> None:
    """Whatever the backend sends: a prefix of it, then at most one frame of ours."""
    sent = delta("first") + b"".join(pieces) + (b"\n\n" + DONE if done else b"")
    call = World().streaming(delta("first"))
    for piece in pieces:
        call.connection.receive(piece)
    if done:
        call.connection.receive(b"\n\n" + DONE)
    call.connection.end()
    body = call.response.body
    if body != sent:
        ours = body[body.rindex(b"data: {") :]
        assert error_frame(ours)["code"] == "upstream_bad_response"
        assert sent.startswith(body.removesuffix(ours))
    assert call.response.complete
    assert call.over


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.booleans(), st.booleans())
@settings(max_examples=80)
def test_any_split_of_any_body_reaches_the_caller_the_same(
    body: bytes, cuts: list[int], declared: bool, http11: bool
) -> None:
    call = World().call(http11=http11, keep_alive=http11)
    framing = (b"content-length", b"%d" % len(body)) if declared else (b"transfer-encoding", b"chunked")
    call.connection.head(200, [(b"content-type", b"application/octet-stream"), framing])
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    for begin, stop in itertools.pairwise(places):
        call.connection.receive(body[begin:stop])
    call.connection.end()
    assert call.response.body == body
    call.ended("completed", 200)


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
    assert (seen.input_tokens, seen.output_tokens) == (1, 2)


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
    assert (seen.input_tokens, seen.output_tokens, seen.events) == (3, 4, 2)


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
