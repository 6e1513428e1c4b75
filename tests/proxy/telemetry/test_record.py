"""The closed list of outcomes, by tables."""

from typing import get_args

import pytest

from mimic_proxy import errors
from mimic_proxy.errors import MimicError
from mimic_proxy.telemetry.observation import Outcome
from mimic_proxy.telemetry.record import outcome_of_error, outcome_of_status


def every_kind(kind: type[MimicError] = MimicError) -> set[type[MimicError]]:
    return {kind}.union(*(every_kind(below) for below in kind.__subclasses__()))


EXPECTED = {
    errors.MimicError: "internal_error",
    errors.CallerError: "client_error",
    errors.InvalidRequest: "client_error",
    errors.UnsupportedInput: "client_error",
    errors.ClientKeyRefused: "client_error",
    errors.Forbidden: "client_error",
    errors.ModelNotFound: "client_error",
    errors.UnknownRoute: "client_error",
    errors.MethodNotAllowed: "client_error",
    errors.RequestTimeout: "client_error",
    errors.RequestTooLarge: "client_error",
    errors.HeadTooLarge: "client_error",
    errors.TokenError: "token_error",
    errors.TokenUnavailable: "token_error",
    errors.TokenRejected: "token_error",
    errors.UpstreamError: "upstream_error",
    errors.UpstreamAuthFailed: "token_error",
    errors.UpstreamUnreachable: "upstream_error",
    errors.UpstreamBadResponse: "upstream_error",
    errors.UpstreamTimeout: "timeout",
    errors.Unavailable: "internal_error",
    errors.Overloaded: "overloaded",
    errors.BuffersFull: "overloaded",
    errors.ClientKeysMissing: "overloaded",
    errors.CircuitOpen: "circuit_open",
    errors.ShuttingDown: "shutdown",
}
ARGUMENTS: dict[type[MimicError], dict[str, object]] = {
    errors.Forbidden: {"code": "forbidden_host"},
    errors.MethodNotAllowed: {"allowed": ["GET"]},
    errors.UpstreamTimeout: {"timer": "total"},
}


def test_every_error_has_its_word() -> None:
    assert set(EXPECTED) == every_kind()
    for kind, word in EXPECTED.items():
        error = kind("A message that says what to do.", **ARGUMENTS.get(kind, {}))
        assert outcome_of_error(error) == word
        assert word in get_args(Outcome)


@pytest.mark.parametrize(
    ("timer", "word"),
    [
        ("connect", "timeout"),
        ("first_byte", "timeout"),
        ("idle", "idle_timeout"),
        ("send", "timeout"),
        ("total", "timeout"),
    ],
)
def test_silence_inside_an_answer_is_told_apart(timer: str, word: str) -> None:
    assert outcome_of_error(errors.UpstreamTimeout("The timer fired.", timer=timer)) == word


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (200, "completed"),
        (204, "completed"),
        (304, "completed"),
        (399, "completed"),
        (400, "client_error"),
        (401, "token_error"),
        (403, "token_error"),
        (404, "client_error"),
        (499, "client_error"),
        (500, "upstream_error"),
        (999, "upstream_error"),
    ],
)
def test_every_status_of_the_backend_has_its_word(status: int, word: str) -> None:
    assert outcome_of_status(status) == word
