"""The dashboard of event streams: how soon they begin, how they flow, how they end."""

from observability import culprits
from observability.panels import GREEN, ORANGE, RED, YELLOW, Dashboard, Panel, Query, Row, stat
from observability.promql import BROKEN, MODEL, OPERATION, buckets, known, pick, quantile, rate, share, total

FIRST = "mimic_stream_time_to_first_chunk_seconds"
ENDED = "mimic_streams_total"
LIMIT = 'le="$slo_ttfc"'
NO_STREAMS = "no streams"


def _now() -> Row:
    in_time = total(rate(f"{FIRST}_bucket", OPERATION, MODEL, LIMIT))
    return Row(
        "Now",
        (
            stat(
                "First content in time",
                share(in_time, total(rate(f"{FIRST}_count", OPERATION, MODEL))),
                "Streams with their first content within the limit chosen above. The objective is 95 % within 5.12 s.",
                "percentunit",
                ((None, RED), (0.9, ORANGE), (0.95, GREEN)),
                NO_STREAMS,
            ),
            stat(
                "First content, p95",
                known(quantile(0.95, FIRST, OPERATION, MODEL)),
                "How long readers wait for the first word. High: the backend, unless 'Whose time is it?' in the "
                "overview says otherwise.",
                "s",
                ((None, GREEN), (2.56, YELLOW), (5.12, RED)),
                NO_STREAMS,
            ),
            stat(
                "Open",
                total(pick("mimic_streams_in_flight", OPERATION)),
                "Streams that are being read now.",
                "short",
                ((None, GREEN),),
                "no pods",
            ),
            stat(
                "Broken",
                share(total(rate(ENDED, OPERATION, BROKEN)), total(rate(ENDED, OPERATION))),
                "Share of ended streams that had an error instead of their end. By outcome below.",
                "percentunit",
                ((None, GREEN), (0.001, YELLOW), (0.01, RED)),
                NO_STREAMS,
            ),
            stat(
                "Worst stall, p95",
                known(quantile(0.95, "mimic_stream_max_gap_seconds", OPERATION)),
                "The longest silence inside a stream that 95 % of readers did not see exceeded.",
                "s",
                ((None, GREEN), (2.56, YELLOW), (10.24, RED)),
                NO_STREAMS,
            ),
            stat(
                "Left by their readers",
                share(total(rate(ENDED, OPERATION, 'outcome="client_disconnect"')), total(rate(ENDED, OPERATION))),
                "Share of ended streams whose reader went before the end. People stop answers; a jump means that an "
                "application has a shorter timeout than the backend takes.",
                "percentunit",
                ((None, GREEN), (0.2, YELLOW), (0.5, ORANGE)),
                NO_STREAMS,
            ),
        ),
    )


def _begin() -> Row:
    return Row(
        "How they begin",
        (
            Panel(
                title="First content",
                description="From the first byte of the request to the first event with content. Points are sampled "
                "traces: click one to see whether token, slot or backend took the time.",
                queries=tuple(
                    Query(quantile(which, FIRST, OPERATION, MODEL), f"p{which * 100:.0f}", exemplar=True)
                    for which in (0.5, 0.95, 0.99)
                ),
                unit="s",
                thresholds=((None, GREEN), (5.12, RED)),
            ),
            Panel(
                title="First contents",
                description="How many streams began after how long. A second band is a second model, or requests that "
                "wait for something.",
                queries=(Query(buckets(FIRST, OPERATION, MODEL), "{{le}}"),),
                unit="s",
                kind="heatmap",
                at_least=None,
            ),
            Panel(
                title="First content by model, p95",
                description="One model that rises alone is the backend's trouble with that model.",
                queries=(Query(quantile(0.95, FIRST, OPERATION, MODEL, by=("model",)), "{{model}}"),),
                unit="s",
            ),
        ),
    )


def _flow() -> Row:
    return Row(
        "How they flow",
        (
            Panel(
                title="Between two events",
                description="Every gap after the first event. A p50 that rises is a slower model; a p99 alone are "
                "stalls. With a late event loop (overview, Saturation) it is Mimic.",
                queries=tuple(
                    Query(quantile(which, "mimic_stream_chunk_gap_seconds", OPERATION), f"p{which * 100:.0f}")
                    for which in (0.5, 0.99)
                ),
                unit="s",
                log=True,
                at_least=None,
            ),
            Panel(
                title="Longest gap of each stream",
                description="The worst stall that readers saw. Near IDLE_TIMEOUT streams are ended; HEARTBEAT_AFTER "
                "keeps proxies between from giving up earlier.",
                queries=tuple(
                    Query(quantile(which, "mimic_stream_max_gap_seconds", OPERATION), f"p{which * 100:.0f}")
                    for which in (0.5, 0.95, 0.99)
                ),
                unit="s",
                thresholds=((None, GREEN), (10.24, RED)),
            ),
            Panel(
                title="Gaps",
                description="How many gaps were how long.",
                queries=(Query(buckets("mimic_stream_chunk_gap_seconds", OPERATION), "{{le}}"),),
                unit="s",
                kind="heatmap",
                at_least=None,
            ),
            Panel(
                title="Open streams",
                description="By operation. Rising without more requests: answers are longer, or stall.",
                queries=(Query(total(pick("mimic_streams_in_flight", OPERATION), "operation"), "{{operation}}"),),
                unit="short",
                stacked=True,
            ),
            Panel(
                title="Events",
                description="Of streams that have ended, at their end: long streams show late and all at once.",
                queries=(Query(total(rate("mimic_stream_events_total", OPERATION)), "events"),),
                unit="ops",
            ),
            Panel(
                title="Bytes",
                description="Of streams that have ended, at their end.",
                queries=(Query(total(rate("mimic_stream_bytes_total", OPERATION)), "bytes"),),
                unit="Bps",
            ),
        ),
    )


def _end() -> Row:
    return Row(
        "How they end",
        (
            Panel(
                title="Ends by outcome",
                description=f"{culprits.LEGEND} upstream_error: the backend broke off or sent an error event. "
                "idle_timeout: it was silent for IDLE_TIMEOUT. shutdown: the pod stopped before the stream did.",
                queries=(Query(total(rate(ENDED, OPERATION), "outcome"), "{{outcome}}"),),
                unit="reqps",
                stacked=True,
                colours={"^completed$": GREEN, **culprits.COLOURS},
            ),
            Panel(
                title="Duration by outcome, p95",
                description="Failures that all last equally long are a timer: of Mimic (FIRST_BYTE_TIMEOUT, "
                "IDLE_TIMEOUT, TOTAL_TIMEOUT), of a proxy between, or of the application.",
                queries=(
                    Query(
                        quantile(0.95, "mimic_stream_duration_seconds", OPERATION, by=("outcome",)),
                        "{{outcome}}",
                        exemplar=True,
                    ),
                ),
                unit="s",
            ),
            Panel(
                title="Ends by mode",
                description="native: the backend's events as they came. translated: each made anew. buffered: a whole "
                "answer was turned into a stream; its first content comes only when all is there.",
                queries=(Query(total(rate(ENDED, OPERATION), "mode"), "{{mode}}"),),
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="Readers who take nothing",
                description="Seconds per second in which slow readers held streams back. It is their network or their "
                "code; Mimic stops reading from the backend meanwhile, memory stays bounded.",
                queries=(Query(total(rate("mimic_stream_send_blocked_seconds_total", OPERATION)), "held back"),),
                unit="short",
                width=12,
            ),
            Panel(
                title="Heartbeats",
                description="Comments sent while the backend was silent, with HEARTBEAT_AFTER. Many: it thinks long.",
                queries=(Query(total(rate("mimic_stream_heartbeats_total", OPERATION)), "heartbeats"),),
                unit="ops",
                width=12,
            ),
        ),
    )


def dashboard() -> Dashboard:
    """Streams in one screen."""
    return Dashboard(
        "mimic-streams",
        "Mimic / Streams",
        "How soon streams begin, how evenly they flow, and how they end.",
        (_now(), _begin(), _flow(), _end()),
    )
