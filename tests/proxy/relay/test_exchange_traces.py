"""An exchange's place in a trace, its attempts and waits, and the part of its time that is Mimic's own."""

from typing import Any

import pytest

from fakes.caller import CHAT_BODY, STREAM_BODY
from fakes.ports import access_token
from fakes.replies import COMPLETION, DONE, JSON_FIELDS, delta
from fakes.world import World
from mimic_proxy.errors import UpstreamUnreachable
from mimic_proxy.http.body import RequestParameters
from mimic_proxy.relay.admission import Budget, Slots
from mimic_proxy.telemetry.observation import SpanLink, TokenWait, Trace

CALLERS = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STATE = (b"tracestate", b"vendor=1")


def traced(sampled: bool = True) -> World:
    """Exchanges that get a span of their own below whatever the caller says."""
    world = World()

    def begin(traceparent: bytes | None, tracestate: tuple[bytes, ...], digits: str) -> Trace:
        trace_id = digits[:32] if traceparent is None else traceparent[3:35].decode()
        parent = None if traceparent is None else traceparent[36:52].decode()
        return Trace(trace_id, digits[32:48], digits[48:], parent, sampled, b",".join(tracestate).decode())

    world.services.begin_trace = begin
    return world


def test_without_tracing_the_caller_s_traceparent_goes_on_as_it_is(world: World) -> None:
    call = world.call(fields=[*JSON_FIELDS, (b"traceparent", CALLERS), STATE])
    assert call.connection.request.fields(b"traceparent") == [CALLERS]
    assert call.connection.request.fields(b"tracestate") == [b"vendor=1"]
    call.connection.answer(200, b"{}")
    trace = call.ended("completed", 200).trace
    assert trace is not None
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (CALLERS[3:35].decode(), CALLERS[36:52].decode(), False)


@pytest.mark.parametrize("sampled", [True, False])
def test_with_tracing_the_backend_s_parent_is_the_client_span(sampled: bool) -> None:
    world = traced(sampled)
    call = world.call(fields=[*JSON_FIELDS, (b"traceparent", CALLERS), STATE])
    (sent,) = call.connection.request.fields(b"traceparent")
    call.connection.answer(200, b"{}")
    trace = call.ended("completed", 200).trace
    assert trace is not None
    assert sent.decode() == f"00-{CALLERS[3:35].decode()}-{trace.client_span_id}-{'01' if sampled else '00'}"
    assert trace.parent_id == CALLERS[36:52].decode()
    assert len({trace.span_id, trace.client_span_id, trace.parent_id}) == 3


@pytest.mark.parametrize("tracing", [True, False])
def test_an_invalid_traceparent_begins_a_new_trace_and_voids_its_state(tracing: bool) -> None:
    world = traced() if tracing else World()
    call = world.call(fields=[*JSON_FIELDS, (b"traceparent", b"00-xyz"), STATE])
    (sent,) = call.connection.request.fields(b"traceparent")
    assert call.connection.request.fields(b"tracestate") == []
    call.connection.answer(200, b"{}")
    trace = call.ended("completed", 200).trace
    assert trace is not None
    assert (trace.parent_id, sent[3:35].decode()) == (None, trace.trace_id)


def test_the_backend_is_told_of_no_trace_where_that_is_off(world: World) -> None:
    world.services.trace_upstream = False
    call = world.call(fields=[*JSON_FIELDS, (b"traceparent", CALLERS), STATE])
    assert call.connection.request.fields(b"traceparent") == call.connection.request.fields(b"tracestate") == []


def test_two_requests_of_one_trace_have_ids_of_their_own() -> None:
    world = traced()
    ids = set()
    for _ in range(2):
        call = world.call(fields=[*JSON_FIELDS, (b"traceparent", CALLERS)])
        call.connection.answer(200, b"{}")
        ids.add(call.ended("completed", 200).request_id)
    assert len(ids) == 2


def test_what_a_sampled_request_asks_for_is_read_and_its_content_is_not() -> None:
    world = traced()
    body = b'{"model":"m","temperature":0.5,"max_tokens":7,"stop":["secret-word"],"messages":["secret-prompt"]}'
    call = world.call(body)
    call.connection.answer(200, b"{}")
    seen = call.ended("completed", 200)
    assert seen.parameters == RequestParameters(temperature=0.5, max_tokens=7, stop_count=1)
    assert "secret" not in repr(seen)


@pytest.mark.parametrize("body", [CHAT_BODY, b'{"temperature":"odd"}'])
def test_unsampled_and_odd_requests_have_no_parameters(body: bytes) -> None:
    world = traced(sampled=body != CHAT_BODY)
    call = world.call(body)
    call.connection.answer(200, b"{}")
    assert call.ended("completed", 200).parameters is None


def test_each_attempt_that_was_repeated_is_told(world: World) -> None:
    call = world.call()
    world.clock.now += 1.0
    call.connection.answer(401, b"{}")
    world.clock.now += 0.25
    call.connection.lose()
    world.clock.now += 0.5
    connection = world.pool.connect()
    world.clock.now += 2.0
    connection.answer(200, COMPLETION)
    seen = call.ended("completed", 200)
    told = [(one.status, one.seconds, one.head_seconds, one.error_type, one.retry) for one in seen.earlier]
    assert told == [(401, 1.0, 1.0, "unauthorized", "unauthorized"), (None, 0.25, None, "reset", "connect")]
    assert (seen.attempts, seen.error_type, seen.upstream_head_seconds) == (3, None, 2.0)
    assert (seen.sent, seen.overhead_seconds) == (world.clock.now - 2.0, 0.0)


def test_a_wait_for_the_token_names_the_refresh_that_ended_it(world: World) -> None:
    world.tokens.held = None
    call = world.call()
    since = world.clock.now
    world.clock.now += 3.0
    refresh = SpanLink("1" * 32, "2" * 16, True)
    token = access_token("late", 2)
    object.__setattr__(token, "refresh", refresh)
    world.tokens.deliver(token)
    call.connection.answer(200, COMPLETION)
    seen = call.ended("completed", 200)
    assert seen.token_waits == (TokenWait(since, 3.0, refresh),)
    assert (seen.token_wait_seconds, seen.overhead_seconds) == (3.0, 0.0)


def test_overhead_is_what_nobody_else_took() -> None:
    world = World(kept=0, services={"slots": Slots(1, 1), "budget": Budget(0)})
    world.tokens.held = None
    call = world.arrive(length=len(CHAT_BODY))
    world.clock.now += 1.0  # the caller sends its body slowly
    call.send(CHAT_BODY)
    call.end()
    world.clock.now += 2.0  # no token yet
    world.tokens.deliver()
    world.clock.now += 4.0  # the connection is dialled
    connection = world.pool.connect()
    world.clock.now += 8.0  # the backend thinks
    connection.answer(200, COMPLETION)
    seen = call.ended("completed", 200)
    assert (seen.duration_seconds, seen.overhead_seconds) == (15.0, 0.0)


def test_the_wait_for_a_slot_is_no_overhead() -> None:
    world = World(kept=2, services={"slots": Slots(1, 1)})
    first, second = world.call(), world.call()
    world.clock.now += 5.0
    first.connection.answer(200, COMPLETION)
    world.clock.now += 1.0
    second.connection.answer(200, COMPLETION)
    seen = second.ended("completed", 200)
    assert (seen.queue_seconds, seen.overhead_seconds) == (5.0, 0.0)


def test_a_stream_whose_backend_is_slow_has_no_overhead(world: World) -> None:
    call = world.call(STREAM_BODY)
    world.clock.now += 2.0
    call.connection.stream(delta("one"))
    world.clock.now += 2.0
    call.connection.receive(delta(finish="stop"))
    world.clock.now += 1.0
    call.connection.receive(DONE, ended=True)
    assert call.ended("completed", 200).overhead_seconds == 0.0


@pytest.mark.parametrize("how", ["leaves", "drains"])
def test_waiting_for_a_backend_that_never_answers_is_no_overhead(world: World, how: str) -> None:
    call = world.call()
    world.clock.now += 9.0
    call.leave() if how == "leaves" else call.exchange.drain()
    assert call.observations[0].overhead_seconds == 0.0


def test_a_connection_that_cannot_be_had_is_an_attempt_with_its_reason() -> None:
    world = World(kept=0)
    call = world.call()
    world.clock.now += 3.0
    world.pool.refuse(UpstreamUnreachable("no such name", error_type="dns"))
    seen = call.ended("upstream_error", 502)
    assert (seen.attempts, seen.error_type, seen.sent, seen.overhead_seconds) == (1, "dns", 0.0, 0.0)


@pytest.mark.parametrize(
    ("status", "error_type"), [(200, None), (400, None), (403, None), (429, "http_429"), (500, "http_5xx")]
)
def test_an_answer_s_status_says_what_was_wrong(world: World, status: int, error_type: str | None) -> None:
    call = world.call()
    call.connection.answer(status, b"{}")
    assert call.observations[0].error_type == error_type


def test_a_first_event_that_is_an_error_is_what_its_status_says(world: World) -> None:
    call = world.call(STREAM_BODY)
    call.connection.stream(b'data: {"error":{"message":"m","code":429}}\n\n', ended=True)
    seen = call.ended("client_error", 429)
    assert (seen.error_type, seen.upstream_status, seen.error_frame) == ("http_429", 200, True)


@pytest.mark.parametrize(
    ("services", "length", "refused", "status"),
    [
        ({"slots": Slots(1, 0)}, len(CHAT_BODY), "concurrency", 503),
        ({"budget": Budget(1)}, len(CHAT_BODY), "buffers", 503),
        ({}, 1 << 40, "body_size", 413),
    ],
)
def test_who_is_not_let_in_is_told_by_which_limit(
    services: dict[str, Any], length: int, refused: str, status: int
) -> None:
    world = World(services=services)
    if "slots" in services:
        services["slots"].take(lambda: None)
    call = world.arrive(length=length)
    if not call.over:
        call.send(CHAT_BODY)
        call.end()
    (seen,) = call.observations
    assert (seen.refused, seen.status, seen.attempts) == (refused, status, 0)


def test_a_drained_exchange_was_refused_only_if_it_had_not_begun(world: World) -> None:
    begun = world.call()
    begun.exchange.drain()
    assert begun.observations[0].refused is None
    early = world.arrive(length=5)
    early.exchange.drain()
    assert early.observations[0].refused == "draining"


def test_gaps_are_told_as_they_end_and_stalls_and_heartbeats_are_counted() -> None:
    gaps: list[tuple[str, str | None, float]] = []
    world = World(heartbeat_after=10.0)
    world.services.gaps = lambda operation, model: lambda seconds: gaps.append((operation, model, seconds))
    call = world.streaming(delta("one"))
    world.clock.now += 3.0
    call.connection.receive(delta("two"))
    call.take_no_more()
    world.clock.now += 4.0
    call.take_no_more(False)
    world.advance(10.0)
    call.connection.receive(delta(finish="stop") + DONE, ended=True)
    seen = call.ended("completed", 200)
    assert gaps == [("chat", "m", 3.0), ("chat", "m", 14.0)]
    assert (seen.send_blocked_seconds, seen.heartbeats, seen.max_gap_seconds) == (4.0, 1, 14.0)


def test_an_answer_says_who_it_is(world: World) -> None:
    answer = b'{"id":"chatcmpl-1","model":"m-2","system_fingerprint":"fp","choices":[{"finish_reason":"stop"}]}'
    call = world.call()
    call.connection.answer(200, answer, [*JSON_FIELDS, (b"x-request-id", b"theirs")])
    seen = call.ended("completed", 200)
    assert (seen.shown.id, seen.shown.model, seen.shown.finish_reasons) == ("chatcmpl-1", "m-2", ("stop",))
    assert (seen.shown.system_fingerprint, seen.upstream_request_id) == ("fp", "theirs")


def test_a_stream_says_who_it_is(world: World) -> None:
    first = b'data: {"id":"c-1","model":"m-2","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    call = world.call(STREAM_BODY)
    call.connection.stream(first, delta(finish="length"), DONE, ended=True)
    seen = call.ended("completed", 200)
    assert (seen.shown.id, seen.shown.model, seen.shown.finish_reasons) == ("c-1", "m-2", ("length",))
