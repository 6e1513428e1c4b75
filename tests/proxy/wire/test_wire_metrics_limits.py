"""What limits, the breaker, the stop and faults of our own add to the metrics, exactly."""

import asyncio
import os
import signal
from pathlib import Path

import mimic_proxy
from fakes.backend import Request
from fakes.caller import STREAM_BODY, Caller, ask, chat, request
from fakes.metered import Meter, Metered
from fakes.replies import JSON_FIELDS, answer, chunk, delta, hang, head, held, ok, reply, stream_head
from fakes.scrape import attempt, events, exchange, key, one, total, unsent, usage, web

SERVED = total(exchange("chat", 200), usage("chat", input=1, output=1))
WAITED = one("mimic_upstream_slot_wait_seconds_count", pool="backend")
FIRST = delta("one")
SERVICE = str(Path(mimic_proxy.__file__).parent.parent)


def refused(reason: str) -> dict[str, float]:
    return one("mimic_admission_rejected_total", reason=reason)


async def test_overloaded_by_concurrency(meter: Meter) -> None:
    gate = asyncio.Event()
    async with meter(MAX_CONCURRENCY="1", MAX_QUEUE="0") as metered:
        metered.backend.script = held(gate, ok())
        before = await metered.scrape()
        async with await Caller.connect(metered.port) as first:
            await first.send(chat())
            await metered.backend.request()
            assert (await ask(metered.port, chat())).status == 503
            gate.set()
            assert (await first.response()).status == 200
        turned_away = total(unsent("chat", 503, "overloaded"), refused("concurrency"))
        await before.then(metered.mimic, SERVED, turned_away, gauges={})


async def test_overloaded_while_it_queued_and_served_after_it(meter: Meter) -> None:
    gate = asyncio.Event()
    async with meter(MAX_CONCURRENCY="1", QUEUE_TIMEOUT="0.4") as metered:
        metered.backend.script = held(gate, ok())
        before = await metered.scrape()
        async with await Caller.connect(metered.port) as first, await Caller.connect(metered.port) as second:
            await first.send(chat())
            await metered.backend.request()
            assert (await ask(metered.port, chat())).status == 503
            await second.send(chat())
            await metered.mimic.until(lambda: _runs(metered, 2))
            gate.set()
            assert [(await caller.response()).status for caller in (first, second)] == [200, 200]
        late = total(unsent("chat", 503, "overloaded"), refused("concurrency"), WAITED)
        await before.then(metered.mimic, SERVED, late, SERVED, WAITED, gauges={})


async def _runs(metered: Metered, number: int) -> bool:
    return (await metered.scrape()).running().get("mimic_requests_in_flight{operation=chat}", 0) == number


async def test_bodies_that_are_too_large_or_too_many(meter: Meter) -> None:
    body = b'{"model":"m","x":"%s"}' % (b"x" * 900)
    gate = asyncio.Event()
    async with meter(MAX_BODY_BYTES="1000", MAX_BUFFERED_BYTES="1500") as metered:
        metered.backend.script = held(gate, ok())
        before = await metered.scrape()
        assert (await ask(metered.port, chat(body * 2))).status == 413
        chunked = chat((b"3e8\r\n" + b"x" * 1000 + b"\r\n") * 2, [(b"transfer-encoding", b"chunked")])
        assert (await ask(metered.port, chunked)).status == 413
        async with await Caller.connect(metered.port) as first:
            await first.send(chat(body))
            await metered.backend.request()
            assert (await ask(metered.port, chat(body))).status == 503
            gate.set()
            assert (await first.response()).status == 200
        too_large = total(unsent("chat", 413, "client_error", model="other"), refused("body_size"))
        too_many = total(unsent("chat", 503, "overloaded", model="other"), refused("buffers"))
        await before.then(metered.mimic, too_large, too_large, too_many, SERVED, gauges={})


async def test_the_breaker_opens_and_closes(meter: Meter) -> None:
    async with meter(BREAKER_FAILURES="2", BREAKER_COOLDOWN="0.6") as metered:
        metered.backend.script = reply(answer(500, b"{}"))
        before = await metered.scrape()
        assert [(await ask(metered.port, chat())).status for _ in range(3)] == [500, 500, 503]
        failed = exchange("chat", 500, "upstream_error", upstream=500, error_type="http_5xx")
        opened = one("mimic_breaker_transitions_total", target="backend", to="open")
        rejected = total(unsent("chat", 503, "circuit_open"), one("mimic_breaker_rejected_total", target="backend"))
        shown = {
            "mimic_breaker_state{state=open,target=backend}": 1.0,
            "mimic_breaker_state{state=closed,target=backend}": 0.0,
            "mimic_ready{condition=backend}": 0.0,
        }
        after = await before.then(metered.mimic, failed, failed, opened, rejected, gauges=shown)
        metered.backend.script = ok()
        turned_away = 0
        while (await ask(metered.port, chat())).status == 503:
            turned_away += 1
        probed = [one("mimic_breaker_transitions_total", target="backend", to=to) for to in ("half_open", "closed")]
        healed = {"mimic_breaker_state{state=open,target=backend}": 0.0, **_closed()}
        await after.then(metered.mimic, SERVED, *probed, *[rejected] * turned_away, gauges=healed)


def _closed() -> dict[str, float]:
    return {"mimic_breaker_state{state=closed,target=backend}": 1.0, "mimic_ready{condition=backend}": 1.0}


async def test_the_stop(meter: Meter) -> None:
    """A caller that takes nothing of its answer keeps the process there for long enough to be looked at."""
    async with meter(DRAIN_TIMEOUT="0.5") as metered:
        large = head(200, [*JSON_FIELDS, (b"content-length", b"20000000")]) + b"x" * 15_000_000
        calls = (
            (chat(), hang(large), exchange("chat", 200, "shutdown")),
            (chat(), hang(), exchange("chat", 503, "shutdown", upstream=None)),
            (chat(STREAM_BODY), hang(stream_head() + chunk(FIRST)), exchange("chat", 200, "shutdown", stream=True)),
            (request(b"GET", b"/v1/models?x"), hang(), total(web("models", 503, "shutdown"), attempt("models", None))),
        )

        async def play(request: Request) -> None:
            await calls[int(request.value(b"x-number") or b"0")][1](request)

        metered.backend.script = play
        before = await metered.scrape()
        callers = [await Caller.connect(metered.port, receive_buffer=32768) for _ in calls]
        for number, (caller, (data, _, _)) in enumerate(zip(callers, calls, strict=True)):
            await caller.send(data.replace(b"\r\n", b"\r\nx-number: %d\r\n" % number, 1))
            await metered.backend.request(number)
        await callers[2].head()
        late = await Caller.connect(metered.port)
        await late.send(chat(b"{", [(b"content-length", b"100")]))
        await metered.mimic.until(lambda: _runs(metered, 4))
        metered.mimic.signal(signal.SIGTERM)
        streamed = b""
        while data := await callers[2].data():
            streamed += data
        told = unsent("chat", 503, "shutdown", model="other"), refused("draining")
        stopped = [expected for _, _, expected in calls]
        shown = {"mimic_draining": 1.0, key("mimic_ready", {"condition": "serving"}): 0.0}
        await before.then(metered.mimic, *told, *stopped, events("chat", 1, len(streamed)), gauges=shown)
        assert [(await callers[number].response()).status for number in (1, 3)] == [503, 503]
        for caller in (*callers, late):
            caller.close()
        assert await metered.mimic.ended() == 0


FAULT = """
import mimic_proxy.relay.upstream_request as understanding
import mimic_proxy.web.models as models

read = understanding.read_fields


def read_unless_told(body):
    return read(body) if b"fault" not in body else 1 / 0


def broken(*_):
    return 1 / 0


understanding.read_fields = read_unless_told
models.Models.one = broken
"""


async def test_faults_of_our_own(meter: Meter, tmp_path: Path) -> None:
    """In a worker thread, in a callback of the parser, behind a head that is known, in the web application."""
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    async with meter(PYTHONPATH=os.pathsep.join([str(tmp_path), SERVICE]), stop=False) as metered:
        before = await metered.scrape()
        for body in (b'{"model":"m","x":"%s fault"}' % (b"x" * 1_100_000), *[b'{"model":"m","n":"fault"}'] * 2):
            assert (await ask(metered.port, chat(body))).status == 500
        assert (await ask(metered.port, request(b"GET", b"/v1/models/m"), b"GET")).status == 500
        faults = [unsent("chat", 500, "internal_error", model="other")] * 3
        await before.then(metered.mimic, *faults, web("models", 500, "internal_error"), gauges={})
