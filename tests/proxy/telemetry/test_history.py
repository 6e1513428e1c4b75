"""The last minutes: what is kept, how it is counted, and that it stays small."""

import itertools
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.observations import exchange, refresh
from mimic_proxy.telemetry.history import (
    BOUNDS,
    BUCKET_SECONDS,
    BUCKETS,
    EXCHANGES_KEPT,
    LONGEST_TEXT,
    NO_CALLS,
    REFRESHES_KEPT,
    Cause,
    History,
    cause_of,
    percentile,
)
from mimic_proxy.telemetry.observation import Outcome, Trace


def ended(at: float, **seen: object) -> object:
    """An exchange of a quarter of a second that ended at a moment."""
    return exchange(started=at - 0.25, duration_seconds=0.25, **seen)


@pytest.fixture
def history() -> History:
    return History()


def test_the_last_exchanges_are_kept_in_their_order(history: History):
    for number in range(EXCHANGES_KEPT + 7):
        history.exchange(ended(100 + number, request_id=f"req-{number}"))
    assert [kept.request_id for kept in history.exchanges] == [f"req-{number}" for number in range(7, 57)]
    assert [kept.number for kept in history.exchanges] == list(range(8, 58))


def test_failures_are_kept_beside_those_that_succeed(history: History):
    """Where thousands succeed in a second, a failure would be gone before anybody looks."""
    history.exchange(ended(100, outcome="timeout", status=504, request_id="the failed one"))
    for number in range(3 * EXCHANGES_KEPT):
        history.exchange(ended(101, outcome="client_disconnect" if number % 2 else "completed"))
    assert [kept.request_id for kept in history.failures] == ["the failed one"]


def test_what_is_kept_is_what_was_seen(history: History):
    trace = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "53ce929d0e0e4736")
    history.exchange(
        ended(
            100, stream=True, first_chunk_seconds=0.1, input_tokens=5, output_tokens=7, trace=trace, retried="connect"
        )
    )
    kept = history.exchanges[0]
    assert (kept.ended, kept.duration_seconds, kept.first_chunk_seconds) == (100, 0.25, pytest.approx(0.1))
    assert (kept.input_tokens, kept.output_tokens, kept.retried, kept.stream) == (5, 7, "connect", True)
    assert kept.trace_id == trace.trace_id


def test_names_of_a_callers_choice_are_kept_short(history: History):
    """A body may be one name of 32 MiB, and fifty of them would be kept."""
    history.exchange(ended(100, model="m" * 1_000_000, path="/v1/" + "p" * 60_000))
    kept = history.exchanges[0]
    assert kept.model is not None
    assert kept.model.startswith("mmm")
    assert max(len(kept.model), len(kept.path)) <= LONGEST_TEXT + 3


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        ({"outcome": "completed"}, "completed"),
        ({"outcome": "upstream_error", "status": 503, "upstream_status": 503}, "upstream_5xx"),
        ({"outcome": "upstream_error", "status": 200, "upstream_status": 200}, "error_event"),
        ({"outcome": "upstream_error", "status": 502, "error_code": "upstream_unreachable"}, "unreachable"),
        ({"outcome": "upstream_error", "status": 502, "error_code": "upstream_bad_response"}, "bad_response"),
        ({"outcome": "token_error", "status": 503, "error_code": "token_unavailable"}, "no_token"),
        ({"outcome": "token_error", "status": 502, "error_code": "upstream_auth_failed"}, "token_refused"),
        ({"outcome": "token_error", "status": 403, "upstream_status": 403}, "token_refused"),
        ({"outcome": "client_error", "status": 429, "upstream_status": 429}, "throttled"),
        ({"outcome": "client_error", "status": 404, "upstream_status": 404}, "client_error"),
        ({"outcome": "client_disconnect", "sent": 100.0, "duration_seconds": 5.0}, "gave_up"),
        ({"outcome": "client_disconnect", "sent": 100.0, "duration_seconds": 4.9}, "client_disconnect"),
        (
            {"outcome": "client_disconnect", "sent": 100.0, "duration_seconds": 9.0, "upstream_status": 200},
            "client_disconnect",
        ),
        ({"outcome": "client_disconnect", "duration_seconds": 60.0}, "client_disconnect"),
        ({"outcome": "client_error", "status": 413, "error_code": "request_too_large"}, "refused_here"),
    ],
)
def test_causes(seen: dict[str, object], cause: Cause):
    assert cause_of(exchange(**({"upstream_status": None} | seen))) == cause


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_every_outcome_is_counted_by_a_cause(history: History, outcome: Outcome):
    history.exchange(ended(100, outcome=outcome, status=500))
    tally = history.tally(100, 60)
    assert tally.calls == 1
    assert set(tally.causes) == set(get_args(Cause))
    assert len(history.failures) == (outcome not in ("completed", "client_disconnect"))
    asked = outcome not in ("token_error", "overloaded", "circuit_open", "shutdown")
    assert tally.asked == asked
    assert tally.failed == (asked and bool(history.failures))
    assert history.last == {cause_of(exchange(outcome=outcome, status=500)): 100}


def test_a_quarter_of_an_hour_in_steps_of_five_seconds(history: History):
    for at in (1000, 1001, 1004.9, 1005, 1050):
        history.exchange(ended(at, outcome="timeout" if at == 1001 else "completed"))
    points = history.points(1052)
    assert len(points) == BUCKETS
    assert [(point.calls, point.failures) for point in points[-11:]] == [(3, 1), (1, 0), *[(0, 0)] * 8, (1, 0)]
    assert points[-5] == NO_CALLS
    assert sum(point.calls for point in history.points(1000 + BUCKETS * BUCKET_SECONDS)) == 2
    assert sum(point.calls for point in history.points(10_000)) == 0


def test_a_point_that_is_not_over_goes_on_counting(history: History):
    history.exchange(ended(1000))
    assert history.points(1001)[-1].calls == 1
    history.exchange(ended(1002))
    assert history.points(1003)[-1].calls == 2


def test_what_is_told_late_counts_as_now(history: History):
    """Exchanges are told of in batches: a point that was shown does not change any more."""
    history.exchange(ended(1011))
    before = history.points(1012)[-2]
    history.exchange(ended(1009))
    assert history.points(1012)[-2] == before == NO_CALLS
    assert history.points(1012)[-1].calls == 2


def test_memory_is_bounded_by_time_and_numbers(history: History):
    for number in range(3 * BUCKETS):
        history.exchange(ended(BUCKET_SECONDS * number + 1, outcome="timeout"))
    for _ in range(3 * REFRESHES_KEPT):
        history.refresh(refresh())
    assert len(history._buckets) == BUCKETS + 1
    assert (len(history.exchanges), len(history.failures), len(history.refreshes)) == (50, 50, 10)


def test_a_tally_counts_what_is_young_enough(history: History):
    for at in (1000, 1200, 1290, 1299):
        history.exchange(ended(at, stream=True, first_chunk_seconds=0.1))
    assert [history.tally(1300, seconds).calls for seconds in (30, 120, 600)] == [2, 3, 4]
    lately = history.tally(1300, 30)
    assert lately.p50 == pytest.approx(0.25, rel=0.42)
    assert lately.first_p95 == pytest.approx(0.1, rel=0.42)
    assert history.tally(9000, 300).p50 is None


@given(st.lists(st.floats(0.0006, 700), min_size=1, max_size=300), st.sampled_from([0.5, 0.95]))
def test_percentiles_are_right_to_a_step_of_the_bounds(values: list[float], share: float):
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[next(index for index, bound in enumerate((*BOUNDS, math.inf)) if value <= bound)] += 1
    found = percentile(counts, share)
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    assert found is not None
    assert exact / math.sqrt(2) * 0.999 <= found <= exact * math.sqrt(2) * 1.001


def test_percentiles_of_nothing_and_of_what_is_beyond_all_bounds():
    nothing = [0] * (len(BOUNDS) + 1)
    assert percentile(nothing, 0.5) is None
    assert percentile([*nothing[:-1], 3], 0.5) == BOUNDS[-1]


def test_trouble_with_the_token_service_began_with_its_first_failure(history: History):
    moments = itertools.count(100.0, 10)
    began = []
    for result in ("success", "timeout", "rejected", "success", "unreachable"):
        history.refresh(refresh(result=result, started=next(moments)))
        began.append(history.failing_since)
    assert began == [None, 110, 110, None, 140]
