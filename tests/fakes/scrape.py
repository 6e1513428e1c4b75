"""What one act adds to the metrics of a running Mimic: every series of its admin port, before and after.

before = await Scrape.of(mimic)
...                                                   # act
await before.then(mimic, exchange("chat", 200))       # nothing else has changed, and nothing runs any more
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from prometheus_client.parser import text_string_to_metric_families as parse
from prometheus_client.samples import Sample

from fakes.caller import ask, request
from fakes.mimic import Mimic

Series = dict[str, float]
"""Values by `name{label=value,...}`, labels in the order of the alphabet; without labels by the name."""

IGNORED = {
    "mimic_event_loop_lag_seconds": "observed four times a second, whatever happens",
}
"""What time itself moves, and why. Series that are not named mimic_* (process_*, python_*) are the libraries'."""
SECONDS = ("mimic_stream_send_blocked_seconds_total",)
"""Counters of time: bounded as sums are, not exact."""
RUNNING = (
    "mimic_requests_in_flight",
    "mimic_streams_in_flight",
    "mimic_upstream_slots_in_use",
    "mimic_token_waiters",
)
"""Gauges that are 0 once nothing runs."""
PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LABEL = re.compile(r"\{.*\}")


def key(name: str, labels: Mapping[str, str]) -> str:
    """How a series is called here."""
    shown = ",".join(f"{label}={value}" for label, value in sorted(labels.items()))
    return f"{name}{{{shown}}}" if shown else name


def name_of(series: str) -> str:
    return _LABEL.sub("", series)


@dataclass(frozen=True, slots=True)
class Scrape:
    """All mimic_* series at one moment, by what may be expected of them."""

    counts: Series = field(default_factory=dict)
    """Counters, and the counts of histograms."""
    sums: Series = field(default_factory=dict)
    """Sums of histograms, and counters of seconds."""
    gauges: Series = field(default_factory=dict)
    lines: int = 0
    """Series of the whole exposition, buckets and libraries included."""
    taken: float = 0.0

    @classmethod
    async def of(cls, mimic: Mimic) -> Self:
        """The metrics of this moment."""
        fields = [(b"connection", b"close"), (b"accept", b"text/plain")]
        return cls.read((await ask(mimic.admin_port, request(b"GET", b"/metrics", fields=fields), b"GET")).body)

    @classmethod
    def read(cls, exposition: bytes) -> Self:
        """Sorted out, once for each line. Raises AssertionError where a series stands twice or a sum is not a sum."""
        lines = exposition.decode().splitlines()
        found = cls(lines=sum(not line.startswith("#") for line in lines), taken=time.monotonic())
        # Buckets are most of the lines, and nobody looks at them here.
        looked_at = (line for line in lines if line.startswith(("# TYPE mimic_", "mimic_")) and "_bucket{" not in line)
        for family in parse("\n".join(looked_at) + "\n"):
            if family.name not in IGNORED:
                for sample in family.samples:
                    found._take(sample, family.type)
        return found

    def _take(self, sample: Sample, kind: str) -> None:
        if kind == "gauge":
            into = self.gauges
        elif sample.name.endswith("_sum") or sample.name in SECONDS:
            into = self.sums
        else:
            into = self.counts
        name = key(sample.name, sample.labels)
        assert name not in into, f"{name} stands twice"
        into[name] = sample.value

    def running(self) -> Series:
        """What has not come back to 0."""
        return {name: value for name, value in self.gauges.items() if name_of(name) in RUNNING and value}

    async def then(
        self, mimic: Mimic, *expected: Mapping[str, float], gauges: Mapping[str, float] | None = None
    ) -> Self:
        """Wait until nothing runs and exactly this was added since; the scrape of that moment.

        expected: added to counters and counts, all together. gauges: those that now have another value than before;
        None does not look at them, but for those of RUNNING.
        """
        wanted = total(*expected)
        until = time.monotonic() + PATIENCE_SECONDS
        wrong = ["no scrape"]
        while wrong and time.monotonic() < until:
            try:
                wrong = self._wrong(await self.of(mimic), wanted, gauges)
            except ConnectionError:
                break
            await asyncio.sleep(_POLL_SECONDS)
        if not wrong:
            # What nothing running could have added is not added later either.
            wrong = self._wrong(again := await self.of(mimic), wanted, gauges)
            if not wrong:
                return again
        raise AssertionError("the metrics tell another story:\n  " + "\n  ".join(wrong))

    def added(self, now: "Scrape") -> Series:
        """What has changed of counters and counts."""
        assert self.counts.keys() <= now.counts.keys(), "a series has gone"
        changes = {name: value - self.counts.get(name, 0.0) for name, value in now.counts.items()}
        return {name: change for name, change in changes.items() if change}

    def _wrong(self, now: "Scrape", wanted: Series, gauges: Mapping[str, float] | None) -> list[str]:
        added = self.added(now)
        wrong = [f"{name} is {value}" for name, value in now.running().items()]
        wrong += [
            f"{name} +{added.get(name, 0.0):g}, not +{wanted.get(name, 0.0):g}"
            for name in sorted(added.keys() | wanted.keys())
            if added.get(name, 0.0) != wanted.get(name, 0.0)
        ]
        if gauges is not None:
            moved = {name: value for name, value in now.gauges.items() if value != self.gauges.get(name)}
            wrong += [f"{name} became {value}" for name, value in moved.items() if gauges.get(name, value + 1) != value]
            wrong += [f"{name} did not become {value}" for name, value in gauges.items() if now.gauges[name] != value]
        return wrong + self._wrong_sums(now, added)

    def _wrong_sums(self, now: "Scrape", added: Series) -> list[str]:
        """No time sums up to more than each observation could have lasted, and nothing is negative."""
        wrong = []
        for name, value in now.sums.items():
            grown, series = value - self.sums.get(name, 0.0), name.replace("_sum", "_count", 1)
            count = added.get(series, 0.0) if name_of(name) not in SECONDS else float("inf")
            most = count * (now.taken - self.taken) if "_seconds" in name else float("inf")
            if grown < 0 or (grown and not count) or grown > most:
                wrong.append(f"{name} +{grown:g} for {count:g} observations in {now.taken - self.taken:.3f} s")
        return wrong


def total(*expected: Mapping[str, float]) -> Series:
    """All of them together."""
    found: Series = {}
    for one in expected:
        for name, value in one.items():
            found[name] = found.get(name, 0.0) + value
    return found


def times(number: float, expected: Mapping[str, float]) -> Series:
    """The same as often."""
    return {name: value * number for name, value in expected.items()}


def one(name: str, **labels: str) -> Series:
    """One more of a series."""
    return {key(name, labels): 1.0}


def web(operation: str, code: int, outcome: str = "completed") -> Series:
    """A request that the web application, or the protocol itself, has answered."""
    return total(
        one("mimic_requests_total", operation=operation, stream="false", code=str(code), outcome=outcome),
        one("mimic_request_duration_seconds_count", operation=operation, outcome=outcome),
        one("mimic_request_body_bytes_count", operation=operation),
        one("mimic_response_body_bytes_count", operation=operation),
    )


def unsent(operation: str, code: int, outcome: str, *, model: str | None = "m", stream: bool = False) -> Series:
    """An exchange that never got as far as the backend. model: its label; None: an operation without models."""
    found = total(
        one("mimic_requests_total", operation=operation, stream=str(stream).lower(), code=str(code), outcome=outcome),
        one("mimic_request_duration_seconds_count", operation=operation, outcome=outcome),
        one("mimic_overhead_seconds_count", operation=operation),
        one("mimic_request_body_bytes_count", operation=operation),
        one("mimic_response_body_bytes_count", operation=operation),
        {} if model is None else one("mimic_model_requests_total", operation=operation, model=model, outcome=outcome),
    )
    if stream:
        found = total(
            found,
            one("mimic_streams_total", operation=operation, outcome=outcome, mode="native"),
            one("mimic_stream_duration_seconds_count", operation=operation, outcome=outcome),
        )
    return found


def attempt(operation: str, code: int | None, error_type: str = "") -> Series:
    """One try at the backend. code: of its head; None: none came."""
    shown = "" if code is None else str(code)
    tried = one("mimic_upstream_attempts_total", operation=operation, code=shown, error_type=error_type)
    kind = f"{shown[:1]}xx"
    head = {} if code is None else one("mimic_upstream_head_seconds_count", operation=operation, code=kind)
    return total(tried, head)


def exchange(
    operation: str,
    code: int,
    outcome: str = "completed",
    *,
    upstream: int | None = 200,
    error_type: str = "",
    model: str | None = "m",
    stream: bool = False,
) -> Series:
    """An exchange with one try at the backend. upstream: status of its head; None: none came."""
    sent = unsent(operation, code, outcome, model=model, stream=stream)
    return total(sent, attempt(operation, upstream, error_type))


def events(operation: str, number: int, size: int, *, gaps: int = 0, model: str | None = "m") -> Series:
    """What a stream brought: whole events and bytes to the caller, in 1 + gaps reads. model: if content was in it."""
    found: Series = {
        key("mimic_stream_events_total", {"operation": operation}): float(number),
        key("mimic_stream_bytes_total", {"operation": operation}): float(size),
    }
    if gaps:
        found[key("mimic_stream_chunk_gap_seconds_count", {"operation": operation})] = float(gaps)
    if number > 1:
        found |= one("mimic_stream_max_gap_seconds_count", operation=operation)
    if model is not None:
        first = "mimic_stream_time_to_first_chunk_seconds_count"
        found |= one(first, operation=operation, model=model)
    return found


def usage(operation: str, model: str = "m", **tokens: float) -> Series:
    """Tokens that the backend reported, by their type."""
    names = {"operation": operation, "model": model}
    return {key("mimic_tokens_total", {**names, "type": kind}): float(count) for kind, count in tokens.items()}
