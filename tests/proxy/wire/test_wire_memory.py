"""What callers can make Mimic hold in memory."""

import pytest

from fakes.backend import Backend, Script
from fakes.caller import STREAM_BODY, Caller, chat, request
from fakes.mimic import Start
from fakes.replies import COMPLETION, DONE, STORY, ok, stream
from fakes.waves import wave

MIB = 1 << 20
BODY = b'{"model":"m","user":"'.ljust(8 * MIB - 2, b"x") + b'"}'
TINY = b"".join(b"2\r\n%b\r\n" % BODY[at : at + 2] for at in range(0, len(BODY), 2))


async def test_a_body_in_tiny_chunks_takes_about_its_own_size(backend: Backend, start: Start) -> None:
    """Each piece as an object of its own took 28 times the bytes that MAX_BUFFERED_BYTES counted."""
    backend.script = ok()
    limits = {"MAX_BODY_BYTES": str(8 * MIB), "MAX_BUFFERED_BYTES": str(8 * MIB)}
    async with start(**limits) as mimic, await Caller.connect(mimic.port) as caller:
        await caller.send(chat())
        assert (await caller.response()).status == 200
        before = mimic.peak_bytes
        await caller.send(chat(TINY + b"0\r\n\r\n", [(b"transfer-encoding", b"chunked")]))
        assert (await caller.response()).status == 200
        assert mimic.peak_bytes - before < 2 * 8 * MIB
    assert (await backend.request(1)).body == BODY


KINDS: dict[str, tuple[bytes, bytes, Script]] = {
    "chat": (chat(), COMPLETION, ok()),
    "stream": (chat(STREAM_BODY), DONE, stream(STORY)),
    "models": (request(b"GET", b"/v1/models"), b"unknown_route", ok()),
    "refused": (request(b"POST", b"/v1/nonsense", b"{}"), b"unknown_route", ok()),
}


@pytest.mark.parametrize(("call", "until", "script"), KINDS.values(), ids=KINDS)
async def test_closed_connections_leave_nothing_behind(
    backend: Backend, start: Start, call: bytes, until: bytes, script: Script
) -> None:
    """Each left more than 5 KiB until a full collection; `make bench-connections` has 225,000 of them."""
    backend.script = script
    async with start(LOG_LEVEL="WARNING", MODELS="unknown_route") as mimic:
        assert await wave(mimic.port, 300, call, until) == 300
        first = mimic.resident_bytes
        for _ in range(10):
            assert await wave(mimic.port, 300, call, until) == 300
            backend.reset(script)
        assert mimic.resident_bytes - first < 4 * MIB
