"""The dashboard to open first."""

from observability import overview_now, overview_rows, overview_saturation
from observability.panels import GREEN, ORANGE, RED, YELLOW, Column, Dashboard, Panel, Query, Row
from observability.places import OVERVIEW
from observability.promql import OPERATION, TOKEN_LEFT, pick, quantile, rate, share, total


def _streams() -> Row:
    ended = total(rate("mimic_streams_total", OPERATION))
    broken = total(
        rate("mimic_streams_total", OPERATION, 'outcome=~"upstream_error|timeout|idle_timeout|internal_error"')
    )
    return Row(
        "Streams",
        (
            Panel(
                title="First content",
                description="From the request to the first event with content. Points are sampled traces. High: see "
                "'Whose time is it?'; the Streams dashboard has models and stalls.",
                queries=tuple(
                    Query(
                        quantile(which, "mimic_stream_time_to_first_chunk_seconds", OPERATION, 'model=~"$model"'),
                        f"p{which * 100:.0f}",
                        exemplar=True,
                    )
                    for which in (0.5, 0.95, 0.99)
                ),
                unit="s",
                thresholds=((None, GREEN), (5.12, RED)),
            ),
            Panel(
                title="Streams that broke",
                description="Streams that had an error instead of their end, as a share. Their readers have half an "
                "answer. idle_timeout is a silent backend, upstream_error one that broke off or sent an error.",
                queries=(Query(share(broken, ended), "broken"),),
                unit="percentunit",
                thresholds=((None, GREEN), (0.01, RED)),
                no_value="no streams",
            ),
            Panel(
                title="Streams open",
                description="Streams that are being read now. Falling to 0 with callers at work is an outage, or a "
                "restart.",
                queries=(Query(total(pick("mimic_streams_in_flight", OPERATION), "operation"), "{{operation}}"),),
                unit="short",
                stacked=True,
            ),
        ),
    )


def _tokens() -> Row:
    return Row(
        "Tokens",
        (
            Panel(
                title="Life left of the access token",
                description="Per pod; a saw-tooth is right. A line that falls below the usual low is a renewal that "
                "fails; at 0 the pod has no token and its calls fail.",
                queries=(Query(f"min by (pod) ({TOKEN_LEFT})", "{{pod}}"),),
                unit="s",
                thresholds=((None, RED), (30, ORANGE), (120, GREEN)),
                no_value="no token service",
            ),
            Panel(
                title="Calls to the token service, by result",
                description="rejected, lost: the secret is refused, a new one is needed. All others: the token service "
                "or the way to it is in trouble; Mimic tries again by itself.",
                queries=(Query(total(rate("mimic_token_refresh_total"), "result"), "{{result}}"),),
                unit="reqps",
                stacked=True,
                colours={"^success$": GREEN, "^(rejected|lost)$": RED},
            ),
            Panel(
                title="Access tokens that the backend refused",
                description="A few around an expiry or a revocation are mended by a new token. A steady rate: token "
                "service and backend do not belong together, or the account may not use what is asked for.",
                queries=(Query(total(rate("mimic_token_upstream_unauthorized_total"), "kind"), "{{kind}}"),),
                unit="reqps",
                stacked=True,
            ),
        ),
    )


def _platform() -> Row:
    exported = total(rate("mimic_spans_exported_total"), "result")
    reloads = f"increase({pick('mimic_config_reloads_total')}[$__rate_interval])"
    return Row(
        "Platform",
        (
            Panel(
                title="Conditions of readiness",
                description="Pods for which each condition holds, as a share. config: settings are valid. token: an "
                "access token is held. serving: no stop has begun. backend: it answered when last called.",
                queries=(Query(f"avg by (condition) ({pick('mimic_ready')})", "{{condition}}"),),
                unit="percentunit",
                at_most=1,
                thresholds=((None, RED), (1, GREEN)),
            ),
            Panel(
                title="Configurations in use",
                description="More than one for long: a rollout that hangs, or pods that could not read a change.",
                queries=(
                    Query(f"count(count by (hash) ({pick('mimic_config_info')}))", "configurations"),
                    Query(f"count(count by (version, revision) ({pick('mimic_build_info')}))", "versions"),
                ),
                unit="short",
                thresholds=((None, GREEN), (2, YELLOW)),
            ),
            Panel(
                title="Reads of changed files",
                description="Of secrets, certificates and configuration. failure: a file could not be used, the old "
                "one stays; the log says why.",
                queries=(
                    Query(total(reloads, "result"), "{{result}}"),
                    Query(f"sum(1 - {pick('mimic_config_last_reload_success')})", "pods with an unusable file"),
                ),
                unit="short",
            ),
            Panel(
                title="Pods by version",
                description="What runs, and how many pods of each; Python's version beside it.",
                queries=(Query(f"count by (version, revision, python) ({pick('mimic_build_info')})"),),
                unit="short",
                kind="table",
                at_least=None,
                named_by="version",
                columns=(Column("Pods", "short"),),
            ),
            Panel(
                title="Seen by Prometheus",
                description="1 for each pod that answers the scrape. 0: it hangs, its start fails, or the network "
                "between is shut; then no other panel knows of it.",
                queries=(Query(f"min by (pod) ({pick('up')})", "{{pod}}"),),
                unit="short",
                at_most=1,
                thresholds=((None, RED), (1, GREEN)),
            ),
            Panel(
                title="Duration of scrapes",
                description="How long pods take to show their metrics. It rises with a late event loop.",
                queries=(Query(f"max by (pod) ({pick('scrape_duration_seconds')})", "{{pod}}"),),
                unit="s",
            ),
            Panel(
                title="Traces and log lines",
                description="Spans handed to the collector, refused by it, and dropped since the queue was full; log "
                "lines that were dropped because nobody read the log. Calls never wait for either.",
                queries=(
                    Query(exported, "{{result}}"),
                    Query(total(rate("mimic_spans_dropped_total")), "dropped"),
                    Query(total(rate("mimic_log_lines_dropped_total")), "log lines dropped"),
                ),
                unit="ops",
            ),
            Panel(
                title="Stopping",
                description="Pods that drain: they end what runs and take nothing new. One at a time in a rollout.",
                queries=(Query(f"sum({pick('mimic_draining')})", "draining"),),
                unit="short",
            ),
            Panel(
                title="Garbage collections",
                description="Per second and pod. Exchanges make no cycles, so there is little to collect; many mean "
                "pressure on memory.",
                queries=(Query(total(rate("python_gc_collections_total"), "pod"), "{{pod}}"),),
                unit="ops",
            ),
        ),
        collapsed=True,
    )


def dashboard() -> Dashboard:
    """Whose fault is it, in one minute."""
    return Dashboard(
        OVERVIEW,
        "Mimic / Overview",
        "Whether calls succeed, and if not, whether it is Mimic, the token service or the backend.",
        (
            overview_now.row(),
            overview_rows.requests(),
            overview_rows.us_or_them(),
            _streams(),
            _tokens(),
            overview_saturation.row(),
            overview_rows.models(),
            _platform(),
        ),
    )
