"""What a backend that cannot be reached, fails, or breaks off adds to the metrics, exactly."""

from typing import Any

import pytest

from fakes.backend import Backend, Script
from fakes.caller import STREAM_BODY, ask, chat, request
from fakes.free_ports import free_port
from fakes.metered import Meter, Metered
from fakes.replies import (
    JSON_FIELDS,
    LAST_CHUNK,
    answer,
    chunk,
    cut,
    delta,
    head,
    in_turn,
    ok,
    reply,
    stream_head,
)
from fakes.scrape import attempt, events, exchange, one, total, usage, web

HTML = [(b"content-type", b"text/html")]
FIRST = delta("one")
ERROR_EVENT = b'data: {"error":{"message":"out of memory","type":"server_error","param":null,"code":null}}\n\n'
FAILED = b'{"error":{"message":"broken","type":"server_error","param":null,"code":null}}'


@pytest.mark.parametrize("word", ["connect", "dns", "tls"])
async def test_a_backend_that_cannot_be_reached(meter: Meter, word: str) -> None:
    """Embeddings and the list of models go there, chat does not."""
    async with Backend() as plain:
        url = {
            "connect": f"http://127.0.0.1:{free_port()}/v1",
            "dns": "http://backend.invalid/v1",
            "tls": f"https://127.0.0.1:{plain.port}/v1",
        }[word]
        async with meter(EMBEDDING_API_URL=url) as metered:
            before = await metered.scrape()
            got = await ask(metered.port, request(b"POST", b"/v1/embeddings", b'{"model":"m","input":"x"}'))
            assert (got.status, got.error()["code"]) == (502, "upstream_unreachable")
            failed = exchange("embeddings", 502, "upstream_error", upstream=None, error_type=word)
            await before.then(metered.mimic, failed, gauges={})
        plain.faults.clear()


FAULTS: dict[str, tuple[Script, dict[str, Any]]] = {
    "closed before its head": (cut(), {"upstream": None, "error_type": "reset"}),
    "reset before its head": (cut(reset=True), {"upstream": None, "error_type": "reset"}),
    "not HTTP": (reply(b"SSH-2.0-OpenSSH\r\n", close=True), {"upstream": None, "error_type": "protocol"}),
    "two lengths": (
        reply(head(200, [*JSON_FIELDS, (b"content-length", b"2"), (b"content-length", b"3")]), close=True),
        {"upstream": None, "error_type": "protocol"},
    ),
    "a head without an end": (
        reply(b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 70_000, close=True),
        {"upstream": None, "error_type": "protocol"},
    ),
    "a redirect": (
        reply(head(302, [(b"location", b"http://elsewhere.test/")])),
        {"upstream": 302, "error_type": "other"},
    ),
    "status 500": (reply(answer(500, FAILED)), {"code": 500, "upstream": 500, "error_type": "http_5xx"}),
    "status 503": (reply(answer(503, FAILED)), {"code": 503, "upstream": 503, "error_type": "http_5xx"}),
    "HTML of a proxy": (
        reply(answer(502, b"<html>Bad Gateway</html>", HTML)),
        {"code": 502, "upstream": 502, "error_type": "http_5xx"},
    ),
    "a body that breaks off": (
        cut(head(200, [*JSON_FIELDS, (b"content-length", b"99")]), b'{"id":'),
        {"code": 200, "error_type": "reset"},
    ),
}


@pytest.mark.parametrize(("script", "seen"), FAULTS.values(), ids=FAULTS)
async def test_a_backend_that_fails(metered: Metered, script: Script, seen: dict[str, Any]) -> None:
    metered.backend.script = script
    before = await metered.scrape()
    await ask(metered.port, chat())
    failed = exchange("chat", **{"code": 502, "outcome": "upstream_error", **seen})
    await before.then(metered.mimic, failed, gauges={})


STREAMS: dict[str, tuple[Script, dict[str, Any], int]] = {
    "failed before it began": (
        reply(answer(500, FAILED)),
        {"code": 500, "upstream": 500, "error_type": "http_5xx"},
        0,
    ),
    "began with an error": (
        reply(stream_head() + chunk(ERROR_EVENT) + LAST_CHUNK),
        {"code": 502, "upstream": 200, "error_type": "http_5xx"},
        1,
    ),
    "ended before its first event": (reply(stream_head() + LAST_CHUNK), {"code": 502, "error_type": "protocol"}, 0),
    "broke off": (cut(stream_head() + chunk(FIRST)), {"code": 200, "error_type": "reset"}, 1),
    "was reset": (cut(stream_head() + chunk(FIRST), reset=True), {"code": 200, "error_type": "reset"}, 1),
    "ended without its last event": (
        reply(stream_head() + chunk(FIRST) + LAST_CHUNK),
        {"code": 200, "error_type": "protocol"},
        1,
    ),
    "turned into an error": (
        reply(stream_head() + chunk(FIRST + ERROR_EVENT) + LAST_CHUNK),
        {"code": 200, "error_type": "other"},
        2,
    ),
}


@pytest.mark.parametrize(("script", "seen", "number"), STREAMS.values(), ids=STREAMS)
async def test_a_stream_that(metered: Metered, script: Script, seen: dict[str, Any], number: int) -> None:
    metered.backend.script = script
    before = await metered.scrape()
    got = await ask(metered.port, chat(STREAM_BODY))
    brought = events("chat", number, len(got.body), model="m" if got.status == 200 else None) if number else {}
    failed = exchange("chat", **{"outcome": "upstream_error", "stream": True, **seen})
    await before.then(metered.mimic, failed, brought, gauges={})


async def test_a_list_of_models_that_fails(metered: Metered) -> None:
    before = await metered.scrape()
    metered.backend.script = reply(answer(500, FAILED))
    await ask(metered.port, request(b"GET", b"/v1/models?one"), b"GET")
    metered.backend.script = cut()
    await ask(metered.port, request(b"GET", b"/v1/models?two"), b"GET")
    # The connection that brought the 500 was kept; its loss would be repeated, but for RETRY_DEAD_CONNECTION=False.
    tried = attempt("models", 500, "http_5xx"), attempt("models", None, "reset")
    failed = [web("models", code, "upstream_error") for code in (500, 502)]
    await before.then(metered.mimic, *failed, *tried, gauges={})


async def test_a_dead_kept_connection_costs_a_try_and_a_repetition(meter: Meter) -> None:
    async with meter(RETRY_DEAD_CONNECTION="True") as metered:
        metered.backend.script = in_turn(ok(), cut(), ok())
        assert (await ask(metered.port, chat())).status == 200
        before = await metered.scrape()
        assert (await ask(metered.port, chat())).status == 200
        repeated = total(attempt("chat", None, "reset"), one("mimic_retries_total", operation="chat", reason="connect"))
        tokens = usage("chat", input=1, output=1)
        await before.then(metered.mimic, exchange("chat", 200), repeated, tokens, gauges={})
