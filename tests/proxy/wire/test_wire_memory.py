"""What callers can make Mimic hold in memory."""

from fakes.backend import Backend
from fakes.caller import Caller, chat
from fakes.mimic import Start
from fakes.replies import ok

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
