"""SERVER spans of the FastAPI apps: OpenTelemetry's own instrumentation, its spans taken over into our pipeline.

Only the attributes of KEPT are taken: the rest can hold what a caller sent (its query, its address, header fields that
somebody chose to capture). Exceptions are not: their messages say what nobody has looked at.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import sampling as sdk

from mimic_proxy.telemetry.observation import Outcome, Trace
from mimic_proxy.telemetry.sampling import Sampler
from mimic_proxy.telemetry.tracing.spans import FAILED, Span, Value, short

EXCLUDED = ("/livez$", "/readyz$", "/metrics$", "/status")
"""What probes and pages ask for all the time: ends of URLs, as regular expressions."""
KEPT = frozenset(
    (
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "url.scheme",
        "url.path",
        "network.protocol.version",
        "error.type",
        # The older names, for those who set OTEL_SEMCONV_STABILITY_OPT_IN otherwise.
        "http.method",
        "http.status_code",
        "http.scheme",
    )
)


class OpenSpans:
    """What the web applications may do with the span that the instrumentation has opened, see `port.WebSpans`."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    def current(self) -> Trace | None:
        """Where the present request stands in a trace; None where nobody opened a span for it."""
        span = trace.get_current_span()
        context = span.get_span_context()
        if not context.is_valid:
            return None
        parent = getattr(span, "parent", None)
        return Trace(
            trace.format_trace_id(context.trace_id),
            trace.format_span_id(context.span_id),
            self._new_id(),
            None if parent is None else trace.format_span_id(parent.span_id),
            context.trace_flags.sampled,
            context.trace_state.to_header(),
        )

    def finish(self, outcome: Outcome, request_id: str, error_code: str | None) -> None:
        """Says how the request ended, while its span is still open."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        span.set_attribute("mimic.outcome", outcome)
        span.set_attribute("mimic.request_id", request_id)
        if error_code is not None:
            span.set_attribute("mimic.error_code", error_code)
        if outcome in FAILED:
            span.set_attribute("error.type", outcome)
            span.set_status(trace.StatusCode.ERROR)


class Instrumentation:
    """Makes spans of what FastAPI apps answer. put: takes them. excluded: more URLs, as EXCLUDED has them."""

    def __init__(
        self,
        sampler: Sampler,
        resource: Mapping[str, Value],
        put: Callable[[Span], None],
        new_id: Callable[[], str],
        excluded: str,
    ) -> None:
        self.spans = OpenSpans(new_id)
        self._excluded = ",".join(filter(None, (*EXCLUDED, excluded)))
        self._provider = TracerProvider(
            sampler=_Asked(sampler),
            resource=Resource({key: value for key, value in resource.items() if value is not None}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_Taken(put))

    def add(self, app: FastAPI) -> None:
        """To an app that has not answered anything yet."""
        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=self._provider,
            meter_provider=NoOpMeterProvider(),
            excluded_urls=self._excluded,
            exclude_spans=["send", "receive"],
        )


def taken(span: ReadableSpan) -> Span | None:
    """The span as one of ours; None if it is not sampled."""
    context = span.get_span_context()
    if context is None or not context.trace_flags.sampled:
        return None
    parent = span.parent
    found: dict[str, Any] = {
        key: short(value) if isinstance(value, str) else value
        for key, value in (span.attributes or {}).items()
        if key in KEPT or key.startswith("mimic.")
    }
    failed = None
    if span.status.status_code is trace.StatusCode.ERROR:
        failed = found.get("mimic.error_code") or found.get("mimic.outcome") or "error"
    return Span(
        trace.format_trace_id(context.trace_id),
        trace.format_span_id(context.span_id),
        None if parent is None else trace.format_span_id(parent.span_id),
        span.name,
        span.kind.value + 1,
        span.start_time or 0,
        span.end_time or 0,
        found,
        failed,
        remote_parent=parent is not None and parent.is_remote,
        tracestate=context.trace_state.to_header(),
    )


class _Taken(SpanProcessor):
    """The SDK's seam for finished spans."""

    def __init__(self, put: Callable[[Span], None]) -> None:
        self._put = put

    def on_end(self, span: ReadableSpan) -> None:
        ours = taken(span)
        if ours is not None:
            self._put(ours)


class _Asked(sdk.Sampler):
    """Our sampler, for the SDK."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *arguments: Any, **more: Any
    ) -> sdk.SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        sampled = self._sampler.decide(
            trace.format_trace_id(trace_id), parent.trace_flags.sampled if parent.is_valid else None
        )
        return sdk.SamplingResult(
            sdk.Decision.RECORD_AND_SAMPLE if sampled else sdk.Decision.DROP,
            trace_state=parent.trace_state if parent.is_valid else None,
        )

    def get_description(self) -> str:
        return f"Mimic({self._sampler})"
