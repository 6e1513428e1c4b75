"""`make bench-connections`: what closed connections leave behind in Mimic's memory.

Waves of callers, each with a connection of its own and one call on it: chat, a stream, or a path that the web
application refuses. Prints how resident memory grows after the first wave; exit code 1 if it has grown by more than
--most MiB at the end.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fakes.backend import Script
from fakes.caller import STREAM_BODY, chat, request
from fakes.mimic import behind
from fakes.replies import COMPLETION, DONE, STORY, ok, stream
from fakes.waves import wave

MIB = 1 << 20
KINDS: dict[str, tuple[bytes, bytes, Script]] = {
    "chat": (chat(), COMPLETION, ok()),
    "stream": (chat(STREAM_BODY), DONE, stream(STORY)),
    "refused": (request(b"POST", b"/v1/nonsense", b"{}"), b"unknown_route", ok()),
}


async def run(kind: str, connections: int, size: int) -> float:
    """The whole trial of one kind of call; MiB of resident memory that came to stay after the first wave."""
    call, until, script = KINDS[kind]
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mimic, backend = await stack.enter_async_context(behind(folder, LOG_LEVEL="WARNING"))
        backend.script = script
        await wave(mimic.port, size, call, until)
        first, done, answered, begun = mimic.resident_bytes, 0, 0, time.monotonic()
        while done < connections:
            answered += await wave(mimic.port, size, call, until)
            done += size
            backend.reset(script)
            if done % (size * 10) == 0 or done >= connections:
                rate, grown = done / (time.monotonic() - begun), (mimic.resident_bytes - first) / MIB
                print(
                    f"{kind}: {done:,} connections, {answered:,} answered, {rate:,.0f}/s: {grown:+.1f} MiB", flush=True
                )
        return (mimic.resident_bytes - first) / MIB


def main(argv: Sequence[str]) -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench.connections", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--connections", type=int, default=225_000, help="in all (default 225,000)")
    parser.add_argument("--wave", type=int, default=1_500, help="connections at once (default 1,500)")
    parser.add_argument("--most", type=float, default=30.0, help="MiB that may stay (default 30)")
    parser.add_argument("--kind", choices=KINDS, action="append", help="may stand several times (default chat)")
    given = parser.parse_args(argv)
    stays = {kind: asyncio.run(run(kind, given.connections, given.wave)) for kind in given.kind or ["chat"]}
    return 0 if max(stays.values()) <= given.most else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
