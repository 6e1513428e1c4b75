"""Who is sampled: as the SDK would decide, and never a crash over a wrong variable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from mimic_proxy.telemetry.sampling import ALL, DEFAULT, NAMES, Sampler, sampler

DIGITS = "a" * 32 + "b" * 16 + "c" * 16
CALLER = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
UNSAMPLED_CALLER = CALLER[:-2] + b"00"
TRACE_IDS = st.integers(1, (1 << 128) - 1)


@given(TRACE_IDS, st.floats(0.0, 1.0))
def test_the_ratio_decides_as_the_sdk_does(trace_id: int, ratio: float):
    ours, wrong = sampler("traceidratio", repr(ratio))
    theirs = TraceIdRatioBased(ratio).should_sample(None, trace_id, "name")
    assert (ours.root(f"{trace_id:032x}"), wrong) == (theirs.decision.is_sampled(), [])


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_the_ratio_decides_as_the_sdk_does_at_its_bound(ratio: float, beside: int):
    theirs = TraceIdRatioBased(ratio)
    low = min(max(theirs.bound + beside, 0), ALL - 1)
    for high in (0, 1 << 64, ALL << 63):
        trace_id = high | low
        expected = theirs.should_sample(None, trace_id, "name").decision.is_sampled()
        assert sampler("traceidratio", str(ratio))[0].root(f"{trace_id:032x}") is expected


@given(TRACE_IDS, st.floats(0.0, 1.0), st.booleans())
def test_a_caller_s_decision_counts_as_the_sdk_has_it(trace_id: int, ratio: float, parent: bool):
    context = SpanContext(trace_id, 1, True, TraceFlags(int(parent)))
    theirs = ParentBasedTraceIdRatio(ratio).should_sample(
        set_span_in_context(NonRecordingSpan(context)), trace_id, "name"
    )
    ours = sampler("parentbased_traceidratio", repr(ratio))[0]
    assert ours.decide(f"{trace_id:032x}", parent) is theirs.decision.is_sampled()


@pytest.mark.parametrize(
    ("name", "root", "below_sampled", "below_unsampled"),
    [
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("traceidratio", True, True, True),
        ("parentbased_always_on", True, True, False),
        ("parentbased_always_off", False, True, False),
        ("parentbased_traceidratio", True, True, False),
        (" ParentBased_Always_On ", True, True, False),
        ("", True, True, False),
    ],
)
def test_each_sampler_decides_for_roots_and_below_callers(
    name: str, root: bool, below_sampled: bool, below_unsampled: bool
):
    chosen, wrong = sampler(name, "")
    decided = [chosen.begin(parent, (), DIGITS).sampled for parent in (None, CALLER, UNSAMPLED_CALLER)]
    assert (decided, wrong) == ([root, below_sampled, below_unsampled], [])


def test_all_names_are_known_and_the_default_is_one_of_them():
    assert DEFAULT in NAMES
    assert [name for name in NAMES if sampler(name, "")[1]] == []


@pytest.mark.parametrize("name", ["jaeger_remote", "xray", "always on", "0.1"])
def test_an_unknown_sampler_becomes_the_default_with_one_sentence(name: str):
    chosen, wrong = sampler(name, "")
    assert chosen == Sampler()
    assert [variable for variable, _ in wrong] == ["OTEL_TRACES_SAMPLER"]
    assert name not in wrong[0][1]


@pytest.mark.parametrize("argument", ["1.5", "-0.1", "nan", "inf", "ten percent", "10%"])
def test_a_wrong_argument_samples_all_with_one_sentence(argument: str):
    chosen, wrong = sampler("traceidratio", argument)
    assert chosen.bound == ALL
    assert [variable for variable, _ in wrong] == ["OTEL_TRACES_SAMPLER_ARG"]


def test_an_argument_alone_is_that_of_the_default():
    chosen, wrong = sampler("", "0.1")
    assert (chosen, wrong) == (Sampler(round(0.1 * ALL), True), [])


def test_an_argument_means_nothing_to_samplers_without_one():
    assert sampler("always_on", "nonsense") == (Sampler(ALL, False), [])


def test_a_root_takes_its_ids_from_the_digits():
    trace = Sampler().begin(None, (b"vendor=1",), DIGITS)
    assert (trace.trace_id, trace.span_id, trace.client_span_id) == ("a" * 32, "b" * 16, "c" * 16)
    assert (trace.parent_id, trace.tracestate) == (None, "")


def test_an_exchange_below_a_caller_takes_its_trace_and_its_state():
    trace = Sampler().begin(CALLER, (b"a=1,b=2", b"c=3"), DIGITS)
    assert (trace.trace_id, trace.parent_id, trace.tracestate) == ("1" * 32, "2" * 16, "a=1,b=2,c=3")
    assert (trace.span_id, trace.client_span_id) == ("b" * 16, "c" * 16)


@pytest.mark.parametrize(
    ("flags", "sampled"), [(b"00", False), (b"01", True), (b"02", False), (b"03", True), (b"ff", True)]
)
def test_only_the_lowest_flag_says_sampled(flags: bytes, sampled: bool):
    assert Sampler().begin(CALLER[:-2] + flags, (), DIGITS).sampled is sampled


def test_a_later_version_of_traceparent_is_read_like_the_first():
    trace = Sampler().begin(b"cc" + CALLER[2:] + b"-what-comes-later", (), DIGITS)
    assert (trace.trace_id, trace.parent_id, trace.sampled) == ("1" * 32, "2" * 16, True)
