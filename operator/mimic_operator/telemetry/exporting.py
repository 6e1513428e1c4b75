"""Where spans go: what the OTEL_* variables ask of the OpenTelemetry SDK, which reads most of them itself.

Off unless a collector is named. A wrong value is told and stops nobody: telemetry must not keep an operator from
working (OpenTelemetry, "Environment Variable Specification").
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from mimic_operator.telemetry.spans import OFF, Spans

logger = logging.getLogger("mimic.traces")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
TIMEOUT_SECONDS = 3.0
"""Of one export, repetitions included, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise; the SDK's own is 10."""
END_SECONDS = 3.0
"""At the end, for what has not been sent: then the process ends without it."""
Exported = Callable[[str, int], None]
"""Told of each export: success or failure, and of how many spans."""


@contextmanager
def exporting(environ: Mapping[str, str], *, service: str, version: str, exported: Exported) -> Iterator[Spans]:
    """Spans that reach the collector which the environment names; without one nothing is made."""
    exporter = _exporter(environ)
    if exporter is None:
        yield OFF
        return
    ours = {SERVICE_NAME: service, SERVICE_VERSION: version}
    resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    counted = _Counted(exporter, exported)
    console = isinstance(exporter, ConsoleSpanExporter)
    provider.add_span_processor(SimpleSpanProcessor(counted) if console else BatchSpanProcessor(counted))
    try:
        yield Spans(provider.get_tracer("mimic_operator", version))
    finally:
        _end(provider)


def _exporter(environ: Mapping[str, str]) -> SpanExporter | None:
    wanted = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or wanted == "none":
        return None
    if wanted == "console":
        return ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
    if wanted not in ("", "otlp"):
        _told("OTEL_TRACES_EXPORTER", "must be otlp, console or none; no traces are exported")
        return None
    if not any(environ.get(name, "").strip() for name in ENDPOINTS):
        return None
    for name in PROTOCOLS:
        if environ.get(name, "").strip().lower() not in ("", "http/protobuf"):
            _told(name, "must be http/protobuf, which is used; a collector listens for it on port 4318")
    return _otlp(environ)


def _otlp(environ: Mapping[str, str]) -> SpanExporter | None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # 60 ms that few need

    chosen = any(environ.get(name, "").strip() for name in TIMEOUTS)
    try:
        return OTLPSpanExporter(timeout=None if chosen else TIMEOUT_SECONDS)
    except (ValueError, OSError) as error:  # OSError: a certificate that cannot be read
        _told("OTEL_EXPORTER_OTLP_*", f"cannot be used ({type(error).__name__}); no traces are exported")
        return None


def _told(variable: str, sentence: str) -> None:
    logger.warning("%s %s", variable, sentence, extra={"variable": variable})


class _Counted(SpanExporter):
    """Another exporter that says how it went."""

    def __init__(self, exporter: SpanExporter, exported: Exported) -> None:
        self._exporter, self._exported = exporter, exported

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._exported("success" if result is SpanExportResult.SUCCESS else "failure", len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _end(provider: TracerProvider) -> None:
    """The SDK would wait for up to 30 s, which is all that Kubernetes gives."""
    ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
    ending.start()
    ending.join(END_SECONDS)
    if ending.is_alive():
        logger.warning("The collector did not take the last spans within %g s", END_SECONDS)
