"""/v1/models: a fixed list, else the backend's, kept a short while, stale while it is down, else made up."""

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.backend import Backend, Request, Script
from fakes.listener import Pools
from fakes.replies import answer, cut, hang, held, in_turn, reply
from fakes.world import World
from mimic_proxy.errors import (
    ModelNotFound,
    TokenUnavailable,
    UpstreamAuthFailed,
    UpstreamBadResponse,
    UpstreamTimeout,
)
from mimic_proxy.http.headers import RequestFields, read_request
from mimic_proxy.relay.client import Client
from mimic_proxy.relay.pool import Pool
from mimic_proxy.relay.ports import Backend as Target
from mimic_proxy.telemetry.observation import Trace
from mimic_proxy.telemetry.record import Record
from mimic_proxy.web.models import Models, ModelsAnswer

LIST = b'{ "object":"list", "data":[ {"id":"small","object":"model","vendor":{"n":1.50}}, {"id":"org/large", "x":2} ] }'
NO_ROUTE = answer(404, b"404 page not found", [(b"content-type", b"text/plain")])
NO_SUCH = answer(404, b'{"error":{"message":"The model does not exist","code":"model_not_found"}}')
REFUSAL = answer(401, b'{"error":{"message":"invalid token"}}')


class Desk:
    """A Models in front of a real backend, with the tokens and the clock of a World."""

    def __init__(self, backend: Backend, pool: Pool, **how: Any) -> None:
        self.backend = backend
        self.pool = pool
        self.world = World()
        base = dataclasses.replace(pool.base, path=b"/api/v1", query=b"api-version=2")
        self.world.services.backends = {"chat": Target(base, pool), "embeddings": Target(base, pool)}
        settings = {"fixed": (), "cache_seconds": 10.0, **how}
        asks = Client(self.world.services, pool, base, name="CHAT_API_URL", timeout=settings.pop("timeout", 5.0))
        self.models = Models(self.world.services, asks, **settings)

    def caller(self, *pairs: tuple[bytes, bytes]) -> RequestFields:
        return read_request([(b"host", b"localhost"), *pairs], self.world.services.request_names)

    @property
    def asked(self) -> list[bytes]:
        return [request.target for request in self.backend.requests]

    async def one(self, raw_id: bytes, query: bytes = b"", record: Record | None = None) -> ModelsAnswer:
        return await self.models.one(raw_id, self.caller(), query, record)

    async def list(self, query: bytes = b"", *pairs: tuple[bytes, bytes], record: Record | None = None) -> ModelsAnswer:
        return await self.models.list(self.caller(*pairs), query, record)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend(reply(answer(200, LIST))) as server:
        yield server
        server.reset()


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    made = Pools()
    yield made
    await made.close()


@pytest.fixture
async def desk(backend: Backend, pools: Pools) -> Desk:
    return Desk(backend, pools(backend.url))


def ids(answer: ModelsAnswer) -> list[str]:
    assert answer.status == 200
    document = json.loads(answer.body)
    assert document["object"] == "list"
    for entry in document["data"]:
        assert entry["object"] == "model"
        assert {"id", "created", "owned_by"} <= set(entry)
    return [entry["id"] for entry in document["data"]]


def by_path(**scripts: Script) -> Script:
    """Scripts by the last word of the path; `list` is the list."""

    async def play(request: Request) -> None:
        path = request.target.partition(b"?")[0]
        name = "list" if path.endswith(b"/models") else "one"
        await scripts[name](request)

    return play


# ---- a fixed list


async def test_a_fixed_list_asks_nobody(backend: Backend, pools: Pools) -> None:
    desk = Desk(backend, pools(backend.url), fixed=("small", "org/large"))
    assert ids(await desk.list(b"limit=1")) == ["small", "org/large"]
    assert json.loads((await desk.one(b"org%2Flarge")).body)["id"] == "org/large"
    assert json.loads((await desk.one(b"org/large")).body)["id"] == "org/large"
    with pytest.raises(ModelNotFound, match="'other' does not exist"):
        await desk.one(b"other")
    assert desk.asked == []


async def test_a_very_long_id_is_not_echoed_whole(backend: Backend, pools: Pools) -> None:
    desk = Desk(backend, pools(backend.url), fixed=("small",))
    with pytest.raises(ModelNotFound) as raised:
        await desk.one(b"x" * 5000)
    assert len(raised.value.message) < 250


# ---- the backend's list


async def test_the_backend_s_list_passes_as_the_bytes_it_is(desk: Desk) -> None:
    desk.backend.script = reply(answer(200, LIST, [(b"content-type", b"application/json"), (b"x-vendor", b"v")]))
    got = await desk.list(b"limit=2", (b"authorization", b"Bearer key"), (b"x-mine", b"1"))
    assert (got.status, got.body) == (200, LIST)
    assert got.lines == (b"content-type: application/json\r\n", b"x-vendor: v\r\n")
    sent = await desk.backend.request()
    assert sent.target == b"/api/v1/models?api-version=2&limit=2"
    assert (sent.value(b"authorization"), sent.value(b"x-mine")) == (b"Bearer first-token", b"1")
    assert sent.value(b"accept-encoding") == b"identity"
    assert sent.fields(b"content-length") == []


async def test_the_list_is_kept_for_its_time(desk: Desk) -> None:
    for _ in range(3):
        assert (await desk.list()).body == LIST
    assert len(desk.asked) == 1
    desk.world.clock.now += 9.9
    await desk.list()
    assert len(desk.asked) == 1
    desk.world.clock.now += 0.1
    await desk.list()
    assert len(desk.asked) == 2


async def test_who_comes_while_the_list_is_asked_for_gets_the_same_answer(desk: Desk) -> None:
    gate = asyncio.Event()
    desk.backend.script = held(gate, reply(answer(200, LIST)))
    tasks = [asyncio.ensure_future(desk.list()) for _ in range(5)]
    await desk.backend.request()
    gate.set()
    assert [got.body for got in await asyncio.gather(*tasks)] == [LIST] * 5
    assert len(desk.asked) == 1


async def test_nobody_s_leaving_ends_the_call_for_the_others(desk: Desk) -> None:
    gate = asyncio.Event()
    desk.backend.script = held(gate, reply(answer(200, LIST)))
    first, second = asyncio.ensure_future(desk.list()), asyncio.ensure_future(desk.list())
    await desk.backend.request()
    first.cancel()
    gate.set()
    assert (await second).body == LIST
    assert first.cancelled()


async def test_a_call_that_failed_fails_for_all_and_is_made_again(desk: Desk) -> None:
    desk.backend.script = cut()
    results = await asyncio.gather(*(desk.list() for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [UpstreamBadResponse] * 3
    desk.backend.script = reply(answer(200, LIST))
    assert (await desk.list()).body == LIST


async def test_a_call_that_everybody_left_leaves_no_trace_of_its_failure(desk: Desk) -> None:
    gate = asyncio.Event()
    desk.backend.script = held(gate, cut())
    task = asyncio.ensure_future(desk.list())
    await desk.backend.request()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    async with asyncio.timeout(5):
        while desk.models.flights:
            await asyncio.sleep(0)


SDK = [(b"user-agent", b"OpenAI/Python 3.54.0"), (b"x-stainless-retry-count", b"0"), (b"traceparent", b"00-1-2-01")]


async def test_callers_share_a_list_whatever_their_sdks_say_of_themselves(desk: Desk) -> None:
    assert [(await desk.list(b"", pair)).body for pair in SDK] == [LIST] * 3
    assert len(desk.asked) == 1


async def test_organisations_do_not_share_a_list(desk: Desk) -> None:
    """Neither what is kept nor the call that is under way."""

    async def by_organisation(request: Request) -> None:
        await request.send(
            answer(200, b'{"data":[{"id":"of-%s"}]}' % (request.value(b"openai-organization") or b"none"))
        )

    desk.backend.script = by_organisation
    heads = [[], [(b"openai-organization", b"a")], [(b"openai-organization", b"b"), (b"openai-project", b"p")]]
    for _ in range(2):
        found = await asyncio.gather(*(desk.list(b"", *head) for head in heads))
        assert [got.body for got in found] == [b'{"data":[{"id":"of-%s"}]}' % name for name in (b"none", b"a", b"b")]
    assert len(desk.asked) == 3


@pytest.mark.parametrize(
    ("field", "status", "body"),
    [
        ((b"range", b"bytes=0-1"), 206, LIST[:2]),
        ((b"if-none-match", b'"1"'), 304, b""),
    ],
)
async def test_a_part_of_the_list_goes_to_the_caller_that_wanted_it_alone(
    desk: Desk, field: tuple[bytes, bytes], status: int, body: bytes
) -> None:
    async def partly(request: Request) -> None:
        await request.send(answer(200, LIST) if request.value(field[0]) is None else answer(status, body))

    desk.backend.script = partly
    part, whole = await asyncio.gather(desk.list(b"", field), desk.list())
    assert (part.status, part.body) == (status, body)
    assert (whole.status, whole.body) == (200, LIST)
    assert (await desk.list()).body == LIST
    assert len(desk.asked) == 2


@pytest.mark.parametrize("status", [600, 999])
async def test_a_status_that_http_does_not_have_is_a_fault_of_the_backend_s(desk: Desk, status: int) -> None:
    desk.backend.script = reply(answer(status, b"?"))
    with pytest.raises(UpstreamBadResponse, match=f"status {status}"):
        await desk.list()
    with pytest.raises(UpstreamBadResponse, match=f"status {status}"):
        await desk.one(b"small")


async def test_the_lists_that_are_kept_are_bounded_whatever_callers_send(desk: Desk) -> None:
    for number in range(20):
        await desk.list(b"", (b"openai-organization", b"%d" % number))
    assert len(desk.models.kept) == 8
    await desk.list(b"", (b"openai-organization", b"19"))
    assert len(desk.asked) == 20


async def test_no_cache_asks_each_time(backend: Backend, pools: Pools) -> None:
    desk = Desk(backend, pools(backend.url), cache_seconds=0.0)
    for _ in range(3):
        await desk.list()
    assert len(desk.asked) == 3


async def test_a_query_is_the_backend_s_to_answer_and_is_not_kept(desk: Desk) -> None:
    await desk.list()
    desk.backend.script = reply(answer(200, b'{"data":[]}'))
    assert (await desk.list(b"after=x")).body == b'{"data":[]}'
    assert (await desk.list()).body == LIST


@pytest.mark.parametrize(
    "script", [cut(), reply(answer(500, b"{}")), reply(answer(503, b"{}")), reply(b"nonsense\r\n\r\n")]
)
async def test_the_list_is_served_stale_while_the_backend_is_down(desk: Desk, script: Script) -> None:
    await desk.list()
    desk.world.clock.now += 1000.0
    desk.backend.script = script
    assert (await desk.list()).body == LIST
    desk.backend.script = reply(answer(200, b'{"data":[]}'))
    assert (await desk.list()).body == b'{"data":[]}', "it is asked again each time"


async def test_the_list_is_served_stale_while_there_is_no_token(desk: Desk) -> None:
    await desk.list()
    desk.world.clock.now += 1000.0
    desk.world.tokens.held = TokenUnavailable("The token service is down.", retry_after=1)
    assert (await desk.list()).body == LIST


async def test_without_a_kept_list_trouble_is_told(desk: Desk) -> None:
    desk.backend.script = cut()
    with pytest.raises(UpstreamBadResponse):
        await desk.list()
    desk.backend.script = reply(answer(500, b'{"error":{"message":"m"}}'))
    assert ((await desk.list()).status, (await desk.list()).body) == (500, b'{"error":{"message":"m"}}')


async def test_a_silent_backend_times_out(backend: Backend, pools: Pools) -> None:
    backend.script = hang()
    with pytest.raises(UpstreamTimeout):
        await Desk(backend, pools(backend.url), timeout=0.02).list()


@pytest.mark.parametrize("status", [400, 403, 429])
async def test_the_backend_s_refusal_passes_and_is_not_kept(desk: Desk, status: int) -> None:
    desk.backend.script = reply(answer(status, b'{"error":{"message":"m"}}'))
    assert (await desk.list()).status == status
    desk.backend.script = reply(answer(200, LIST))
    assert (await desk.list()).body == LIST


@pytest.mark.parametrize("stale", [True, False])
async def test_a_redirect_is_not_followed(desk: Desk, stale: bool) -> None:
    if stale:
        await desk.list()
        desk.world.clock.now += 1000.0
    desk.backend.script = reply(answer(307, b"", [(b"location", b"https://elsewhere.example/")]))
    if stale:
        assert (await desk.list()).body == LIST
        return
    with pytest.raises(UpstreamBadResponse, match="redirect"):
        await desk.list()
    with pytest.raises(UpstreamBadResponse, match="redirect"):
        await desk.one(b"small")


# ---- one model


async def test_one_model_is_asked_for_by_its_raw_id(desk: Desk) -> None:
    desk.backend.script = reply(answer(200, b'{"id":"org/large"}'))
    assert (await desk.one(b"org%2Flarge", b"x=%2F")).body == b'{"id":"org/large"}'
    assert desk.asked == [b"/api/v1/models/org%2Flarge?api-version=2&x=%2F"]


async def test_the_backend_s_own_404_of_one_model_passes(desk: Desk) -> None:
    desk.backend.script = by_path(list=reply(answer(200, LIST)), one=reply(NO_SUCH))
    got = await desk.one(b"other")
    assert (got.status, json.loads(got.body)["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("refusal", [NO_ROUTE, answer(405, b""), answer(501, b"")])
async def test_one_model_is_taken_from_the_list_where_it_cannot_be_asked_for(desk: Desk, refusal: bytes) -> None:
    desk.backend.script = by_path(list=reply(answer(200, LIST)), one=reply(refusal))
    assert (await desk.one(b"small")).body == b'{"id":"small","object":"model","vendor":{"n":1.50}}'
    assert (await desk.one(b"org%2Flarge")).body == b'{"id":"org/large", "x":2}'
    with pytest.raises(ModelNotFound):
        await desk.one(b"other")


async def test_one_model_is_taken_from_the_kept_list_while_the_backend_is_down(desk: Desk) -> None:
    await desk.list()
    desk.backend.script = cut()
    assert (await desk.one(b"small")).body == b'{"id":"small","object":"model","vendor":{"n":1.50}}'
    with pytest.raises(UpstreamBadResponse):
        await desk.one(b"other")


@pytest.mark.parametrize(
    "kept",
    [
        b"<html>",
        b'{"data":1}',
        b"[]",
        b"",
        b'{"data":[{"id":1}]}',
        b'{"data":["small"]}',
        b'{"data":[{"id":"\xff"}]}',
        b'{"data":[{"id":"\\ud83d"}]}',
        b'{"data":' + b"[" * 3000,
    ],
)
async def test_a_list_of_another_shape_passes_and_names_no_model(desk: Desk, kept: bytes) -> None:
    desk.backend.script = by_path(list=reply(answer(200, kept)), one=reply(NO_ROUTE))
    assert (await desk.list()).body == kept
    with pytest.raises(ModelNotFound):
        await desk.one(b"small")


async def test_an_odd_entry_hides_no_other(desk: Desk) -> None:
    odd = b'{"data":[{"name":"odd"},{"id":null},"text",{"id":"small"}]}'
    desk.backend.script = by_path(list=reply(answer(200, odd)), one=reply(NO_ROUTE))
    assert (await desk.one(b"small")).body == b'{"id":"small"}'


# ---- a backend without a list


@pytest.mark.parametrize("refusal", [NO_ROUTE, answer(405, b""), answer(501, b"")])
async def test_a_backend_without_a_list_lists_what_worked(
    desk: Desk, refusal: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    desk.backend.script = reply(refusal)
    with caplog.at_level(logging.WARNING, "mimic.models"):
        assert ids(await desk.list()) == []
        for name in ("small", "large", "small"):
            desk.world.services.worked[name] = None
        assert ids(await desk.list()) == ["small", "large"]
    assert json.loads((await desk.one(b"large")).body)["id"] == "large"
    with pytest.raises(ModelNotFound):
        await desk.one(b"other")
    assert [record.message.count("MODELS") for record in caplog.records] == [1], "told once"


async def test_what_ended_a_moment_ago_is_known_before_the_list_is_told(desk: Desk) -> None:
    desk.backend.script = reply(NO_ROUTE)
    desk.models.settle = lambda: desk.world.services.worked.update(small=None)
    assert ids(await desk.list()) == ["small"]


async def test_one_model_that_ended_a_moment_ago_is_known(desk: Desk) -> None:
    desk.backend.script = reply(NO_ROUTE)
    desk.models.settle = lambda: desk.world.services.worked.update(small=None)
    assert json.loads((await desk.one(b"small")).body)["id"] == "small"


# ---- tokens


async def test_a_refused_token_is_replaced_once(desk: Desk) -> None:
    desk.backend.script = in_turn(reply(REFUSAL), reply(answer(200, LIST)))
    assert (await desk.list()).body == LIST
    tokens = [request.value(b"authorization") for request in desk.backend.requests]
    assert tokens == [b"Bearer first-token", b"Bearer second-token"]
    assert [token.generation for token, _ in desk.world.tokens.accepted_at] == [2]


async def test_a_token_refused_again_is_an_error(desk: Desk) -> None:
    desk.backend.script = reply(REFUSAL)
    with pytest.raises(UpstreamAuthFailed) as raised:
        await desk.list()
    assert (raised.value.should_retry, len(desk.backend.requests), len(desk.world.tokens.refused)) == (False, 2, 1)


async def test_where_there_is_no_other_token_the_refusal_is_final(desk: Desk) -> None:
    desk.world.tokens.next = UpstreamAuthFailed("There is no other token.", should_retry=False)
    desk.backend.script = reply(REFUSAL)
    with pytest.raises(UpstreamAuthFailed, match="no other"):
        await desk.list()
    assert len(desk.backend.requests) == 1


@pytest.mark.parametrize("good", [True, False])
async def test_it_waits_for_a_token_that_is_on_its_way(desk: Desk, good: bool) -> None:
    desk.world.tokens.held = None
    task = asyncio.ensure_future(desk.list())
    while not desk.world.tokens.waiting:
        await asyncio.sleep(0)
    desk.world.tokens.deliver(None if good else TokenUnavailable("The token service is down.", retry_after=1))
    if good:
        assert (await task).body == LIST
    else:
        with pytest.raises(TokenUnavailable):
            await task


async def test_who_is_cancelled_waits_for_no_token(desk: Desk) -> None:
    desk.world.tokens.held = None
    task = asyncio.ensure_future(desk.one(b"small"))
    while not desk.world.tokens.waiting:
        await asyncio.sleep(0)
    waiters = list(desk.world.tokens.waiting)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert desk.world.tokens.waiting == []
    waiters[0](TokenUnavailable("Too late for this one.", retry_after=1))


# ---- what is noted of the call to the backend

TRACE = Trace("a" * 32, "b" * 16, "c" * 16, "d" * 16, True)


def asking(*, traced: bool = False) -> Record:
    record = Record(0.0, "models", "GET", "/v1/models")
    record.trace, record.traced = TRACE, traced
    return record


CALLERS = b"00-" + b"a" * 32 + b"-" + b"d" * 16 + b"-01"


async def test_the_call_to_the_backend_is_noted(desk: Desk) -> None:
    record = asking()
    await desk.list(record=record)
    assert (record.attempts, record.earlier, record.error_type, record.token_waits) == (1, (), None, ())
    assert record.upstream_status == 200
    assert record.sent
    assert record.upstream_head_seconds is not None
    assert 0.0 <= record.upstream_head_seconds < 5.0


async def test_a_kept_list_is_no_call(desk: Desk) -> None:
    await desk.list()
    record = asking()
    await desk.list(record=record)
    assert (record.attempts, record.sent) == (0, 0.0)


async def test_who_joins_the_call_of_another_makes_none(desk: Desk) -> None:
    gate = asyncio.Event()
    desk.backend.script = held(gate, reply(answer(200, LIST)))
    first, second = asking(), asking()
    tasks = [asyncio.ensure_future(desk.list(record=record)) for record in (first, second)]
    await desk.backend.request()
    gate.set()
    await asyncio.gather(*tasks)
    assert (first.attempts, second.attempts) == (1, 0)


async def test_a_refused_token_is_noted_as_a_try_that_was_repeated(desk: Desk) -> None:
    desk.backend.script = in_turn(reply(REFUSAL), reply(answer(200, LIST)))
    record = asking()
    await desk.list(record=record)
    (lost,) = record.earlier
    assert (lost.retry, lost.error_type, lost.status) == ("unauthorized", "unauthorized", 401)
    assert (record.attempts, record.error_type) == (2, None)


async def test_a_dead_connection_is_noted_as_a_try_that_was_repeated(desk: Desk) -> None:
    await desk.one(b"small")
    desk.backend.script = in_turn(cut(), reply(answer(200, b"{}")))
    record = asking()
    await desk.one(b"small", record=record)
    (lost,) = record.earlier
    assert (lost.retry, lost.error_type, lost.status, lost.head_seconds) == ("connect", "reset", None, None)
    assert record.attempts == 2


@pytest.mark.parametrize(
    ("script", "error_type", "status"),
    [
        (reply(answer(500, b"{}")), "http_5xx", 500),
        (reply(answer(429, b"{}")), "http_429", 429),
        (reply(answer(403, b"{}")), None, 403),
        (reply(answer(307, b"", [(b"location", b"https://elsewhere.example/")])), "other", 307),
        (reply(b"nonsense\r\n\r\n"), "protocol", None),
    ],
)
async def test_what_was_wrong_is_noted(desk: Desk, script: Script, error_type: str | None, status: int | None) -> None:
    desk.backend.script = script
    record = asking()
    await asyncio.gather(desk.list(record=record), return_exceptions=True)
    assert (record.error_type, record.upstream_status) == (error_type, status)


async def test_a_timer_that_ran_out_is_noted(backend: Backend, pools: Pools) -> None:
    backend.script = hang()
    record = asking()
    with pytest.raises(UpstreamTimeout):
        # Long enough to connect on a busy machine: it is the answer that is to be late.
        await Desk(backend, pools(backend.url), timeout=0.3).list(record=record)
    assert (record.attempts, record.error_type, record.upstream_head_seconds) == (1, "read_timeout", None)


async def test_a_wait_for_the_token_is_noted(desk: Desk) -> None:
    desk.world.tokens.held = None
    record = asking()
    task = asyncio.ensure_future(desk.list(record=record))
    while not desk.world.tokens.waiting:
        await asyncio.sleep(0)
    desk.world.clock.now += 2.0
    desk.world.tokens.deliver()
    await task
    (wait,) = record.token_waits
    assert (wait.seconds, wait.refresh) == (2.0, None)


@pytest.mark.parametrize(
    ("traced", "expected"), [(False, CALLERS), (True, b"00-" + b"a" * 32 + b"-" + b"c" * 16 + b"-01")]
)
async def test_the_backend_hears_of_our_span_or_of_the_caller_s(desk: Desk, traced: bool, expected: bytes) -> None:
    record = asking(traced=traced)
    await desk.list(b"", (b"traceparent", CALLERS), record=record)
    assert (await desk.backend.request()).value(b"traceparent") == expected


async def test_the_backend_hears_of_no_trace_where_it_is_not_to(desk: Desk) -> None:
    desk.world.services.trace_upstream = False
    await desk.list(b"", (b"traceparent", CALLERS), (b"tracestate", b"a=1"))
    sent = await desk.backend.request()
    assert (sent.value(b"traceparent"), sent.value(b"tracestate")) == (None, None)
