"""What a run has shown, as a table to read and a document to keep. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.load import Load
from bench.processes import Memory

TARGETS = {
    "chat over uvicorn ASGI + aiohttp": 3.0,
    "chat over Envoy": 1.5,
    "chat over Envoy, 10 % traced, log lines": 1.2,
    "chat, envelope over OpenAI dialect": 0.5,
    "events, envelope over OpenAI dialect": 0.5,
    "start to ready, seconds": 1.0,
    "idle memory (RSS), MiB": 75.0,
}


@dataclass(frozen=True, slots=True)
class Start:
    """Fresh starts of one contestant: seconds from spawn to ready, memory once ready, before any load."""

    seconds: Sequence[float]
    memory: Memory


@dataclass(frozen=True, slots=True)
class Finding:
    """Everything measured of one contestant; `loads` by kind of call, one entry per round."""

    name: str
    title: str
    start: Start | None
    loads: Mapping[str, Sequence[Load]]
    after_load: Memory | None

    def median(self, want: str) -> float:
        """Median rate over the rounds."""
        return statistics.median(load.rate for load in self.loads[want])


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target and what was reached."""

    target: str
    reached: float
    wanted: float
    met: bool


def verdicts(findings: Sequence[Finding]) -> list[Verdict]:
    """The targets of TARGETS, judged on medians of this run."""
    by_name = {finding.name: finding for finding in findings}
    mimic = by_name["mimic"]
    assert mimic.start is not None
    # None of the peers writes a line per call.
    relayed = by_name["mimic-quiet"].median("chat")
    reached = (
        relayed / by_name["asgi"].median("chat"),
        relayed / by_name["envoy"].median("chat"),
        by_name["mimic-traced"].median("chat") / by_name["envoy"].median("chat"),
        by_name["mimic-envelope"].median("chat") / mimic.median("chat"),
        by_name["mimic-envelope"].median("stream") / mimic.median("stream"),
        statistics.median(mimic.start.seconds),
        mimic.start.memory.rss_mib,
    )
    at_least = (True, True, True, True, True, False, False)
    return [
        Verdict(target, value, wanted, value >= wanted if up else value < wanted)
        for (target, wanted), value, up in zip(TARGETS.items(), reached, at_least, strict=True)
    ]


def table(findings: Sequence[Finding]) -> str:
    """The table that is printed: one block per kind of call, one for start and memory, then the targets."""
    blocks = [_load_block(findings, "chat", "chat, requests/s"), _load_block(findings, "stream", "stream, events/s")]
    blocks.append(_start_block(findings))
    blocks.append(_ran_as(findings))
    blocks.append("\n".join(_verdict_line(verdict) for verdict in verdicts(findings)))
    failed = {finding.title: _failures(finding) for finding in findings if _failures(finding)}
    if failed:
        blocks.append(f"ANSWERS THAT FAILED, do not trust these lines: {failed}")
    return "\n\n".join(blocks)


def document(
    findings: Sequence[Finding], versions: Mapping[str, str], rounds: int, seconds: float
) -> dict[str, object]:
    """Everything of the run, for .cache/bench/result.json."""
    return {
        "versions": dict(versions),
        "rounds": rounds,
        "seconds_per_round": seconds,
        "medians": {finding.name: {want: finding.median(want) for want in finding.loads} for finding in findings},
        "verdicts": [asdict(verdict) for verdict in verdicts(findings)],
        "findings": [asdict(finding) for finding in findings],
    }


def _load_block(findings: Sequence[Finding], want: str, heading: str) -> str:
    mimic = findings[0].median(want)
    columns = f"{'median':>10}{'lowest':>10}{'highest':>10}{'Mimic is':>11}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}"
    lines = [f"{heading:<28}{columns}"]
    for finding in findings:
        loads = finding.loads[want]
        rates = [load.rate for load in loads]
        cells = [f"{value:>10,.0f}" for value in (finding.median(want), min(rates), max(rates))]
        cells.append(f"{mimic / finding.median(want):>10.2f}x")
        cells.append(f"{statistics.median(load.p50_ms for load in loads):>9.2f}")
        cells.append(f"{statistics.median(load.p99_ms for load in loads):>9.2f}")
        cells.append(f"{statistics.median(load.cpu_us for load in loads):>9.1f}" if finding.start else f"{'-':>9}")
        lines.append(f"{finding.title:<28}" + "".join(cells))
    return "\n".join(lines)


def _ran_as(findings: Sequence[Finding]) -> str:
    if any(finding.name == "mimic-pure" for finding in findings):
        return "Mimic ran compiled, except where it says not."
    return "Mimic ran as pure Python, since this machine has no C compiler or no Python.h; compiled it is faster."


def _start_block(findings: Sequence[Finding]) -> str:
    lines = [f"{'start and memory':<28}{'ready s':>10}{'idle RSS':>10}{'idle PSS':>10}{'RSS after load':>16}"]
    for finding in findings:
        if finding.start is None or finding.after_load is None:
            continue
        idle = finding.start.memory
        lines.append(
            f"{finding.title:<28}{statistics.median(finding.start.seconds):>10.2f}"
            f"{idle.rss_mib:>10.1f}{idle.pss_mib:>10.1f}{finding.after_load.rss_mib:>16.1f}"
        )
    return "\n".join(lines)


def _verdict_line(verdict: Verdict) -> str:
    at_least = "over" in verdict.target
    bound = f"at least {verdict.wanted:g}" if at_least else f"below {verdict.wanted:g}"
    return f"{'met   ' if verdict.met else 'MISSED'}  {verdict.target:<42}{verdict.reached:>8.2f}   ({bound})"


def _failures(finding: Finding) -> int:
    return sum(load.failed for loads in finding.loads.values() for load in loads)
