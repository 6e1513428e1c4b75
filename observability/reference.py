"""docs/reference/metrics.md: the catalogues of proxy and operator as tables for people. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from mimic_operator import catalogue as operator
from mimic_proxy.telemetry.catalogue import (
    CLOSED,
    GENAI,
    PLAIN_RESULTS,
    PROCESS,
    REASONS,
    RELAY,
    RESILIENCE,
    STREAM,
    TOKEN,
    Metric,
)

GROUPS: Mapping[str, tuple[str, Sequence[Metric]]] = {
    "Relay": ("What callers asked for, and how it ended.", RELAY),
    "Streams": ("Server-sent events. An event is one `data:` frame; a chunk is one read that brought some.", STREAM),
    "Tokens": (
        "The access token and the calls for it. With `GRANT=static` or `none` there is no token service and "
        "`mimic_token_required` is 0.",
        TOKEN,
    ),
    "Limits": ("Slots, the queue before them, and breakers.", RESILIENCE),
    "Process": ("Beside these there are `process_*` and `python_gc_*`, as every Python process shows them.", PROCESS),
    "Generative AI": (
        "OpenTelemetry's own names, with `MIMIC_GENAI_METRICS=True` only. The conventions are still in development and "
        "change; Mimic's own names above do not.",
        GENAI,
    ),
}
OPERATOR_GROUPS: Mapping[str, tuple[str, Sequence[operator.Metric]]] = {
    "Webhook": ("`mimic-operator webhook`: what became of pods and MimicBackends.", operator.WEBHOOK),
    "Reconciler": (
        "`mimic-operator reconciler`. Of its replicas the one that leads shows backends and pods; the others show 0.",
        operator.RECONCILER,
    ),
    "Both": ("Beside these there are `process_*` and `python_gc_*`.", operator.BOTH),
}
OPERATOR_FREE_LABELS = {
    f"reason` of `{operator.ADMISSIONS.name}": "a word of [injection.md](injection.md)",
    "note": "a note's word of [injection.md](injection.md)",
    "kind": "a kind of object that is watched",
}
FREE_LABELS = {
    "code": "HTTP status; empty where no head came",
    "model": (
        "a name of `MODELS`, or one that the backend has answered to, cut at 64 characters; at most eight, all others "
        "are `other`. Where callers are many and the backend answers to any name, set `MODELS`"
    ),
    "pool": "`backend`",
    "condition": "those of `/readyz`, and `backend`: 0 while its breaker is open, which makes nothing unready",
    "to": "`closed`, `half_open`, `open`",
    "hash": "twelve digits of a digest",
}
HEAD = """# Metrics

Served at `/metrics` of the admin port (8001), in Prometheus's text format or OpenMetrics as the scraper asks. Exemplars
(OpenMetrics only) stand on `mimic_request_duration_seconds` and `mimic_stream_time_to_first_chunk_seconds` and lead to
the trace of a sampled call. Counters with labels of a closed list are there from the start, at 0; histograms appear
with their first observation. One process shows a few hundred series, and never more than 4,000 whatever callers send.

Those of the operator stand at the end. This page is written by `make dashboards` from
`service/mimic_proxy/telemetry/catalogue.py` and `operator/mimic_operator/catalogue.py`.
"""
OPERATOR_HEAD = """# Metrics of the operator

Served at `/metrics` of `METRICS_PORT` (8080) of webhook and reconciler alike. What leads from an alert to a cause is in
[operator.md](../operator.md) and the [runbooks](../runbooks/README.md).
"""


def page() -> str:
    """The whole page."""
    proxy = (HEAD, *_groups(GROUPS), *_values())
    return "\n".join((*proxy, OPERATOR_HEAD, *_groups(OPERATOR_GROUPS), *_operator_values()))


def _groups(groups: Mapping[str, tuple[str, Sequence[Metric] | Sequence[operator.Metric]]]) -> Iterator[str]:
    for title, (about, metrics) in groups.items():
        yield f"## {title}\n\n{about}\n\n| name | kind | labels | meaning |\n| --- | --- | --- | --- |"
        for metric in metrics:
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help}{_buckets(metric)} |"
        yield ""


def _buckets(metric: Metric | operator.Metric) -> str:
    if not metric.bounds:
        return ""
    return f" {len(metric.bounds)} buckets from {metric.bounds[0]:.12g} to {metric.bounds[-1]:.12g}."


def _values() -> Iterator[str]:
    yield "## Values of labels\n\n| label | values |\n| --- | --- |"
    for label, values in CLOSED.items():
        yield f"| `{label}` | {_listed(values)} |"
    for name, values in REASONS.items():
        yield f"| `reason` of `{name}` | {_listed(values)} |"
    yield f"| `result` of reloads and spans | {_listed(PLAIN_RESULTS)} |"
    for label, meaning in FREE_LABELS.items():
        yield f"| `{label}` | {meaning} |"
    yield ""


def _operator_values() -> Iterator[str]:
    yield "## Values of its labels\n\n| label | values |\n| --- | --- |"
    for label, values in operator.CLOSED.items():
        yield f"| `{label}` | {_listed(values)} |"
    for name, values in operator.REASONS.items():
        yield f"| `reason` of `{name}` | {_listed(values)} |"
    for name, values in operator.RESULTS.items():
        yield f"| `result` of `{name}` | {_listed(values)} |"
    for label, meaning in OPERATOR_FREE_LABELS.items():
        yield f"| `{label}` | {meaning} |"
    yield ""


def _listed(values: Sequence[str]) -> str:
    return ", ".join(f"`{value}`" if value else "empty" for value in values)
