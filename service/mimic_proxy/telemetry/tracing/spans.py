"""Finished spans, made after the fact, of the shape that OTLP has (opentelemetry-proto, trace.proto): those of an
exchange, of a token refresh, and of what the process does on its own account. Pure.

SERVER             POST /v1/chat/completions   all of it
  INTERNAL         token wait                  before the first try, if it waited
  CLIENT           chat small                  first try to last byte, if there was a try
    INTERNAL       token wait                  between two tries
    CLIENT         HTTP POST                   each try, if there was more than one

An SDK's span would cost 15 us to make and 47 us to encode. These take 2 us and 5 us.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from mimic_proxy.http.target import Base
from mimic_proxy.telemetry.observation import Outcome, RefreshObservation, SpanLink, TokenWait, Trace
from mimic_proxy.telemetry.record import Record

INTERNAL, SERVER, CLIENT = 1, 2, 3
LONGEST_TEXT = 256
"""Of what a caller or a backend chose, such as a path or the name of a model."""

Value = str | bool | int | float | tuple[str, ...] | None
"""Of an attribute; one that is None is left out."""
Attributes = Mapping[str, Value]
NONE: Attributes = {}


class Event(msgspec.Struct, frozen=True, gc=False):
    """at: nanoseconds of Unix time."""

    name: str
    at: int
    attributes: Attributes = NONE


class Span(msgspec.Struct, frozen=True, gc=False):
    """start, end: nanoseconds of Unix time."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: int
    start: int
    end: int
    attributes: Attributes
    failed: str | None = None
    """Why its status is ERROR; None: the status stays unset."""
    events: tuple[Event, ...] = ()
    links: tuple[SpanLink, ...] = ()
    remote_parent: bool = False
    tracestate: str = ""


class Limits(msgspec.Struct, frozen=True, gc=False):
    """OTEL_*_LIMIT. Lengths in characters, None is none."""

    attributes: int = 128
    events: int = 128
    links: int = 128
    value_length: int | None = None

    @property
    def tight(self) -> bool:
        """Some span of ours could be beyond it."""
        return min(self.attributes, self.events, self.links) < 64 or self.value_length is not None


def limited(span: Span, limits: Limits) -> Span:
    """The span without what is too much; its first attributes, events and links stay."""
    present = [(key, value) for key, value in span.attributes.items() if value is not None]
    return msgspec.structs.replace(
        span,
        attributes={key: _cut(value, limits.value_length) for key, value in present[: limits.attributes]},
        events=span.events[: limits.events],
        links=span.links[: limits.links],
    )


def _cut(value: Value, length: int | None) -> Value:
    if length is None:
        return value
    if isinstance(value, str):
        return value[:length]
    return tuple(part[:length] for part in value) if isinstance(value, tuple) else value


def short(text: str | None) -> str | None:
    """Of a length that fits into an attribute."""
    return text if text is None or len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


FAILED: frozenset[Outcome] = frozenset(
    (
        "upstream_error",
        "token_error",
        "timeout",
        "idle_timeout",
        "overloaded",
        "circuit_open",
        "internal_error",
        "shutdown",
    )
)
"""Outcomes that are not the caller's doing: their spans have the status ERROR."""
METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "CONNECT"))
OPERATIONS = {
    "/v1/chat/completions": ("chat", "chat_completions"),
    "/v1/responses": ("chat", "responses"),
    "/v1/completions": ("text_completion", None),
    "/v1/embeddings": ("embeddings", None),
}
"""`gen_ai.operation.name` and `openai.api.type` of the routes that ask a model."""
LEFT_BEFORE_AN_ANSWER = 499

Clock = Callable[[float], int]
"""A moment on the monotonic clock as nanoseconds of Unix time."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What spans are called.

    genai: the CLIENT span speaks of the model, else of HTTP alone. model_label: a bounded name for a model.
    every_try: each try gets a span, even if it was the only one. scheme: of the API port.
    """

    model_label: Callable[[str], str]
    genai: bool = True
    provider: str = "openai"
    dialect: str = "openai"
    every_try: bool = False
    scheme: str = "http"


def exchange_spans(
    seen: Record, trace: Trace, base: Base, at: Clock, naming: Naming, new_id: Callable[[], str]
) -> list[Span]:
    """All spans of a sampled exchange that was relayed. base: where it went. new_id: 16 random hexadecimal digits."""
    failed = (seen.error_code or seen.outcome) if seen.outcome in FAILED else None
    spans = [_server(seen, trace, at, naming, failed)]
    began = _first_try(seen)
    if began is not None:
        spans.append(_client(seen, trace, base, at, naming, failed, began))
        if seen.attempts > 1 or naming.every_try:
            spans += _tries(seen, trace, base, at, new_id)
    for wait in seen.token_waits:
        inside = began is not None and wait.started >= began
        spans.append(_wait(wait, trace.trace_id, trace.client_span_id if inside else trace.span_id, at, new_id()))
    return spans


def backend_spans(
    seen: Record, trace: Trace, base: Base, at: Clock, naming: Naming, new_id: Callable[[], str]
) -> list[Span]:
    """The spans of an operation whose SERVER span was made elsewhere: the call to the backend, if there was one."""
    return exchange_spans(seen, trace, base, at, naming, new_id)[1:]


def _first_try(seen: Record) -> float | None:
    """Moment of the first try at the backend; None where none was made."""
    if not seen.attempts:
        return None
    if seen.earlier:
        return seen.earlier[0].started
    if seen.sent:
        return seen.sent
    # No connection came about. What came before that is known.
    waits = seen.token_waits
    return waits[-1].started + waits[-1].seconds if waits else seen.started + seen.queue_seconds


def _server(seen: Record, trace: Trace, at: Clock, naming: Naming, failed: str | None) -> Span:
    method = seen.method if seen.method in METHODS else "HTTP"
    attributes: dict[str, Value] = {
        "http.request.method": seen.method if seen.method in METHODS else "_OTHER",
        "url.scheme": naming.scheme,
        "url.path": short(seen.path),
        "http.route": seen.route or None,
        "http.response.status_code": None if seen.status == LEFT_BEFORE_AN_ANSWER else seen.status,
        "error.type": seen.outcome if failed is not None else None,
        "mimic.request_id": seen.request_id,
        "mimic.outcome": seen.outcome,
        "mimic.stream": seen.stream,
        "mimic.client_retry": seen.client_retry,
        "mimic.error_code": seen.error_code,
        "mimic.timer": seen.timer,
    }
    return Span(
        trace.trace_id,
        trace.span_id,
        trace.parent_id,
        f"{method} {seen.route}" if seen.route else method,
        SERVER,
        at(seen.started),
        at(seen.ended),
        attributes,
        failed,
        (),
        (),
        trace.parent_id is not None,
        trace.tracestate,
    )


def _client(
    seen: Record, trace: Trace, base: Base, at: Clock, naming: Naming, failed: str | None, began: float
) -> Span:
    model_operation = OPERATIONS.get(seen.route) if naming.genai else None
    if seen.operation == "models":
        name = "models list"
    elif model_operation is None:
        name = seen.method
    elif seen.model is None:
        name = model_operation[0]
    else:
        name = f"{model_operation[0]} {naming.model_label(seen.model)}"
    attributes: dict[str, Value] = {
        "server.address": base.host,
        "server.port": base.port,
        "http.request.method": seen.method,
        "http.response.status_code": seen.upstream_status,
        "error.type": seen.error_type or (seen.outcome if failed is not None else None),
        "mimic.dialect": naming.dialect,
        "mimic.attempts": seen.attempts,
        "mimic.upstream.request_id": short(seen.upstream_request_id),
    }
    if model_operation is not None:
        _add_genai(attributes, seen, naming.provider, *model_operation)
    if seen.events:
        attributes["mimic.stream.events"] = seen.events
        attributes["mimic.stream.bytes"] = seen.response_bytes
        attributes["mimic.stream.max_gap"] = seen.max_gap_seconds
    return Span(
        trace.trace_id,
        trace.client_span_id,
        trace.span_id,
        name,
        CLIENT,
        at(began),
        at(seen.ended),
        attributes,
        failed,
        _events(seen, at, began),
        (),
        False,
        trace.tracestate,
    )


def _add_genai(attributes: dict[str, Value], seen: Record, provider: str, operation: str, api_type: str | None) -> None:
    """The conventions for generative AI: gen-ai-spans.md, openai.md. Nothing of what was said, only how."""
    attributes["gen_ai.operation.name"] = operation
    attributes["gen_ai.provider.name"] = provider
    attributes["openai.api.type"] = api_type
    attributes["gen_ai.request.model"] = short(seen.model)
    attributes["gen_ai.response.id"] = short(seen.shown.id)
    attributes["gen_ai.response.model"] = short(seen.shown.model)
    attributes["gen_ai.response.finish_reasons"] = seen.shown.finish_reasons or None
    attributes["gen_ai.usage.input_tokens"] = seen.shown.usage.input
    attributes["gen_ai.usage.output_tokens"] = seen.shown.usage.output
    attributes["gen_ai.usage.cache_read.input_tokens"] = seen.shown.usage.cached
    attributes["gen_ai.usage.reasoning.output_tokens"] = seen.shown.usage.reasoning
    attributes["openai.response.system_fingerprint"] = short(seen.shown.system_fingerprint)
    if seen.stream:
        attributes["gen_ai.request.stream"] = True
        attributes["gen_ai.response.time_to_first_chunk"] = seen.first_chunk_seconds
    asked = seen.parameters
    if asked is None:
        return
    attributes["gen_ai.request.max_tokens"] = asked.max_tokens
    attributes["gen_ai.request.temperature"] = asked.temperature
    attributes["gen_ai.request.top_p"] = asked.top_p
    attributes["gen_ai.request.frequency_penalty"] = asked.frequency_penalty
    attributes["gen_ai.request.presence_penalty"] = asked.presence_penalty
    attributes["mimic.request.stop_count"] = asked.stop_count
    attributes["gen_ai.request.seed"] = asked.seed
    attributes["gen_ai.request.choice.count"] = asked.choice_count if asked.choice_count != 1 else None
    attributes["gen_ai.output.type"] = asked.output_type
    attributes["gen_ai.request.encoding_formats"] = asked.encoding_formats
    attributes["gen_ai.embeddings.dimension.count"] = asked.dimensions
    attributes["openai.request.service_tier"] = asked.service_tier


def _events(seen: Record, at: Clock, began: float) -> tuple[Event, ...]:
    """In the order in which they happened."""
    if not (seen.earlier or seen.first_chunk_seconds is not None or seen.error_frame):
        return ()
    events = []
    for lost in seen.earlier:
        said: dict[str, Value] = {
            "mimic.retry.reason": lost.retry,
            "http.response.status_code": lost.status,
            "error.type": lost.error_type,
        }
        events.append(Event("retry", at(lost.started + lost.seconds), said))
    ends = [wait.started + wait.seconds for wait in seen.token_waits if wait.started >= began]
    events += [Event("token_refreshed", at(end)) for end in ends]
    if seen.first_chunk_seconds is not None:
        events.append(Event("first_chunk", at(seen.started + seen.first_chunk_seconds)))
    if seen.error_frame:
        # It is the last thing that a stream says.
        events.append(Event("error_frame", at(seen.ended)))
    return tuple(sorted(events, key=lambda event: event.at))


def _tries(seen: Record, trace: Trace, base: Base, at: Clock, new_id: Callable[[], str]) -> list[Span]:
    """Each ends with the head of its answer, or with what was wrong instead."""
    tries = [
        (lost.started, lost.started + (lost.seconds if lost.head_seconds is None else lost.head_seconds), lost)
        for lost in seen.earlier
    ]
    found = [(began, ended, lost.status, lost.error_type) for began, ended, lost in tries]
    if seen.sent:
        head = seen.upstream_head_seconds
        ended = seen.ended if head is None else seen.sent + head
        found.append((seen.sent, ended, seen.upstream_status, seen.error_type))
    spans = []
    for number, (began, ended, status, error_type) in enumerate(found):
        attributes: dict[str, Value] = {
            "server.address": base.host,
            "server.port": base.port,
            "http.request.method": seen.method,
            "http.request.resend_count": number or None,
            "http.response.status_code": status,
            "error.type": error_type,
        }
        name = f"HTTP {seen.method}"
        made = (trace.trace_id, new_id(), trace.client_span_id, name, CLIENT, at(began), at(ended), attributes)
        spans.append(Span(*made, error_type))
    return spans


def _wait(wait: TokenWait, trace_id: str, parent_id: str, at: Clock, span_id: str) -> Span:
    links = () if wait.refresh is None else (wait.refresh,)
    times = at(wait.started), at(wait.started + wait.seconds)
    return Span(trace_id, span_id, parent_id, "token wait", INTERNAL, *times, {}, None, (), links)


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
