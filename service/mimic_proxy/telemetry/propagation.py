"""An exchange's place in a trace, as header fields tell it (W3C Trace Context, level 1). Pure."""

import random
from dataclasses import dataclass

from mimic_proxy.telemetry.observation import Trace

DIGITS = 64
"""Hexadecimal digits that the ids of one exchange are made of: trace 32, SERVER span 16, CLIENT span 16."""


@dataclass(frozen=True, slots=True)
class Propagation:
    """OTEL_PROPAGATORS: what passes between caller, Mimic and backend.

    baggage: only if it is named there; the default of OpenTelemetry would carry users' data to a third party.
    """

    trace_context: bool = True
    baggage: bool = False


def new_trace() -> str:
    """Random digits for the ids of one exchange."""
    return random.getrandbits(4 * DIGITS).to_bytes(DIGITS // 2, "big").hex()


def unsampled(traceparent: bytes | None, digits: str) -> Trace:
    """The place of an exchange that makes no spans of its own.

    traceparent: the caller's, valid, or None. digits: DIGITS random ones.
    """
    if not traceparent:
        return Trace(digits[:32], digits[32:48], digits[48:])
    return Trace(traceparent[3:35].decode("ascii"), digits[32:48], digits[48:], traceparent[36:52].decode("ascii"))


def trace_lines(trace: Trace, traceparent: bytes | None, tracestate: tuple[bytes, ...], *, traced: bool) -> bytes:
    """The header lines that tell the backend of the trace.

    traceparent, tracestate: the caller's. Not `traced`: its traceparent goes on as it is, since no span of ours stands
    between. Without a valid traceparent its tracestate is void (3.3).
    """
    if traced or not traceparent:
        flags = "01" if trace.sampled else "00"
        line = f"traceparent: 00-{trace.trace_id}-{trace.client_span_id}-{flags}\r\n".encode("ascii")
    else:
        line = b"traceparent: %b\r\n" % traceparent
    if not traceparent or not tracestate:
        return line
    return b"".join((line, *(b"tracestate: %b\r\n" % state for state in tracestate)))
