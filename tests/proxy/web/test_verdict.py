"""Is it us, the token service or the backend? The decision, by tables."""

from typing import get_args

import pytest

from fakes.circumstances import NOW, causes, circumstances, token
from mimic_proxy.telemetry.history import Cause
from mimic_proxy.telemetry.observation import RefreshResult
from mimic_proxy.web.verdict import CALLERS, FAULTS, QUIET_SECONDS, REFUSED, SEVERITY, Circumstances, judge, standings

STOPPING = (("config", True, ""), ("token", True, ""), ("serving", False, "Mimic is stopping"))
TROUBLE = "There is no new access token: the token service answered 401. AUTH_CODE is wrong: set a valid one."
FAILING = {"trouble": TROUBLE, "consecutive_failures": 3, "next_refresh": NOW + 5}


def calls(lately: int = 0, last: float = NOW, **counts: int) -> Circumstances:
    """Calls that ended so, each cause the last time at `last`."""
    moments = dict.fromkeys(counts, last) | ({"completed": NOW} if lately else {})
    return circumstances(causes=causes(**counts), lately=causes(completed=lately), last=moments)


CASES = [
    (circumstances(), "good", "mimic", "Ready, and no calls in the last 5 minutes"),
    (circumstances(running=1), "good", "mimic", "Ready, and 1 call is running"),
    (circumstances(running=3), "good", "mimic", "Ready, and 3 calls are running"),
    (
        circumstances(running=3, silent=2, silent_seconds=31.4),
        "warning",
        "backend",
        "2 calls have waited for the backend's first byte for up to 31 s",
    ),
    (circumstances(causes=causes(gave_up=3)), "bad", "backend", "Callers gave up waiting for the backend's first byte"),
    (calls(completed=7), "good", "mimic", "All is well"),
    (circumstances(token=token(required=False, last_result=None)), "good", "mimic", "Ready, and no calls"),
    (circumstances(conditions=STOPPING), "bad", "mimic", "Mimic is stopping"),
    (circumstances(conditions=[("backend", False, "It is off.")]), "bad", "mimic", "Mimic is not ready: backend"),
    # The token
    (
        circumstances(token=token(held=False, generation=0, in_flight=True, last_result=None)),
        "warning",
        "token_service",
        "The first access token is being fetched",
    ),
    (
        circumstances(token=token(held=False, generation=3, in_flight=True)),
        "warning",
        "token_service",
        "A new access token is being fetched",
    ),
    (
        circumstances(token=token(held=False, last_result="rejected", **FAILING)),
        "bad",
        "token_service",
        "The token service refuses the secret",
    ),
    (
        circumstances(token=token(last_result="unreachable", **FAILING)),
        "warning",
        "token_service",
        "The token service cannot be reached",
    ),
    (
        circumstances(token=token(held=False, generation=0, last_result=None, trouble="AUTH_CODE_FILE is missing.")),
        "bad",
        "mimic",
        "Mimic has no secret that it can use",
    ),
    # The backend
    (circumstances(breaker_open=True), "bad", "backend", "The backend failed repeatedly and is given a pause"),
    (
        calls(completed=69, upstream_5xx=31),
        "bad",
        "backend",
        "The backend answered 5xx to 31 % of calls in the last 5 m",
    ),
    (calls(completed=4, upstream_5xx=3), "bad", "backend", "The backend answered 5xx to 3 of 7 calls in the last 5 m"),
    (calls(timeout=1), "bad", "backend", "The backend was too slow for the only call in the last 5 minutes"),
    (calls(completed=999, idle_timeout=1), "warning", "backend", "The backend fell silent in the middle of 1 of 1000"),
    (
        calls(completed=1, unreachable=2, timeout=1),
        "bad",
        "backend",
        "The backend could not be reached for 2 of 4 calls",
    ),
    (calls(completed=5, token_refused=5), "bad", "backend", "The backend refused the access token of 5 of 10 calls"),
    (calls(completed=5, throttled=5), "bad", "backend", "The backend turned away 5 of 10 calls with 429"),
    (calls(circuit_open=4), "bad", "backend", "The backend had failed repeatedly: Mimic held back all 4 calls"),
    # What is no fault of the backend's
    (calls(completed=80, overloaded=20), "bad", "mimic", "Mimic turned away 20 % of calls"),
    (calls(completed=80, internal_error=2), "warning", "mimic", "Mimic itself failed 2 % of calls"),
    (calls(completed=1, client_error=3), "warning", "callers", "The backend refused 3 of 4 calls as wrong (4xx)"),
    (calls(completed=1, refused_here=3), "warning", "callers", "Mimic refused 3 of 4 calls as wrong"),
    (calls(completed=8, client_error=3), "good", "mimic", "All is well"),
    # What went well before makes a fault that hits every call now no smaller.
    (
        circumstances(causes=causes(completed=891, unreachable=109), lately=causes(unreachable=40), last={}),
        "bad",
        "backend",
        "The backend could not be reached for all 40 calls in the last 30 seconds",
    ),
    (
        circumstances(
            causes=causes(completed=9891, unreachable=79, timeout=30),
            lately=causes(unreachable=7, timeout=3, client_disconnect=5),
            last={},
        ),
        "bad",
        "backend",
        "The backend could not be reached for 7 of 10 calls in the last 30 seconds",
    ),
    (
        circumstances(causes=causes(completed=998, timeout=2), lately=causes(timeout=2), last={}),
        "warning",
        "backend",
        "The backend was too slow for 2 of 1000 calls in the last 5 minutes",
    ),
    (calls(completed=2, client_disconnect=3), "warning", "callers", "Callers gave up 3 of 5 calls"),
    (calls(completed=8, client_disconnect=3, shutdown=30), "good", "mimic", "All is well"),
    # A caller's leaving makes no backend look better.
    (calls(completed=10, client_disconnect=80, upstream_5xx=10), "bad", "backend", "The backend answered 5xx to 50 %"),
    (
        circumstances(slots_in_use=8, slots_limit=8, queue=3),
        "warning",
        "mimic",
        "All 8 slots are taken and 3 calls wait",
    ),
    (circumstances(slots_in_use=8, slots_limit=0, queue=0), "good", "mimic", "Ready"),
]


@pytest.mark.parametrize(("seen", "level", "party", "sentence"), CASES, ids=[case[3][:40] for case in CASES])
def test_verdict(seen: Circumstances, level: str, party: str, sentence: str):
    verdict = judge(seen)[0]
    assert (verdict.level, verdict.party) == (level, party)
    assert verdict.sentence.startswith(sentence)
    assert verdict.level == "good" or verdict.advice, "whoever is told of trouble is told what to do"


def test_the_worst_is_told_first():
    findings = judge(
        circumstances(
            token=token(last_result="timeout", **FAILING), causes=causes(completed=50, upstream_5xx=50), last={}
        )
    )
    assert [finding.party for finding in findings] == ["backend", "token_service"]
    levels = [SEVERITY[finding.level] for finding in findings]
    assert levels == sorted(levels)


def test_trouble_with_the_token_tells_its_sentence_since_when_and_for_how_long():
    seen = circumstances(token=token(last_result="rejected", **FAILING), token_failing_since=NOW - 90)
    verdict = judge(seen)[0]
    assert verdict.since == NOW - 90
    assert verdict.advice == f"{TROUBLE} The present token serves on until it expires."


def test_a_token_that_is_missing_is_told_once():
    seen = circumstances(token=token(held=False, last_result="rejected", **FAILING), causes=causes(no_token=9), last={})
    assert [finding.sentence for finding in judge(seen)] == ["The token service refuses the secret"]


def test_calls_without_a_token_are_past_once_there_is_one():
    findings = judge(calls(no_token=3, completed=1))
    assert [finding.sentence for finding in findings] == [
        "All is well",
        "There was no access token for 3 of 4 calls in the last 5 minutes",
    ]
    assert findings[1].until == NOW


def test_mistakes_of_callers_are_told_where_all_is_well_otherwise():
    findings = judge(calls(5, completed=600, client_error=67))
    assert [(finding.level, finding.party, finding.sentence) for finding in findings] == [
        ("good", "mimic", "All is well"),
        ("good", "callers", "The backend refused 10 % of calls as wrong (4xx) in the last 5 minutes"),
    ]


@pytest.mark.parametrize(
    ("since", "completed_lately", "past"),
    [(QUIET_SECONDS + 1, 4, True), (QUIET_SECONDS - 1, 4, False), (QUIET_SECONDS + 1, 0, False)],
)
def test_a_fault_is_past_when_calls_have_succeeded_for_a_while(since: float, completed_lately: int, past: bool):
    verdict = judge(calls(completed_lately, NOW - since, completed=60, upstream_5xx=40))[0]
    assert (verdict.sentence == "All is well") is past


@pytest.mark.parametrize(
    ("seen", "stands"),
    [
        (circumstances(), {"mimic": "good", "token_service": "good", "backend": "unknown"}),
        (calls(completed=1), {"mimic": "good", "token_service": "good", "backend": "good"}),
        (calls(overloaded=9), {"mimic": "bad", "token_service": "good", "backend": "unknown"}),
        (calls(upstream_5xx=9), {"mimic": "good", "token_service": "good", "backend": "bad"}),
        (calls(refused_here=9), {"mimic": "good", "token_service": "good", "backend": "unknown"}),
        (calls(client_error=9), {"mimic": "good", "token_service": "good", "backend": "warning"}),
        (
            circumstances(causes=causes(completed=5, client_error=9), last={"completed": NOW - 9, "client_error": NOW}),
            {"mimic": "good", "token_service": "good", "backend": "good"},
        ),
        (
            circumstances(causes=causes(completed=5), last={"completed": NOW - 99, "unreachable": NOW - 90}),
            {"mimic": "good", "token_service": "good", "backend": "warning"},
        ),
        (
            circumstances(token=token(required=False, last_result=None)),
            {"mimic": "good", "token_service": "unused", "backend": "unknown"},
        ),
        (
            circumstances(token=token(held=False, last_result="timeout", **FAILING)),
            {"mimic": "good", "token_service": "bad", "backend": "unknown"},
        ),
    ],
)
def test_how_each_of_the_three_stands(seen: Circumstances, stands: dict[str, str]):
    assert standings(seen, judge(seen)) == stands


def test_every_cause_and_every_result_has_its_words():
    assert {*FAULTS, *CALLERS, "completed", "shutdown"} == set(get_args(Cause))
    assert {*REFUSED, "success"} == set(get_args(RefreshResult))
