"""Traces whose spans a test looks at: kept in a list, with clocks and ids in the test's hand."""

import itertools
from typing import Any

from mimic_proxy.http.target import parse_base
from mimic_proxy.telemetry.observation import SpanLink, Trace
from mimic_proxy.telemetry.record import Record
from mimic_proxy.telemetry.sampling import Sampler
from mimic_proxy.telemetry.tracing.export import Counts
from mimic_proxy.telemetry.tracing.settings import Batching, TracingSettings
from mimic_proxy.telemetry.tracing.spans import Limits, Naming, Span
from mimic_proxy.telemetry.tracing.tracer import Export, Places, Tracing

CHAT = parse_base("https://models.example.com/v1")
EMBEDDINGS = parse_base("http://vectors.example.com:8080")
TOKENS = parse_base("https://auth.example.com/token?key=secret")
TRACE = Trace("a" * 32, "b" * 16, "c" * 16, None, True)
JOINED = Trace("a" * 32, "b" * 16, "c" * 16, "d" * 16, True, "vendor=1")
REFRESH = SpanLink("e" * 32, "f" * 16, True)
EPOCH_NS = 1_700_000_000_000_000_000
"""Unix time at which the monotonic clock of `traced` stood at 0."""


def label(model: str) -> str:
    """As the process bounds names of models: those it knows, and `other`."""
    return model if model in ("small", "large") else "other"


class Traced:
    """A Tracing, and what it has made."""

    def __init__(self, sampler: Sampler | None = None, environ: dict[str, str] | None = None, **naming: Any) -> None:
        self.spans: list[Span] = []
        numbers = itertools.count(1)
        self.environ = {} if environ is None else environ
        self.tracing = Tracing(
            TracingSettings("console", None, sampler or Sampler(), Batching(), Limits(), {"service.name": "test"}),
            Places(CHAT, EMBEDDINGS, TOKENS),
            Naming(**{"model_label": label, **naming}),
            export=Export(self.spans.append, lambda: Counts(0, 0, 0, 0), lambda seconds: True),
            environ=self.environ,
            clock=lambda: 1000.0,
            wall=lambda: EPOCH_NS + 1000 * 10**9,
            bits=lambda count: next(numbers),
        )

    def of(self, seen: Record) -> list[Span]:
        """The spans of one more exchange."""
        before = len(self.spans)
        self.tracing.exchange(seen)
        return self.spans[before:]


def said(span: Span) -> dict[str, object]:
    """The attributes that are exported."""
    return {key: value for key, value in span.attributes.items() if value is not None}


def seconds(span: Span) -> tuple[float, float]:
    """Start and end on the monotonic clock of `Traced`."""
    return (span.start - EPOCH_NS) / 1e9, (span.end - EPOCH_NS) / 1e9
