"""`python -m bench`: the whole comparison in one run, in about six minutes; `--against REV`: with an earlier Mimic.

Exit codes: 0 the run is valid, 1 it is not (something missing, a wrong answer, failed calls), 3 with --check: it is
valid and a target was missed.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from subprocess import Popen

from bench import against, backend, report
from bench.collector import Collector
from bench.contestants import AUTH_CODE, Contestant, both_dialects, line_up, nginx_command, verify
from bench.environment import CACHE, ROOT, Place, prepare, versions
from bench.envoy import CLIENT_ID, CLIENT_SECRET
from bench.load import UNITS, Load, put_load
from bench.processes import BenchError, ask, free_port, memory, running, wait_until
from bench.report import Finding, Start
from bench.token_service import TokenService

WARM_UP_SECONDS = 1.0


def main(argv: Sequence[str]) -> int:
    """Runs the comparison, prints the table, writes .cache/bench/result.json."""
    arguments = _arguments(argv)
    try:
        if arguments.against:
            return _compare(arguments)
        place = prepare()
        with contextlib.ExitStack() as stack:
            collector = Collector()
            stack.callback(collector.close)
            findings = _run(place, arguments, stack, lambda port, tokens: line_up(place, port, tokens, collector))
            if not collector.bytes:
                raise BenchError("no span has reached the collector: the traced contestants did not trace")
        result = report.document(findings, versions(place), arguments.rounds, arguments.seconds)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    path = CACHE / "result.json"
    path.write_text(json.dumps(result, indent=1))
    print(f"\n{report.table(findings)}\n\nAll figures: {path.relative_to(ROOT)}")
    if any(load.failed for finding in findings for loads in finding.loads.values() for load in loads):
        return 1
    missed = not all(verdict.met for verdict in report.verdicts(findings))
    return 3 if arguments.check and missed else 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Mimic beside its peers, in one run.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per contestant and kind of call (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round (default 3)")
    parser.add_argument("--starts", type=int, default=5, help="fresh starts per contestant (default 5)")
    parser.add_argument("--against", metavar="REV", help="compare with another revision of Mimic, and with nobody else")
    parser.add_argument("--check", action="store_true", help="exit with 3 if a target is missed")
    return parser.parse_args(argv)


def _compare(arguments: argparse.Namespace) -> int:
    """This checkout beside another revision: exit code 3 with --check if a figure is worse."""
    print(against.busy(), flush=True)
    place = prepare(peers=False)
    now = place.compiled or ROOT / "service"
    with against.revision(arguments.against) as before, contextlib.ExitStack() as stack:

        def both(port: int, tokens: TokenService) -> list[Contestant]:
            return against.contestants(lambda *how: both_dialects(place, port, tokens, *how), before, now)

        findings = _run(place, arguments, stack, both)
    comparisons = against.compare(findings)
    print(f"\n{against.table(comparisons, arguments.against)}")
    (CACHE / "against.json").write_text(json.dumps([asdict(finding) for finding in findings], indent=1))
    if any(load.failed for finding in findings for loads in finding.loads.values() for load in loads):
        return 1
    return 3 if arguments.check and not all(one.met for one in comparisons) else 0


def _run(
    place: Place,
    arguments: argparse.Namespace,
    stack: contextlib.ExitStack,
    take_part: Callable[[int, TokenService], list[Contestant]],
) -> list[Finding]:
    os.sched_setaffinity(0, {place.load_core})
    tokens = TokenService(AUTH_CODE, (CLIENT_ID, CLIENT_SECRET))
    stack.callback(tokens.close)
    backend_port = free_port()
    command = nginx_command(place, "backend", str(backend.write_backend(place.folder, backend_port)))
    process = stack.enter_context(running(command, place.load_core))
    wait_until(lambda: ask(f"http://127.0.0.1:{backend_port}/") is not None, process, command.log)
    contestants = take_part(backend_port, tokens)
    print(f"Cores: {place.proxy_core} for the proxy, {place.load_core} for load and backend.", flush=True)
    starts = {contestant.name: _starts(place, contestant, arguments.starts) for contestant in contestants}
    processes = {contestant.name: _start(place, contestant, stack) for contestant in contestants}
    for contestant in contestants:
        verify(contestant)
        for want in UNITS:
            put_load(place, contestant.url, want, WARM_UP_SECONDS, None)
    loads = _rounds(place, contestants, processes, arguments)
    findings = []
    for contestant in contestants:
        verify(contestant)
        running_process = processes[contestant.name]
        after = memory(running_process.pid) if running_process else None
        name = contestant.name
        findings.append(Finding(name, contestant.title, starts[name], loads[name], after))
    return findings


def _starts(place: Place, contestant: Contestant, count: int) -> Start | None:
    """Starts it `count` times afresh; the memory is that of the last."""
    if contestant.command is None:
        return None
    seconds = []
    idle = None
    for _ in range(count):
        with running(contestant.command, place.proxy_core) as process:
            seconds.append(wait_until(contestant.ready, process, contestant.command.log))
            idle = memory(process.pid)
    assert idle is not None
    return Start(seconds, idle)


def _start(place: Place, contestant: Contestant, stack: contextlib.ExitStack) -> Popen[bytes] | None:
    if contestant.command is None:
        return None
    process = stack.enter_context(running(contestant.command, place.proxy_core))
    wait_until(contestant.ready, process, contestant.command.log)
    return process


def _rounds(
    place: Place,
    contestants: Sequence[Contestant],
    processes: Mapping[str, Popen[bytes] | None],
    arguments: argparse.Namespace,
) -> dict[str, dict[str, list[Load]]]:
    """Everybody's turn in every round, each round starting with another, so that a noisy minute hits all alike."""
    loads: dict[str, dict[str, list[Load]]] = {c.name: {want: [] for want in UNITS} for c in contestants}
    for number in range(arguments.rounds):
        turn = number % len(contestants)
        for want in UNITS:
            for contestant in [*contestants[turn:], *contestants[:turn]]:
                process = processes[contestant.name]
                load = put_load(place, contestant.url, want, arguments.seconds, process.pid if process else None)
                loads[contestant.name][want].append(load)
        rates = ", ".join(f"{c.name} {loads[c.name]['chat'][-1].rate:,.0f}" for c in contestants)
        print(f"round {number + 1} of {arguments.rounds}: {rates}", flush=True)
    return loads


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
