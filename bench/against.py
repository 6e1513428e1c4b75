"""This checkout beside another revision of it, each compiled by itself, in one alternating run."""

import contextlib
import os
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.compiled import compiled
from bench.contestants import Contestant
from bench.environment import CACHE, ROOT
from bench.load import Load
from bench.processes import BenchError
from bench.report import Finding

NOT_WORSE = 0.97
"""Of the other revision's figure: what is left of noise where several rounds alternate."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of both. ratio: above 1 this checkout is better; the median over the rounds, each beside its other."""

    title: str
    before: float
    now: float
    ratio: float

    @property
    def met(self) -> bool:
        """It is not worse."""
        return self.ratio >= NOT_WORSE


@contextlib.contextmanager
def revision(name: str) -> Iterator[Path]:
    """A folder to import that revision from, compiled if this machine can; its checkout goes away afterwards."""
    found = subprocess.run(
        ["git", "rev-parse", "--verify", f"{name}^{{commit}}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        raise BenchError(f"--against {name}: there is no such revision")
    commit = found.stdout.strip()
    checkout = CACHE / "against" / commit[:12]
    shutil.rmtree(checkout, ignore_errors=True)
    checkout.mkdir(parents=True)
    try:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "--extract", "--directory", str(checkout)], input=archive.stdout, check=True)
        yield compiled(checkout, CACHE / "against" / f"{commit[:12]}-compiled") or checkout / "service"
    finally:
        shutil.rmtree(checkout, ignore_errors=True)


def contestants(line_up: Callable[[str, str, Path], list[Contestant]], before: Path, now: Path) -> list[Contestant]:
    """Both, in each of the two dialects; the names of those before end so."""
    return [*line_up("", "", now), *line_up("-before", ", before", before)]


def compare(findings: Sequence[Finding]) -> list[Comparison]:
    """Rates, processor time per answer, start and memory of each contestant and the one before it."""
    by_name = {finding.name: finding for finding in findings}
    made = []
    for name, now in by_name.items():
        before = by_name.get(f"{name}-before")
        if before is None:
            continue
        for want, unit in (("chat", "requests/s"), ("stream", "events/s")):
            made.append(_over_rounds(f"{now.title}: {unit}", before.loads[want], now.loads[want], _rate))
            cost = _over_rounds(f"{now.title}: CPU us per {want}", before.loads[want], now.loads[want], _cost)
            made.append(Comparison(cost.title, cost.before, cost.now, 1 / cost.ratio))
        if now.start is not None and before.start is not None:
            earlier, later = statistics.median(before.start.seconds), statistics.median(now.start.seconds)
            made.append(Comparison(f"{now.title}: start, seconds", earlier, later, earlier / later))
            earlier, later = before.start.memory.rss_mib, now.start.memory.rss_mib
            made.append(Comparison(f"{now.title}: idle memory (RSS), MiB", earlier, later, earlier / later))
    return made


def table(comparisons: Sequence[Comparison], name: str) -> str:
    """What is printed."""
    lines = [f"{f'this checkout beside {name}':<58}{'before':>11}{'now':>11}{'ratio':>8}"]
    for one in comparisons:
        verdict = "ok   " if one.met else "WORSE"
        lines.append(f"{verdict} {one.title:<52}{one.before:>11,.2f}{one.now:>11,.2f}{one.ratio:>8.3f}")
    return "\n".join(lines)


def busy() -> str:
    """What else the machine does, since figures of a busy one are for orientation only."""
    load = os.getloadavg()[0]
    return f"load average before the run: {load:.1f} on {os.cpu_count()} processors"


def _rate(load: Load) -> float:
    return load.rate


def _cost(load: Load) -> float:
    return load.cpu_us


def _over_rounds(
    title: str, before: Sequence[Load], now: Sequence[Load], figure: Callable[[Load], float]
) -> Comparison:
    pairs = [(figure(one), figure(other)) for one, other in zip(before, now, strict=True)]
    ratio = statistics.median(after / earlier for earlier, after in pairs)
    return Comparison(title, statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), ratio)
