"""The first row of the overview: whose fault is it, how bad, since when."""

from observability import culprits
from observability.objectives import AVAILABILITY, FAILED, VALID
from observability.panels import GREEN, NO_REQUESTS, ORANGE, RED, YELLOW, Panel, Row, stat
from observability.promql import OPERATION, RECORDED, TOKEN_LEFT, known, one_of, pick, quantile, rate, share, total

VALID_RATE = total(rate("mimic_requests_total", OPERATION, one_of("outcome", VALID)))
BAD_SHARE = ((None, GREEN), (0.001, YELLOW), (0.01, ORANGE), (0.05, RED))
NEEDED = 'condition!="backend"'
"""What a pod has to have to be ready; whether the backend answers is only told."""
NOT_CLOSED = pick("mimic_breaker_state", 'target="backend"', 'state=~"open|half_open"')


def _failed_by(whom: str, outcomes: tuple[str, ...], what_to_do: str) -> Panel:
    failed = total(rate("mimic_requests_total", OPERATION, one_of("outcome", outcomes)))
    return stat(
        f"Failed by {whom}",
        share(failed, VALID_RATE),
        f"Share of requests that end as {', '.join(outcomes)}. {what_to_do}",
        "percentunit",
        BAD_SHARE,
        NO_REQUESTS,
    )


def _success() -> Panel:
    good = total(f"increase({pick('mimic_requests_total', OPERATION, one_of('outcome', FAILED))}[$__range])")
    valid = total(f"increase({pick('mimic_requests_total', OPERATION, one_of('outcome', VALID))}[$__range])")
    return stat(
        "Success over the time range",
        f"1 - {share(good, valid)}",
        "Requests without a failure over the time range above; callers' mistakes, callers who left and restarts are "
        "not counted. Below 99.9 % the budget shrinks: the three panels before say whose failures they are.",
        "percentunit",
        ((None, RED), (0.99, ORANGE), (0.999, GREEN)),
        NO_REQUESTS,
    )


def _budget() -> Panel:
    def sums(part: str) -> str:
        return f"sum(sum_over_time({part}{{{RECORDED}}}[30d]))"

    burnt = share(sums(AVAILABILITY.rate("bad")), sums(AVAILABILITY.rate("valid")))
    return stat(
        "Error budget left (30 d)",
        f"1 - {burnt} / {AVAILABILITY.budget:g}",
        "What is left of the 0.1 % of requests that may fail in 30 days; below 0 the objective is missed. It takes no "
        "notice of pod and operation, and needs the chart's recording rules.",
        "percentunit",
        ((None, RED), (0.0, ORANGE), (0.25, GREEN)),
        "no recorded requests",
    )


def _alerts() -> Panel:
    firing = 'ALERTS{alertname=~"Mimic.+",alertstate="firing",namespace=~"$namespace|"}'
    return stat(
        "Alerts firing",
        f"count({firing}) or vector(0)",
        "Alerts of the chart's rules that fire now. Each has a runbook, linked above, and names the dashboard to "
        "look at.",
        "short",
        ((None, GREEN), (1, RED)),
        "0",
    )


def _token_left() -> Panel:
    return stat(
        "Token: shortest life left",
        f"min({TOKEN_LEFT})",
        "Of the access tokens of all pods, the one that ends first. 0 is a pod without one: all its calls fail. A "
        "renewal comes at 70 to 80 % of the life; a value that falls further means that it fails. Next: the Tokens "
        "dashboard.",
        "s",
        ((None, RED), (30, ORANGE), (120, GREEN)),
        "no token service",
    )


def _not_ready() -> Panel:
    ready = f"min by (namespace, job, pod, instance) ({pick('mimic_ready', NEEDED)})"
    return stat(
        "Pods not ready",
        f"sum(1 - {ready})",
        "Pods of which a condition of readiness does not hold. /readyz on the admin port says which and why; token "
        "means no usable access token, serving that the pod stops.",
        "short",
        ((None, GREEN), (1, RED)),
        "no pods",
    )


def row() -> Row:
    """Six numbers on whose fault it is, six on how things are."""
    open_ends = ((None, GREEN), (10.24, YELLOW), (40.96, ORANGE))
    return Row(
        "Now: whose fault is it?",
        (
            _failed_by(
                "Mimic",
                culprits.MIMIC,
                "overloaded: slots and queue are full, see Saturation, mostly since the backend is slow. "
                "internal_error: a fault in Mimic with a traceback in its log.",
            ),
            _failed_by(
                "the token service",
                culprits.TOKEN_SERVICE,
                "There is no token, or the backend refuses it. The Tokens dashboard tells the two apart.",
            ),
            _failed_by(
                "the backend",
                culprits.BACKEND,
                "It broke, was silent, or could not be reached. 'Tries that went wrong' below says how.",
            ),
            _success(),
            _budget(),
            _alerts(),
            stat(
                "Requests per second",
                total(rate("mimic_requests_total", OPERATION)),
                "Finished requests per second. 0 with callers at work: they do not get through to Mimic, which then "
                "knows nothing of them.",
                "reqps",
                ((None, GREEN),),
                NO_REQUESTS,
            ),
            stat(
                "Duration, p95",
                known(quantile(0.95, "mimic_request_duration_seconds", OPERATION)),
                "First byte in to last byte out; of a stream the whole stream. Long answers take long: compare with "
                "'Whose time is it?' before you blame anybody.",
                "s",
                open_ends,
                NO_REQUESTS,
            ),
            stat(
                "First content, p95",
                known(quantile(0.95, "mimic_stream_time_to_first_chunk_seconds", OPERATION, 'model=~"$model"')),
                "How long readers of streams wait for the first word. High: mostly the backend; the Streams dashboard "
                "shows waits for token and slot beside it.",
                "s",
                ((None, GREEN), (2.56, YELLOW), (5.12, RED)),
                "no streams",
            ),
            _token_left(),
            _not_ready(),
            stat(
                "Breakers not closed",
                f"sum({NOT_CLOSED})",
                "Pods that give the backend a pause after BREAKER_FAILURES failures in a row. Calls get 503 "
                "circuit_open meanwhile. It closes by itself with the first call that succeeds.",
                "short",
                ((None, GREEN), (1, RED)),
                "no pods",
            ),
        ),
    )
