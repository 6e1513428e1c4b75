"""Which exchanges are traced: OTEL_TRACES_SAMPLER and its argument (OpenTelemetry, "Sampling"). Pure.

The decision comes before any span exists, since nine of ten exchanges may have none. It agrees with the SDK's samplers:
by ratio, a trace is sampled if the low 64 bits of its id are below the ratio's share of 2**64.
"""

import math
from dataclasses import dataclass

from mimic_proxy.telemetry.observation import Trace

ALL = 1 << 64
DEFAULT = "parentbased_traceidratio"
NAMES = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)


@dataclass(frozen=True, slots=True)
class Sampler:
    """bound: root traces are sampled below it, out of ALL. parent_based: a caller's decision counts."""

    bound: int = ALL
    parent_based: bool = True

    def root(self, trace_id: str) -> bool:
        """Whether a trace that begins here is sampled. trace_id: 32 hexadecimal digits."""
        if self.bound == ALL:
            return True
        return self.bound > 0 and int(trace_id[16:], 16) < self.bound

    def decide(self, trace_id: str, parent: bool | None) -> bool:
        """Whether a span is sampled. parent: whether its parent is, None without one."""
        return self.root(trace_id) if parent is None or not self.parent_based else parent

    def begin(self, traceparent: bytes | None, tracestate: tuple[bytes, ...], digits: str) -> Trace:
        """The place of an exchange in a trace.

        traceparent: the caller's, valid, or None for a new root. digits: 64 random hexadecimal ones, for the ids.
        """
        if not traceparent:
            trace_id = digits[:32]
            return Trace(trace_id, digits[32:48], digits[48:], None, self.root(trace_id))
        text = traceparent.decode("ascii")
        trace_id, caller_sampled = text[3:35], int(text[53:55], 16) & 1 == 1
        sampled = self.decide(trace_id, caller_sampled)
        # An unsampled exchange makes no span that could show it, and the header fields pass by themselves.
        state = b",".join(tracestate).decode("ascii", "replace") if sampled and tracestate else ""
        return Trace(trace_id, digits[32:48], digits[48:], text[36:52], sampled, state)


def sampler(name: str, argument: str) -> tuple[Sampler, list[tuple[str, str]]]:
    """The sampler that is asked for, and what was wrong: each a variable's name and a sentence.

    Empty: not set. What cannot be understood becomes the default, all roots that no caller decided against.
    """
    wrong = []
    name = name.strip().lower() or DEFAULT
    if name not in NAMES:
        wrong.append(("OTEL_TRACES_SAMPLER", f"must be one of {', '.join(NAMES)}; {DEFAULT} is used"))
        name = DEFAULT
    parent_based = name.startswith("parentbased_")
    match name.removeprefix("parentbased_"):
        case "always_on":
            return Sampler(ALL, parent_based), wrong
        case "always_off":
            return Sampler(0, parent_based), wrong
    ratio = 1.0
    if argument.strip():
        try:
            ratio = float(argument)
        except ValueError:
            ratio = math.nan
    if not 0.0 <= ratio <= 1.0:
        wrong.append(("OTEL_TRACES_SAMPLER_ARG", "must be a number from 0 to 1; 1 is used"))
        ratio = 1.0
    return Sampler(round(ratio * ALL), parent_based), wrong
