"""Spans as bytes: the same that the SDK's encoder makes of the same span."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from mimic_proxy.telemetry.observation import SpanLink
from mimic_proxy.telemetry.tracing.encoding import Requests, encode
from mimic_proxy.telemetry.tracing.spans import CLIENT, INTERNAL, SERVER, Event, Limits, Span, limited

RESOURCE = {"service.name": "test", "host.name": "h"}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
VALUES = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(0, 2000),
    st.floats(allow_nan=False),
    st.lists(TEXT, max_size=4).map(tuple),
    st.none(),
)
ATTRIBUTES = st.dictionaries(TEXT.filter(bool), VALUES, max_size=6)
TRACE_IDS = st.integers(1, (1 << 128) - 1).map(lambda number: f"{number:032x}")
SPAN_IDS = st.integers(1, (1 << 64) - 1).map(lambda number: f"{number:016x}")
MOMENTS = st.integers(0, (1 << 63) - 1)
SPANS = st.builds(
    Span,
    trace_id=TRACE_IDS,
    span_id=SPAN_IDS,
    parent_id=st.none() | SPAN_IDS,
    name=TEXT,
    kind=st.sampled_from([INTERNAL, SERVER, CLIENT]),
    start=MOMENTS,
    end=MOMENTS,
    attributes=ATTRIBUTES,
    failed=st.none() | TEXT,
    events=st.lists(st.builds(Event, TEXT, MOMENTS, ATTRIBUTES), max_size=3).map(tuple),
    links=st.lists(st.builds(SpanLink, TRACE_IDS, SPAN_IDS, st.just(True)), max_size=3).map(tuple),
    remote_parent=st.booleans(),
    tracestate=st.sampled_from(["", "a=1", "a=1,b=2"]),
)


def context(trace_id: str, span_id: str, *, remote: bool = False, state: str = "") -> SpanContext:
    pairs = [pair.split("=") for pair in state.split(",") if pair]
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), remote, TraceFlags(1), TraceState([(key, value) for key, value in pairs])
    )


def present(attributes: Any) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if value is not None}


def as_the_sdk_has_it(span: Span) -> ReadableSpan:
    parent = None
    if span.parent_id is not None:
        parent = context(span.trace_id, span.parent_id, remote=span.remote_parent)
    return ReadableSpan(
        name=span.name,
        context=context(span.trace_id, span.span_id, state=span.tracestate),
        parent=parent,
        resource=Resource(RESOURCE),
        attributes=present(span.attributes),
        events=[SdkEvent(event.name, present(event.attributes), event.at) for event in span.events],
        links=[Link(context(link.trace_id, link.span_id)) for link in span.links],
        kind=SpanKind(span.kind - 1),
        status=Status(StatusCode.UNSET) if span.failed is None else Status(StatusCode.ERROR, span.failed),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=InstrumentationScope("scope", "1"),
    )


def parsed(*spans: Span) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(Requests(RESOURCE, "scope", "1").of(map(encode, spans)))


@given(st.lists(SPANS, min_size=1, max_size=4))
def test_any_span_is_written_as_the_sdk_writes_it(spans: list[Span]):
    spans = [span if span.parent_id else Span(*_local(span)) for span in spans]
    assert parsed(*spans) == encode_spans([as_the_sdk_has_it(span) for span in spans])


def _local(span: Span) -> list[Any]:
    """Without a parent there is none that could be remote."""
    values = {name: getattr(span, name) for name in span.__struct_fields__}
    return list({**values, "remote_parent": False}.values())


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", ("1",), False, 0, 0.0, "", ()])
def test_values_that_are_equal_in_python_keep_their_kinds(value: Any):
    for before in (True, 1, 1.0, "1", False, 0, 0.0):
        encode(_with(key=before))
    assert parsed(_with(key=value)) == encode_spans([as_the_sdk_has_it(_with(key=value))])


def _with(**attributes: Any) -> Span:
    return Span("a" * 32, "b" * 16, None, "name", SERVER, 1, 2, attributes)


def test_text_that_is_no_unicode_is_mended():
    (sent,) = parsed(_with(key="a\udcffb")).resource_spans[0].scope_spans[0].spans
    assert sent.attributes[0].value.string_value == "a?b"


def test_limits_keep_the_first_and_cut_long_texts():
    span = Span(
        *("a" * 32, "b" * 16, None, "name", SERVER, 1, 2),
        {"none": None, "text": "long text", "list": ("long text", "x"), "number": 1234567, "late": 1},
        None,
        (Event("first", 1), Event("second", 2)),
        (SpanLink("a" * 32, "b" * 16, True), SpanLink("a" * 32, "c" * 16, True)),
    )
    cut = limited(span, Limits(3, 1, 1, 4))
    assert cut.attributes == {"text": "long", "list": ("long", "x"), "number": 1234567}
    assert [event.name for event in cut.events] == ["first"]
    assert [link.span_id for link in cut.links] == ["b" * 16]


def test_usual_limits_cost_nothing():
    assert not Limits().tight
    assert Limits(attributes=10).tight
    assert Limits(value_length=100).tight
