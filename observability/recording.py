"""Recording rules: the rates behind the objectives, and their bad shares over each window.

Only the rates of 5 minutes read what pods export; the windows are sums over them, so that the three days of hundreds of
series are never read at once, and busy minutes weigh what they are worth. Where nothing was asked there is no share:
absent, not 0 and not NaN.
"""

from observability.objectives import INTERVAL_SECONDS, OBJECTIVES, SLOW_WINDOWS, WINDOWS, Objective
from observability.rulefile import Group, Record

SLOW_INTERVAL_SECONDS = 120


def share(objective: Objective, window: str) -> Record:
    """The bad share over a window."""
    valid, bad = objective.rate("valid"), objective.rate("bad")
    if window == "5m":
        return Record(objective.ratio(window), f"{bad} / ({valid} > 0)")
    return Record(objective.ratio(window), f"sum_over_time({bad}[{window}]) / (sum_over_time({valid}[{window}]) > 0)")


def groups() -> tuple[Group, ...]:
    """Rates and short windows, long windows, and what is recorded for dashboards alone."""
    rates = {
        objective.rate(part): Record(objective.rate(part), objective.valid if part == "valid" else objective.bad)
        for objective in OBJECTIVES
        for part in ("valid", "bad")
    }
    fast = [window for window in WINDOWS if window not in SLOW_WINDOWS]
    return (
        Group(
            "mimic.rates",
            (*rates.values(), *(share(objective, window) for objective in OBJECTIVES for window in fast)),
            INTERVAL_SECONDS,
        ),
        Group(
            "mimic.windows",
            tuple(share(objective, window) for objective in OBJECTIVES for window in SLOW_WINDOWS),
            SLOW_INTERVAL_SECONDS,
        ),
    )
