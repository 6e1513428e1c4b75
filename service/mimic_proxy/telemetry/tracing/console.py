"""Spans as lines of JSON, for OTEL_TRACES_EXPORTER=console. Pure."""

import msgspec

from mimic_proxy.telemetry.logs import visible
from mimic_proxy.telemetry.tracing.span import Span

_json = msgspec.json.Encoder(enc_hook=str)


def console_line(span: Span) -> bytes:
    """One line; what is not said is left out. Times are nanoseconds of Unix time."""
    shown: dict[str, object] = {
        "name": span.name,
        "kind": ("", "INTERNAL", "SERVER", "CLIENT")[span.kind],
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "start": span.start,
        "end": span.end,
        "attributes": {key: value for key, value in span.attributes.items() if value is not None},
        "failed": span.failed,
        "events": [{"name": event.name, "at": event.at} for event in span.events],
        "links": [{"trace_id": link.trace_id, "span_id": link.span_id} for link in span.links],
    }
    return visible(_json.encode({key: value for key, value in shown.items() if value not in (None, [])})) + b"\n"
