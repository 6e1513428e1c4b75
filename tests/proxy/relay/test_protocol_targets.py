"""Upgrade offers that are ignored, targets in all their forms, and pages and hosts that are refused."""

import pytest

from fakes.caller import CHAT_BODY, chat, request
from fakes.replies import COMPLETION
from fakes.transport import Line, turn
from fakes.world import World
from mimic_proxy.relay.access import OriginPolicy


def refused(line: Line, status: int, code: str) -> None:
    """Assert one answer, this one, and a connection that closes without a reset."""
    (response,) = line.responses()
    assert (response.status, response.error()["code"]) == (status, code)
    assert response.fields(b"connection") == [b"close"]
    assert (response.value(b"x-request-id") or b"").startswith(b"req_")
    assert line.transport.eof_written
    assert not line.transport.aborted


# ---- upgrade offers


@pytest.mark.parametrize("cut", [None, 60, -1])
async def test_an_offer_to_upgrade_is_ignored(cut: int | None) -> None:
    world = World()
    line = Line(world)
    offer = [(b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABk")]
    data = chat(CHAT_BODY, offer)
    if cut is None:
        await line.read(data)
    else:
        await line.read(data[:cut])
        await line.read(data[cut:])
    connection = world.pool.connections[0]
    sent = connection.request
    assert (sent.body, sent.fields(b"upgrade"), sent.fields(b"http2-settings")) == (CHAT_BODY, [], [])
    connection.answer(200, COMPLETION)
    await turn()
    await line.read(chat())
    connection.answer(200, COMPLETION)
    await turn()
    assert line.statuses == [200, 200]


async def test_an_offer_to_upgrade_that_says_close_is_the_last_request() -> None:
    world = World()
    line = Line(world)
    await line.read(chat(CHAT_BODY, [(b"connection", b"upgrade, close"), (b"upgrade", b"websocket")]))
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    assert (line.statuses, line.transport.lost) == ([200], True)


async def test_an_offer_to_upgrade_behind_another_request_waits_its_turn() -> None:
    world = World()
    line = Line(world)
    await line.read(chat() + chat(CHAT_BODY, [(b"connection", b"Upgrade"), (b"upgrade", b"h2c")]) + chat())
    for _ in range(3):
        world.pool.connections[0].answer(200, COMPLETION)
        await turn()
    assert line.statuses == [200, 200, 200]


async def test_an_old_caller_who_offers_an_upgrade_gets_no_chunks() -> None:
    world = World()
    line = Line(world)
    data = chat(CHAT_BODY, [(b"connection", b"Upgrade"), (b"upgrade", b"h2c")]).replace(b"HTTP/1.1", b"HTTP/1.0")
    await line.read(data)
    world.pool.connections[0].head(200, [(b"transfer-encoding", b"chunked")], COMPLETION, ended=True)
    await turn()
    assert line.responses()[0].fields(b"transfer-encoding") == []
    assert line.transport.lost


# ---- targets and origins


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v1/unknown?a=1", b"/v1/unknown"),
        (b"http://other.example/v1/unknown", b"/v1/unknown"),
        (b"HTTPS://other.example:1/v1/unknown?x=/", b"/v1/unknown"),
        (b"http://other.example", b"/"),
        (b"http://other.example?x=/v1/chat/completions", b"/"),
        (b"/v1/unknown#fragment", b"/v1/unknown"),
        (b"/v1/models/a%2Fb", b"/v1/models/a%2Fb"),
    ],
)
async def test_a_target_is_read_as_any_server_reads_it(target: bytes, path: bytes) -> None:
    line = Line(World())
    await line.read(request(b"GET", target))
    assert [scope["raw_path"] for scope in line.app.scopes] == [path]


async def test_the_application_gets_a_complete_scope() -> None:
    line = Line(World())
    await line.read(request(b"GET", b"/v1/models/a%2Fb?x=%20", None, [(b"X-Vendor", b"v")]))
    (scope,) = line.app.scopes
    assert (scope["type"], scope["method"], scope["http_version"]) == ("http", "GET", "1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
        "/v1/models/a/b",
        b"/v1/models/a%2Fb",
        b"x=%20",
    )
    assert (b"x-vendor", b"v") in scope["headers"]
    assert scope["client"] == ("127.0.0.1", 50000)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([(b"host", b"rebound.example")], "forbidden_host"),
        ([(b"origin", b"https://page.example")], "forbidden_origin"),
    ],
)
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/unknown"])
async def test_a_foreign_page_or_host_is_refused_everywhere(
    path: bytes, fields: list[tuple[bytes, bytes]], code: str
) -> None:
    world = World()
    line = Line(world)
    await line.read(request(b"POST", path, CHAT_BODY, fields))
    refused(line, 403, code)
    assert (line.app.scopes, world.pool.connections[0].sent) == ([], b"")


async def test_an_allowed_page_may_read_the_answer_and_ask_before() -> None:
    world = World()
    line = Line(world, origins=OriginPolicy(allowed_origins=("https://page.example",)))
    origin = (b"origin", b"https://page.example")
    asks = [origin, (b"access-control-request-headers", b"authorization, x-stainless-os")]
    await line.read(request(b"OPTIONS", b"/v1/chat/completions", None, asks))
    await line.read(chat(CHAT_BODY, [origin]))
    world.pool.connections[0].answer(200, COMPLETION)
    await turn()
    preflight, answer = line.responses(b"OPTIONS")
    assert preflight.status == 204
    assert preflight.value(b"access-control-allow-headers") == b"authorization, x-stainless-os"
    assert preflight.value(b"x-request-id") is not None
    for response in (preflight, answer):
        assert response.value(b"access-control-allow-origin") == b"https://page.example"
        assert response.value(b"vary") == b"origin"
    assert answer.value(b"access-control-expose-headers") == b"*"
