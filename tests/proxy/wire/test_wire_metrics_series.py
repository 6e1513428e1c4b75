"""How many series one process shows, whatever callers and backends do."""

import asyncio
import random
from collections.abc import Iterator

from fakes.backend import Request
from fakes.caller import Caller, request
from fakes.metered import Meter, Metered
from fakes.replies import DONE, JSON_FIELDS, LAST_CHUNK, answer, chunk, delta, event, head, stream_head

CEILING = 4000
NORMAL = 600
CALLS = 3000
CALLERS = 20
METHODS = (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH")
PATHS = (
    b"/v1/chat/completions",
    b"/v1/embeddings",
    b"/v1/models",
    b"/v1/models/%d",
    b"/v1/files/%d",
    b"/v1/files/%d/content",
    b"/v1/responses",
    b"/v1/responses/%d/cancel",
    b"/v1/audio/speech",
    b"/v1/completions",
    b"/v1/%d",
    b"/%d/v1/chat/completions",
)
STATUSES = [code for code in range(200, 600) if code not in (204, 304)]


def calls(chance: random.Random) -> Iterator[tuple[bytes, bytes]]:
    """Method and bytes of calls: half of them what SDKs send, with any model and a wish for any status."""
    for number in range(CALLS):
        usual = chance.random() < 0.6
        path = chance.choice(PATHS[:2] if usual else PATHS)
        method = b"POST" if usual else chance.choice(METHODS)
        if b"%" in path:
            path %= number
        model = b'"model-%d"' % chance.randrange(CALLS) if chance.random() < 0.9 else b'"\xe2\x98\x83\\n%d"' % number
        stream = chance.choice([b"true", b"false", b"null", b"1"])
        body = b'{"model":%s,"stream":%s,"n":%d}' % (model, stream, number)
        wish = [(b"x-status", b"%d" % chance.choice(STATUSES)), (b"x-shape", b"%d" % chance.randrange(6))]
        yield method, request(method, path, body, wish)


async def play(request: Request) -> None:
    """Any status; JSON, nothing, or a stream that ends in one of four ways."""
    await request.whole.wait()
    status, shape = int(request.value(b"x-status") or b"200"), int(request.value(b"x-shape") or b"0")
    usage = b'{"model":"m","usage":{"prompt_tokens":3,"completion_tokens":4}}'
    if shape == 0:
        await request.send(head(status, [(b"content-length", b"0")]))
    elif shape < 3 or status != 200:
        await request.send(answer(status if shape < 2 else 200, usage, JSON_FIELDS))
    else:
        first = event({"error": {"message": "x", "code": status}}) if shape == 3 else delta("one")
        last = {4: event({"error": {"message": "x"}}), 5: delta(finish="stop") + DONE}.get(shape, b"")
        await request.send(stream_head() + chunk(first + last) + LAST_CHUNK)


async def make(metered: Metered, left: Iterator[tuple[bytes, bytes]], made: list[int]) -> None:
    """One caller: call after call on one connection, on a new one where Mimic closes it."""
    while True:
        async with await Caller.connect(metered.port) as caller:
            closes = False
            while not closes:
                method, data = next(left, (b"", b""))
                if not data:
                    return
                await caller.send(data)
                got = await caller.response(method)
                made[0] += 1
                closes = got.value(b"connection") == b"close" or not got.complete


async def test_a_fuzz_of_models_paths_methods_and_statuses_stays_below_the_ceiling(meter: Meter) -> None:
    async with meter(
        LOG_LEVEL="ERROR", MODELS_CACHE_SECONDS="0", BREAKER_FAILURES="0", MIMIC_GENAI_METRICS="True"
    ) as metered:
        metered.backend.script = play
        made = [0]
        left = calls(random.Random(7))
        before = await metered.scrape()
        await asyncio.gather(*(make(metered, left, made) for _ in range(CALLERS)))
        now = await metered.scrape()
        assert made == [CALLS]
        assert now.running() == {}
        added = before.added(now)
        assert sum(value for name, value in added.items() if name.startswith("mimic_requests_total")) == CALLS
        durations = "mimic_request_duration_seconds_count"
        assert sum(value for name, value in added.items() if name.startswith(durations)) == CALLS
        assert now.lines < CEILING


async def test_usual_calls_show_a_few_hundred(meter: Meter) -> None:
    async with meter() as metered:
        assert (await metered.scrape()).lines < NORMAL
