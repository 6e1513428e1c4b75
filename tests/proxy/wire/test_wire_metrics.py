"""What each kind of call adds to the metrics, exactly: calls that succeed, and those that their caller got wrong."""

import asyncio

import pytest

from fakes.backend import Request
from fakes.caller import CHAT_BODY, STREAM_BODY, Caller, ask, chat, request
from fakes.metered import Metered
from fakes.replies import COMPLETION, DONE, LAST_CHUNK, STORY, answer, chunk, delta, head, held, ok, reply, stream_head
from fakes.scrape import Scrape, Series, attempt, events, exchange, total, unsent, usage, web

EMBEDDING = b'{"object":"list","data":[],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}'
EMBEDDING_BODY = b'{"model":"m","input":"a prompt that nobody may log"}'
UPLOAD_FIELDS = [(b"content-type", b"multipart/form-data; boundary=x")]
LISTED = total(web("models", 200), attempt("models", 200))
STORY_EVENTS = STORY.count(b"\n\n") - 1
"""`[DONE]` is no event but the end of them."""
WHOLE_STREAM = stream_head() + chunk(STORY) + LAST_CHUNK
REFUSAL = b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}'


async def test_a_call_that_succeeds(metered: Metered) -> None:
    metered.backend.script = ok()
    before = await metered.scrape()
    assert (await ask(metered.port, chat())).status == 200
    tokens = usage("chat", input=1, output=1)
    now = await before.then(metered.mimic, exchange("chat", 200), tokens, gauges={})
    sizes = {name: now.sums[name] - before.sums[name] for name in now.sums if "body_bytes" in name and "chat" in name}
    assert sizes == {
        "mimic_request_body_bytes_sum{operation=chat}": len(CHAT_BODY),
        "mimic_response_body_bytes_sum{operation=chat}": len(COMPLETION),
    }


async def test_cached_and_reasoning_tokens_are_told_apart(metered: Metered) -> None:
    details = b'"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}'
    body = b'{"model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,%s}}' % details
    metered.backend.script = reply(answer(200, body))
    before = await metered.scrape()
    await ask(metered.port, chat())
    tokens = usage("chat", input=9, output=5, cached=3, reasoning=2)
    await before.then(metered.mimic, exchange("chat", 200), tokens, gauges={})


async def test_a_retry_of_the_callers_sdk(metered: Metered) -> None:
    metered.backend.script = ok()
    before = await metered.scrape()
    for count in (b"0", b"1", b"2"):
        await ask(metered.port, chat(fields=[(b"x-stainless-retry-count", count)]))
    retries = {"mimic_client_retries_total{operation=chat}": 2.0}
    calls = [exchange("chat", 200), usage("chat", input=1, output=1)] * 3
    await before.then(metered.mimic, *calls, retries, gauges={})


async def test_a_stream_in_one_read(metered: Metered) -> None:
    metered.backend.script = reply(WHOLE_STREAM)
    before = await metered.scrape()
    assert (await ask(metered.port, chat(STREAM_BODY))).body == STORY
    streamed = events("chat", STORY_EVENTS, len(STORY))
    await before.then(metered.mimic, exchange("chat", 200, stream=True), streamed, gauges={})


async def test_a_stream_event_by_event(metered: Metered) -> None:
    """Every read that brings events ends one gap; the gauges tell of the stream while it is open."""
    pieces = [delta(role="assistant"), delta("one"), delta("two"), delta(finish="stop") + DONE]
    taken = [asyncio.Event() for _ in pieces]

    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(stream_head())
        for piece, seen in zip(pieces, taken, strict=True):
            await request.send(chunk(piece))
            await seen.wait()
        await request.send(LAST_CHUNK)

    metered.backend.script = play
    before = await metered.scrape()
    async with await Caller.connect(metered.port) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        for piece, seen in zip(pieces, taken, strict=True):
            assert await caller.body_until(piece) == piece
            assert (await metered.scrape()).running() == {
                "mimic_requests_in_flight{operation=chat}": 1,
                "mimic_streams_in_flight{operation=chat}": 1,
                "mimic_upstream_slots_in_use{pool=backend}": 1,
            }
            seen.set()
        assert await caller.data() == b""
    size = sum(map(len, pieces))
    await before.then(metered.mimic, exchange("chat", 200, stream=True), events("chat", 4, size, gaps=3), gauges={})


async def test_usage_at_the_end_of_a_stream(metered: Metered) -> None:
    last = b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":6}}\n\n'
    story = STORY.removesuffix(DONE) + last + DONE
    metered.backend.script = reply(stream_head() + chunk(story) + LAST_CHUNK)
    before = await metered.scrape()
    assert (await ask(metered.port, chat(STREAM_BODY))).body == story
    streamed = total(events("chat", STORY_EVENTS + 1, len(story)), usage("chat", input=4, output=6))
    await before.then(metered.mimic, exchange("chat", 200, stream=True), streamed, gauges={})


async def test_embeddings(metered: Metered) -> None:
    metered.backend.script = reply(answer(200, EMBEDDING))
    before = await metered.scrape()
    await ask(metered.port, request(b"POST", b"/v1/embeddings", EMBEDDING_BODY))
    await before.then(metered.mimic, exchange("embeddings", 200), usage("embeddings", input=7), gauges={})


async def test_a_download_and_a_deletion_pass_through(metered: Metered) -> None:
    metered.backend.script = reply(answer(200, b"x" * 3000, [(b"content-type", b"application/octet-stream")]))
    before = await metered.scrape()
    await ask(metered.port, request(b"GET", b"/v1/files/file-1/content"), b"GET")
    await ask(metered.port, request(b"DELETE", b"/v1/files/file-1"), b"DELETE")
    now = await before.then(metered.mimic, *[exchange("passthrough", 200, model=None)] * 2, gauges={})
    size = "mimic_response_body_bytes_sum{operation=passthrough}"
    assert now.sums[size] - before.sums.get(size, 0) == 6000


async def test_an_upload_passes_through(metered: Metered) -> None:
    metered.backend.script = reply(answer(200, b"{}"))
    before = await metered.scrape()
    await ask(metered.port, request(b"POST", b"/v1/files", b"x" * 5000, UPLOAD_FIELDS))
    now = await before.then(metered.mimic, exchange("passthrough", 200, model=None), gauges={})
    size = "mimic_request_body_bytes_sum{operation=passthrough}"
    assert now.sums[size] - before.sums.get(size, 0) == 5000


async def test_a_stream_passes_through(metered: Metered) -> None:
    last = b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r"}}\n\n'
    metered.backend.script = reply(stream_head() + chunk(last) + LAST_CHUNK)
    before = await metered.scrape()
    await ask(metered.port, request(b"POST", b"/v1/responses", b'{"model":"m","input":"x","stream":true}'))
    streamed = events("passthrough", 1, len(last), model=None)
    await before.then(metered.mimic, exchange("passthrough", 200, stream=True), streamed, gauges={})


async def test_models_and_what_is_not_served(metered: Metered) -> None:
    metered.backend.script = reply(answer(200, b'{"object":"list","data":[]}'))
    before = await metered.scrape()
    expected: list[Series] = []
    for method, path, added in (
        (b"GET", b"/v1/models?now", LISTED),
        (b"GET", b"/v1/models/m", LISTED),
        (b"PUT", b"/v1/models/m", web("models", 405, "client_error")),
        (b"GET", b"/v1/nonsense", web("unmatched", 404, "client_error")),
        (b"GET", b"/v1/chat/completions/a/b", web("unmatched", 404, "client_error")),
        (b"PUT", b"/v1/chat/completions", web("unmatched", 405, "client_error")),
        (b"GET", b"/openapi.json", web("unmatched", 200)),
    ):
        await ask(metered.port, request(method, path), method)
        expected.append(added)
    await before.then(metered.mimic, *expected, gauges={})


async def test_a_call_for_models_is_in_flight_until_it_is_answered(metered: Metered) -> None:
    gate = asyncio.Event()
    metered.backend.script = held(gate, reply(answer(200, b'{"object":"list","data":[]}')))
    before = await metered.scrape()
    async with await Caller.connect(metered.port) as caller:
        await caller.send(request(b"GET", b"/v1/models?held"))
        await metered.backend.request()
        assert (await metered.scrape()).running() == {"mimic_requests_in_flight{operation=models}": 1}
        gate.set()
        assert (await caller.response(b"GET")).status == 200
    await before.then(metered.mimic, LISTED, gauges={})


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b""])
async def test_a_body_that_is_no_json_object(metered: Metered, body: bytes) -> None:
    before = await metered.scrape()
    assert (await ask(metered.port, chat(body))).status == 400
    await before.then(metered.mimic, unsent("chat", 400, "client_error", model="other"), gauges={})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n folded: x\r\n\r\n", 400),
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nhost: evil.example\r\n\r\n", 403),
        (chat(fields=[(b"origin", b"https://page.example")]), 403),
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
    ],
    ids=["folded field", "garbage", "foreign host", "foreign page", "large head"],
)
async def test_what_is_refused_before_it_is_a_call(metered: Metered, data: bytes, code: int) -> None:
    before = await metered.scrape()
    assert (await ask(metered.port, data)).status == code
    await before.then(metered.mimic, web("unmatched", code, "client_error"), gauges={})


@pytest.mark.parametrize(("code", "error_type"), [(400, ""), (404, ""), (408, ""), (422, ""), (429, "http_429")])
async def test_a_refusal_of_the_backend(metered: Metered, code: int, error_type: str) -> None:
    metered.backend.script = reply(answer(code, REFUSAL))
    before = await metered.scrape()
    assert (await ask(metered.port, chat())).status == code
    refused = exchange("chat", code, "client_error", upstream=code, error_type=error_type)
    await before.then(metered.mimic, refused, gauges={})


async def test_a_refusal_of_a_stream(metered: Metered) -> None:
    """It counts as the stream that was asked for, although there was none."""
    metered.backend.script = reply(answer(429, REFUSAL))
    before = await metered.scrape()
    await ask(metered.port, chat(STREAM_BODY))
    refused = exchange("chat", 429, "client_error", upstream=429, error_type="http_429", stream=True)
    await before.then(metered.mimic, refused, gauges={})


async def test_a_stream_whose_first_event_is_a_refusal(metered: Metered) -> None:
    first = b'data: {"error":{"message":"slow down","code":429}}\n\n'
    metered.backend.script = reply(stream_head() + chunk(first) + LAST_CHUNK)
    before = await metered.scrape()
    got = await ask(metered.port, chat(STREAM_BODY))
    assert got.status == 429
    refused = exchange("chat", 429, "client_error", upstream=200, error_type="http_429", stream=True)
    await before.then(metered.mimic, refused, events("chat", 1, len(got.body), model=None), gauges={})


async def test_a_model_that_never_answered_has_no_label(metered: Metered) -> None:
    metered.backend.script = reply(answer(404, REFUSAL))
    before = await metered.scrape()
    await ask(metered.port, chat(b'{"model":"typo"}'))
    refused = exchange("chat", 404, "client_error", upstream=404, model="other")
    await before.then(metered.mimic, refused, gauges={})


async def test_an_answer_without_a_body(metered: Metered) -> None:
    metered.backend.script = reply(head(204))
    before = await metered.scrape()
    await ask(metered.port, chat())
    await before.then(metered.mimic, exchange("chat", 204, upstream=204), gauges={})


def test_counts_of_seconds_stand_with_the_sums() -> None:
    text = b"# TYPE mimic_stream_send_blocked_seconds counter\nmimic_stream_send_blocked_seconds_total 2.0\n"
    assert Scrape.read(text).sums == {"mimic_stream_send_blocked_seconds_total": 2.0}
