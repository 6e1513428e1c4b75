"""The dashboard of access tokens: are there any, do renewals come, does the backend take them."""

from observability.objectives import REFRESH_TARGET
from observability.panels import GREEN, NO_REQUESTS, ORANGE, RED, YELLOW, Dashboard, Panel, Query, Row, stat
from observability.promql import TOKEN_LEFT, pick, quantile, rate, share, total, where_required

REFRESHES = "mimic_token_refresh_total"
DUE = where_required(
    f"{pick('mimic_token_issued_timestamp_seconds')} + {pick('mimic_token_lifetime_seconds')}"
    f" - {pick('mimic_token_refresh_margin_seconds')} - time()"
)
HELD = where_required(pick("mimic_ready", 'condition="token"'))
FAILURES = where_required(pick("mimic_token_consecutive_failures"))
NO_SERVICE = "no token service"


def _now() -> Row:
    success = pick(REFRESHES, 'result="success"')
    succeeded = total(f"increase({success}[$__range])")
    called = total(f"increase({pick(REFRESHES)}[$__range])")
    refused = total(rate("mimic_token_upstream_unauthorized_total"))
    return Row(
        "Now",
        (
            stat(
                "Pods without a usable token",
                f"sum(1 - ({HELD}))",
                "All calls of such a pod fail with token_unavailable or token_rejected. /readyz on its admin port says "
                "why there is none.",
                "short",
                ((None, GREEN), (1, RED)),
                NO_SERVICE,
            ),
            stat(
                "Shortest life left",
                f"min({TOKEN_LEFT})",
                "Of the access tokens of all pods, the one that ends first; 0 is a pod without one.",
                "s",
                ((None, RED), (30, ORANGE), (120, GREEN)),
                NO_SERVICE,
            ),
            stat(
                "Most failures in a row",
                f"max({FAILURES})",
                "Failed calls to the token service since the last success, of the pod with most. 1 or 2 heal by "
                "themselves; from 3 on an alert counts five minutes.",
                "short",
                ((None, GREEN), (1, YELLOW), (3, RED)),
                NO_SERVICE,
            ),
            stat(
                "Successful refreshes",
                share(succeeded, called),
                f"Calls to the token service over the time range. The objective is {REFRESH_TARGET:.0%}; they are "
                "few, so look at a day or more.",
                "percentunit",
                ((None, RED), (0.95, ORANGE), (REFRESH_TARGET, GREEN)),
                "no refresh",
            ),
            stat(
                "Requests failed for tokens",
                share(
                    total(rate("mimic_requests_total", 'operation=~"$operation"', 'outcome="token_error"')),
                    total(rate("mimic_requests_total", 'operation=~"$operation"')),
                ),
                "Share of requests without an accepted token. With tokens held (left) it is the backend that refuses "
                "them; without, the token service that does not give any.",
                "percentunit",
                ((None, GREEN), (0.001, YELLOW), (0.01, RED)),
                NO_REQUESTS,
            ),
            stat(
                "Tokens refused by the backend",
                refused,
                "Per second. Singles around an expiry are normal; more mean a token service and a backend that do not "
                "belong together.",
                "reqps",
                ((None, GREEN), (0.1, YELLOW), (1, RED)),
                "no pods",
            ),
        ),
    )


def _life() -> Row:
    lifetime = where_required(pick("mimic_token_lifetime_seconds"))
    margin = where_required(pick("mimic_token_refresh_margin_seconds"))
    return Row(
        "The token",
        (
            Panel(
                title="Life left",
                description="Per pod; a saw-tooth is right. A line below the usual low is a renewal that fails; at 0 "
                "the pod has no token.",
                queries=(Query(f"min by (pod) ({TOKEN_LEFT})", "{{pod}}"),),
                unit="s",
                width=12,
                thresholds=((None, RED), (30, ORANGE), (120, GREEN)),
                no_value=NO_SERVICE,
            ),
            Panel(
                title="Time to the next renewal",
                description="Per pod; below 0 the renewal is overdue: calls to the token service fail, or none is "
                "made. Without any token it is far below 0.",
                queries=(Query(f"min by (pod) (clamp_min({DUE}, -3600))", "{{pod}}"),),
                unit="s",
                width=12,
                at_least=None,
                thresholds=((None, RED), (0, GREEN)),
                no_value=NO_SERVICE,
            ),
            Panel(
                title="Lifetime granted, and how long before its end it is renewed",
                description="What the token service gives. A lifetime that shrank makes more calls; below a minute a "
                "short outage of the token service is one of Mimic.",
                queries=(
                    Query(f"min({lifetime})", "lifetime"),
                    Query(f"min({margin})", "renewed before its end"),
                ),
                unit="s",
                no_value=NO_SERVICE,
            ),
            Panel(
                title="Pods that hold a token",
                description="As a share of those that need one. Less than 100 % for longer than a start takes is an "
                "outage of those pods.",
                queries=(Query(f"avg({HELD})", "hold one"),),
                unit="percentunit",
                at_most=1,
                thresholds=((None, RED), (1, GREEN)),
                no_value=NO_SERVICE,
            ),
            Panel(
                title="Failures in a row",
                description="Per pod, since its last success. All pods: the token service or the way to it. One pod: "
                "its network or its secret.",
                queries=(Query(f"max by (pod) ({FAILURES})", "{{pod}}"),),
                unit="short",
                thresholds=((None, GREEN), (3, RED)),
                no_value=NO_SERVICE,
            ),
        ),
    )


def _service() -> Row:
    return Row(
        "The token service",
        (
            Panel(
                title="Calls by result",
                description="rejected: 400, 401 or 403, the secret is refused and a new one is needed. lost: a "
                "refresh token was used up and its successor never came. throttled: 429. http_error: any other status. "
                "redirected, empty, not_json, no_token, error_answer, bad_response: an answer without a token, such as "
                "a login page. timeout: over TOKEN_TIMEOUT. unreachable, tls: network, DNS, proxy, certificates.",
                queries=(Query(total(rate(REFRESHES), "result"), "{{result}}"),),
                unit="reqps",
                stacked=True,
                colours={"^success$": GREEN, "^(rejected|lost)$": RED},
            ),
            Panel(
                title="Calls by reason",
                description="proactive is the rule. startup: new pods. expired: a renewal came too late. unauthorized: "
                "the backend refused the token before. config: a secret was changed.",
                queries=(Query(total(rate(REFRESHES), "trigger"), "{{trigger}}"),),
                unit="reqps",
                stacked=True,
                colours={"^unauthorized$": RED, "^expired$": ORANGE},
            ),
            Panel(
                title="Duration of calls",
                description="By result. Near TOKEN_TIMEOUT the token service is overloaded or something between "
                "swallows packets.",
                queries=tuple(
                    Query(
                        quantile(which, "mimic_token_refresh_duration_seconds", by=("result",)),
                        f"{{{{result}}}} p{which * 100:.0f}",
                    )
                    for which in (0.5, 0.95)
                ),
                unit="s",
            ),
        ),
    )


def _requests() -> Row:
    return Row(
        "What requests notice",
        (
            Panel(
                title="Waits for a token",
                description="Only of requests that waited: after a start, or when a token was refused. A steady rate "
                "of waits means that tokens run out before they are renewed.",
                queries=tuple(
                    Query(quantile(which, "mimic_token_wait_seconds"), f"p{which * 100:.0f}") for which in (0.5, 0.99)
                ),
                unit="s",
            ),
            Panel(
                title="Requests that wait now",
                description="Parked until the running refresh ends, at most 15 s. Many: the token service is slow just "
                "when no token is usable.",
                queries=(Query(total(pick("mimic_token_waiters"), "pod"), "{{pod}}"),),
                unit="short",
                stacked=True,
            ),
            Panel(
                title="Requests that joined a running refresh",
                description="Each is a call that the token service was spared. Peaks come with expiries; a steady rate "
                "means that refreshes never end, or never help.",
                queries=(Query(total(rate("mimic_token_coalesced_total")), "joined"),),
                unit="reqps",
            ),
            Panel(
                title="Tokens that the backend refused, by how it said so",
                description="http: status 401. envelope: a code inside the answer. Each is followed by a new token and "
                "one repeated call, if the body was kept.",
                queries=(Query(total(rate("mimic_token_upstream_unauthorized_total"), "kind"), "{{kind}}"),),
                unit="reqps",
                stacked=True,
                width=12,
            ),
            Panel(
                title="Token errors by status",
                description="What callers saw. 503: none was to be had, it may heal (token_unavailable). 502: the "
                "secret is refused (token_rejected) or the backend refuses fresh tokens (upstream_auth_failed). 403: "
                "the backend forbids it.",
                queries=(
                    Query(
                        total(rate("mimic_requests_total", 'operation=~"$operation"', 'outcome="token_error"'), "code"),
                        "{{code}}",
                    ),
                ),
                unit="reqps",
                stacked=True,
                width=12,
            ),
        ),
    )


def dashboard() -> Dashboard:
    """The token service in one screen."""
    return Dashboard(
        "mimic-tokens",
        "Mimic / Tokens",
        "Whether pods hold access tokens, whether renewals come in time, whether the backend takes them. Panels on a "
        "token's age show only pods with a token service.",
        (_now(), _life(), _service(), _requests()),
    )
