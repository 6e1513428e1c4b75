"""Event streams: a head that is held for the verdict, whole events only, and an end that the caller can trust."""

import itertools
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import stages
from fakes.caller import STREAM_BODY, error_frame
from fakes.replies import DONE, SSE_FIELDS, STORY, delta, event
from fakes.world import Call, World
from mimic_proxy.relay.states import State


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
    assert (call.state, call.caller.written) == (State.HEAD, b"")
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
