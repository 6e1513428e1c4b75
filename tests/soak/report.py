"""What a soak has shown, as a table in Markdown with a verdict for each line."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from fakes.mimic import Mimic
from tests.soak.callers import Callers, Failed
from tests.soak.surroundings import Surroundings

RECOVERY_SECONDS = 5.0
BACKEND_GRACE_SECONDS = 1.0
MOST_SLOPE_MIB_PER_MINUTE = 1.0
SHORT_RUN_SECONDS = 300.0
MOST_GROWTH_OF_A_SHORT_RUN_MIB = 16.0
TOKEN_CODES = ("token_unavailable", "upstream_auth_failed")
MIB = 1024.0 * 1024.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process."""

    at: float
    resident: int
    descriptors: int

    @classmethod
    def of(cls, mimic: Mimic, now: float) -> Self:
        return cls(now, mimic.resident_bytes, mimic.open_files)


def cause_of(failed: Failed, around: Surroundings) -> str | None:
    """Why the script made this call fail; None: it did not."""
    if failed.user in around.backend.reset:
        return "answer reset"
    for window in around.windows:
        of_tokens = window.cause == "token service away"
        if of_tokens != (failed.what in TOKEN_CODES):
            continue
        grace = RECOVERY_SECONDS if of_tokens else BACKEND_GRACE_SECONDS
        if failed.begin <= window.end + grace and failed.end >= window.begin:
            return window.cause
    return None


def slope(samples: Sequence[Sample]) -> float:
    """MiB a minute, by least squares over the second half."""
    half = samples[len(samples) // 2 :]
    mean_at = sum(sample.at for sample in half) / len(half)
    mean = sum(sample.resident for sample in half) / len(half)
    spread = sum((sample.at - mean_at) ** 2 for sample in half)
    return sum((sample.at - mean_at) * (sample.resident - mean) for sample in half) / spread * 60 / MIB if spread else 0


def report(
    around: Surroundings, callers: Callers, samples: Sequence[Sample], left: int, gauges: dict[str, float]
) -> tuple[str, bool]:
    """The table, and whether every line of it holds."""
    causes = Counter(cause_of(failed, around) for failed in callers.failed)
    unexplained = [failed for failed in callers.failed if cause_of(failed, around) is None]
    recoveries = [min((at for at in callers.successes if at > back), default=1e9) - back for back in around.backs]
    outages = [failed.end - back for back in around.backs for failed in callers.failed
               if failed.what in TOKEN_CODES and back < failed.end < back + 60]  # fmt: skip
    length, growth = samples[-1].at - samples[0].at, (samples[-1].resident - samples[len(samples) // 2].resident) / MIB
    steep = slope(samples)
    if length >= SHORT_RUN_SECONDS:
        flat = steep <= MOST_SLOPE_MIB_PER_MINUTE
    else:
        flat = growth <= MOST_GROWTH_OF_A_SHORT_RUN_MIB
    seconds = sorted(callers.seconds)
    running = {name: value for name, value in gauges.items() if value}
    served = ", ".join(f"{number} {kind}" for kind, number in sorted(callers.served.items()))
    explained = ", ".join(f"{number} {cause}" for cause, number in causes.items() if cause is not None) or "none"
    odd = Counter(f"{failed.what} ({failed.kind})" for failed in unexplained)
    memory = f"{samples[0].resident / MIB:.0f} MiB at the start, {samples[-1].resident / MIB:.0f} MiB at the end"
    script = f"{around.rotations} secrets, {around.revocations} revocations, {len(around.windows)} outages"
    rows: list[tuple[str, str, bool | None]] = [
        ("calls served, each byte checked", served, bool(callers.served)),
        ("plain calls", f"median {_share(seconds, 0.5):.4f} s, p99 {_share(seconds, 0.99):.3f} s", None),
        ("script", script, None),
        ("failures with a cause in the script", explained, None),
        ("failures without one", ", ".join(f"{n} {what}" for what, n in odd.items()) or "0", not unexplained),
        ("first success after the token service is back", _span(recoveries), _within(recoveries)),
        ("last failure after it is back", _span(outages), _within(outages)),
        ("token requests", f"{around.tokens.requests}, half-written secrets {len(around.tokens.refused)}",
         not around.tokens.refused),
        ("expired tokens sent", str(around.backend.expired), not around.backend.expired),
        ("memory", f"{memory}; second half {steep:+.2f} MiB a minute, {growth:+.1f} MiB", flat),
        ("descriptors left over", str(left), not left),
        ("gauges above 0 at the end", ", ".join(running) or "none", bool(gauges) and not running),
    ]  # fmt: skip
    lines = ["| what | seen | holds |", "| --- | --- | --- |"]
    lines += [
        f"| {what} | {seen} | {'' if holds is None else 'yes' if holds else '**no**'} |" for what, seen, holds in rows
    ]
    examples = [f"{failed.user}: {failed.what} after {failed.end - failed.begin:.2f} s" for failed in unexplained[:10]]
    examples += [f"refused secret: {code}" for code in around.tokens.refused]
    return "\n".join([*lines, "", *examples]), all(holds is not False for _, _, holds in rows)


def _share(values: Sequence[float], share: float) -> float:
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def _span(seconds: Sequence[float]) -> str:
    return f"at most {max(seconds):.1f} s" if seconds else "none"


def _within(seconds: Sequence[float]) -> bool:
    return all(value <= RECOVERY_SECONDS for value in seconds)
