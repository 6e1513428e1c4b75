"""Where spans go: what the OTEL_* variables ask of the OpenTelemetry SDK, which reads most of them itself.

Off unless a collector is named. A wrong value is a warning and stops nothing: telemetry must not keep an operator from
working (OpenTelemetry, "Environment Variable Specification").
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from mimic_operator.runtime.spans import OFF, Spans

logger = logging.getLogger("mimic.traces")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
FILES = tuple(
    f"OTEL_EXPORTER_OTLP_{traces}{name}"
    for traces in ("TRACES_", "")
    for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
)
TIMEOUT_SECONDS = 3.0
"""Of one export, repetitions included, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise; the SDK's own is 10."""
END_SECONDS = 3.0
"""At the end, for what has not been sent: then the process ends without it."""
Exported = Callable[[str, int], None]
"""Called after each export: success or failure, and how many spans."""


@contextmanager
def exporting(environ: Mapping[str, str], *, service: str, version: str, exported: Exported) -> Iterator[Spans]:
    """Spans that reach the collector which the environment names; without one nothing is made."""
    exporter = _exporter(environ)
    provider = _provider(exporter, service, version, exported) if exporter is not None else None
    if provider is None:
        yield OFF
        return
    try:
        yield Spans(provider.get_tracer("mimic_operator", version))
    finally:
        _end(provider)


def _provider(exporter: SpanExporter, service: str, version: str, exported: Exported) -> TracerProvider | None:
    counted = _Counted(exporter, exported)
    ours = {SERVICE_NAME: service, SERVICE_VERSION: version}
    try:
        resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        console = isinstance(exporter, ConsoleSpanExporter)
        provider.add_span_processor(SimpleSpanProcessor(counted) if console else BatchSpanProcessor(counted))
    except ValueError as error:
        _told("OTEL_*", f"cannot be used: {error}; no traces are exported")
        return None
    return provider


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

    for name in FILES:
        if (path := environ.get(name, "").strip()) and not Path(path).is_file():
            _told(name, "must be the path of a file that is there; without it nothing may be exported")
    chosen = any(environ.get(name, "").strip() for name in TIMEOUTS)
    withheld, parser = _Withheld(), logging.getLogger("opentelemetry.util.re")
    parser.addFilter(withheld)
    try:
        return OTLPSpanExporter(timeout=None if chosen else TIMEOUT_SECONDS)
    except ValueError as error:
        _told("OTEL_EXPORTER_OTLP_*", f"cannot be used ({type(error).__name__}); no traces are exported")
        return None
    finally:
        parser.removeFilter(withheld)
        if withheld.count:
            _told("OTEL_EXPORTER_OTLP_HEADERS", "must be name=value pairs with commas between; others are left out")


def _told(variable: str, sentence: str) -> None:
    logger.warning("%s %s", variable, sentence, extra={"variable": variable})


class _Withheld(logging.Filter):
    """The SDK repeats header fields that it does not understand; they may be secrets."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        self.count += 1
        return False


class _Counted(SpanExporter):
    """Another exporter that says how it went."""

    def __init__(self, exporter: SpanExporter, exported: Exported) -> None:
        self._exporter, self._exported = exporter, exported

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:  # what is raised is logged by the SDK
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
