"""The traces of one process: from the OTEL_* variables to a Tracing, or to none; observations in, finished spans out.

Nothing of OpenTelemetry is imported, and no thread started, where no exporter is configured.
"""

import logging
import random
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimic_proxy.http.target import Base, parse_base
from mimic_proxy.settings.values import masked_url
from mimic_proxy.telemetry.logs import written_to
from mimic_proxy.telemetry.observation import RefreshObservation, SpanLink, Trace
from mimic_proxy.telemetry.port import NoSpans, SpanCounts, WebSpans
from mimic_proxy.telemetry.propagation import Propagation
from mimic_proxy.telemetry.record import Record
from mimic_proxy.telemetry.tracing.encoding import Requests, console_line, encode
from mimic_proxy.telemetry.tracing.export import Counts, Pipeline, Sender
from mimic_proxy.telemetry.tracing.settings import (
    DEFAULTS,
    OTLP,
    TracingSettings,
    importable,
    read_propagation,
    read_tracing,
)
from mimic_proxy.telemetry.tracing.spans import (
    NONE,
    Attributes,
    Limits,
    Naming,
    Span,
    backend_spans,
    exchange_spans,
    limited,
    refresh_span,
    root_span,
)

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


SCOPE = "mimic_proxy"


def places_of(chat_url: str, embeddings_url: str, token_url: str | None) -> Places:
    """Whom CLIENT spans name as their server."""
    return Places(parse_base(chat_url), parse_base(embeddings_url), parse_base(token_url) if token_url else None)


def create_tracing(
    environ: MutableMapping[str, str],
    *,
    version: str,
    chat_url: str,
    embeddings_url: str,
    token_url: str | None,
    naming: Naming,
    propagation: Propagation,
    proxy_for: Callable[[Base], str | None] = lambda base: None,
    console: Callable[[bytes], object] | None = None,
) -> Tracing | None:
    """The traces that the OTEL_* variables ask for; None where they ask for none. Problems are logged, never raised.

    environ: the process's own; the instrumentation of FastAPI finds its defaults there. proxy_for: the outbound proxy
    on the way to a collector. console: takes lines for OTEL_TRACES_EXPORTER=console, instead of
    the standard output.
    """
    settings, problems = read_tracing(environ, version)
    _tell(problems)
    if settings is None:
        return None
    places = places_of(chat_url, embeddings_url, token_url)
    if settings.otlp is None:
        export = _console(settings, console or written_to(sys.stdout))
    else:
        export = _otlp(settings, settings.otlp, version, proxy_for)
    return Tracing(settings, places, naming, export=export, environ=environ, extract=propagation.trace_context)


def propagation(environ: Mapping[str, str]) -> Propagation:
    """What passes between caller, Mimic and backend, whether traces are exported or not. Problems are logged."""
    found, problems = read_propagation(environ)
    _tell(problems)
    return found


def _tell(problems: list[tuple[str, str]]) -> None:
    for name, wrong in problems:
        logger.warning("%s %s", name, wrong)


def _otlp(settings: TracingSettings, otlp: OTLP, version: str, proxy_for: Callable[[Base], str | None]) -> Export:
    logger.info("Traces go to %s", masked_url(otlp.url))
    sender = Sender(otlp, version, proxy_for(parse_base(otlp.url)))
    requests = Requests(settings.resource, SCOPE, version)
    pipeline = Pipeline[bytes](
        lambda spans: sender.send(requests.of(spans)), settings.batching, hurry=sender.stop, close=sender.close
    )
    return Export(_within(settings.limits, lambda span: pipeline.put(encode(span))), pipeline.counts, pipeline.shutdown)


def _console(settings: TracingSettings, write: Callable[[bytes], object]) -> Export:
    def send(spans: list[Span]) -> None:
        write(b"".join(map(console_line, spans)))

    pipeline = Pipeline[Span](send, settings.batching)
    return Export(_within(settings.limits, pipeline.put), pipeline.counts, pipeline.shutdown)


def _within(limits: Limits, put: Callable[[Span], None]) -> Callable[[Span], None]:
    return (lambda span: put(limited(span, limits))) if limits.tight else put
