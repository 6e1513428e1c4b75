"""What each state of an exchange waits for, and what leads on to the next."""

import pytest

from fakes.caller import CHAT_BODY
from fakes.ports import access_token
from fakes.replies import COMPLETION, DONE, delta
from fakes.world import World
from mimic_proxy.errors import TokenUnavailable
from mimic_proxy.relay.admission import Slots
from mimic_proxy.relay.states import State


def test_a_call_with_all_at_hand_is_sent_within_the_callback_that_completes_it(world: World) -> None:
    call = world.arrive(length=len(CHAT_BODY))
    call.send(CHAT_BODY)
    assert (call.state, world.pool.connections[0].listener) == (State.RECEIVING, None)

    call.end()

    assert call.state is State.SENT
    sent = call.connection.request
    assert (sent.method, sent.target, sent.body, sent.complete) == (
        b"POST",
        b"/v1/chat/completions",
        CHAT_BODY,
        True,
    )
    assert sent.fields(b"authorization") == [b"Bearer first-token"]
    assert sent.fields(b"host") == [b"backend.test"]


def test_an_answer_goes_to_the_caller_and_its_connection_back_to_the_pool(world: World) -> None:
    call = world.call()
    call.connection.answer(200, COMPLETION)

    assert call.state is State.ENDED
    assert (call.response.body, call.caller.finished) == (COMPLETION, True)
    assert len(world.pool.idle) == 1
    seen = call.ended("completed", 200)
    assert (seen.attempts, seen.upstream_status, seen.error_code) == (1, 200, None)


def test_a_body_in_pieces_is_sent_as_one(world: World) -> None:
    call = world.arrive(length=len(CHAT_BODY))
    for piece in (CHAT_BODY[:1], CHAT_BODY[1:40], CHAT_BODY[40:]):
        call.send(piece)
    call.end()
    assert call.connection.request.body == CHAT_BODY


def test_an_answer_in_pieces_is_passed_on_piece_by_piece(world: World) -> None:
    call = world.call()
    connection = call.connection
    connection.head(200, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(COMPLETION))])
    assert call.state is State.STREAMING
    for piece in (COMPLETION[:10], COMPLETION[10:]):
        before = call.caller.written
        connection.receive(piece)
        assert call.caller.written == before + piece or call.caller.written.endswith(b"\r\n\r\n" + piece)
    connection.end()
    assert call.response.body == COMPLETION
    call.ended("completed", 200)


def test_every_state_is_passed_on_the_longest_way() -> None:
    world = World(kept=0, services={"slots": Slots(1, 1)})
    first = world.call()
    world.pool.connect()
    call = world.arrive(length=len(CHAT_BODY))
    states = [call.state]
    world.tokens.held = None
    call.send(CHAT_BODY)
    call.end()
    states.append(call.state)
    first.leave()
    states.append(call.state)
    world.tokens.deliver()
    states.append(call.state)
    connection = world.pool.connect()
    states.append(call.state)
    connection.stream()
    states.append(call.state)
    connection.receive(delta("one"))
    states.append(call.state)
    connection.receive(DONE, ended=True)
    states.append(call.state)

    assert states == [
        State.RECEIVING,
        State.QUEUED,
        State.TOKEN,
        State.DIALLING,
        State.SENT,
        State.HEAD,
        State.STREAMING,
        State.ENDED,
    ]
    call.ended("completed", 200)
    first.ended("client_disconnect", 499)


def test_waiting_times_are_told_apart() -> None:
    world = World(kept=0, services={"slots": Slots(1, 1)})
    first = world.call()
    world.pool.connect()
    world.tokens.held = None
    call = world.call()
    world.advance(2.0)
    first.leave()
    world.advance(3.0)
    world.tokens.deliver()
    world.advance(1.0)
    connection = world.pool.connect()
    world.advance(4.0)
    connection.answer(200, COMPLETION)

    seen = call.ended("completed", 200)
    assert (seen.queue_seconds, seen.token_wait_seconds, seen.upstream_head_seconds) == (2.0, 3.0, 4.0)
    assert seen.duration_seconds == 10.0


def test_a_dialled_connection_is_used_with_the_token_of_that_moment() -> None:
    world = World(kept=0)
    call = world.call()
    assert call.state is State.DIALLING
    world.tokens.held = access_token("newer-token", 2)
    world.pool.connect()
    assert call.connection.request.fields(b"authorization") == [b"Bearer newer-token"]


def test_a_token_that_lapses_during_the_dial_is_waited_for_and_the_connection_kept() -> None:
    world = World(kept=0)
    call = world.call()
    world.tokens.held = None
    connection = world.pool.connect()
    assert (call.state, world.pool.idle) == (State.TOKEN, [connection])

    world.tokens.deliver()

    assert call.state is State.SENT
    assert connection.request.fields(b"authorization") == [b"Bearer late-token"]
    connection.answer(200, COMPLETION)
    call.ended("completed", 200)


def test_the_wait_for_a_token_that_lapsed_during_the_dial_is_told() -> None:
    world = World(kept=0)
    call = world.call()
    world.tokens.held = None
    connection = world.pool.connect()
    world.advance(3.0)
    world.tokens.deliver()
    connection.answer(200, COMPLETION)
    assert call.ended("completed", 200).token_wait_seconds == 3.0


def test_a_token_that_is_not_to_be_had_after_the_dial_is_answered_with_its_error() -> None:
    world = World(kept=0)
    call = world.call()
    world.tokens.held = TokenUnavailable("The token service is down.", retry_after=1)
    connection = world.pool.connect()
    assert call.response.error()["code"] == "token_unavailable"
    assert world.pool.idle == [connection]
    call.ended("token_error", 503)


def test_a_large_body_is_read_outside_of_the_event_loop(world: World) -> None:
    body = b'{"model":"m","stream":true,"input":"' + b"x" * (1 << 20) + b'"}'
    call = world.call(body)
    assert (call.state, len(world.offloaded)) == (State.PARSING, 1)

    world.run_offloaded()

    assert call.state is State.SENT
    assert call.connection.request.body == body
    call.connection.stream(delta("one", finish="stop"), DONE, ended=True)
    seen = call.ended("completed", 200)
    assert (seen.model, seen.stream) == ("m", True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (b"GET", b"/v1/batches", b""),
        (b"DELETE", b"/v1/files/a%2Fb", b""),
        (b"POST", b"/v1/batches/b1/cancel", b""),
        (b"POST", b"/v1/moderations", b"not JSON"),
        (b"POST", b"/v1/completions", b"[]"),
    ],
)
def test_other_routes_pass_whatever_their_body_is(world: World, method: bytes, path: bytes, body: bytes) -> None:
    call = world.call(body, path, method=method, query=b"limit=2&after=%2F")
    sent = call.connection.request
    assert (sent.method, sent.target, sent.body) == (method, path + b"?limit=2&after=%2F", body)
    call.connection.answer(200, b"{}")
    assert call.ended("completed", 200).operation == "passthrough"


@pytest.mark.parametrize("body", [b"", b"not JSON", b"[]", b'{"model":', b'"text"', b"\xef\xbb\xbf{}"])
def test_a_first_class_route_refuses_what_is_no_json_object(world: World, body: bytes) -> None:
    call = world.call(body)
    assert call.response.error()["code"] == "invalid_request"
    seen = call.ended("client_error", 400)
    assert (seen.attempts, seen.error_code) == (0, "invalid_request")


def test_a_large_body_that_is_no_json_is_refused_as_well(world: World) -> None:
    call = world.call(b"[" + b" " * (1 << 20))
    world.run_offloaded()
    call.ended("client_error", 400)


@pytest.mark.parametrize("path", [b"/v1/completions", b"/v1/moderations"])
def test_a_large_body_that_is_no_json_passes_on_other_routes(world: World, path: bytes) -> None:
    call = world.call(b"[" + b" " * (1 << 20), path)
    world.run_offloaded()
    assert call.state is State.SENT


def test_a_fault_of_the_worker_thread_is_answered(world: World) -> None:
    call = world.call(b"{}" + b" " * (1 << 20))
    ((_, done),) = world.offloaded
    done(MemoryError())
    assert call.response.error()["code"] == "internal_error"
    call.ended("internal_error", 500)


def test_a_caller_who_leaves_while_the_body_is_read_is_forgotten(world: World) -> None:
    call = world.call(b"{}" + b" " * (1 << 20))
    call.leave()
    world.run_offloaded()
    call.ended("client_disconnect", 499)


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
def test_a_request_without_a_body_is_sent_without_a_length(world: World, method: bytes) -> None:
    call = world.arrive(b"/v1/files/f1", method=method, fields=[])
    call.end()
    names = [name for name, _ in call.connection.request.headers]
    assert b"content-length" not in names
    assert b"transfer-encoding" not in names


def test_a_chunked_json_body_is_sent_with_its_length(world: World) -> None:
    call = world.arrive(fields=[(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")])
    call.send(CHAT_BODY)
    call.end()
    sent = call.connection.request
    assert (sent.body, sent.fields(b"content-length")) == (CHAT_BODY, [b"%d" % len(CHAT_BODY)])
    assert sent.fields(b"transfer-encoding") == []


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "completed"),
        (201, "completed"),
        (204, "completed"),
        (304, "completed"),
        (400, "client_error"),
        (403, "token_error"),
        (404, "client_error"),
        (408, "client_error"),
        (429, "client_error"),
        (500, "upstream_error"),
        (503, "upstream_error"),
        (599, "upstream_error"),
        (999, "upstream_error"),
    ],
)
def test_the_backends_own_status_and_body_pass(world: World, status: int, outcome: str) -> None:
    body = b"" if status in (204, 304) else b'{"error":{"message":"m","vendor":1}}'
    call = world.call()
    fields = [] if status in (204, 304) else [(b"content-length", b"%d" % len(body))]
    call.connection.head(status, [*fields, (b"x-vendor", b"kept")], body, ended=True)
    if status < 600:
        assert (call.response.body, call.response.value(b"x-vendor")) == (body, b"kept")
        seen = call.ended(outcome, status)
        assert (seen.upstream_status, seen.error_code) == (status, None)
    else:
        assert call.caller.written.startswith(b"HTTP/1.1 999 \r\n")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_not_passed_on(world: World, status: int) -> None:
    call = world.call()
    call.connection.answer(status, b"", [(b"location", b"https://elsewhere.example/")])
    assert b"elsewhere" not in call.caller.written
    assert call.response.error()["code"] == "upstream_bad_response"
    call.ended("upstream_error", 502)
    assert world.pool.idle == []


def test_an_answer_that_is_close_delimited_is_chunked_for_the_caller(world: World) -> None:
    call = world.call()
    call.connection.head(200, [(b"content-type", b"text/plain")], b"one")
    call.connection.receive(b"two")
    call.connection.end()
    assert (call.response.body, call.response.fields(b"transfer-encoding")) == (b"onetwo", [b"chunked"])
    call.ended("completed", 200)
    assert world.pool.idle == [], "a connection whose end was the answer's end cannot be kept"


def test_an_old_caller_gets_a_body_that_ends_with_the_connection(world: World) -> None:
    call = world.call(http11=False, keep_alive=False)
    call.connection.head(200, [(b"transfer-encoding", b"chunked")], b"one")
    call.connection.receive(b"two", ended=True)
    assert (call.response.body, call.caller.finished) == (b"onetwo", False)
    assert call.response.fields(b"transfer-encoding") == []
    assert call.response.fields(b"connection") == [b"close"]
    call.ended("completed", 200)


def test_the_answer_says_close_where_the_caller_asked_for_it(world: World) -> None:
    call = world.call(keep_alive=False)
    call.connection.answer(200, COMPLETION)
    assert call.response.fields(b"connection") == [b"close"]
    assert call.caller.finished is False
    call.ended("completed", 200)


def test_connections_close_after_their_answer_while_draining() -> None:
    world = World(services={"draining": True})
    call = world.call()
    call.connection.answer(200, COMPLETION)
    assert (call.response.fields(b"connection"), call.caller.finished) == ([b"close"], False)
    call.ended("completed", 200)
