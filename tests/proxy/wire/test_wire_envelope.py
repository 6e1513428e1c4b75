"""A gateway with an envelope of its own, over real sockets: what it is sent, and what callers get of its answers."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from fakes.backend import Backend, Request, Script
from fakes.caller import CHAT_BODY, STREAM_BODY, Caller, ask, chat, request
from fakes.envelope import accumulated, events, ndjson, sse, told, wrapped
from fakes.metered import Metered
from fakes.mimic import Start, running, secrets_of, settings
from fakes.replies import (
    JSON_FIELDS,
    LAST_CHUNK,
    SSE_FIELDS,
    answer,
    chunk,
    cut,
    head,
    held,
    in_turn,
    reply,
    stream,
    stream_head,
)
from fakes.scrape import key
from fakes.token_service import TokenService

LINES = ((b"content-type", b"application/x-ndjson"),)
ENVELOPE = {
    "DIALECT": "envelope",
    "TOKEN_FORMAT": "{token}",
    "RETRY_DEAD_CONNECTION": "False",
    "TOKEN_MIN_REFRESH_INTERVAL": "0",
}
REFUSED = json.dumps({"errorCode": 401, "errorMessage": "token expired"}).encode()
HELLO = json.dumps(wrapped("Hello", usage={"prompt_tokens": 3, "completion_tokens": 2})).encode()


@pytest.fixture(scope="module")
async def _process(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Metered]:
    async with Backend() as backend, TokenService() as tokens:
        environ = settings(backend, tokens, **ENVELOPE, ENVELOPE_MODELS_URL=f"{backend.url}/list-of-models")
        async with running(environ, tmp_path_factory.mktemp("mimic"), secrets_of(tokens)) as mimic:
            yield Metered(mimic, backend, tokens)


@pytest.fixture
async def gateway(_process: Metered) -> AsyncIterator[Metered]:
    _process.backend.reset()
    yield _process
    _process.mimic.judge()
    _process.backend.reset()


def vectors(body: bytes) -> list[list[float]]:
    return [item["embedding"] for item in json.loads(body)["data"]]


def embeddings(inputs: object, **more: object) -> bytes:
    body = json.dumps({"model": "e", "input": inputs, **more}).encode()
    return request(b"POST", b"/v1/embeddings", body, JSON_FIELDS)


async def lengths(request: Request) -> None:
    """A gateway that embeds one text as its length."""
    await request.whole.wait()
    await request.send(answer(200, json.dumps({"data": {"content": [float(len(_text(request)))]}}).encode()))


def _text(request: Request) -> str:
    text: str = json.loads(request.body)["text"]
    return text


async def test_a_chat_goes_to_the_url_as_it_is_and_comes_back_as_openais_object(gateway: Metered) -> None:
    gateway.backend.script = reply(answer(200, HELLO))
    got = await ask(gateway.port, chat())
    sent = gateway.backend.requests[-1]
    assert (sent.method, sent.target) == (b"POST", b"/chat-base")
    assert json.loads(sent.body) == json.loads(CHAT_BODY)
    assert sent.value(b"authorization") == gateway.tokens.issued[-1].encode()
    assert got.status == 200
    assert told(got.body)["content"] == "Hello"
    assert json.loads(got.body)["usage"]["total_tokens"] == 5
    assert got.value(b"content-type") == b"application/json"


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (SSE_FIELDS, sse([wrapped("Hel"), wrapped("lo", finish="stop")])),
        (LINES, ndjson([wrapped("Hel"), wrapped("lo", finish="stop")])),
        (LINES, ndjson([wrapped("Hel"), wrapped("lo", finish="stop")])[:-1]),
        (JSON_FIELDS, HELLO),
    ],
    ids=["events", "lines", "no line end", "one document"],
)
async def test_a_stream_is_openais_whatever_the_gateway_sends(
    gateway: Metered, fields: tuple[tuple[bytes, bytes], ...], body: bytes
) -> None:
    gateway.backend.script = stream(body, fields=fields)
    got = await ask(gateway.port, chat(STREAM_BODY))
    assert (got.status, got.complete) == (200, True)
    assert got.value(b"content-type") == b"text/event-stream; charset=utf-8"
    assert accumulated(got.body)["content"] == "Hello"


async def test_events_are_given_out_as_they_come(gateway: Metered) -> None:
    gate = asyncio.Event()

    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(stream_head(), chunk(sse([wrapped("first")], done=False)))
        await gate.wait()
        await request.send(chunk(sse([wrapped("second")])), LAST_CHUNK)

    gateway.backend.script = play
    async with await Caller.connect(gateway.port) as caller:
        await caller.send(chat(STREAM_BODY))
        assert (await caller.head()).status == 200
        seen = await caller.body_until(b"first")
        gate.set()
        seen += await caller.body_until(b"[DONE]\n\n")
    assert accumulated(seen)["content"] == "firstsecond"


@pytest.mark.parametrize(
    "refusal",
    [reply(answer(200, REFUSED)), stream(sse([json.loads(REFUSED)], done=False)), reply(answer(401, REFUSED))],
    ids=["in a body", "as the first event", "by status"],
)
@pytest.mark.parametrize("body", [CHAT_BODY, STREAM_BODY], ids=["whole", "stream"])
async def test_a_refused_token_is_replaced_once_and_the_call_repeated(
    gateway: Metered, refusal: Script, body: bytes
) -> None:
    before = gateway.tokens.calls
    gateway.backend.script = in_turn(refusal, reply(answer(200, HELLO)))
    got = await ask(gateway.port, chat(body))
    assert got.status == 200
    assert b"Hello" in got.body
    first, second = gateway.backend.requests[-2:]
    assert first.body == second.body
    assert first.value(b"authorization") != second.value(b"authorization")
    assert gateway.tokens.calls == before + 1


async def test_a_token_that_is_refused_again_is_an_error_that_says_so(gateway: Metered) -> None:
    gateway.backend.script = reply(answer(200, REFUSED))
    # A model of its own: Mimic remembers for which one no token helps.
    got = await ask(gateway.port, chat(CHAT_BODY.replace(b'"model":"m"', b'"model":"refused"')))
    assert (got.status, got.error()["code"]) == (502, "upstream_auth_failed")


@pytest.mark.parametrize(
    ("status", "body", "expected", "words"),
    [
        (200, b'{"errorCode":429,"errorMessage":"too fast"}', 429, "too fast"),
        (200, b'{"errorCode":"E77","errorMessage":"odd"}', 502, "odd"),
        (200, b"<html>maintenance</html>", 502, "HTML"),
        (200, b'{"data":{"answer":"secret words"}}', 502, "data.content.content"),
        (503, b"", 503, "503"),
    ],
)
async def test_errors_have_openais_shape(gateway: Metered, status: int, body: bytes, expected: int, words: str) -> None:
    gateway.backend.script = reply(answer(status, body))
    got = await ask(gateway.port, chat())
    assert got.status == expected
    assert words in json.loads(got.body)["error"]["message"]
    assert b"secret words" not in got.body


async def test_a_stream_that_is_cut_ends_with_an_error_and_without_done(gateway: Metered) -> None:
    gateway.backend.script = cut(stream_head(), chunk(sse([wrapped("Hel")], done=False)))
    got = await ask(gateway.port, chat(STREAM_BODY))
    assert "error" in events(got.body)[-1]
    assert b"[DONE]" not in got.body


async def test_lines_that_end_with_their_connection_may_have_been_cut(gateway: Metered) -> None:
    """Without a length, chunks or a mark nothing tells the end from a cut: no caller is left to believe it whole."""
    unframed = head(200, [*LINES, (b"connection", b"close")]) + ndjson([wrapped("Hel"), wrapped("lo")])
    gateway.backend.script = reply(unframed, close=True)
    got = await ask(gateway.port, chat(STREAM_BODY))
    assert "ENVELOPE_STREAM_END=body" in events(got.body)[-1]["error"]["message"]
    gateway.backend.script = reply(answer(200, ndjson([wrapped("Hel"), wrapped("lo")]), LINES))
    assert accumulated((await ask(gateway.port, chat(STREAM_BODY))).body)["content"] == "Hello"


async def test_a_gzipped_answer_is_read(gateway: Metered) -> None:
    fields = (*JSON_FIELDS, (b"content-encoding", b"gzip"), (b"etag", b'"a"'), (b"x-region", b"eu"))
    gateway.backend.script = reply(answer(200, gzip.compress(HELLO), fields))
    got = await ask(gateway.port, chat())
    assert told(got.body)["content"] == "Hello"
    assert gateway.backend.requests[-1].value(b"accept-encoding") == b"identity"
    assert (got.value(b"content-encoding"), got.value(b"etag"), got.value(b"x-region")) == (None, None, b"eu")


async def test_embeddings_are_asked_for_one_by_one_and_come_back_in_order(gateway: Metered) -> None:
    running, most = 0, 0

    async def play(request: Request) -> None:
        nonlocal running, most
        await request.whole.wait()
        running += 1
        most = max(most, running)
        # The longer a text the sooner its answer.
        await asyncio.sleep(0.02 * (1 - len(_text(request)) / 100))
        running -= 1
        await lengths(request)

    gateway.backend.script = play
    inputs = ["x" * number for number in range(1, 41)]
    got = await ask(gateway.port, embeddings(inputs))
    assert got.status == 200
    assert vectors(got.body) == [[float(number)] for number in range(1, 41)]
    assert 1 < most <= 8


async def test_one_refused_token_among_many_embeddings_is_replaced_for_that_call(gateway: Metered) -> None:
    refused = False

    async def play(request: Request) -> None:
        nonlocal refused
        await request.whole.wait()
        if _text(request) == "xxx" and not refused:
            refused = True
            await request.send(answer(200, REFUSED))
        else:
            await lengths(request)

    gateway.backend.script = play
    got = await ask(gateway.port, embeddings(["x", "xx", "xxx", "xxxx"]))
    assert vectors(got.body) == [[1.0], [2.0], [3.0], [4.0]]
    assert len(gateway.backend.requests) == 5


async def test_the_first_error_ends_the_embeddings(gateway: Metered) -> None:
    async def play(request: Request) -> None:
        await request.whole.wait()
        if _text(request) == "bad":
            await request.send(answer(200, b'{"errorCode":429,"errorMessage":"too fast"}'))
        else:
            await lengths(request)

    gateway.backend.script = play
    got = await ask(gateway.port, embeddings(["bad"] + ["x"] * 100))
    assert (got.status, json.loads(got.body)["error"]["message"]) == (429, "too fast")
    assert len(gateway.backend.requests) < 30


@pytest.mark.parametrize("inputs", [[1, 2, 3], [[1, 2], [3]]], ids=["tokens", "lists of tokens"])
async def test_token_arrays_are_refused_with_what_helps(gateway: Metered, inputs: object) -> None:
    got = await ask(gateway.port, embeddings(inputs))
    assert (got.status, got.error()["code"]) == (400, "unsupported_input")
    assert "check_embedding_ctx_length" in got.error()["message"]
    assert gateway.backend.requests == []


async def test_a_caller_that_leaves_ends_the_calls_for_its_embeddings(gateway: Metered) -> None:
    never = asyncio.Event()
    gateway.backend.script = held(never, lengths)
    async with await Caller.connect(gateway.port) as caller:
        await caller.send(embeddings(["x", "xx"]))
        async with asyncio.timeout(5):
            while len(gateway.backend.requests) < 2:
                await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        for sent in gateway.backend.requests:
            await sent.connection.lost.wait()


async def test_models_are_listed_and_one_is_found_in_the_list(gateway: Metered) -> None:
    gateway.backend.script = reply(answer(200, b'{"data":[{"id":"org/large"},{"id":"small"}]}'))
    got = await ask(gateway.port, request(b"GET", b"/v1/models"), b"GET")
    assert [model["id"] for model in json.loads(got.body)["data"]] == ["org/large", "small"]
    assert gateway.backend.requests[-1].target == b"/list-of-models"
    one = await ask(gateway.port, request(b"GET", b"/v1/models/org%2Flarge"), b"GET")
    assert json.loads(one.body)["id"] == "org/large"
    none = await ask(gateway.port, request(b"GET", b"/v1/models/other"), b"GET")
    assert (none.status, none.error()["code"]) == (404, "model_not_found")


async def test_nothing_else_is_passed_through(gateway: Metered) -> None:
    got = await ask(gateway.port, request(b"POST", b"/v1/responses", b"{}", JSON_FIELDS))
    assert (got.status, got.error()["code"]) == (404, "unknown_route")
    assert "DIALECT=envelope" in got.error()["message"]
    assert gateway.backend.requests == []


async def test_without_a_place_for_models_those_that_worked_are_listed(start: Start, backend: Backend) -> None:
    async with start(**ENVELOPE) as mimic:
        backend.script = reply(answer(200, HELLO))
        assert (await ask(mimic.port, chat())).status == 200
        got = await ask(mimic.port, request(b"GET", b"/v1/models"), b"GET")
        assert [model["id"] for model in json.loads(got.body)["data"]] == ["m"]
        assert len(backend.requests) == 1


async def test_a_heartbeat_may_begin_what_becomes_a_stream_of_a_whole_answer(start: Start, backend: Backend) -> None:
    gate = asyncio.Event()
    async with start(**ENVELOPE, HEARTBEAT_AFTER="0.2") as mimic, await Caller.connect(mimic.port) as caller:
        backend.script = held(gate, reply(answer(200, HELLO)))
        await caller.send(chat(STREAM_BODY))
        seen = await caller.head()
        beats = await caller.body_until(b": ping\n\n")
        gate.set()
        rest = await caller.body_until(b"[DONE]\n\n")
    assert seen.status == 200
    assert accumulated((beats + rest).replace(b": ping\n\n", b""))["content"] == "Hello"


@pytest.mark.parametrize(
    ("script", "mode"),
    [(stream(sse([wrapped("a"), wrapped("b")])), "translated"), (reply(answer(200, HELLO)), "buffered")],
)
async def test_a_stream_is_counted_as_translated_or_buffered(gateway: Metered, script: Script, mode: str) -> None:
    gateway.backend.script = script
    before = await gateway.scrape()
    assert (await ask(gateway.port, chat(STREAM_BODY))).status == 200
    after = await gateway.scrape()
    series = key("mimic_streams_total", {"operation": "chat", "outcome": "completed", "mode": mode})
    assert after.counts[series] - before.counts.get(series, 0.0) == 1
