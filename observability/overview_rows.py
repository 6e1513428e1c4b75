"""The rows of the overview below the first."""

from observability import culprits
from observability.panels import GREEN, RED, Column, Panel, Query, Row
from observability.promql import (
    MODEL,
    OPERATION,
    buckets,
    one_of,
    quantile,
    rate,
    share,
    total,
)

DURATION = "mimic_request_duration_seconds"
FIRST = "mimic_stream_time_to_first_chunk_seconds"


def requests() -> Row:
    """Rate, errors, duration."""
    all_requests = total(rate("mimic_requests_total", OPERATION))
    not_completed = total(rate("mimic_requests_total", OPERATION, 'outcome!="completed"'), "outcome")
    return Row(
        "Requests",
        (
            Panel(
                title="Requests by operation",
                description="Finished requests. unmatched is what Mimic does not relay: mostly a base URL without /v1.",
                queries=(Query(total(rate("mimic_requests_total", OPERATION), "operation"), "{{operation}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="What was not completed, by outcome",
                description=f"Shares of all requests. {culprits.LEGEND} A steady blue share is normal; any other "
                "colour has a reason: filter the log by this outcome to see requests and trace ids.",
                queries=(
                    Query(f"{not_completed} / ignoring (outcome) group_left () ({all_requests} > 0)", "{{outcome}}"),
                ),
                unit="percentunit",
                stacked=True,
                colours=culprits.COLOURS,
                thresholds=((None, GREEN), (0.01, RED)),
            ),
            Panel(
                title="Answers by status",
                description="Status sent to callers; 499 is a caller who left before one was sent. 502 and 504 are "
                "about the backend or a refused secret, 503 about tokens, load, breaker or a stop.",
                queries=(Query(total(rate("mimic_requests_total", OPERATION), "code"), "{{code}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="Duration",
                description="First byte in to last byte out. Points are sampled traces: click one to see where its "
                "time went. A rising p50 is everybody's trouble, a rising p99 alone that of long answers or a few "
                "pods.",
                queries=tuple(
                    Query(quantile(which, DURATION, OPERATION), f"p{which * 100:.0f}", exemplar=True)
                    for which in (0.5, 0.95, 0.99)
                ),
                unit="s",
            ),
            Panel(
                title="Durations",
                description="How many requests took how long. Two bands are two kinds of work, such as embeddings and "
                "streams; a new band above is a new trouble.",
                queries=(Query(buckets(DURATION, OPERATION), "{{le}}"),),
                unit="s",
                kind="heatmap",
                at_least=None,
            ),
            Panel(
                title="Turned away for too many requests (429)",
                description="The backend's own limit; Mimic passes 429 on and counts it as client_error. High: ask for "
                "more quota or send less. It is no failure of Mimic's or of the token's.",
                queries=(
                    Query(total(rate("mimic_requests_total", OPERATION, 'code="429"')) + " or vector(0)", "answers"),
                    Query(
                        total(rate("mimic_upstream_attempts_total", OPERATION, 'error_type="http_429"'))
                        + " or vector(0)",
                        "tries",
                    ),
                ),
                unit="reqps",
            ),
        ),
    )


def us_or_them() -> Row:
    """Whose time is it, whose error."""
    upstream = "mimic_upstream_attempts_total"
    return Row(
        "Is it us or them?",
        (
            Panel(
                title="Whose time is it? (p99)",
                description="Mimic's own work, the backend's time to its response head, waits for a token and for a "
                "slot. The highest line is where to look: overhead is Mimic, token wait the token service, slot wait "
                "MAX_CONCURRENCY, everything else the backend.",
                queries=(
                    Query(quantile(0.99, "mimic_overhead_seconds", OPERATION), "Mimic's overhead"),
                    Query(quantile(0.99, "mimic_upstream_head_seconds", OPERATION), "backend's head"),
                    Query(quantile(0.99, "mimic_token_wait_seconds"), "wait for a token"),
                    Query(quantile(0.99, "mimic_upstream_slot_wait_seconds"), "wait for a slot"),
                ),
                unit="s",
                width=12,
                log=True,
                at_least=None,
            ),
            Panel(
                title="Tries that went wrong, by kind",
                description="connect, dns, tls: the way to the backend. reset, protocol: it broke off. read_timeout: "
                "it was silent. http_5xx: it failed. unauthorized: it refused the token; a few with each expiry are "
                "normal.",
                queries=(Query(total(rate(upstream, OPERATION, 'error_type!=""'), "error_type"), "{{error_type}}"),),
                unit="reqps",
                width=12,
                stacked=True,
            ),
            Panel(
                title="Tries by the backend's status",
                description="What the backend answered, before Mimic made anything of it; without a code no head came.",
                queries=(Query(total(rate(upstream, OPERATION), "code"), "{{code}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="Repeated calls",
                description="By Mimic: after a refused token, or a kept connection that was dead. By the callers' "
                "SDKs: after any error. SDK retries multiply the load of an outage: a rise is an echo of errors, not "
                "a cause.",
                queries=(
                    Query(total(rate("mimic_retries_total", OPERATION), "reason"), "Mimic: {{reason}}"),
                    Query(total(rate("mimic_client_retries_total", OPERATION)), "callers' SDKs"),
                ),
                unit="reqps",
            ),
            Panel(
                title="Overhead",
                description="Time of Mimic's own: not the backend's, the token's or the caller's. The objective is "
                "50 ms for 99 %. High: too little CPU, a late event loop (Saturation), or bodies of many megabytes.",
                queries=tuple(
                    Query(quantile(which, "mimic_overhead_seconds", OPERATION), f"p{which * 100:.0f}")
                    for which in (0.5, 0.95, 0.99)
                ),
                unit="s",
                thresholds=((None, GREEN), (0.05, RED)),
            ),
        ),
    )


def models() -> Row:
    """One line for each model."""
    requests = total(rate("mimic_model_requests_total", OPERATION, MODEL), "model")
    failures = one_of("outcome", (*culprits.MIMIC, *culprits.TOKEN_SERVICE, *culprits.BACKEND))
    failed = total(rate("mimic_model_requests_total", OPERATION, MODEL, failures), "model")
    return Row(
        "Models and callers",
        (
            Panel(
                title="By model",
                description="other holds the models beyond the eight first seen. One model with a high share of "
                "failures is the backend's trouble with that model; the same share for all is not about models.",
                queries=(
                    Query(requests),
                    Query(share(failed, requests)),
                    Query(quantile(0.95, FIRST, OPERATION, MODEL, by=("model",))),
                    *(
                        Query(total(rate("mimic_tokens_total", OPERATION, MODEL, f'type="{kind}"'), "model"))
                        for kind in ("input", "output")
                    ),
                ),
                unit="short",
                kind="table",
                width=24,
                named_by="model",
                at_least=None,
                columns=(
                    Column("Requests/s", "reqps"),
                    Column("Failed", "percentunit"),
                    Column("First content, p95", "s"),
                    Column("Input tokens/s", "short"),
                    Column("Output tokens/s", "short"),
                ),
            ),
            Panel(
                title="The model's tokens",
                description="As far as the backend reports usage; INCLUDE_USAGE asks for it in streams. cached is part "
                "of input, reasoning part of output.",
                queries=(Query(total(rate("mimic_tokens_total", OPERATION, MODEL), "type"), "{{type}}"),),
                unit="short",
            ),
            Panel(
                title="Sizes of bodies, p95",
                description="Bodies near MAX_BODY_BYTES get 413; many large ones at once fill MAX_BUFFERED_BYTES and "
                "cost overhead.",
                queries=(
                    Query(quantile(0.95, "mimic_request_body_bytes", OPERATION), "requests"),
                    Query(quantile(0.95, "mimic_response_body_bytes", OPERATION), "responses"),
                ),
                unit="bytes",
                log=True,
                at_least=None,
            ),
            Panel(
                title="By caller",
                description="Requests by the caller's name among the client keys. Empty where CLIENT_KEYS are not "
                "wanted.",
                queries=(Query(total(rate("mimic_caller_requests_total"), "key"), "{{key}}"),),
                unit="reqps",
                stacked=True,
            ),
        ),
    )
