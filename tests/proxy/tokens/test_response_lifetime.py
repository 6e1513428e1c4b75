"""How long a token lives, whatever its answer says."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.tokens.response import LifetimeReader, number, unix_time
from mimic_proxy.tokens.token import Lifetime

NOW = 1_700_000_000.0
GUESS = Lifetime(300, known=False)


def read(seconds: object = None, expiry: object = None, *, issuer: float | None = None) -> tuple[Lifetime, list[str]]:
    reader = LifetimeReader(NOW, issuer, 300.0)
    return reader.read("opaque", seconds, expiry), reader.remarks


@pytest.mark.parametrize(
    ("expiry", "seconds"),
    [
        (NOW + 600, 600),
        (str(int(NOW + 600)), 600),
        ((NOW + 600) * 1000, 600),
        (str(int((NOW + 600) * 1000)), 600),
        ("2023-11-14T22:23:20Z", 600),
        ("2023-11-14T22:23:20.123456789Z", pytest.approx(600.123456)),
        ("2023-11-14T22:23:20", 600),
        ("2023-11-15T00:23:20+02:00", 600),
        ("2023-11-14 22:23:20+00:00", 600),
        ("Tue, 14 Nov 2023 22:23:20 GMT", 600),
    ],
)
def test_an_expiry_is_read_in_every_usual_form(expiry: object, seconds: float) -> None:
    lifetime, remarks = read(expiry=expiry)
    assert (lifetime.seconds, lifetime.known, remarks) == (seconds, True, [])


@pytest.mark.parametrize("expiry", [0, -1, 3600, "soon", "", True, [], {}, math.inf, math.nan, "99999-01-01", 1e400])
def test_an_expiry_that_is_no_moment_is_guessed_and_told(expiry: object) -> None:
    lifetime, remarks = read(expiry=expiry)
    assert lifetime == GUESS
    assert remarks == ["the expiry in the response is neither a Unix time nor an ISO 8601 date; 300 s are assumed"]


def test_an_expiry_in_the_past_tells_of_the_clocks() -> None:
    lifetime, (remark,) = read(expiry=NOW - 90)
    assert lifetime == GUESS
    assert "looks expired: the clock here differs from the issuer's by 90 s or more; 300 s are assumed" in remark


def test_an_expiry_counts_by_the_clock_of_the_token_service() -> None:
    lifetime, (remark,) = read(expiry=NOW + 600, issuer=NOW + 500)
    assert lifetime == Lifetime(100)
    assert "differs from the token service's by 500 s" in remark
    assert read(expiry=NOW + 600, issuer=NOW + 1) == (Lifetime(599), [])


def test_a_wrong_number_of_seconds_leaves_the_expiry_to_count() -> None:
    lifetime, remarks = read(0, NOW + 600)
    assert lifetime == Lifetime(600)
    assert remarks == ["the lifetime in the response is no positive number of seconds"]


def test_seconds_count_more_than_an_expiry() -> None:
    assert read(60, NOW + 600) == (Lifetime(60), [])


@pytest.mark.parametrize("seconds", [NOW + 600, (NOW + 600) * 1000])
def test_a_unix_time_in_the_place_of_seconds_is_read_as_one(seconds: float) -> None:
    lifetime, remarks = read(seconds)
    assert lifetime == Lifetime(600)
    assert "Unix time, not a number of seconds" in remarks[0]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(365 * 86400, "365 days"), (3_600_000, "42 days; it is replaced every 12 hours"), (1, "only 1 s")],
)
def test_an_odd_lifetime_is_believed_and_told(seconds: float, said: str) -> None:
    lifetime, (remark,) = read(seconds)
    assert (lifetime, said in remark) == (Lifetime(seconds), True)


JSON_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3)


@given(JSON_VALUES, JSON_VALUES)
def test_whatever_the_answer_says_the_lifetime_is_positive_and_finite(seconds: object, expiry: object) -> None:
    lifetime, remarks = read(seconds, expiry)
    assert 0 < lifetime.seconds < math.inf
    assert all(remark.isprintable() for remark in remarks)


@given(st.text())
def test_any_text_is_a_moment_or_none(text: str) -> None:
    assert unix_time(text) is None or isinstance(unix_time(text), float)
    assert number(text) is None or number(text) >= 0  # type: ignore[operator]


@given(st.floats(min_value=1e9, max_value=4e9))
def test_seconds_and_milliseconds_are_told_apart(moment: float) -> None:
    assert unix_time(moment) == moment
    assert unix_time(json.loads(json.dumps(moment * 1000))) == pytest.approx(moment)
