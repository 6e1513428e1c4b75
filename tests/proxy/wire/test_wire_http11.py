"""HTTP/1.1 as callers may and may not speak it (RFC 9112)."""

import asyncio
import contextlib

import pytest

from fakes.backend import Backend, Request
from fakes.caller import CHAT_BODY, STREAM_BODY, Caller, ask, chat, close_left_open, request
from fakes.mimic import Mimic, Start
from fakes.replies import COMPLETION, DONE, LAST_CHUNK, STORY, answer, chunk, echo, hang, held, ok, reply, stream_head
from fakes.token_service import TokenService

POST = b"POST /v1/chat/completions HTTP/1.1\r\n"
JSON = b"content-type: application/json\r\n"
HOST = b"host: localhost\r\n"
TWO = b"content-length: 2\r\n\r\n{}"
CHUNKED_TWO = b"\r\n2\r\n{}\r\n0\r\n\r\n"

ABUSES = {
    "content-length and transfer-encoding": POST
    + HOST
    + b"content-length: 2\r\ntransfer-encoding: chunked\r\n"
    + CHUNKED_TWO,
    "transfer-encoding and content-length": POST
    + HOST
    + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n"
    + CHUNKED_TWO,
    "two lengths that differ": POST + HOST + b"content-length: 3\r\n" + TWO,
    "the same length twice": POST + HOST + b"content-length: 2\r\n" + TWO,
    "a list of lengths": POST + HOST + b"content-length: 2, 2\r\n\r\n{}",
    "length with a sign": POST + HOST + b"content-length: +2\r\n\r\n{}",
    "negative length": POST + HOST + b"content-length: -2\r\n\r\n{}",
    "hexadecimal length": POST + HOST + b"content-length: 0x2\r\n\r\n{}",
    "length with a blank inside": POST + HOST + b"content-length: 2 2\r\n\r\n{}",
    "empty length": POST + HOST + b"content-length: \r\n\r\n{}",
    "length that overflows": POST + HOST + b"content-length: 99999999999999999999999\r\n\r\n{}",
    "gzip, chunked": POST + HOST + b"transfer-encoding: gzip, chunked\r\n" + CHUNKED_TWO,
    "chunked, gzip": POST + HOST + b"transfer-encoding: chunked, gzip\r\n" + CHUNKED_TWO,
    "gzip only": POST + HOST + b"transfer-encoding: gzip\r\n\r\n{}",
    "chunked twice": POST + HOST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n" + CHUNKED_TWO,
    "unknown coding": POST + HOST + b"transfer-encoding: xchunked\r\n" + CHUNKED_TWO,
    "chunked on HTTP/1.0": POST.replace(b"1.1", b"1.0") + HOST + b"transfer-encoding: chunked\r\n" + CHUNKED_TWO,
    "two hosts": POST + HOST + HOST + TWO,
    "two hosts that differ": POST + HOST + b"Host: 127.0.0.1\r\n" + TWO,
    "no host": POST + TWO,
    "a folded field": POST + HOST + b"x-folded: one\r\n two\r\n" + TWO,
    "a folded first field": POST + b" x: y\r\n" + HOST + TWO,
    "bare LF after a field": POST + HOST + b"x-bare: 1\n" + TWO,
    "bare LF after the request line": POST.replace(b"\r\n", b"\n") + HOST + TWO,
    "bare CR in a value": POST + HOST + b"x-bare: 1\r2\r\n" + TWO,
    "blank before the colon": POST + HOST + b"x-blank : 1\r\n" + TWO,
    "tab before the colon": POST + HOST + b"x-blank\t: 1\r\n" + TWO,
    "blank before the colon of a length": POST + HOST + b"content-length : 2\r\n\r\n{}",
    "no colon": POST + HOST + b"nonsense\r\n" + TWO,
    "no name": POST + HOST + b": 1\r\n" + TWO,
    "NUL in a value": POST + HOST + b"x-control: a\x00b\r\n" + TWO,
    "control character in a value": POST + HOST + b"x-control: a\x01b\r\n" + TWO,
    "DEL in a value": POST + HOST + b"x-control: a\x7fb\r\n" + TWO,
    "control character in a name": POST + HOST + b"x-\x01: a\r\n" + TWO,
    "separator in a name": POST + HOST + b"x(y): a\r\n" + TWO,
    "control character in the target": POST.replace(b"/v1/", b"/v1/\x01") + HOST + TWO,
    "blank in the target": POST.replace(b"/v1/", b"/v1/ x") + HOST + TWO,
    "no such method": b"NONSENSE" + POST[4:] + HOST + TWO,
    "lower-case method": b"post" + POST[4:] + HOST + TWO,
    "no version": b"POST /v1/chat/completions\r\n" + HOST + TWO,
    "HTTP/3.0": POST.replace(b"1.1", b"3.0") + HOST + TWO,
    "version without a name": POST.replace(b"HTTP/1.1", b"1.1") + HOST + TWO,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "noise": b"\x00\x01\x02\xff\r\n\r\n",
    "CONNECT": b"CONNECT backend.internal:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("data", ABUSES.values(), ids=ABUSES)
async def test_abuse_is_refused_and_the_connection_closed(mimic: Mimic, backend: Backend, data: bytes) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(data)
        got = await caller.response()
        assert 400 <= got.status < 500, got
        assert got.status != 404
        assert got.error()["type"] == "invalid_request_error"
        assert await caller.ended() == b""
    assert backend.requests == []


@pytest.mark.parametrize("path", [b"/v1/models", b"/openapi.json", b"/nonsense"])
@pytest.mark.parametrize("name", ["content-length and transfer-encoding", "two hosts", "gzip, chunked", "no host"])
async def test_abuse_is_refused_on_every_route(mimic: Mimic, backend: Backend, path: bytes, name: str) -> None:
    data = ABUSES[name].replace(b"/v1/chat/completions", path)
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(data)
        got = await caller.response()
        assert (got.status, got.error()["code"]) == (400, "invalid_request")
        assert await caller.ended() == b""


async def test_nothing_that_follows_an_abuse_is_taken_for_a_request(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(ABUSES["content-length and transfer-encoding"] + chat())
        assert (await caller.response()).status == 400
        assert await caller.ended() == b""
    assert backend.requests == []


@pytest.mark.parametrize("name", ["noise", "two hosts", "content-length and transfer-encoding"])
async def test_an_abuse_behind_a_request_never_tears_an_answer(mimic: Mimic, backend: Backend, name: str) -> None:
    backend.script = ok()
    answered = []
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat() + ABUSES[name])
        with contextlib.suppress(EOFError):
            while True:
                got = await caller.response()
                assert got.complete
                answered.append(got.status)
    assert answered in ([400], [200, 400], [200], [])


async def test_an_abuse_behind_a_running_stream_writes_nothing_into_it(mimic: Mimic, backend: Backend) -> None:
    gate = asyncio.Event()

    async def tell(request: Request) -> None:
        await request.send(stream_head(), chunk(STORY[:-20]))
        await gate.wait()
        await request.send(chunk(STORY[-20:]), LAST_CHUNK)

    backend.script = tell
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        seen = await caller.body_until(b"\n\n")
        await caller.send(ABUSES["noise"])
        gate.set()
        assert seen + await caller.body_until(DONE) == STORY
        assert await caller.data() == b""
        assert caller.complete
        assert (await caller.response()).status == 400
        assert await caller.ended() == b""


async def test_a_caller_that_floods_behind_its_request_is_dropped(mimic: Mimic, backend: Backend) -> None:
    backend.script = hang()
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat())
        seen = await backend.request()
        flood = asyncio.ensure_future(caller.send_if_open(chat() * 10_000))
        async with asyncio.timeout(5):
            await seen.connection.lost.wait()
        await flood


TOLERATED = {
    "absolute form": b"POST http://localhost/v1/chat/completions HTTP/1.1\r\n" + HOST + JSON + TWO,
    "an empty line before": b"\r\n" + POST + HOST + JSON + TWO,
    "no blank after the colon": POST + b"host:localhost\r\ncontent-type:application/json\r\ncontent-length:2\r\n\r\n{}",
    "blanks around a value": POST + b"host: \t localhost \t\r\n" + JSON + TWO,
    "upper-case names": POST + b"HOST: localhost\r\nCONTENT-TYPE: application/json\r\nCONTENT-LENGTH: 2\r\n\r\n{}",
    "Chunked in capitals": POST + HOST + JSON + b"Transfer-Encoding: Chunked\r\n" + CHUNKED_TWO,
    "chunk extensions": POST + HOST + JSON + b"transfer-encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0;c\r\n\r\n",
    "latin-1 in a value": POST + HOST + JSON + b"x-name: \xfc\r\n" + TWO,
    "an empty value": POST + HOST + JSON + b"x-empty:\r\n" + TWO,
}


@pytest.mark.parametrize("data", TOLERATED.values(), ids=TOLERATED)
async def test_what_the_standard_allows_is_served(mimic: Mimic, backend: Backend, data: bytes) -> None:
    backend.script = echo
    got = await ask(mimic.port, data)
    assert (got.status, got.body) == (200, b"{}")
    assert (await backend.request()).target == b"/chat-base/chat/completions"


@pytest.mark.parametrize("data", [chat(), ABUSES["two hosts"], request(b"GET", b"/openapi.json")])
async def test_bytes_may_come_one_by_one(mimic: Mimic, backend: Backend, data: bytes) -> None:
    backend.script = ok()
    expected = (await ask(mimic.port, data)).status
    async with await Caller.connect(mimic.port) as caller:
        for at in range(len(data)):
            await caller.send(data[at : at + 1])
        assert (await caller.response()).status == expected


async def test_an_asterisk_is_no_route(mimic: Mimic, backend: Backend) -> None:
    got = await ask(mimic.port, b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n", b"OPTIONS")
    assert got.status in (400, 404, 405)
    got.error()


async def test_connections_are_kept_alive(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    async with await Caller.connect(mimic.port) as caller:
        for data in (
            chat(),
            request(b"GET", b"/openapi.json"),
            chat(),
            request(b"POST", b"/v1/nonsense", b"{}"),
            chat(),
        ):
            await caller.send(data)
            assert (await caller.response()).complete
    assert len({id(seen.connection) for seen in backend.requests}) == 1


async def test_connection_close_is_honoured(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(fields=[(b"connection", b"close")]) + chat())
        got = await caller.response()
        assert (got.status, got.value(b"connection"), got.body) == (200, b"close", COMPLETION)
        assert await caller.ended() == b""
    assert len(backend.requests) == 1


async def test_http_1_0_closes_and_is_told_no_chunks(mimic: Mimic, backend: Backend) -> None:
    async with await Caller.connect(mimic.port) as caller:
        backend.script = reply(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        await caller.send(b"POST /v1/chat/completions HTTP/1.0\r\n" + JSON + TWO)
        got = await caller.response()
        assert (got.status, got.body, got.value(b"transfer-encoding")) == (200, b"abc", None)
        assert await caller.ended() == b""


async def test_pipelined_requests_are_answered_in_order(mimic: Mimic, backend: Backend) -> None:
    backend.script = echo
    bodies = [b'{"number":%d}' % number for number in range(8)]
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(b"".join(map(chat, bodies)))
        assert [(await caller.response()).body for _ in bodies] == bodies


async def test_pipelined_requests_of_both_kinds_are_answered_in_order(mimic: Mimic, backend: Backend) -> None:
    backend.script = echo
    openapi, unknown = request(b"GET", b"/openapi.json"), request(b"POST", b"/v1/nonsense", b"{}")
    sent = [chat(), openapi, chat(b"[]"), openapi, unknown, chat(), openapi, openapi, chat()]
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(b"".join(sent))
        statuses = [(await caller.response()).status for _ in sent]
    assert statuses == [200, 200, 400, 200, 404, 200, 200, 200, 200]


@pytest.mark.parametrize("many", [17, 18, 200])
async def test_any_number_of_requests_in_one_write_is_answered(mimic: Mimic, backend: Backend, many: int) -> None:
    """More than seventeen were all thrown away."""
    backend.script = echo
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(b"".join(chat(b'{"number":%d}' % number) for number in range(many)))
        assert [(await caller.response()).json()["number"] for _ in range(many)] == list(range(many))
    assert len(backend.requests) == many


async def test_many_pairs_of_pipelined_requests_pass_on_one_connection(mimic: Mimic, backend: Backend) -> None:
    """What waits is given back: nothing of a pair counts against the next."""
    backend.script = echo
    bodies = [b'{"number":%d,"more":"%b"}' % (number, b"x" * 20_000) for number in range(2)]
    async with await Caller.connect(mimic.port) as caller:
        for _ in range(100):
            await caller.send(b"".join(map(chat, bodies)))
            assert [(await caller.response()).body for _ in bodies] == bodies


async def test_a_chunked_request_with_a_trailer_waits_behind_a_running_call(mimic: Mimic, backend: Backend) -> None:
    gate = asyncio.Event()
    backend.script = held(gate, ok())
    coding = [(b"transfer-encoding", b"chunked")]
    behind = chat(b"2\r\n{}\r\n0\r\nauthorization: Bearer evil\r\nx-trailer: 1\r\n\r\n", coding)
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat() + behind[:-3])
        await caller.send(behind[-3:] + request(b"GET", b"/openapi.json"))
        await backend.request()
        gate.set()
        assert [(await caller.response()).status for _ in range(2)] == [200, 200]
        assert (await caller.response(b"GET")).status == 200
    seen = await backend.request(1)
    assert (seen.body, seen.value(b"x-trailer")) == (b"{}", None)
    assert b"evil" not in (seen.value(b"authorization") or b"")


@pytest.mark.parametrize("body", [CHAT_BODY, b"{}"])
async def test_an_offer_to_upgrade_is_ignored(mimic: Mimic, backend: Backend, body: bytes) -> None:
    backend.script = echo
    offer = [
        (b"connection", b"Upgrade, HTTP2-Settings"),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAEAAEAAAAIAAAAB"),
    ]
    async with await Caller.connect(mimic.port) as caller:
        for _ in range(2):
            await caller.send(chat(body, offer))
            got = await caller.response()
            assert (got.status, got.body) == (200, body)
    seen = await backend.request()
    assert [seen.value(name) for name in (b"upgrade", b"http2-settings")] == [None, None]
    assert b"upgrade" not in (seen.value(b"connection") or b"").lower()


async def test_what_connection_names_beside_an_offer_to_upgrade_stays_here(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    offer = [(b"connection", b"Upgrade, X-Hop"), (b"upgrade", b"h2c"), (b"x-hop", b"secret"), (b"x-other", b"1")]
    assert (await ask(mimic.port, chat(fields=offer))).status == 200
    seen = await backend.request()
    assert (seen.value(b"x-hop"), seen.value(b"x-other")) == (None, b"1")


async def test_an_offer_to_upgrade_with_a_chunked_body_in_pieces_is_ignored(mimic: Mimic, backend: Backend) -> None:
    backend.script = echo
    offer = [(b"connection", b"Upgrade"), (b"upgrade", b"h2c"), (b"transfer-encoding", b"chunked")]
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(b"2\r\n{", offer))
        await caller.send(b"}\r\n0\r\n")
        await caller.send(b"\r\n" + chat())
        assert [(await caller.response()).body for _ in range(2)] == [b"{}", CHAT_BODY]


@pytest.mark.parametrize("path", [b"/openapi.json", b"/v1/nonsense"])
async def test_a_websocket_is_not_opened(mimic: Mimic, backend: Backend, path: bytes) -> None:
    offer = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
    got = await ask(
        mimic.port, request(b"GET", path, None, [*offer, (b"sec-websocket-key", b"x" * 22 + b"==")]), b"GET"
    )
    assert got.status in (200, 400, 403, 404, 426)


async def test_expect_is_answered_by_mimic_and_never_goes_upstream(mimic: Mimic, backend: Backend) -> None:
    backend.script = echo
    sent = chat(fields=[(b"expect", b"100-continue")])
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(sent[: -len(CHAT_BODY)])
        interim = await caller.interim()
        assert interim == 100
        await caller.send(CHAT_BODY)
        assert (await caller.response()).body == CHAT_BODY
    assert (await backend.request()).value(b"expect") is None


async def test_a_body_that_is_too_large_is_not_asked_for(mimic: Mimic, backend: Backend) -> None:
    fields = [(b"expect", b"100-continue"), (b"content-length", b"34000000")]
    got = await ask(mimic.port, chat(b"", fields))
    assert (got.status, got.interim) == (413, [])


async def test_a_body_is_not_asked_for_while_no_token_is_held(
    backend: Backend, tokens: TokenService, start: Start
) -> None:
    tokens.script = hang()
    sent = chat(fields=[(b"expect", b"100-continue")])
    async with start(ready=False, TOKEN_TIMEOUT="0.5") as mimic:
        got = await ask(mimic.port, sent[: -len(CHAT_BODY)])
    assert (got.status, got.error()["code"], got.interim) == (503, "token_unavailable", [])


async def test_a_caller_of_http_1_0_is_sent_no_interim_answer(mimic: Mimic, backend: Backend) -> None:
    backend.script = echo
    sent = chat(fields=[(b"expect", b"100-continue")]).replace(b"HTTP/1.1", b"HTTP/1.0")
    got = await ask(mimic.port, sent)
    assert (got.status, got.interim) == (200, [])


async def test_no_caller_decides_where_a_request_goes(mimic: Mimic, backend: Backend) -> None:
    backend.script = reply(answer(200, b"{}"))
    fields = [
        (b"x-forwarded-host", b"evil.example"),
        (b"x-forwarded-proto", b"https"),
        (b"forwarded", b"host=evil.example"),
        (b"x-original-url", b"/admin"),
    ]
    data = request(b"POST", b"http://localhost:1/v1/chat/completions", CHAT_BODY, fields)
    assert (await ask(mimic.port, data)).status == 200
    seen = await backend.request()
    assert (seen.target, seen.value(b"host")) == (b"/chat-base/chat/completions", b"127.0.0.1:%d" % backend.port)


async def test_a_test_that_fails_leaves_no_caller_open(mimic: Mimic) -> None:
    caller = await Caller.connect(mimic.port)
    close_left_open()
    assert caller.closing
