"""Bodies that stream through: in order, with back-pressure, never replayed, stopped by an early answer."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import stages
from fakes.replies import COMPLETION
from fakes.world import FORM, UPLOAD_PATH, World
from mimic_proxy.relay.admission import Budget, Slots
from mimic_proxy.relay.states import State

PARTS = [b"--b\r\n", b"content-disposition: form-data; name=file\r\n\r\n", b"\x00\xff" * 500, b"\r\n--b--\r\n"]


@pytest.mark.parametrize(
    ("length", "coding"), [(sum(map(len, PARTS)), b"content-length"), (None, b"transfer-encoding")]
)
def test_a_body_passes_as_it_comes_framed_as_it_came(world: World, length: int | None, coding: bytes) -> None:
    fields = [*FORM] if length else [*FORM, (b"transfer-encoding", b"chunked")]
    call = world.arrive(UPLOAD_PATH, length=length, fields=fields)
    assert call.state is State.RECEIVING, "a body that may never come takes no slot and no connection"
    for part in PARTS:
        call.send(part)
        assert call.state is State.UPLOADING, "the head goes out with the first piece"
        assert call.connection.sent.count(part) == 1
    call.end()

    sent = call.connection.request
    assert (sent.body, sent.complete) == (b"".join(PARTS), True)
    framing = [name for name, _ in sent.headers if name in (b"content-length", b"transfer-encoding")]
    assert framing == [coding]
    call.connection.answer(200, b"{}")
    assert call.ended("completed", 200).request_bytes == sum(map(len, PARTS))


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=6), st.booleans())
@settings(max_examples=60)
def test_any_split_of_a_body_reaches_the_backend_whole(body: bytes, cuts: list[int], late: bool) -> None:
    world = World(kept=0 if late else 1)
    call = world.upload()
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    for number, (begin, stop) in enumerate(itertools.pairwise(places)):
        call.send(body[begin:stop])
        if late and number == 1:
            world.pool.connect()
    call.end()
    if world.pool.dials:
        world.pool.connect()
    assert call.connection.request.body == body
    assert call.connection.request.complete


@pytest.mark.parametrize("content_type", [b"text/csv", b"application/octet-stream", b"multipart/form-data; boundary=b"])
def test_a_body_that_is_not_json_streams_on_any_passed_route(world: World, content_type: bytes) -> None:
    call = world.arrive(b"/v1/batches", length=6, fields=[(b"content-type", content_type)])
    call.send(b"a,b")
    assert call.connection.request.body == b"a,b"


def test_a_first_class_route_reads_json_whatever_its_type_says(world: World) -> None:
    call = world.call(fields=[(b"content-type", b"text/plain")])
    assert call.connection.request.complete


def test_the_caller_is_held_back_until_there_is_a_connection() -> None:
    world = World(kept=0)
    call = world.upload()
    call.send(PARTS[0])
    assert call.caller.paused
    world.pool.connect()
    assert not call.caller.paused
    assert call.connection.request.body == PARTS[0]


def test_a_caller_is_not_paused_once_its_request_is_complete() -> None:
    """A paused transport does not see the caller leave."""
    world = World(kept=0)
    call = world.upload()
    call.send(b"--b--")
    call.end()
    assert not call.caller.paused
    world.pool.connect()
    assert not call.caller.paused
    assert call.connection.request.complete


def test_the_caller_is_held_back_while_the_backend_takes_no_more(world: World) -> None:
    call = stages.uploading(world)
    connection = call.connection
    connection.take_no_more()
    assert call.caller.paused
    connection.take_no_more(False)
    assert not call.caller.paused
    call.send(b"rest")
    assert connection.request.body == b"--b\r\nrest"


def test_a_connection_that_is_found_full_holds_the_caller_back(world: World) -> None:
    call = stages.uploading(world)
    call.connection.writable = False
    call.send(b"more")
    assert call.caller.paused


def test_a_connection_that_is_full_at_once_holds_the_caller_back() -> None:
    world = World(kept=0)
    call = world.upload()
    call.send(PARTS[0])
    connections = world.pool.connections

    class Full(type(connections)):  # type: ignore[misc]
        def append(self, connection: object) -> None:
            connection.writable = False  # type: ignore[attr-defined]
            super().append(connection)

    world.pool.connections = Full(connections)
    world.pool.connect()
    assert call.caller.paused


def test_an_upload_that_stalled_and_went_on_is_not_timed_by_what_was_before() -> None:
    world = World(send=60.0)
    call = stages.upload_held_back(world)
    world.advance(50.0)
    call.connection.take_no_more(False)
    world.advance(50.0)
    assert call.state is State.UPLOADING
    world.advance(10.0)
    call.ended("client_error", 408)


# ---- answers before the request is complete


def test_an_early_answer_stops_the_upload_and_is_passed_on(world: World) -> None:
    call = stages.uploading(world)
    connection = call.connection
    connection.head(413, [(b"content-length", b"2")], b"no", ended=True)
    assert (call.response.status, call.response.body) == (413, b"no")
    assert call.response.fields(b"connection") == [b"close"]
    assert (call.caller.finished, connection.gone) == (False, True)
    call.ended("client_error", 413)


def test_nothing_more_is_sent_after_an_early_head(world: World) -> None:
    call = stages.upload_answered_early(world)
    connection = call.connection
    before = connection.sent
    call.send(b"more")
    call.end()
    assert connection.sent == before
    connection.receive(b"67890", ended=True)
    assert connection.gone, "its request was never sent in full"
    call.ended("client_error", 413)


def test_an_answer_that_said_close_is_followed_by_a_close(world: World) -> None:
    call = stages.upload_answered_early(world)
    assert call.caller.written.count(b"connection: close\r\n") == 1
    call.end()
    call.connection.receive(b"67890", ended=True)
    assert call.caller.finished is False


def test_an_early_head_lets_a_held_caller_go_on(world: World) -> None:
    call = stages.upload_held_back(world)
    call.connection.head(200, [(b"content-length", b"2")])
    assert not call.caller.paused
    world.advance(100.0)
    assert call.state is State.STREAMING, "neither side stalls any more"


def test_an_early_stream_is_relayed_while_the_rest_is_thrown_away(world: World) -> None:
    call = stages.uploading(world)
    call.connection.stream(b'data: {"type":"transcript.text.delta"}\n\n')
    call.send(b"more")
    call.connection.receive(b'data: {"type":"transcript.text.done"}\n\n', ended=True)
    call.ended("completed", 200)


# ---- limits


def test_a_declared_length_beyond_the_limit_is_refused_before_a_byte_is_read() -> None:
    world = World(max_body_bytes=10, max_upload_bytes=100)
    call = world.arrive(UPLOAD_PATH, length=101, fields=FORM)
    assert call.response.error()["code"] == "request_too_large"
    assert call.caller.finished is False
    call.ended("client_error", 413)


def test_an_undeclared_length_beyond_the_limit_aborts_the_upload() -> None:
    world = World(max_body_bytes=10, max_upload_bytes=100)
    call = world.upload()
    call.send(b"x" * 100)
    connection = call.connection
    call.send(b"x")
    assert connection.gone
    assert call.response.error()["code"] == "request_too_large"
    call.ended("client_error", 413)


def test_uploads_take_nothing_of_the_budget() -> None:
    world = World(services={"budget": Budget(10)})
    call = world.upload()
    call.send(b"x" * 1000)
    call.end()
    call.connection.answer(200, COMPLETION)
    call.ended("completed", 200)


def test_an_upload_waits_for_its_slot_held_back() -> None:
    world = World(services={"slots": Slots(1, 1)}, kept=2)
    first = world.call()
    call = world.upload()
    call.send(b"--b\r\n")
    assert (call.state, call.caller.paused) == (State.QUEUED, True)
    first.leave()
    assert (call.state, call.caller.paused) == (State.UPLOADING, False)
    call.send(b"--b--")
    call.end()
    assert call.connection.request.body == b"--b\r\n--b--"


def test_a_caller_held_back_by_us_is_not_blamed_for_being_slow() -> None:
    """SEND_TIMEOUT shorter than QUEUE_TIMEOUT: the wait for the slot is ours."""
    world = World(send=5.0, queue=60.0, services={"slots": Slots(1, 1)}, kept=2)
    first = world.call()
    call = world.upload()
    call.send(b"--b\r\n")
    world.advance(20.0)
    world.tokens.held = None
    first.leave()
    world.advance(1.0)
    assert (call.state, call.over) == (State.TOKEN, False)
    world.tokens.deliver()
    assert call.state is State.UPLOADING
