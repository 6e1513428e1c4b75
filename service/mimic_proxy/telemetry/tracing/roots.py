"""Spans that are nobody's part: token refreshes, and what the process does on its own account. Pure."""

from mimic_proxy.http.target import Base
from mimic_proxy.telemetry.observation import RefreshObservation, SpanLink
from mimic_proxy.telemetry.tracing.exchange import Clock
from mimic_proxy.telemetry.tracing.span import CLIENT, INTERNAL, Attributes, Span, Value


def refresh_span(seen: RefreshObservation, span: SpanLink, base: Base | None, at: Clock) -> Span:
    """A root, since many may wait for one refresh and often nobody does; it links to those who did.

    base: the token service. Neither what was sent nor what came is told.
    """
    failed = None if seen.result == "success" else seen.result
    attributes: dict[str, Value] = {
        "mimic.token.trigger": seen.trigger,
        "mimic.token.result": seen.result,
        "mimic.token.lifetime": seen.lifetime_seconds,
        "server.address": None if base is None else base.host,
        "server.port": None if base is None else base.port,
        "http.response.status_code": seen.status,
        "error.type": failed,
    }
    times = at(seen.started), at(seen.started + seen.duration_seconds)
    made = (span.trace_id, span.span_id, None, "token refresh", CLIENT, *times, attributes, failed)
    return Span(*made, (), seen.links)


def root_span(
    name: str, span: SpanLink, started: float, ended: float, attributes: Attributes, failed: str | None, at: Clock
) -> Span:
    """Something else that happened: `config reload`, `drain`. started, ended: moments on the monotonic clock."""
    return Span(span.trace_id, span.span_id, None, name, INTERNAL, at(started), at(ended), attributes, failed)
