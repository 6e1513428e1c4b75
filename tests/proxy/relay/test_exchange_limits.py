"""Who may start: slots, breaker, budget, sizes; and when a caller who asks is told to send its body."""

import pytest

from fakes import stages
from fakes.caller import CHAT_BODY
from fakes.ports import access_token
from fakes.replies import COMPLETION, JSON_FIELDS, Fields, delta
from fakes.world import FORM, UPLOAD_PATH, Call, World
from mimic_proxy.errors import TokenUnavailable
from mimic_proxy.relay.admission import Breaker, Budget, Slots
from mimic_proxy.relay.states import State

ASKING = [*JSON_FIELDS, (b"expect", b"100-continue")]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# ---- slots


def test_who_finds_all_slots_taken_waits_in_order() -> None:
    world = World(kept=3, services={"slots": Slots(1, 5)})
    first, second, third = world.call(), world.call(), world.call()
    assert [call.state for call in world.calls] == [State.SENT, State.QUEUED, State.QUEUED]
    first.connection.answer(200, COMPLETION)
    assert [call.state for call in world.calls] == [State.ENDED, State.SENT, State.QUEUED]
    second.leave()
    assert third.state is State.SENT
    third.connection.answer(200, COMPLETION)
    third.ended("completed", 200)


def test_who_finds_the_queue_full_is_refused_at_once() -> None:
    world = World(services={"slots": Slots(1, 0)})
    first, call = world.call(), world.call()
    assert call.response.error()["code"] == "overloaded"
    assert call.response.fields(b"retry-after-ms") == [b"500"]
    call.ended("overloaded", 503, alone=False)
    first.connection.answer(200, COMPLETION)
    first.ended("completed", 200)


def test_a_body_that_is_still_coming_takes_no_slot() -> None:
    world = World(services={"slots": Slots(1, 0)})
    stages.reading_the_body(world)
    assert world.services.slots.in_use == 0


def test_a_whole_queue_that_finds_an_open_breaker_is_answered_at_once() -> None:
    world = World(kept=3, services={"slots": Slots(1, 50), "breaker": Breaker(1, 30.0)})
    calls = [world.call() for _ in range(50)]
    calls[0].connection.answer(500, b"{}")
    calls[0].ended("upstream_error", 500)
    for call in calls[1:]:
        assert call.response.error()["code"] == "circuit_open"
        call.ended("circuit_open", 503)


def test_a_fault_in_a_call_that_gets_a_slot_is_that_call_s_alone() -> None:
    world = World(kept=2, services={"slots": Slots(1, 5)})
    first, second = world.call(), world.call()
    world.tokens.held = None
    world.tokens.waiting = None  # type: ignore[assignment]
    first.connection.answer(200, COMPLETION)
    first.ended("completed", 200, alone=False)
    assert second.response.status == 500
    assert (second.ended("internal_error", 500, alone=False).attempts, world.services.slots.in_use) == (0, 0)


# ---- breaker


def test_a_backend_that_hangs_within_its_streams_opens_it() -> None:
    world = World(kept=4, idle=30.0, services={"breaker": Breaker(3, 60.0)})
    calls = [world.streaming(delta("one")) for _ in range(3)]
    assert world.services.breaker.state == "closed"
    world.advance(30.0)
    for call in calls:
        call.ended("idle_timeout", 200, alone=False)
    assert world.services.breaker.state == "open"
    assert world.call().response.error()["code"] == "circuit_open"


def test_one_stream_after_another_that_hangs_opens_it_too() -> None:
    world = World(kept=1, idle=30.0, services={"breaker": Breaker(3, 60.0)})
    for _ in range(3):
        assert world.services.breaker.state == "closed"
        world.pool.keep()
        world.streaming(delta("one"))
        world.advance(30.0)
    assert world.services.breaker.state == "open"


def test_a_long_probe_keeps_no_others_out() -> None:
    world = World(kept=3, services={"breaker": Breaker(1, 60.0)})
    world.call().connection.answer(500, b"{}")
    world.pool.keep()
    world.clock.now += 60.0
    probe = world.call()
    assert world.services.breaker.state == "half_open"
    assert world.call().response.error()["code"] == "circuit_open"
    world.clock.now += 60.0
    call = world.call()
    call.connection.answer(200, COMPLETION)
    call.ended("completed", 200, alone=False)
    assert (world.services.breaker.state, probe.state) == ("closed", State.SENT)


def opened(world: World) -> None:
    call = world.call()
    call.connection.answer(500, b"{}")
    call.ended("upstream_error", 500)


@pytest.fixture
def guarded() -> World:
    return World(services={"breaker": Breaker(1, 30.0)})


def test_an_open_breaker_answers_without_asking_the_backend(guarded: World) -> None:
    opened(guarded)
    guarded.clock.now += 10.0
    call = guarded.call()
    assert call.response.error()["code"] == "circuit_open"
    assert call.response.fields(b"retry-after") == [b"20"]
    assert call.ended("circuit_open", 503).attempts == 0


def answer(call: Call) -> None:
    call.connection.answer(404, b"{}")


def start_a_stream(call: Call) -> None:
    call.connection.stream(delta("one"))


@pytest.mark.parametrize("succeed", [answer, start_a_stream])
def test_any_answer_below_500_closes_the_breaker(guarded: World, succeed: object) -> None:
    opened(guarded)
    guarded.clock.now += 30.0
    probe, other = guarded.call(), guarded.call()
    assert other.response.error()["code"] == "circuit_open", "one probe is enough"
    succeed(probe)  # type: ignore[operator]
    assert guarded.services.breaker.state == "closed"


def lose(call: Call) -> None:
    call.world.clock.now += 2.0
    call.connection.lose()


def fail(call: Call) -> None:
    call.connection.answer(503, b"{}")


@pytest.mark.parametrize("go_wrong", [lose, fail])
def test_a_probe_that_fails_opens_the_breaker_again(guarded: World, go_wrong: object) -> None:
    opened(guarded)
    guarded.clock.now += 30.0
    go_wrong(guarded.call())  # type: ignore[operator]
    assert guarded.services.breaker.state == "open"
    guarded.clock.now += 29.0
    assert guarded.call().response.error()["code"] == "circuit_open"


def test_a_dial_that_fails_counts(guarded: World) -> None:
    guarded.pool.forget_all()
    call = guarded.call()
    guarded.pool.refuse()
    call.ended("upstream_error", 502)
    assert guarded.services.breaker.state == "open"


def test_a_backend_that_never_answers_counts() -> None:
    world = World(first_byte=10.0, services={"breaker": Breaker(1, 30.0)})
    call = world.call()
    world.advance(10.0)
    call.ended("timeout", 504)
    assert world.services.breaker.state == "open"


@pytest.mark.parametrize(
    "stage", [stages.sent, stages.dialling, stages.waiting_for_a_token, stages.uploading, stages.upload_dialling]
)
def test_a_probe_whose_caller_leaves_is_given_back(guarded: World, stage: stages.Stage) -> None:
    opened(guarded)
    guarded.clock.now += 30.0
    call = stage(guarded)
    call.leave()
    assert guarded.services.breaker.state == "open"
    guarded.pool.dials.clear()
    guarded.tokens.held = access_token()
    guarded.pool.keep()
    assert guarded.call().state is State.SENT, "the next one is the probe"


def test_a_probe_without_a_token_is_given_back(guarded: World) -> None:
    opened(guarded)
    guarded.clock.now += 30.0
    guarded.tokens.held = TokenUnavailable("The token service is down.", retry_after=1)
    guarded.call().ended("token_error", 503)


@pytest.mark.parametrize("stage", [stages.after_done, stages.error_in_a_stream])
def test_a_connection_that_breaks_after_the_answer_is_whole_is_no_failure(guarded: World, stage: stages.Stage) -> None:
    call = stage(guarded)
    call.connection.lose()
    assert call.over
    assert guarded.services.breaker.state == "closed"


@pytest.mark.parametrize("how", ["end", "lose"])
def test_a_stream_that_ends_too_early_is_a_failure(guarded: World, how: str) -> None:
    getattr(stages.streaming(guarded).connection, how)()
    assert guarded.services.breaker.state == "open"


def test_a_refused_token_is_no_failure_of_the_backend(guarded: World) -> None:
    call = guarded.call()
    call.connection.answer(401, b"{}")
    call.connection.answer(200, COMPLETION)
    call.ended("completed", 200)
    assert guarded.services.breaker.state == "closed"


# ---- sizes


def test_a_kept_body_takes_its_share_of_the_budget_when_it_has_come_and_gives_it_back() -> None:
    budget = Budget(1000)
    world = World(services={"budget": budget})
    call = world.arrive(length=601)
    assert budget.held == 0
    call.send(b"{" + b" " * 599)
    assert budget.held == 600
    other = world.arrive(length=600)
    assert other.response.error()["code"] == "overloaded"
    other.ended("overloaded", 503, alone=False)
    call.leave()
    call.ended("client_disconnect", 499)


def test_a_body_of_unknown_length_takes_its_share_as_it_comes() -> None:
    budget = Budget(100)
    world = World(services={"budget": budget})
    call = world.arrive(fields=[*JSON_FIELDS, (b"transfer-encoding", b"chunked")])
    call.send(b"{" + b" " * 99)
    assert budget.held == 100
    call.send(b"}")
    assert call.response.error()["code"] == "overloaded"
    call.ended("overloaded", 503)


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit_is_refused_and_its_connection_closed(declared: bool) -> None:
    world = World(max_body_bytes=50)
    fields = JSON_FIELDS if declared else [*JSON_FIELDS, (b"transfer-encoding", b"chunked")]
    call = world.arrive(length=51 if declared else None, fields=fields)
    for _ in range(0 if declared else 51):
        call.send(b" ")
    assert call.response.error()["code"] == "request_too_large"
    assert (call.response.fields(b"connection"), call.caller.finished) == ([b"close"], False)
    call.ended("client_error", 413)


def test_no_limit_takes_any_body() -> None:
    world = World(max_body_bytes=0)
    call = world.arrive(length=10_000)
    call.send(b" " * 10_000)
    assert call.state is State.RECEIVING


# ---- expect: 100-continue


def test_a_caller_who_asks_is_told_to_send_once_a_token_is_there_and_gets_a_slot_with_its_body() -> None:
    world = World(kept=2, services={"slots": Slots(1, 1)})
    world.tokens.held = None
    call = world.arrive(length=len(CHAT_BODY), fields=ASKING)
    assert call.caller.written == b""
    world.tokens.deliver()
    assert (call.caller.written, world.services.slots.in_use) == (CONTINUE, 0)
    first = world.call()
    call.send(CHAT_BODY)
    call.end()
    assert call.state is State.QUEUED
    first.leave()
    sent = call.connection.request
    assert (sent.body, sent.fields(b"expect")) == (CHAT_BODY, [])
    call.connection.answer(200, COMPLETION)
    assert (call.response.interim, call.response.body) == ([100], COMPLETION)
    call.ended("completed", 200)


@pytest.mark.parametrize("asks", [[], [(b"expect", b"100-Continue")]])
def test_an_upload_takes_its_slot_with_the_first_piece(asks: Fields) -> None:
    world = World(kept=0, services={"slots": Slots(1, 0)})
    call = world.arrive(UPLOAD_PATH, length=5, fields=[*FORM, *asks])
    assert (world.services.slots.in_use, call.caller.written) == (0, CONTINUE if asks else b"")
    call.send(b"--b")
    assert (call.state, world.services.slots.in_use) == (State.DIALLING, 1)


def test_an_old_caller_is_not_told_anything(world: World) -> None:
    call = world.arrive(length=len(CHAT_BODY), fields=ASKING, http11=False, keep_alive=False)
    assert (call.state, call.caller.written) == (State.RECEIVING, b"")


def full_queue(world: World) -> None:
    world.services.slots.take(lambda: None)


def no_token(world: World) -> None:
    world.tokens.held = TokenUnavailable("The token service is down.", retry_after=1)


def no_room(world: World) -> None:
    world.services.budget.take(1_000_000)


@pytest.mark.parametrize(
    ("hinder", "status", "outcome"),
    [(full_queue, 503, "overloaded"), (no_token, 503, "token_error"), (no_room, 503, "overloaded")],
)
def test_a_caller_who_cannot_be_served_is_told_so_instead(hinder: object, status: int, outcome: str) -> None:
    world = World(services={"slots": Slots(1, 0), "budget": Budget(1_000_000)})
    hinder(world)  # type: ignore[operator]
    call = world.arrive(length=len(CHAT_BODY), fields=ASKING)
    assert call.response.interim == []
    assert call.caller.finished is False, "its body may come all the same"
    call.ended(outcome, status, alone=False)


def test_a_body_that_comes_uninvited_is_taken() -> None:
    world = World(kept=2, services={"slots": Slots(1, 1)})
    first = world.call()
    call = world.arrive(length=len(CHAT_BODY), fields=ASKING)
    call.send(CHAT_BODY)
    call.end()
    assert call.state is State.QUEUED
    first.leave()
    assert call.connection.request.body == CHAT_BODY


def test_a_body_that_comes_uninvited_waits_for_the_token_that_was_asked_for(world: World) -> None:
    world.tokens.held = None
    call = world.arrive(length=len(CHAT_BODY), fields=ASKING)
    world.advance(2.0)
    call.send(CHAT_BODY)
    call.end()
    assert (call.state, world.tokens.asked) == (State.TOKEN, 1)
    world.advance(1.0)
    world.tokens.deliver()
    call.connection.answer(200, COMPLETION)
    assert call.ended("completed", 200).token_wait_seconds == 3.0


def test_a_large_body_that_comes_uninvited_is_sent_when_it_was_read_and_the_token_is_there(world: World) -> None:
    world.tokens.held = None
    body = b'{"model":"m"}' + b" " * (1 << 20)
    call = world.arrive(length=len(body), fields=ASKING)
    call.send(body)
    call.end()
    world.tokens.deliver()
    assert (call.state, call.caller.written) == (State.PARSING, b"")
    world.run_offloaded()
    assert call.connection.request.body == body


def test_a_token_that_lapsed_while_the_invited_body_came_is_asked_for_again(world: World) -> None:
    call = stages.invited_to_send(world)
    world.advance(50.0)
    world.tokens.held = access_token("newer-token", 2)
    call.send(CHAT_BODY)
    call.end()
    assert call.connection.request.fields(b"authorization") == [b"Bearer newer-token"]


def test_an_invited_body_that_is_no_json_is_refused(world: World) -> None:
    call = stages.invited_to_send(world)
    call.send(b" " * len(CHAT_BODY))
    call.end()
    assert call.response.error()["code"] == "invalid_request"
    call.ended("client_error", 400)
