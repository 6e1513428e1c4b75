"""What is read from a token service's answer."""

import base64
import json
import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.tokens.recipe import ResponsePointers
from mimic_proxy.tokens.response import Failure, Granted, TokenResponse, read_response, retry_after_seconds
from mimic_proxy.tokens.token import Lifetime

NOW = 1_700_000_000.0
GUESS = Lifetime(300, known=False)


def read(document: object, status: int = 200, retry_after: str | None = None) -> Granted | Failure:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_response(TokenResponse(status, body, retry_after), ResponsePointers(), wall=NOW, default_lifetime=300)


def granted(document: object) -> Granted:
    found = read(document)
    assert isinstance(found, Granted)
    return found


def failed(document: object, status: int = 200, retry_after: str | None = None) -> Failure:
    found = read(document, status, retry_after)
    assert isinstance(found, Failure)
    return found


def jwt(claims: object) -> str:
    middle = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b'{"alg":"x"}', middle, b"\xff\xfe")
    )


@pytest.mark.parametrize(
    ("document", "value", "lifetime"),
    [
        ({"access_token": "a", "expires_in": 60}, "a", Lifetime(60)),
        ({"data": {"access_token": "b", "expires_in": 60.5}}, "b", Lifetime(60.5)),
        ({"data": {"access_token": "b"}, "access_token": "a", "expires_in": 9}, "b", GUESS),
        ({"data": {"access_token": ""}, "access_token": "a", "expires_in": 9}, "a", Lifetime(9)),
        ({"data": "nothing", "access_token": "a"}, "a", GUESS),
        ({"access_token": "a", "expires_in": "3600"}, "a", Lifetime(3600)),
        ({"access_token": "a", "expires_in": None}, "a", GUESS),
        ({"access_token": "a", "expires_in": 10**400}, "a", GUESS),
        ({"access_token": "a", "expires_in": 1e30}, "a", Lifetime(100 * 365 * 86400.0)),
    ],
)
def test_token_and_lifetime_are_found_side_by_side(document: object, value: str, lifetime: Lifetime) -> None:
    found = granted(document)
    assert (found.value, found.lifetime) == (value, lifetime)


@pytest.mark.parametrize("expires_in", [0, -5, "0", "-5", "1.5", "soon", "\u0663", True, [], {}, "9" * 5000])
def test_a_lifetime_that_is_no_positive_number_is_guessed_and_told(expires_in: object) -> None:
    found = granted({"access_token": "a", "expires_in": expires_in})
    assert found.lifetime == GUESS
    assert len(found.remarks) == 1


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_a_lifetime_that_is_not_finite_is_guessed(number: bytes) -> None:
    assert granted(b'{"access_token":"a","expires_in":%s}' % number).lifetime == GUESS


@pytest.mark.parametrize(
    ("claims", "lifetime", "remarks"),
    [
        ({"iat": NOW, "exp": NOW + 600}, Lifetime(600), 0),
        ({"iat": NOW - 100_000, "exp": NOW - 99_400}, GUESS, 1),  # looks expired
        ({"iat": NOW + 100_000, "exp": NOW + 100_600}, Lifetime(600), 0),  # our clock is late
        ({"exp": NOW + 600}, Lifetime(600), 0),
        ({"exp": NOW - 1}, GUESS, 1),
        ({"iat": NOW + 900, "exp": NOW + 600}, GUESS, 1),
        ({"iat": "yesterday", "exp": NOW + 600}, Lifetime(600), 0),
        ({"exp": "tomorrow"}, GUESS, 0),
        ({"exp": True}, GUESS, 0),
        ({"exp": 1e400}, GUESS, 0),
        ({}, GUESS, 0),
        ([1], GUESS, 0),
        (b"no json", GUESS, 0),
        (b"\xff\xff", GUESS, 0),
        (b"[" * 100_000, GUESS, 0),
    ],
)
def test_a_jwt_lives_from_iat_to_exp(claims: object, lifetime: Lifetime, remarks: int) -> None:
    found = granted({"access_token": jwt(claims)})
    assert (found.lifetime, len(found.remarks)) == (lifetime, remarks)


def test_what_the_service_says_counts_more_than_a_jwt() -> None:
    found = granted({"access_token": jwt({"iat": NOW, "exp": NOW + 600}), "expires_in": 60})
    assert found.lifetime == Lifetime(60)


@pytest.mark.parametrize("value", ["a.b", "a.b.c", "a.!!!.c", "...", "a..c", "\u00e9.\u00e9.\u00e9"])
def test_a_token_that_only_looks_like_a_jwt_is_none(value: str) -> None:
    assert granted({"access_token": value}).lifetime == GUESS


@given(st.text())
def test_any_token_has_a_lifetime(value: str) -> None:
    found = read({"access_token": value})
    assert isinstance(found, Granted) == bool(value)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (400, "rejected"),
        (401, "rejected"),
        (403, "rejected"),
        (404, "http_error"),
        (429, "throttled"),
        (500, "http_error"),
        (503, "http_error"),
        (302, "redirected"),
        (307, "redirected"),
    ],
)
def test_a_refused_secret_is_told_apart_from_an_outage(status: int, result: str) -> None:
    found = failed({"access_token": "never-read"}, status)
    assert (found.result, found.status) == (result, status)
    assert str(status) in found.detail


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"<html>sign in</html>", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"\xff\xfe\xfd", "not_json"),
        (b'{"a":' + b"9" * 5000 + b"}", "not_json"),
        (b"null", "no_token"),
        (b"[]", "no_token"),
        (b'{"data":{}}', "no_token"),
        (b'{"access_token":{"a":1}}', "no_token"),
        (b'{"access_token":7}', "no_token"),
        (b'{"access_token":""}', "no_token"),
        (b'{"data":{"access_token":null}}', "no_token"),
        (b'{"error":null,"errorCode":0,"code":200}', "no_token"),
        (b'{"errorCode":401}', "error_answer"),
        (b'{"data":{"errorCode":"E-17"}}', "error_answer"),
        (b'{"error":{"code":500}}', "error_answer"),
        (b'{"error":"invalid_grant"}', "error_answer"),
        (b'{"error":true}', "error_answer"),
    ],
)
def test_each_success_without_a_token_has_its_own_word(body: bytes, result: str) -> None:
    found = failed(body)
    assert (found.result, found.status, found.unknown) == (result, 200, False)


def test_neither_the_answer_nor_what_was_read_from_it_shows_a_secret() -> None:
    answer = TokenResponse(200, b'{"access_token":"hidden-value"}')
    assert "hidden-value" not in repr(answer)
    assert "hidden-value" not in repr(granted({"access_token": "hidden-value"}))
    assert "hidden-value" not in repr(failed({"hint": "hidden-value"}))
    assert "hidden-value" not in repr(failed({"hint": "hidden-value"}, 401))


@pytest.mark.parametrize(
    ("document", "came"),
    [
        ({"access_token": "a", "refresh_token": "r"}, "r"),
        ({"data": {"access_token": "a", "refresh_token": "r"}}, "r"),
        ({"data": {"access_token": "a"}, "refresh_token": "r"}, None),
        ({"access_token": "a", "refresh_token": None}, None),
        ({"access_token": "a", "refresh_token": ""}, None),
        ({"access_token": "a", "refresh_token": 7}, None),
        ({"access_token": "a"}, None),
    ],
)
def test_a_refresh_token_beside_the_token_is_found(document: object, came: str | None) -> None:
    assert granted(document).refresh_token == came


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("120", 120),
        ("0000000000120", 120),
        ("9" * 400, math.inf),
        (formatdate(NOW + 30, usegmt=True), 30),
        (formatdate(NOW - 30, usegmt=True), 0),
        ("Tue, 14 Nov 2023 22:13:30 -0000", 10),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\u0663", None),
        ("Mon, 1 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 1 Jan 2020 00:00:00 +99999999999999999", None),
        ("Mon, 99 Foo 2023 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_read_or_ignored(value: str) -> None:
    found = retry_after_seconds(value, NOW)
    assert found is None or found >= 0


def test_the_wait_that_was_asked_for_is_kept_with_the_failure() -> None:
    assert failed(b"", 503, "17").retry_after == 17
