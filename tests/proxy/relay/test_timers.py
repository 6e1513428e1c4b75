"""Which timer is next, by tables; and that none is ever missed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.relay.ports import Limits
from mimic_proxy.relay.states import State
from mimic_proxy.relay.timers import NEVER, next_deadline
from mimic_proxy.telemetry.record import Record

LIMITS = Limits(first_byte=60.0, idle=30.0, send=20.0, total=500.0, queue=10.0, heartbeat_after=7.0)
NONE = Limits(first_byte=0.0, idle=0.0, send=0.0, total=0.0, queue=0.0, heartbeat_after=0.0)
OPEN = {"body_open": True, "may_beat": False}
WHOLE = {"body_open": False, "may_beat": False}
BEATING = {"body_open": False, "may_beat": True}


def at(**moments: float) -> Record:
    made = Record(100.0, "chat", "POST", "/v1/chat/completions")
    for name, value in moments.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("state", "moments", "flags", "expected"),
    [
        (State.RECEIVING, {}, OPEN, (120.0, "body")),
        (State.RECEIVING, {"body": 115.0}, OPEN, (135.0, "body")),
        (State.RECEIVING, {}, WHOLE, (600.0, "total")),
        (State.QUEUED, {"queued": 105.0}, OPEN, (115.0, "queue")),
        (State.QUEUED, {"queued": 105.0}, WHOLE, (115.0, "queue")),
        (State.TOKEN, {}, WHOLE, (600.0, "total")),
        (State.DIALLING, {}, WHOLE, (600.0, "total")),
        (State.SENT, {"sent": 110.0, "upstream": 110.0}, WHOLE, (170.0, "first_byte")),
        (State.SENT, {"sent": 110.0, "upstream": 110.0, "body": 120.0}, WHOLE, (180.0, "first_byte")),
        (State.SENT, {"sent": 110.0, "upstream": 110.0}, BEATING, (117.0, "heartbeat")),
        (State.SENT, {"sent": 110.0, "upstream": 110.0, "body": 115.0}, OPEN, (135.0, "body")),
        (State.SENT, {"sent": 110.0, "backend_stalled": 112.0}, OPEN, (132.0, "send")),
        (State.SENT, {"sent": 110.0, "caller_stalled": 112.0}, WHOLE, (132.0, "send")),
        (State.HEAD, {"sent": 110.0, "head": 120.0}, WHOLE, (135.0, "unclassified")),
        (State.HEAD, {"sent": 110.0, "head": 160.0}, WHOLE, (170.0, "first_byte")),
        (State.HEAD, {"sent": 110.0, "head": 120.0}, BEATING, (117.0, "heartbeat")),
        (State.STREAMING, {"sent": 110.0, "upstream": 120.0}, WHOLE, (150.0, "idle")),
        (State.STREAMING, {"sent": 110.0, "upstream": 120.0, "written": 140.0}, BEATING, (147.0, "heartbeat")),
        (State.STREAMING, {"upstream": 120.0, "caller_stalled": 121.0}, BEATING, (141.0, "send")),
        (State.AFTER_DONE, {"upstream": 120.0, "after_done": 121.0}, BEATING, (122.0, "after_done")),
        (State.STREAMING, {"upstream": 590.0}, WHOLE, (600.0, "total")),
        (State.AFTER_DONE, {"upstream": 599.5, "after_done": 599.5}, WHOLE, (600.0, "total")),
    ],
)
def test_the_next_timer(
    state: State, moments: dict[str, float], flags: dict[str, bool], expected: tuple[float, str]
) -> None:
    assert next_deadline(at(**moments), state, LIMITS, **flags) == expected


@pytest.mark.parametrize("state", [state for state in State if state not in (State.HEAD, State.AFTER_DONE)])
@pytest.mark.parametrize("flags", [OPEN, WHOLE, BEATING])
def test_limits_of_zero_are_none(state: State, flags: dict[str, bool]) -> None:
    moments = at(sent=110.0, upstream=110.0, queued=110.0, caller_stalled=110.0)
    assert next_deadline(moments, state, NONE, **flags) == (NEVER, "none")


def test_a_stream_is_classified_or_released_whatever_the_limits() -> None:
    assert next_deadline(at(head=110.0), State.HEAD, NONE, **WHOLE) == (125.0, "unclassified")


@given(
    st.sampled_from(State),
    st.fixed_dictionaries(
        {},
        optional={
            name: st.floats(100.0, 1000.0)
            for name in (
                "body",
                "queued",
                "sent",
                "head",
                "upstream",
                "written",
                "caller_stalled",
                "backend_stalled",
                "after_done",
            )
        },
    ),
    st.booleans(),
    st.booleans(),
)
def test_no_exchange_outlives_its_total(
    state: State, moments: dict[str, float], body_open: bool, may_beat: bool
) -> None:
    when, name = next_deadline(at(**moments), state, LIMITS, body_open=body_open, may_beat=may_beat)
    assert when <= 600.0
    assert name != "none"
