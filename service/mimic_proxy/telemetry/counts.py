"""Everything that is counted as it happens: the counters and histograms of the catalogue, by their names. Pure."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import get_args

from mimic_proxy.telemetry.accumulators import Counter, Histogram, Key
from mimic_proxy.telemetry.catalogue import CLOSED, PLAIN_RESULTS, REASONS, Metric
from mimic_proxy.telemetry.observation import Operation, Outcome

USUAL_STATUSES: dict[Outcome, tuple[int, ...]] = {
    "completed": (200,),
    "client_error": (400,),
    "upstream_error": (500, 502, 503),
    "token_error": (502, 503),
    "timeout": (504,),
    "idle_timeout": (200,),
    "client_disconnect": (499,),
    "overloaded": (503,),
    "circuit_open": (503,),
    "internal_error": (500,),
    "shutdown": (503,),
}
"""The statuses that each outcome mostly has: with them children are there from the start."""
USUAL_CODES = frozenset(
    {
        *(200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 499),
        *(400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 422, 424, 429, 431),
        *(500, 501, 502, 503, 504, 529),
    }
)
"""Statuses that have a label of their own: those of Mimic, and those that backends of this kind are known to send."""
STREAMED: tuple[Operation, ...] = ("chat", "passthrough")
AT_THE_BACKEND: tuple[Operation, ...] = ("chat", "embeddings", "models", "passthrough")


class Counts:
    """The accumulators of some metrics. Gauges are not among them: they are read when somebody scrapes."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = tuple(metrics)
        self.counters = {
            metric.name: Counter(metric.labels, _from_the_start(metric))
            for metric in self.metrics
            if metric.kind == "counter"
        }
        self.histograms = {
            metric.name: Histogram(metric.labels, metric.bounds)
            for metric in self.metrics
            if metric.kind == "histogram"
        }


def boolean(value: bool) -> str:
    """As Prometheus's users write it."""
    return "true" if value else "false"


def code(status: int) -> str:
    """The label of a status. A backend may send any: those that are not usual are told by their class."""
    return str(status) if status in USUAL_CODES else code_class(status)


def code_class(status: int) -> str:
    """2xx, 3xx, 4xx or 5xx: for histograms, whose every series is twenty."""
    return f"{status // 100}xx"


def _from_the_start(metric: Metric) -> Iterator[Key]:
    """The series of a counter that are there before anything has happened, so that no rate misses their first event."""
    match metric.name:
        case "mimic_requests_total":
            yield from _usual_requests()
        case "mimic_upstream_attempts_total":
            yield from ((operation, "200", "") for operation in AT_THE_BACKEND)
        case "mimic_streams_total":
            yield from product(STREAMED, get_args(Outcome), ("native",))
        case name if name.startswith("mimic_stream_"):
            yield from product(STREAMED)
        case "mimic_retries_total":
            yield from product(AT_THE_BACKEND, REASONS[metric.name])
        case "mimic_admission_rejected_total":
            yield from product(REASONS[metric.name])
        case "mimic_breaker_transitions_total":
            yield from product(CLOSED["target"], CLOSED["state"])
        case "mimic_config_reloads_total" | "mimic_spans_exported_total":
            yield from product(PLAIN_RESULTS)
        case "mimic_tokens_total" | "mimic_model_requests_total" | "mimic_caller_requests_total":
            return
        case _:
            yield from product(*(CLOSED[label] for label in metric.labels))


def _usual_requests() -> Iterator[Key]:
    for operation in get_args(Operation):
        for stream in (False, True) if operation in STREAMED else (False,):
            for outcome, statuses in USUAL_STATUSES.items():
                yield from ((operation, boolean(stream), str(status), outcome) for status in statuses)
