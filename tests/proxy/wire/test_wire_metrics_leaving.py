"""What callers who leave add to the metrics, in every phase; and that nothing is lost among many at once."""

import asyncio
from collections.abc import Callable

import pytest

from fakes.backend import Request, Script
from fakes.caller import CHAT_BODY, STREAM_BODY, Caller, ask, chat, request
from fakes.metered import Meter, Metered
from fakes.replies import (
    JSON_FIELDS,
    LAST_CHUNK,
    STORY,
    answer,
    chunk,
    cut,
    delta,
    hang,
    head,
    held,
    ok,
    reply,
    stream_head,
)
from fakes.scrape import Series, attempt, events, exchange, one, times, total, unsent, usage, web

FIRST = delta("one")
FORM = [(b"content-type", b"multipart/form-data; boundary=x")]
REFUSAL = b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}'
IN_A_BODY = head(200, [*JSON_FIELDS, (b"content-length", b"99")]) + b'{"id":'
GONE = "client_disconnect"

PHASES: dict[str, tuple[bytes, Script, bytes, Series]] = {
    "before the head": (chat(), hang(), b"", exchange("chat", 499, GONE, upstream=None)),
    "before the head of a stream": (
        chat(STREAM_BODY),
        hang(),
        b"",
        exchange("chat", 499, GONE, upstream=None, stream=True),
    ),
    "within a stream": (
        chat(STREAM_BODY),
        hang(stream_head() + chunk(FIRST)),
        FIRST,
        total(exchange("chat", 200, GONE, stream=True), events("chat", 1, len(FIRST))),
    ),
    "within a body": (chat(), hang(IN_A_BODY), b'{"id":', exchange("chat", 200, GONE)),
    "within an upload": (
        request(b"POST", b"/v1/files", b"x" * 1000, [*FORM, (b"content-length", b"2000")]),
        hang(),
        b"",
        exchange("passthrough", 499, GONE, upstream=None, model=None),
    ),
}


async def leave(metered: Metered, data: bytes, until: bytes, number: int, how: Callable[[Caller], None]) -> None:
    """One call that is given up once the backend has it, or once `until` has come of its answer."""
    async with await Caller.connect(metered.port) as caller:
        await caller.send(data)
        if until:
            await caller.head()
            await caller.body_until(until)
        else:
            await metered.backend.until(lambda: len(metered.backend.requests) > number)
        how(caller)


@pytest.mark.parametrize("how", [Caller.close, Caller.reset, Caller.half_close])
@pytest.mark.parametrize(("data", "script", "until", "expected"), PHASES.values(), ids=PHASES)
async def test_a_caller_who_leaves(
    metered: Metered,
    data: bytes,
    script: Script,
    until: bytes,
    expected: Series,
    how: Callable[[Caller], None],
) -> None:
    metered.backend.script = script
    before = await metered.scrape()
    await leave(metered, data, until, 0, how)
    await before.then(metered.mimic, expected, gauges={})


async def test_a_caller_who_leaves_within_its_own_body(metered: Metered) -> None:
    before = await metered.scrape()
    async with await Caller.connect(metered.port) as caller:
        await caller.send(chat(CHAT_BODY, [(b"content-length", b"1000")]))
        await metered.mimic.until(lambda: _runs(metered, 1))
    await before.then(metered.mimic, unsent("chat", 499, GONE, model="other"), gauges={})


async def _runs(metered: Metered, number: int) -> bool:
    return (await metered.scrape()).running().get("mimic_requests_in_flight{operation=chat}", 0) == number


async def test_a_caller_who_leaves_at_done_has_had_all(metered: Metered) -> None:
    """SDKs hang up there."""
    gate = asyncio.Event()

    async def play(request: Request) -> None:
        await request.send(stream_head() + chunk(STORY))
        await gate.wait()
        await request.send(LAST_CHUNK)

    metered.backend.script = play
    before = await metered.scrape()
    await leave(metered, chat(STREAM_BODY), STORY, 0, Caller.close)
    gate.set()
    streamed = events("chat", STORY.count(b"\n\n") - 1, len(STORY))
    await before.then(metered.mimic, exchange("chat", 200, stream=True), streamed, gauges={})


async def test_a_caller_who_leaves_before_the_models_are_told(metered: Metered) -> None:
    metered.backend.script = hang()
    before = await metered.scrape()
    await leave(metered, request(b"GET", b"/v1/models?x"), b"", 0, Caller.close)
    await before.then(metered.mimic, web("models", 499, GONE), attempt("models", None), gauges={})
    await metered.backend.until(lambda: not metered.backend.in_use)


async def test_a_caller_who_leaves_the_queue(meter: Meter) -> None:
    async with meter(MAX_CONCURRENCY="1") as metered:
        gate = asyncio.Event()
        metered.backend.script = held(gate, ok())
        before = await metered.scrape()
        async with await Caller.connect(metered.port) as first:
            await first.send(chat())
            await metered.backend.request()
            async with await Caller.connect(metered.port) as leaving:
                await leaving.send(chat())
                await metered.mimic.until(lambda: _runs(metered, 2))
            gate.set()
            assert (await first.response()).status == 200
        waited = one("mimic_upstream_slot_wait_seconds_count", pool="backend")
        served = total(exchange("chat", 200), usage("chat", input=1, output=1))
        await before.then(metered.mimic, served, unsent("chat", 499, GONE), waited, gauges={})


MIX: dict[str, tuple[bytes, Script, Series]] = {
    "a call": (chat(), ok(), total(exchange("chat", 200), usage("chat", input=1, output=1))),
    "a stream": (
        chat(STREAM_BODY),
        reply(stream_head() + chunk(STORY) + LAST_CHUNK),
        total(exchange("chat", 200, stream=True), events("chat", STORY.count(b"\n\n") - 1, len(STORY))),
    ),
    "embeddings": (
        request(b"POST", b"/v1/embeddings", b'{"model":"m","input":"x"}'),
        reply(answer(200, b'{"usage":{"prompt_tokens":7}}')),
        total(exchange("embeddings", 200), usage("embeddings", input=7)),
    ),
    "an upload": (
        request(b"POST", b"/v1/files", b"x" * 100, FORM),
        reply(answer(200, b"{}")),
        exchange("passthrough", 200, model=None),
    ),
    "a refusal": (
        chat(b'{"model":"m","n":2}'),
        reply(answer(429, REFUSAL)),
        exchange("chat", 429, "client_error", upstream=429, error_type="http_429"),
    ),
    "a failure": (
        chat(b'{"model":"m","n":3}'),
        reply(answer(500, REFUSAL)),
        exchange("chat", 500, "upstream_error", upstream=500, error_type="http_5xx"),
    ),
    "a loss": (
        chat(b'{"model":"m","n":4}'),
        cut(),
        exchange("chat", 502, "upstream_error", upstream=None, error_type="reset"),
    ),
    "nonsense": (request(b"POST", b"/v1/nonsense", b"{}"), ok(), web("unmatched", 404, "client_error")),
}


async def test_two_hundred_calls_of_all_kinds_at_once(metered: Metered) -> None:
    scripts = {data.partition(b"\r\n\r\n")[2]: script for data, script, _ in MIX.values()}

    async def play(request: Request) -> None:
        await request.whole.wait()
        await scripts[request.body](request)

    metered.backend.script = play
    before = await metered.scrape()
    calls = [ask(metered.port, data) for _ in range(25) for data, _, _ in MIX.values()]
    assert len(await asyncio.gather(*calls)) == 200
    await before.then(metered.mimic, *(times(25, expected) for _, _, expected in MIX.values()), gauges={})


async def test_a_hundred_calls_that_are_given_up_in_three_phases(metered: Metered) -> None:
    phases = [PHASES[name] for name in ("before the head", "within a stream", "within a body")]
    ways: list[Callable[[Caller], None]] = [Caller.close, Caller.reset, Caller.half_close]
    gates = [asyncio.Event() for _ in range(100)]

    async def play(request: Request) -> None:
        number = int(request.value(b"x-number") or b"0")
        gates[number].set()
        await phases[number % 3][1](request)

    async def give_up(number: int) -> None:
        data, _, until, _ = phases[number % 3]
        numbered = data.replace(b"\r\n", b"\r\nx-number: %d\r\n" % number, 1)
        async with await Caller.connect(metered.port) as caller:
            await caller.send(numbered)
            await gates[number].wait()
            if until:
                await caller.head()
                await caller.body_until(until)
            ways[number // 3 % 3](caller)

    metered.backend.script = play
    before = await metered.scrape()
    await asyncio.gather(*map(give_up, range(100)))
    expected = [times(len(range(number, 100, 3)), phase[3]) for number, phase in enumerate(phases)]
    await before.then(metered.mimic, *expected, gauges={})
