"""`make soak`: a Mimic under load for ten minutes, while everything around it breaks by a seeded script.

A hundred callers stream, abort and read slowly, and check every byte. Meanwhile the secret rotates, tokens are revoked,
the backend is killed, answers are reset, and the token service is away. A failure counts only if the script holds no
cause for it. The report is a table in Markdown; the exit code is 1 if a line of it misses.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from fakes.mimic import Mimic, running
from tests.soak.callers import Callers
from tests.soak.report import Sample, report
from tests.soak.surroundings import Surroundings

SAMPLE_SECONDS = 1.0
QUIET_SECONDS = 20.0
"""For what callers have left behind to end."""


def main() -> int:
    """Runs it and prints the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(soak(arguments, Path(folder)))


async def soak(arguments: argparse.Namespace, folder: Path) -> int:
    """One run; its exit code."""
    around = Surroundings(random.Random(arguments.seed), folder / "code")
    async with around:
        environ = {
            "TOKEN_URL": f"http://127.0.0.1:{around.tokens.port}/token",
            "AUTH_CODE_FILE": str(around.code_file),
            "CHAT_API_URL": f"http://127.0.0.1:{around.backend.port}/v1",
            "EMBEDDING_API_URL": f"http://127.0.0.1:{around.backend.port}/v1",
            "LOG_LEVEL": "ERROR",
            "DRAIN_TIMEOUT": "5",
        }
        async with running(environ, folder, lambda: around.secrets) as mimic:
            callers = Callers(mimic.port, arguments.callers, arguments.seed)
            idle, samples = mimic.open_files, [Sample.of(mimic, time.monotonic())]
            print(f"seed {arguments.seed}, {arguments.callers} callers, {arguments.minutes:g} minutes", file=sys.stderr)
            script = asyncio.create_task(around.play())
            sampling = asyncio.create_task(_sample(mimic, samples))
            await callers.run(arguments.minutes * 60)
            script.cancel()
            await asyncio.wait([script])
            await around.restore()
            sampling.cancel()
            left = await _quiet(mimic, around, idle)
            text, well = report(around, callers, samples, left, await _gauges(mimic))
    print(text)
    return 0 if well else 1


async def _sample(mimic: Mimic, samples: list[Sample]) -> None:
    while True:
        await asyncio.sleep(SAMPLE_SECONDS)
        samples.append(Sample.of(mimic, time.monotonic()))


async def _quiet(mimic: Mimic, around: Surroundings, idle: int) -> int:
    """Descriptors that are left over beside idle connections to the backend, once the callers have gone."""
    until = time.monotonic() + QUIET_SECONDS
    while (left := mimic.open_files - idle - len(around.backend.connections)) > 0 and time.monotonic() < until:
        await asyncio.sleep(0.5)
    return max(left, 0)


async def _gauges(mimic: Mimic) -> dict[str, float]:
    """What counts something that is under way."""
    lines = (await mimic.admin("/metrics")).body.decode().splitlines()
    names = (
        "mimic_requests_in_flight",
        "mimic_streams_in_flight",
        "mimic_upstream_slots_in_use",
        "mimic_token_waiters",
    )
    found = [line.rpartition(" ") for line in lines if line.startswith(names)]
    return {name: float(value) for name, _, value in found}


if __name__ == "__main__":
    sys.exit(main())
