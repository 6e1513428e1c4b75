"""The pure rules of a token's life."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimic_proxy.tokens.token import (
    FOREVER,
    AccessToken,
    Lifetime,
    Moment,
    credential_field,
    decide,
    issue,
    pause_after_failure,
    remaining,
)

SENT = Moment(monotonic=1000.0, wall=1_700_000_000.0)
NEVER = -math.inf

chances = st.floats(0, 1)
lifetimes = st.floats(0.01, 1e9)


def token(seconds: float = 1000.0, *, known: bool = True, jitter: float = 0.0, generation: int = 1) -> AccessToken:
    return issue("abc", generation, field=b"", sent=SENT, lifetime=Lifetime(seconds, known), jitter=jitter)


def after(seconds: float, wall: float | None = None) -> Moment:
    return Moment(SENT.monotonic + seconds, SENT.wall + (seconds if wall is None else wall))


@pytest.mark.parametrize(
    ("age", "in_flight", "not_before", "decision"),
    [
        (0, False, NEVER, "use"),
        (799, False, NEVER, "use"),
        (800, False, NEVER, "refresh"),
        (800, True, NEVER, "use"),
        (800, False, SENT.monotonic + 801, "use"),
        (994, False, NEVER, "refresh"),
        (995, False, NEVER, "wait"),
        (995, True, NEVER, "wait"),
        (995, True, math.inf, "wait"),
        (995, False, SENT.monotonic + 996, "fail"),
    ],
)
def test_a_call_is_decided_by_age_flight_and_backoff(
    age: float, in_flight: bool, not_before: float, decision: str
) -> None:
    assert decide(after(age), token(), in_flight=in_flight, not_before=not_before) == decision


@pytest.mark.parametrize(
    ("accepted", "in_flight", "not_before", "decision"),
    [
        (False, False, NEVER, "wait"),
        (False, True, NEVER, "wait"),
        (False, True, math.inf, "wait"),
        (False, False, math.inf, "use"),  # no successor can be obtained: the token is better than none
        (True, False, NEVER, "refresh"),
        (True, True, NEVER, "use"),
        (True, False, math.inf, "use"),
    ],
)
def test_a_refused_token_serves_others_if_it_was_accepted_or_has_no_successor(
    accepted: bool, in_flight: bool, not_before: float, decision: str
) -> None:
    found = decide(after(1), token(), refused=True, accepted=accepted, in_flight=in_flight, not_before=not_before)
    assert found == decision


@given(lifetimes, chances)
def test_a_refresh_is_due_at_70_to_80_percent_and_at_the_latest_after_12_hours(seconds: float, jitter: float) -> None:
    refresh_after = token(seconds, jitter=jitter).refresh_after
    latest = min(0.8 * seconds, 12 * 3600)
    assert 0.875 * latest * (1 - 1e-9) <= refresh_after <= latest


@given(lifetimes, chances)
def test_the_last_five_percent_at_most_five_seconds_are_not_used(seconds: float, jitter: float) -> None:
    made = token(seconds, jitter=jitter)
    assert math.isclose(made.usable_for, max(0.95 * seconds, seconds - 5))
    assert made.refresh_after < made.usable_for


@settings(max_examples=300)
@given(
    lifetimes,
    chances,
    st.floats(0, 2),
    st.floats(-1e6, 1e6),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([NEVER, SENT.monotonic, math.inf]),
)
def test_no_call_is_ever_given_an_expired_token(
    seconds: float,
    jitter: float,
    share: float,
    wall: float,
    refused: bool,
    accepted: bool,
    in_flight: bool,
    not_before: float,
) -> None:
    made, now = token(seconds, jitter=jitter), after(share * seconds, wall)
    decision = decide(now, made, refused=refused, accepted=accepted, in_flight=in_flight, not_before=not_before)
    assert decision not in ("use", "refresh") or remaining(now, made) > 0
    assert decision != "fail" or remaining(now, made) <= 0
    assert decision != "refresh" or not in_flight


@given(lifetimes, st.floats(0, 1e12))
def test_a_guessed_lifetime_makes_a_refresh_due_and_never_expires_a_token(seconds: float, age: float) -> None:
    made = token(seconds, known=False)
    assert decide(after(age), made, not_before=math.inf) == "use"
    assert decide(after(seconds), made, not_before=NEVER) == "refresh"
    assert made.expires is None


def test_a_token_that_cannot_be_refreshed_is_used_for_ever() -> None:
    made = issue("abc", 1, field=b"", sent=SENT, lifetime=FOREVER, jitter=0, refreshable=False)
    assert decide(after(1e12), made, not_before=NEVER) == "use"


def test_issue_and_expiry_are_told_as_unix_times() -> None:
    assert (token().issued, token().expires) == (SENT.wall, SENT.wall + 1000)


def test_a_token_shows_itself_without_its_value() -> None:
    field = credential_field("Authorization", "Bearer {token}", "hidden-value")
    made = issue("hidden-value", 3, field=field, sent=SENT, lifetime=FOREVER, jitter=0)
    assert "hidden-value" not in repr(made)


@pytest.mark.parametrize(
    ("header", "template", "value", "line"),
    [
        ("Authorization", "Bearer {token}", "abc", b"authorization: Bearer abc\r\n"),
        ("X-Access", "{token}", "a b", b"x-access: a b\r\n"),
        ("Api-Key", "k={token}; {x}", "{token}", b"api-key: k={token}; {x}\r\n"),
    ],
)
def test_the_credential_stands_in_the_header_that_was_set(header: str, template: str, value: str, line: bytes) -> None:
    assert credential_field(header, template, value) == line


@pytest.mark.parametrize("value", ["", "a\r\nx: 1", "a\x00b", "tab\there", "\u00e9", "\u2028", "a\x7f"])
def test_a_value_that_no_field_can_carry_is_refused_without_being_quoted(value: str) -> None:
    with pytest.raises(ValueError, match="header field") as refused:
        credential_field("Authorization", "{token}", value)
    assert value == "" or value not in str(refused.value)


@pytest.mark.parametrize(
    ("failures", "retry_after", "left", "jitter", "pause"),
    [
        (1, None, None, 1.0, 2),
        (3, None, None, 1.0, 8),
        (3, None, None, 0.5, 4),
        (3, None, None, 0.0, 1),
        (6, None, None, 1.0, 60),
        (10_000, None, None, 1.0, 60),
        (1, 30.0, None, 1.0, 30),
        (1, 3600.0, None, 1.0, 60),
        (1, 0.0, None, 1.0, 1),
        (9, 30.0, 20.0, 1.0, 10),
        (9, None, 20.0, 1.0, 10),
        (9, None, 0.5, 1.0, 1),
        (9, None, math.inf, 1.0, 60),
    ],
)
def test_the_pause_is_what_was_asked_for_or_grows_within_a_minute_and_half_of_what_is_left(
    failures: int, retry_after: float | None, left: float | None, jitter: float, pause: float
) -> None:
    assert pause_after_failure(failures, retry_after=retry_after, left=left, jitter=jitter) == pause


@given(st.integers(1, 10**9), st.none() | st.floats(0, 1e300), st.none() | st.floats(0.001, 1e9), chances)
def test_a_pause_is_never_under_a_second_nor_over_a_minute(
    failures: int, retry_after: float | None, left: float | None, jitter: float
) -> None:
    assert 1 <= pause_after_failure(failures, retry_after=retry_after, left=left, jitter=jitter) <= 60
