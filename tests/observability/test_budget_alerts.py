"""Error budgets: which pair of windows fires when, and that it ends. Run by promtool on the rule files of the chart.

With histories this short all windows see the same share, so the pairs fire one after the other as their `for` ends. A
rise of the traffic ends them: busy minutes weigh more.
"""

from pathlib import Path

import pytest

from fakes.rule_trial import Firing, Series, complaints, growing, healthy, trial
from observability.places import RULES

FILES = (RULES / "recording.yaml", RULES / "budgets.yaml")
BROKEN_UNTIL = 190
CLEAR_AT = 225


def per_minute(usual: float, bad: float = 0.0) -> tuple[dict[int, float], dict[int, float]]:
    """Rates of all and of the bad ones: bad until BROKEN_UNTIL, then a thousand times the traffic without fault."""
    return {0: usual, BROKEN_UNTIL: usual * 1000}, {0: bad, BROKEN_UNTIL: 0}


def failing(outcome: str, share: float, usual: float = 6000) -> Series:
    total, bad = per_minute(usual, usual * share)
    return {
        **healthy(),
        'mimic_requests_total{outcome="completed"}': growing(total),
        f'mimic_requests_total{{outcome="{outcome}"}}': growing(bad),
    }


def slow(metric: str, bound: str, share: float, usual: float = 6000) -> Series:
    total, _ = per_minute(usual)
    good = {0: usual * (1 - share), BROKEN_UNTIL: usual * 1000}
    return {
        **healthy(),
        f"{metric}_count": growing(total),
        f'{metric}_bucket{{le="{bound}"}}': growing(good),
        f'{metric}_bucket{{le="+Inf"}}': growing(total),
    }


def first_chunk_late(share: float) -> Series:
    return slow("mimic_stream_time_to_first_chunk_seconds", "5.12", share)


def alerts(*pairs: str, of: tuple[str, ...] = ("MimicErrorBudgetBurn",)) -> Firing:
    return {(name, pair) for name in of for pair in pairs}


def in_turn(*names: str) -> dict[int, Firing]:
    """All four pairs fire one after the other, and clear."""
    return {
        1: set(),
        8: alerts("1h", of=names),
        25: alerts("1h", "6h", of=names),
        75: alerts("1h", "6h", "1d", of=names),
        BROKEN_UNTIL: alerts("1h", "6h", "1d", "3d", of=names),
        CLEAR_AT: set(),
    }


BURNS: dict[str, tuple[Series, dict[int, Firing]]] = {
    "each pair fires in its time and clears": (failing("upstream_error", 0.02), in_turn("MimicErrorBudgetBurn")),
    "token errors burn two budgets": (
        failing("token_error", 0.02),
        in_turn("MimicErrorBudgetBurn", "MimicTokenBudgetBurn"),
    ),
    "late first chunks burn one": (first_chunk_late(0.8), in_turn("MimicTTFCBudgetBurn")),
    "overhead burns one": (slow("mimic_overhead_seconds", "0.05", 0.2), in_turn("MimicOverheadBudgetBurn")),
    "eight times too fast": (failing("timeout", 0.008), {BROKEN_UNTIL: alerts("6h", "1d", "3d")}),
    "four times too fast": (failing("overloaded", 0.004), {BROKEN_UNTIL: alerts("1d", "3d")}),
    "twice too fast": (failing("circuit_open", 0.002), {BROKEN_UNTIL: alerts("3d")}),
    "within the budget": (failing("internal_error", 0.0005), {BROKEN_UNTIL: set()}),
    "callers' mistakes burn none": (failing("client_error", 0.9), {75: set()}),
    "callers who leave burn none": (failing("client_disconnect", 0.9), {75: set()}),
    "nobody calls": ({name: growing({0: 0}) for name in healthy()}, {75: set()}),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One run for all: evaluating three hours of rules takes seconds."""
    pods = {f"{name}/a": series for name, (series, _) in BURNS.items()}
    fires = {name: times for name, (_, times) in BURNS.items()}
    return complaints(trial(FILES, pods, fires, 60), tmp_path_factory.mktemp("budgets"))


@pytest.mark.parametrize("name", BURNS)
def test_budgets_alert_as_their_windows_say(name: str, judged: str):
    assert name not in judged


ONE_IN_TWO = growing({0: 0.5})
NONE = growing({0: 0})
COMPLETED, TIMEOUT = (f'mimic_requests_total{{outcome="{outcome}"}}' for outcome in ("completed", "timeout"))


def test_a_few_failures_of_a_quiet_sidecar_do_not_alert_but_its_outage_does(tmp_path: Path):
    """One call in two minutes: nine failures wake nobody, an outage without a success does."""
    pods: dict[str, Series] = {
        "few/a": {**healthy(), COMPLETED: ONE_IN_TWO, TIMEOUT: growing({0: 0.5, 18: 0})},
        "outage/a": {**healthy(), COMPLETED: NONE, TIMEOUT: ONE_IN_TWO},
    }
    fires: dict[str, dict[int, Firing]] = {
        "few": {5: set(), 15: set(), 25: set(), 40: set()},
        "outage": {5: set(), 40: alerts("1h", "6h")},
    }
    assert complaints(trial(FILES, pods, fires), tmp_path) == ""


def test_many_sidecars_are_one_alert(tmp_path: Path):
    """Each has too few calls to say anything; together they do."""
    rare = growing({0: 0.1})
    sidecar = {**healthy(), COMPLETED: rare, TIMEOUT: rare}
    pods = {f"shop/app-{number}": sidecar for number in range(8)}
    assert complaints(trial(FILES, pods, {"shop": {4: set(), 40: alerts("1h", "6h")}}), tmp_path) == ""


def test_alerts_end_with_their_short_windows_after_trouble_at_an_unchanged_rate(tmp_path: Path):
    """70 minutes of failures. By their long windows alone the pairs would fire for 6 hours, 7 hours and 3 days more."""
    usual, share, end = 6000, 0.02, 70
    pods: dict[str, Series] = {
        "over/a": {
            **healthy(),
            COMPLETED: growing({0: usual}),
            TIMEOUT: growing({0: usual * share, end: 0}),
        }
    }
    fires: dict[str, dict[int, Firing]] = {
        "over": {
            end: alerts("1h", "6h", "1d"),
            end + 8: alerts("6h", "1d"),
            end + 30: alerts("1d"),
            end + 108: set(),
            # The slowest pair notices that a quarter of the month's budget is gone; it ends with its window of 6 hours.
            end + 130: alerts("3d"),
            end + 360: set(),
        }
    }
    assert complaints(trial(FILES, pods, fires, 60), tmp_path) == ""


def test_a_trial_that_expects_the_wrong_alerts_fails(tmp_path: Path):
    pods = {"shop/a": failing("timeout", 0.5)}
    assert "MimicErrorBudgetBurn" in complaints(trial(FILES, pods, {"shop": {8: set()}}), tmp_path)
