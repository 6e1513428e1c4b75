"""From the OTEL_* variables to the traces of this process.

Nothing of OpenTelemetry is imported, and no thread started, where no exporter is configured.
"""

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping

from mimic_proxy.http.target import Base, parse_base
from mimic_proxy.settings.values import masked_url
from mimic_proxy.telemetry.logs import written_to
from mimic_proxy.telemetry.propagation import Propagation
from mimic_proxy.telemetry.tracing.console import console_line
from mimic_proxy.telemetry.tracing.exchange import Naming
from mimic_proxy.telemetry.tracing.otlp import Requests, encode
from mimic_proxy.telemetry.tracing.pipeline import Pipeline
from mimic_proxy.telemetry.tracing.sender import Sender
from mimic_proxy.telemetry.tracing.settings import OTLP, TracingSettings, read_propagation, read_tracing
from mimic_proxy.telemetry.tracing.span import Limits, Span, limited
from mimic_proxy.telemetry.tracing.tracer import Export, Places, Tracing

SCOPE = "mimic_proxy"

logger = logging.getLogger("mimic.tracing")


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
