"""What the one closing observation says of an exchange."""

import json

import pytest

from fakes import stages
from fakes.caller import CHAT_BODY, STREAM_BODY
from fakes.replies import COMPLETION, DONE, JSON_FIELDS, delta
from fakes.world import World
from mimic_proxy.relay.admission import Slots


def test_a_stream_is_measured_by_its_events(world: World) -> None:
    call = world.call(STREAM_BODY)
    connection = call.connection
    world.clock.now += 2.0
    connection.stream()
    for pause, text in ((1.0, None), (2.0, "one"), (5.0, "two"), (3.0, "three")):
        world.clock.now += pause
        connection.receive(delta(text, role=None if text else "assistant"))
    world.clock.now += 1.0
    connection.receive(DONE, ended=True)

    seen = call.ended("completed", 200)
    assert (seen.upstream_head_seconds, seen.first_chunk_seconds, seen.max_gap_seconds) == (2.0, 5.0, 5.0)
    assert (seen.events, seen.duration_seconds, seen.stream) == (4, 14.0, True)
    assert seen.response_bytes == len(call.response.body)
    assert seen.request_bytes == len(STREAM_BODY)


def test_a_comment_is_no_event_and_closes_no_gap(world: World) -> None:
    call = world.streaming(delta("one"))
    for _ in range(3):
        world.clock.now += 2.0
        call.connection.receive(b": still here\n\n")
    call.connection.receive(delta(finish="stop"), ended=True)
    seen = call.ended("completed", 200)
    assert (seen.events, seen.max_gap_seconds) == (2, 6.0)


def test_an_answer_that_is_no_stream_has_no_gaps_and_tells_its_usage(world: World) -> None:
    call = world.call()
    call.connection.head(200, [*JSON_FIELDS, (b"content-length", b"%d" % len(COMPLETION))], COMPLETION[:20])
    call.connection.receive(COMPLETION[20:], ended=True)
    seen = call.ended("completed", 200)
    assert (seen.first_chunk_seconds, seen.max_gap_seconds, seen.events, seen.stream) == (None, None, 0, False)
    assert (seen.shown.usage.input, seen.shown.usage.output, seen.model) == (1, 1, "m")


@pytest.mark.parametrize(
    "fields", [[(b"content-type", b"text/plain")], [*JSON_FIELDS, (b"content-encoding", b"gzip")], []]
)
def test_usage_is_read_of_json_alone(world: World, fields: list[tuple[bytes, bytes]]) -> None:
    call = world.call()
    call.connection.answer(200, COMPLETION, fields)
    assert call.ended("completed", 200).shown.usage.input is None


def test_the_usage_of_a_very_large_answer_is_not_read(world: World) -> None:
    body = COMPLETION + b" " * (1 << 20)
    call = world.call()
    call.connection.answer(200, body)
    seen = call.ended("completed", 200)
    assert (seen.shown.usage.input, seen.response_bytes) == (None, len(body))


def test_an_answer_that_is_no_json_after_all_tells_no_usage(world: World) -> None:
    call = world.call()
    call.connection.answer(200, b"<html>")
    assert call.ended("completed", 200).shown.usage.input is None


def test_an_exchange_that_never_reached_the_backend_says_so(world: World) -> None:
    world.tokens.held = None
    call = world.call()
    world.clock.now += 3.0
    call.leave()
    seen = call.ended("client_disconnect", 499)
    assert (seen.attempts, seen.upstream_status, seen.upstream_head_seconds) == (0, None, None)
    assert (seen.model, seen.duration_seconds, seen.response_bytes) == ("m", 3.0, 0)


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        (b"POST", b"/v1/chat/completions", "chat"),
        (b"POST", b"/v1/embeddings", "embeddings"),
        (b"GET", b"/v1/files/a%2Fb", "passthrough"),
    ],
)
def test_it_names_operation_method_and_raw_path(world: World, method: bytes, path: bytes, operation: str) -> None:
    call = world.call(CHAT_BODY if method == b"POST" else b"", path, method=method, query=b"secret=1")
    call.connection.answer(200, b"{}")
    seen = call.ended("completed", 200)
    assert (seen.operation, seen.method, seen.path) == (operation, method.decode(), path.decode())


@pytest.mark.parametrize(
    ("mine", "theirs", "shown"),
    [
        (b"mine-1", None, b"mine-1"),
        (b"mine-1", b"theirs-1", b"mine-1"),
        (None, b"theirs-1", b"theirs-1"),
        (b"not valid!", b"theirs-1", b"theirs-1"),
        (None, b"not valid!", None),
        (None, None, None),
    ],
)
def test_it_carries_the_id_that_the_caller_got(
    world: World, mine: bytes | None, theirs: bytes | None, shown: bytes | None
) -> None:
    call = world.call(fields=[*JSON_FIELDS, *([(b"x-request-id", mine)] if mine else [])])
    call.connection.answer(200, b"{}", [*JSON_FIELDS, *([(b"X-Request-Id", theirs)] if theirs else [])])
    got = call.response.value(b"x-request-id")
    assert got is not None
    assert got == shown if shown else got.startswith(b"req_")
    assert call.ended("completed", 200).request_id == got.decode()
    other = theirs if theirs not in (None, got) else None
    assert call.response.value(b"x-upstream-request-id") == other


def test_an_error_of_ours_carries_the_caller_s_id_as_well(world: World) -> None:
    call = world.call(b"no JSON", fields=[*JSON_FIELDS, (b"x-request-id", b"mine-1")])
    assert call.response.value(b"x-request-id") == b"mine-1"
    assert call.ended("client_error", 400).request_id == "mine-1"


@pytest.mark.parametrize(("count", "retry"), [(b"0", False), (b"2", True)])
def test_a_retry_of_the_caller_s_sdk_is_told(world: World, count: bytes, retry: bool) -> None:
    call = world.call(fields=[*JSON_FIELDS, (b"x-stainless-retry-count", count)])
    assert call.connection.request.fields(b"x-stainless-retry-count") == [count]
    call.connection.answer(200, b"{}")
    assert call.ended("completed", 200).client_retry is retry


def test_the_queue_s_timer_is_named() -> None:
    world = World(queue=10.0, services={"slots": Slots(1, 1)})
    world.call()
    call = world.call()
    world.advance(10.0)
    seen = call.ended("overloaded", 503, alone=False)
    assert (seen.timer, seen.queue_seconds) == ("queue", 10.0)


def test_the_time_in_the_queue_is_told_of_who_leaves_it() -> None:
    world = World(services={"slots": Slots(1, 1)})
    world.call()
    call = world.call()
    world.advance(4.0)
    call.leave()
    assert call.ended("client_disconnect", 499, alone=False).queue_seconds == 4.0


def test_the_wait_for_a_token_is_told_of_who_does_not_get_it(world: World) -> None:
    world.tokens.held = None
    call = world.call()
    world.advance(4.0)
    call.leave()
    assert call.ended("client_disconnect", 499).token_wait_seconds == 4.0


SENT_VALUES = (
    "first-token",
    "a prompt that nobody may log",
    "key-of-the-caller",
    "vendor-value",
    "query-value",
    "hello",
)


@pytest.mark.parametrize("stage", stages.EVERY_STAGE)
def test_what_is_told_at_debug_holds_no_value_that_was_sent(stage: stages.Stage) -> None:
    told: list[str] = []
    world = stages.world()
    world.services.debug = lambda message, *values: told.append(message % values)
    call = stage(world)
    call.leave()
    call.exchange.drain()
    assert " begins, " in told[0]
    assert len({line.partition(":")[0] for line in told}) == 1, "every line carries the id"
    assert [secret for secret in SENT_VALUES if secret in "\n".join(told)] == []


def test_attempts_and_answers_are_told_at_debug(world: World) -> None:
    told: list[str] = []
    world.services.debug = lambda message, *values: told.append(message % values)
    fields = [*JSON_FIELDS, (b"authorization", b"Bearer key-of-the-caller")]
    call = world.call(query=b"key=query-value", fields=fields)
    call.connection.answer(401, b"{}")
    call.connection.lose()
    world.pool.connect().answer(200, COMPLETION, [*JSON_FIELDS, (b"X-Vendor", b"vendor-value")])
    text = "\n".join(told)
    for words in ("attempt 1 on a kept", "answers 401", "access token 1 was refused", "was dead", "attempt 3 on a new"):
        assert words in text
    assert "content-type, x-vendor" in text
    assert told[-1].endswith(f"ends as completed, {len(COMPLETION)} bytes answered")
    assert [secret for secret in SENT_VALUES if secret in text] == []


@pytest.mark.parametrize("stage", stages.EVERY_STAGE)
def test_nothing_of_a_prompt_or_a_token_is_in_it(stage: stages.Stage) -> None:
    call = stage(stages.world())
    call.leave()
    call.exchange.drain()
    told = repr(call.observations) + json.dumps([repr(one) for one in vars(call.exchange.response.__class__)])
    for secret in ("first-token", "a prompt that nobody may log"):
        assert secret not in told


def test_the_first_models_that_worked_are_known() -> None:
    world = World(kept=300)
    for number in range(258):
        world.call(b'{"model":"m%d"}' % number).connection.answer(200, COMPLETION)
    world.call(b'{"model":"failed"}').connection.answer(400, b"{}")
    assert list(world.services.worked) == [f"m{number}" for number in range(256)]
