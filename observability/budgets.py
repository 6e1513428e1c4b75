"""Alerts on the speed at which error budgets burn (multi-window, multi-burn-rate)."""

from dataclasses import dataclass

from observability.objectives import (
    AVAILABILITY,
    FAILED,
    FIRST_CHUNK,
    FIRST_CHUNK_SECONDS,
    INTERVAL_SECONDS,
    LEAST_BAD,
    OVERHEAD,
    OVERHEAD_SECONDS,
    PAIRS,
    TOKENS,
    Objective,
    Pair,
    Severity,
)
from observability.places import OVERVIEW, STREAMS, Board
from observability.places import TOKENS as TOKENS_BOARD
from observability.rulefile import Alert, Group

WHO = "namespace {{ $labels.namespace }}"


@dataclass(frozen=True, slots=True)
class Budget:
    """An objective with the words for its alerts. subject: completes '12.3 % of ...'; more: what to know beyond it.

    fastest, fast: severities of the two pairs that would page if their subject were worth it.
    """

    alert: str
    objective: Objective
    fastest: Severity
    fast: Severity
    board: Board
    subject: str
    more: str


def query(expr: str, shown: str) -> str:
    """Part of a description: the words `shown` for each result of a query with %s for namespace and job."""
    return f"{{{{ range query (printf `{expr}` $labels.namespace $labels.job) }}}}{shown}{{{{ end }}}}"


BY_OUTCOME = query(
    "sort_desc(sum by (outcome) (rate("
    f'mimic_requests_total{{namespace="%s",job="%s",outcome=~"{"|".join(FAILED)}"}}[5m])) > 0)',
    " {{ .Labels.outcome }} {{ .Value | humanize }}/s,",
)
TRIED = query(
    'sort_desc(sum by (result) (increase(mimic_token_refresh_total{namespace="%s",job="%s"}[15m])) > 0)',
    " {{ .Labels.result }} {{ .Value | humanize }},",
)
BUDGETS = (
    Budget(
        "MimicErrorBudgetBurn",
        AVAILABILITY,
        "critical",
        "critical",
        OVERVIEW,
        "requests failed",
        f"In the last 5 minutes:{BY_OUTCOME} where token_error is the token service's, upstream_error, timeout, "
        "idle_timeout and circuit_open are the backend's, internal_error and overloaded are Mimic's.",
    ),
    # Every token error is a failed request: the availability pages. This one tells what it is, beside the page.
    Budget(
        "MimicTokenBudgetBurn",
        TOKENS,
        "warning",
        "warning",
        TOKENS_BOARD,
        "requests failed for want of an accepted access token",
        f"Calls to the token service in the last 15 minutes:{TRIED} successes without failures mean that the backend "
        "refuses what the token service issues.",
    ),
    # The first word is the backend's to give. Who is called at night for it can only wait: one page where most streams
    # are late, which is an outage to their readers, and a ticket below that.
    Budget(
        "MimicTTFCBudgetBurn",
        FIRST_CHUNK,
        "critical",
        "warning",
        STREAMS,
        f"streams had their first content later than {FIRST_CHUNK_SECONDS} s",
        "The dashboard tells whether the time went to the backend, to waiting for a token or for a slot.",
    ),
    # Fifty milliseconds before a model's seconds: somebody should look, nobody should get up.
    Budget(
        "MimicOverheadBudgetBurn",
        OVERHEAD,
        "warning",
        "warning",
        OVERVIEW,
        f"requests took more than {OVERHEAD_SECONDS * 1000:g} ms of Mimic's own",
        "This is Mimic itself: CPU that is short or throttled, an event loop that lags, or bodies of many megabytes.",
    ),
)


def burn(budget: Budget, pair: Pair, severity: Severity) -> Alert:
    """The alert of one pair of windows."""
    objective = budget.objective
    limit = f"{pair.factor:g} * {objective.budget:g}"
    count = f"sum_over_time({objective.rate('bad')}[{pair.long}]) * {INTERVAL_SECONDS}"
    return Alert(
        name=budget.alert,
        severity=severity,
        expr=(
            f"{objective.ratio(pair.long)} > {limit}\n"
            f"and {objective.ratio(pair.short)} > {limit}\n"
            f"and {count} >= {LEAST_BAD}"
        ),
        hold=pair.hold,
        board=budget.board,
        summary=f"{{{{ $value | humanizePercentage }}}} of {budget.subject} in {WHO} ({pair.long})",
        description=(
            f"{{{{ $value | humanizePercentage }}}} over {pair.long}, of which {objective.budget * 100:g}% are allowed "
            f"over 30 days: the budget burns more than {pair.factor:g} times too fast, over {pair.short} as well. "
            f"{budget.more}"
        ),
        # Without them two pairs would be one alert to Alertmanager, resolved whenever one of them is.
        labels={"long_window": pair.long, "short_window": pair.short},
    )


def severity(budget: Budget, pair: Pair) -> Severity:
    """Slow burns are never more than a warning."""
    return "warning" if not pair.urgent else budget.fastest if pair is PAIRS[0] else budget.fast


def group() -> Group:
    """All pairs of all budgets."""
    alerts = (burn(budget, pair, severity(budget, pair)) for budget in BUDGETS for pair in PAIRS)
    return Group("mimic.budgets", tuple(alerts))
