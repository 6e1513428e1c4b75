"""What a refusal means: a table of verdicts, the memory, and how a refusal is recognised."""

import math

import pytest

from mimic_proxy.tokens.refusals import RefusalMemory, doubled, is_refusal, judge

NEVER = -math.inf


def verdict(
    refused: int = 2,
    *,
    accepted_at: float = NEVER,
    before: tuple[int, ...] = (),
    remembered: bool = False,
    in_flight: bool = False,
    forced_at: float = NEVER,
) -> str:
    """Of a request that was sent at 100 and refused at 110; the current token is 2, the floor 5 s."""
    return judge(
        110.0,
        refused,
        2,
        sent_at=100.0,
        accepted_at=accepted_at,
        refused_before=before,
        remembered=remembered,
        in_flight=in_flight,
        forced_at=forced_at,
        floor=5.0,
    )


def test_an_older_token_than_the_current_one_says_nothing() -> None:
    assert verdict(1) == "superseded"
    assert verdict(1, remembered=True, before=(1,)) == "superseded"


@pytest.mark.parametrize("accepted_at", [NEVER, 90.0, 100.0])
def test_the_first_refusal_of_the_current_token_asks_for_another(accepted_at: float) -> None:
    assert verdict(accepted_at=accepted_at) == "refresh"


def test_a_request_that_was_sent_later_and_succeeded_speaks_for_the_token_once() -> None:
    assert verdict(accepted_at=100.1) == "repeat"
    assert verdict(accepted_at=100.1, before=(2,)) == "refresh"


def test_a_fresh_token_that_others_use_and_this_call_cannot_is_no_cure() -> None:
    assert verdict(accepted_at=100.1, before=(1,)) == "uncured"
    assert verdict(accepted_at=100.1, before=(1, 1)) == "uncured"


def test_a_fresh_token_that_nobody_has_used_is_no_cure() -> None:
    assert verdict(before=(1,)) == "uncured"


def test_a_fresh_token_that_worked_and_works_no_longer_may_have_been_revoked_once_more() -> None:
    assert verdict(accepted_at=99.0, before=(1,)) == "refresh"
    assert verdict(accepted_at=99.0, before=(0, 1)) == "uncured"


def test_no_call_is_repeated_more_than_three_times() -> None:
    assert verdict(1, before=(0, 0, 1)) == "uncured"


@pytest.mark.parametrize("accepted_at", [NEVER, 90.0, 105.0])
def test_what_is_remembered_asks_for_nothing(accepted_at: float) -> None:
    assert verdict(accepted_at=accepted_at, remembered=True) == "remembered"


@pytest.mark.parametrize(
    ("forced_at", "accepted_at", "in_flight", "expected"),
    [
        (105.1, NEVER, False, "too_soon"),
        (105.0, NEVER, False, "refresh"),
        (105.1, 99.0, False, "refresh"),  # it waits for the floor: revoked twice
        (105.1, NEVER, True, "refresh"),  # it joins the one under way
    ],
)
def test_within_the_floor_only_a_token_that_worked_is_replaced(
    forced_at: float, accepted_at: float, in_flight: bool, expected: str
) -> None:
    assert verdict(forced_at=forced_at, accepted_at=accepted_at, in_flight=in_flight) == expected


def test_the_floor_doubles_up_to_a_minute() -> None:
    assert [doubled(1.0, step) for step in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert doubled(90.0, 3) == 90


def test_the_memory_of_a_model_lasts_longer_each_time_up_to_a_minute() -> None:
    memory, now, lasted = RefusalMemory(), 1000.0, []
    for _ in range(8):
        memory.add("bad", now)
        began = now
        while memory.holds("bad", now):
            now += 1.0
        lasted.append(now - began)
    assert lasted == [1, 2, 4, 8, 16, 32, 60, 60]
    assert not memory.holds("good", now)


def test_the_memory_begins_anew_after_a_quiet_minute_and_is_bounded() -> None:
    memory = RefusalMemory()
    memory.add("bad", 0.0)
    memory.add("bad", 61.1)
    assert memory.holds("bad", 62.0)
    assert not memory.holds("bad", 62.2)
    for number in range(1000):
        memory.add(f"model-{number}", 100.0)
    assert not memory.holds("model-0", 100.0)
    assert memory.holds("model-999", 100.0)
    memory.clear()
    assert not memory.holds("model-999", 100.0)


@pytest.mark.parametrize(
    ("status", "invalid_token", "code", "kind", "refused"),
    [
        (401, False, None, None, True),
        (403, False, None, None, False),
        (400, False, "context_length_exceeded", "invalid_request_error", False),
        (200, False, "401", None, True),
        (200, False, 401, None, True),
        (200, False, 4010, None, False),
        (400, False, "ExpiredToken", None, True),
        (403, False, None, "token_expired", True),
        (500, False, "invalid_access_token", None, True),
        (400, False, {"token_expired": 1}, ["401"], False),
        (403, True, None, None, True),
        (200, True, None, None, False),
    ],
)
def test_a_refusal_is_recognised(status: int, invalid_token: bool, code: object, kind: object, refused: bool) -> None:
    assert is_refusal(status, invalid_token=invalid_token, code=code, kind=kind) is refused
