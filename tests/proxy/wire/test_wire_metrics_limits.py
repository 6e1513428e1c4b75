"""What limits, the breaker, the stop and faults of our own add to the metrics, exactly."""

import asyncio
import os
import signal
from pathlib import Path

from fakes.caller import STREAM_BODY, Caller, ask, chat, request
from fakes.metered import Meter, Metered
from fakes.replies import JSON_FIELDS, answer, chunk, delta, hang, head, held, ok, reply, stream_head
from fakes.scrape import events, exchange, key, one, total, unsent, usage, web

SERVED = total(exchange("chat", 200), usage("chat", input=1, output=1))
WAITED = one("mimic_upstream_slot_wait_seconds_count", pool="backend")
FIRST = delta("one")


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
        chunked = chat(b"3e8\r\n" + b"x" * 1000 + b"\r\n3e8\r\n", [(b"transfer-encoding", b"chunked")])
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
    """A call for the models that hangs keeps the process there for long enough to be looked at."""
    async with meter(DRAIN_TIMEOUT="0.3") as metered:
        before = await metered.scrape()
        callers = [await Caller.connect(metered.port) for _ in range(5)]
        calls = (
            (request(b"GET", b"/v1/models?x"), hang()),
            (chat(), hang()),
            (chat(STREAM_BODY), hang(stream_head() + chunk(FIRST))),
            (chat(), hang(head(200, [*JSON_FIELDS, (b"content-length", b"99")]) + b"{")),
        )
        for number, (data, script) in enumerate(calls):
            metered.backend.script = script
            await callers[number].send(data)
            await metered.backend.request(number)
        await callers[2].head()
        streamed = await callers[2].body_until(FIRST)
        await callers[3].head()
        await callers[3].data()
        await callers[4].send(chat(b"{", [(b"content-length", b"100")]))
        await metered.mimic.until(lambda: _runs(metered, 4))
        metered.mimic.signal(signal.SIGTERM)
        assert (await callers[1].response()).status == 503
        now = await metered.scrape()
        while data := await callers[2].data():
            streamed += data
        assert before.added(now) == total(
            exchange("chat", 503, "shutdown", upstream=None),
            exchange("chat", 200, "shutdown", stream=True),
            events("chat", 1, len(streamed)),
            exchange("chat", 200, "shutdown"),
            unsent("chat", 503, "shutdown", model="other"),
            refused("draining"),
        )
        assert now.gauges["mimic_draining"] == 1
        assert now.gauges[key("mimic_ready", {"condition": "serving"})] == 0
        assert now.running() == {"mimic_requests_in_flight{operation=models}": 1}
        assert await metered.mimic.ended() == 0
        print(metered.mimic.log[-3000:])
        for caller in callers:
            caller.close()


FAULT = """
import mimic_proxy.relay.exchange as exchange
import mimic_proxy.web.models as models


def broken(*_):
    raise ZeroDivisionError("provoked")


exchange.read_fields = broken
models.Models.one = broken
"""


async def test_faults_of_our_own(meter: Meter, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    path = os.pathsep.join([str(tmp_path), str(SERVICE)])
    async with meter(PYTHONPATH=path) as metered:
        before = await metered.scrape()
        large = chat(b'{"model":"m","x":"%s"}' % (b"x" * 1_100_000))
        assert (await ask(metered.port, large)).status == 500
        assert (await ask(metered.port, request(b"GET", b"/v1/models/m"), b"GET")).status == 500
        faults = unsent("chat", 500, "internal_error", model="other"), web("models", 500, "internal_error")
        await before.then(metered.mimic, *faults, gauges={})
