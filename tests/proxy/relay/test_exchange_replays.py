"""What is tried again, once, and what never is: refused tokens and connections that died unused."""

import pytest

from fakes import stages
from fakes.caller import CHAT_BODY, STREAM_BODY
from fakes.ports import access_token
from fakes.replies import COMPLETION, DONE, delta
from fakes.world import World
from mimic_proxy.errors import TokenUnavailable, UpstreamAuthFailed
from mimic_proxy.relay.admission import Budget
from mimic_proxy.relay.states import State

REFUSAL = b'{"error":{"message":"invalid token"}}'
REFUSED_EVENT = b'data: {"error":{"message":"invalid token","code":401}}\n\n'


# ---- a refused token


def test_a_refused_token_is_replaced_and_the_request_replayed(world: World) -> None:
    call = world.call()
    world.clock.now += 3.0
    call.connection.answer(401, REFUSAL)

    assert world.tokens.refused == [(access_token(), 1000.0)]
    sent = call.connection.request
    assert (sent.fields(b"authorization"), sent.body) == ([b"Bearer second-token"], CHAT_BODY)
    assert call.caller.written == b""

    call.connection.answer(200, COMPLETION)

    assert call.response.body == COMPLETION
    seen = call.ended("completed", 200)
    assert (seen.attempts, seen.retried, seen.upstream_status) == (2, "unauthorized", 200)
    assert [token.generation for token, _ in world.tokens.accepted_at] == [2]


def test_a_refusal_that_was_read_whole_keeps_its_connection(world: World) -> None:
    call = world.call()
    connection = call.connection
    connection.answer(401, REFUSAL)
    assert call.connection is connection


def test_a_refusal_that_is_still_coming_costs_its_connection() -> None:
    world = World(kept=2)
    call = world.call()
    connection = call.connection
    connection.head(401, [(b"content-length", b"100")], b"{")
    assert connection.gone
    assert call.connection is not connection


def test_the_replay_waits_for_the_new_token(world: World) -> None:
    world.tokens.next = None
    call = world.call()
    call.connection.answer(401, REFUSAL)
    assert (call.state, call.over) == (State.TOKEN, False)
    world.advance(2.0)
    world.tokens.deliver()
    assert call.state is State.SENT
    call.connection.answer(200, COMPLETION)
    assert call.ended("completed", 200).token_wait_seconds == 2.0


def test_a_token_refused_again_is_not_replaced_again(world: World) -> None:
    call = world.call()
    call.connection.answer(401, REFUSAL)
    call.connection.answer(401, REFUSAL)
    assert call.response.error()["code"] == "upstream_auth_failed"
    assert call.response.value(b"x-should-retry") == b"false"
    assert len(world.tokens.refused) == 1
    seen = call.ended("token_error", 502)
    assert (seen.attempts, seen.upstream_status) == (2, 401)


def test_a_token_that_was_revoked_right_after_it_was_vouched_for_is_replaced(world: World) -> None:
    """A 2xx of an older request makes the refused token look good: the replay carries it again, and is refused too."""
    second = world.tokens.next
    call = world.call()
    world.tokens.next = world.tokens.held
    call.connection.answer(401, REFUSAL)
    world.tokens.next = second
    call.connection.answer(401, REFUSAL)
    call.connection.answer(200, COMPLETION)
    assert call.ended("completed", 200).attempts == 3


def test_a_token_that_always_looks_good_and_never_is_ends_the_replays(world: World) -> None:
    world.tokens.next = world.tokens.held
    call = world.call()
    for _ in range(4):
        call.connection.answer(401, REFUSAL)
    assert call.response.error()["code"] == "upstream_auth_failed"
    assert call.ended("token_error", 502).attempts == 4


def test_where_there_is_no_other_token_the_refusal_is_final_at_once(world: World) -> None:
    world.tokens.next = UpstreamAuthFailed("There is no other token.", should_retry=False)
    call = world.call()
    call.connection.answer(401, REFUSAL)
    assert call.response.error()["code"] == "upstream_auth_failed"
    assert call.ended("token_error", 502).attempts == 1


def test_a_token_that_cannot_be_replaced_is_answered_with_the_reason(world: World) -> None:
    world.tokens.next = None
    call = world.call()
    call.connection.answer(401, REFUSAL)
    world.tokens.deliver(TokenUnavailable("The token service is down.", retry_after=3))
    assert call.response.error()["code"] == "token_unavailable"
    call.ended("token_error", 503)


def test_a_caller_who_leaves_during_the_refresh_is_forgotten(world: World) -> None:
    world.tokens.next = None
    call = world.call()
    call.connection.answer(401, REFUSAL)
    call.leave()
    call.ended("client_disconnect", 499)


def test_a_stream_whose_first_event_refuses_the_token_is_replayed() -> None:
    world = World(kept=2)
    call = world.streaming(b": hello\n\n", REFUSED_EVENT)
    assert call.caller.written == b""
    sent = call.connection.request
    assert (sent.fields(b"authorization"), sent.body) == ([b"Bearer second-token"], STREAM_BODY)
    call.connection.stream(delta("one", finish="stop"), DONE, ended=True)
    assert call.frames == [delta("one", finish="stop"), DONE]
    assert call.ended("completed", 200).retried == "unauthorized"


def test_a_stream_that_refuses_the_token_again_is_answered_with_502() -> None:
    world = World(kept=2)
    call = world.streaming(REFUSED_EVENT)
    call.connection.stream(REFUSED_EVENT)
    assert call.response.error()["code"] == "upstream_auth_failed"
    call.ended("token_error", 502)


def test_a_stream_is_accepted_with_its_first_event_not_with_its_head(world: World) -> None:
    call = world.streaming()
    assert world.tokens.accepted_at == []
    call.connection.receive(delta("one"))
    assert [token.generation for token, _ in world.tokens.accepted_at] == [1]


def test_a_stream_that_a_heartbeat_began_still_vouches_for_its_token() -> None:
    world = World(heartbeat_after=5.0)
    call = stages.after_a_heartbeat(world)
    call.connection.stream(delta("one"))
    assert [token.generation for token, _ in world.tokens.accepted_at] == [1]


@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_only_success_vouches_for_a_token(world: World, status: int) -> None:
    call = world.call()
    call.connection.answer(status, b"{}")
    assert (call.over, world.tokens.accepted_at, world.tokens.refused) == (True, [], [])


def test_nothing_is_replayed_once_a_byte_went_to_the_caller(world: World) -> None:
    call = world.streaming(delta("one"))
    call.connection.receive(REFUSED_EVENT, ended=True)
    assert call.frames == [delta("one"), REFUSED_EVENT]
    assert world.tokens.refused == []
    call.ended("upstream_error", 200)


def test_a_refusal_after_a_heartbeat_becomes_an_error_frame_and_condemns_the_token() -> None:
    world = World(heartbeat_after=5.0)
    call = stages.after_a_heartbeat(world)
    call.connection.answer(401, REFUSAL)
    assert b'"upstream_auth_failed"' in call.frames[-1]
    assert len(world.tokens.refused) == 1, "the next request needs another token"
    call.ended("token_error", 200)


def test_an_upload_whose_token_is_refused_is_for_its_caller_to_repeat(world: World) -> None:
    call = stages.uploading(world)
    connection = call.connection
    connection.answer(401, REFUSAL)
    assert call.response.error()["code"] == "token_unavailable"
    assert call.response.value(b"x-should-retry") == b"true"
    assert (len(world.tokens.refused), connection.gone) == (1, True)
    call.ended("token_error", 503)


def test_an_upload_waits_for_no_refresh(world: World) -> None:
    world.tokens.next = None
    call = stages.upload_sent(world)
    call.connection.answer(401, REFUSAL)
    call.ended("token_error", 503)


def test_an_upload_is_not_to_be_repeated_where_there_is_no_other_token(world: World) -> None:
    world.tokens.next = UpstreamAuthFailed("There is no other token.", should_retry=False)
    call = stages.upload_sent(world)
    call.connection.answer(401, REFUSAL)
    assert call.response.value(b"x-should-retry") == b"false"
    call.ended("token_error", 502)


# ---- a kept connection that was dead


def test_a_request_that_a_kept_connection_lost_is_replayed_on_a_fresh_one() -> None:
    world = World(kept=2)
    call = world.call()
    world.clock.now += 1.0
    call.connection.lose()
    assert call.state is State.DIALLING, "the other kept one may be dead as well"
    world.pool.connect()
    assert call.connection.request.body == CHAT_BODY
    call.connection.answer(200, COMPLETION)
    seen = call.ended("completed", 200)
    assert (seen.attempts, seen.retried) == (2, "connect")
    assert world.services.breaker.state == "closed"


def test_a_408_in_that_time_counts_as_a_loss(world: World) -> None:
    call = world.call()
    connection = call.connection
    connection.head(408, [(b"connection", b"close"), (b"content-length", b"0")], ended=True)
    assert (call.state, connection.gone) == (State.DIALLING, True)
    world.pool.connect().answer(200, COMPLETION)
    assert call.ended("completed", 200).retried == "connect"


def lost_on_a_fresh_connection(world: World) -> None:
    world.pool.forget_all()
    world.call()
    world.pool.connect().lose()


def lost_late(world: World) -> None:
    call = world.call()
    world.advance(1.01)
    call.connection.lose()


def lost_twice(world: World) -> None:
    call = world.call()
    call.connection.lose()
    connection = world.pool.connect()
    connection.reused = True
    connection.lose()


def lost_after_an_interim_answer(world: World) -> None:
    call = world.call()
    call.connection.answered = True
    call.connection.lose()


def lost_after_the_head_of_a_stream(world: World) -> None:
    world.streaming().connection.lose()


def lost_where_it_is_switched_off(world: World) -> None:
    world.services.retry_dead_connection = False
    world.call().connection.lose()


def lost_with_an_upload(world: World) -> None:
    stages.upload_sent(world).connection.lose()


@pytest.mark.parametrize(
    "lose",
    [
        lost_on_a_fresh_connection,
        lost_late,
        lost_twice,
        lost_after_an_interim_answer,
        lost_after_the_head_of_a_stream,
        lost_where_it_is_switched_off,
        lost_with_an_upload,
    ],
)
def test_other_losses_are_answered_with_502(world: World, lose: object) -> None:
    lose(world)  # type: ignore[operator]
    (call,) = world.calls
    assert call.response.error()["code"] == "upstream_bad_response"
    call.ended("upstream_error", 502)


def test_a_loss_after_a_heartbeat_is_not_replayed() -> None:
    world = World(heartbeat_after=0.5)
    call = world.call(STREAM_BODY)
    world.advance(0.5)
    call.connection.lose()
    assert b'"upstream_bad_response"' in call.frames[-1]
    call.ended("upstream_error", 200)


@pytest.mark.parametrize("fields", [[(b"content-length", b"0")], [(b"connection", b"close")]])
def test_a_408_that_is_late_or_keeps_its_connection_passes(world: World, fields: list[tuple[bytes, bytes]]) -> None:
    call = world.call()
    if fields[0][0] == b"connection":
        world.advance(1.01)
    call.connection.head(408, [*fields, (b"content-type", b"text/plain")], ended=True)
    call.ended("client_error", 408)


def test_a_replay_whose_dial_fails_tells_of_the_dial(world: World) -> None:
    call = world.call()
    call.connection.lose()
    world.pool.refuse()
    assert call.response.error()["code"] == "upstream_unreachable"
    seen = call.ended("upstream_error", 502)
    assert (seen.attempts, seen.retried) == (2, "connect")


def test_a_replay_after_a_refusal_may_itself_find_a_dead_connection(world: World) -> None:
    call = world.call()
    call.connection.answer(401, REFUSAL)
    call.connection.lose()
    connection = world.pool.connect()
    assert connection.request.fields(b"authorization") == [b"Bearer second-token"]
    connection.answer(200, COMPLETION)
    assert call.ended("completed", 200).attempts == 3


def test_a_token_that_lapses_during_the_replay_s_dial_is_waited_for(world: World) -> None:
    call = world.call()
    call.connection.lose()
    world.tokens.held = None
    world.pool.connect()
    world.tokens.deliver()
    assert call.connection.request.fields(b"authorization") == [b"Bearer late-token"]
    call.connection.answer(200, COMPLETION)
    call.ended("completed", 200)


# ---- the body that a replay needs


def test_the_body_is_held_until_the_answer_is_classified() -> None:
    budget = Budget(1 << 20)
    world = World(services={"budget": budget})
    call = world.streaming(b": hello\n\n")
    assert budget.held == len(STREAM_BODY)
    call.connection.receive(delta("one"))
    assert budget.held == 0


def test_the_head_of_an_answer_that_is_no_stream_classifies_it() -> None:
    budget = Budget(1 << 20)
    world = World(services={"budget": budget})
    call = world.call()
    call.connection.head(200, [(b"content-length", b"5")])
    assert budget.held == 0
