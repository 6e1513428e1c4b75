"""The traces of one process: observations in, finished spans out."""

import logging
import random
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimic_proxy.http.target import Base
from mimic_proxy.telemetry.observation import RefreshObservation, SpanLink, Trace
from mimic_proxy.telemetry.port import NoSpans, WebSpans
from mimic_proxy.telemetry.readings import SpanCounts
from mimic_proxy.telemetry.record import Record
from mimic_proxy.telemetry.tracing.environment import DEFAULTS, importable
from mimic_proxy.telemetry.tracing.exchange import Naming, backend_spans, exchange_spans
from mimic_proxy.telemetry.tracing.pipeline import Counts
from mimic_proxy.telemetry.tracing.roots import refresh_span, root_span
from mimic_proxy.telemetry.tracing.settings import TracingSettings
from mimic_proxy.telemetry.tracing.span import NONE, Attributes, Span

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mimic_proxy.telemetry.tracing.web import Instrumentation

SHUTDOWN_SECONDS = 3.0
"""Longest delay of the exit, whatever the collector does."""

logger = logging.getLogger("mimic.tracing")


@dataclass(frozen=True, slots=True)
class Places:
    """Where calls go: by `chat` and `embeddings`, and the token service if there is one."""

    chat: Base
    embeddings: Base
    token: Base | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """What becomes of finished spans. put: takes one and does not wait. counts, shutdown: see `Pipeline`."""

    put: Callable[[Span], None]
    counts: Callable[[], Counts]
    shutdown: Callable[[float], bool]


class Tracing:
    """The traces of one process. All methods belong to the event loop's thread.

    clock: seconds, monotonic. wall: nanoseconds of Unix time. bits: so many random bits.
    """

    def __init__(
        self,
        settings: TracingSettings,
        places: Places,
        naming: Naming,
        *,
        export: "Export",
        environ: MutableMapping[str, str],
        extract: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], int] = time.time_ns,
        bits: Callable[[int], int] = random.getrandbits,
    ) -> None:
        self._sampler = settings.sampler
        self._resource = settings.resource
        self.places = places
        self._naming = naming
        self._put = export.put
        self._environ = environ
        self._clock = clock
        self._wall = wall
        self._bits = bits
        self._counts = export.counts
        self._shutdown = export.shutdown
        self.begin: Callable[[bytes | None, tuple[bytes, ...], str], Trace] = settings.sampler.begin
        """The place of an exchange in a trace, see `Sampler.begin`."""
        if not extract:
            self.begin = lambda traceparent, tracestate, digits: settings.sampler.begin(None, (), digits)
        self._instrumentation = self._instrument()

    def begin_refresh(self, trigger: SpanLink | None) -> SpanLink:
        """The span that a refresh will be. It is sampled if the exchange that started it is, or links would be dead."""
        digits = f"{self._bits(192):048x}"
        trace_id = digits[:32]
        return SpanLink(
            trace_id, digits[32:], self._sampler.decide(trace_id, None if trigger is None else trigger.sampled)
        )

    def exchange(self, seen: Record) -> None:
        """A finished exchange: its spans, if it is sampled."""
        trace = seen.trace
        if trace is None or not trace.sampled:
            return
        base = self.places.embeddings if seen.operation == "embeddings" else self.places.chat
        # What FastAPI answers has its SERVER span from the instrumentation.
        made = backend_spans if seen.operation in ("models", "unmatched") else exchange_spans
        for span in made(seen, trace, base, self._moments(), self._naming, self._new_id):
            self._put(span)

    def refresh(self, seen: RefreshObservation) -> None:
        """A finished call to the token service."""
        if seen.span is not None and seen.span.sampled:
            self._put(refresh_span(seen, seen.span, self.places.token, self._moments()))

    def root(self, name: str, started: float, *, attributes: Attributes = NONE, failed: str | None = None) -> None:
        """Something of the process's own that began at `started` and ends now: `config reload`, `drain`.

        failed: why, if it did.
        """
        span = self.begin_refresh(None)
        if span.sampled:
            self._put(root_span(name, span, started, self._clock(), attributes, failed, self._moments()))

    def counts(self) -> SpanCounts:
        """What became of the spans so far."""
        now = self._counts()
        return SpanCounts(now.exported, now.failed, now.dropped)

    def instrument(self, app: "FastAPI") -> None:
        """SERVER spans for what a FastAPI app answers, probes and scrapes aside. Before it answers anything."""
        if self._instrumentation is not None:
            self._instrumentation.add(app)

    def web_spans(self) -> WebSpans:
        """What the web applications may do with those spans."""
        return NoSpans() if self._instrumentation is None else self._instrumentation.spans

    def shutdown(self, seconds: float = SHUTDOWN_SECONDS) -> bool:
        """Exports what is left, and comes back after `seconds` at the latest; True if the exporter has ended.

        Blocks: call it when nobody is served any more.
        """
        return self._shutdown(seconds)

    def _instrument(self) -> "Instrumentation | None":
        for name, value in DEFAULTS.items():
            self._environ.setdefault(name, value)
        try:
            with importable(self._environ):
                from mimic_proxy.telemetry.tracing.web import Instrumentation

                excluded = self._environ.get("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "")
                return Instrumentation(self._sampler, self._resource, self._put, self._new_id, excluded)
        except Exception:
            # Somebody else's code, of any version, led by any variable: no reason not to serve.
            logger.exception("FastAPI cannot be instrumented; what it answers makes no spans")
            return None

    def _moments(self) -> Callable[[float], int]:
        """Looks at both clocks now: a wall clock that was set is right for what ends after it was."""
        offset = self._wall() - int(self._clock() * 1e9)
        return lambda moment: int(moment * 1e9) + offset

    def _new_id(self) -> str:
        return f"{self._bits(64):016x}"
