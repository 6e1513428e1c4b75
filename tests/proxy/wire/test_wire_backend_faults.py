"""A backend that answers wrongly, or not at all."""

import asyncio
import gzip

import pytest

from fakes.backend import Backend, Request, Script
from fakes.caller import Caller, ask, chat, request
from fakes.free_ports import free_port
from fakes.mimic import Mimic, Start
from fakes.replies import COMPLETION, JSON_FIELDS, LAST_CHUNK, answer, chunk, cut, head, ok, reply, stream_head

HTML = b"<!doctype html><title>Sign in to the captive portal</title>"
LENGTH_TWO = (b"content-length", b"2")
UPLOAD_BYTES = 120_000_000
"""More than the kernel's buffers take on the whole way."""
STALL_SECONDS = 0.5
CHUNKED = (b"transfer-encoding", b"chunked")


async def test_a_refused_connection_and_a_name_that_does_not_resolve_are_unreachable(start: Start) -> None:
    bases = {
        "CHAT_API_URL": f"http://127.0.0.1:{free_port()}/v1",
        "EMBEDDING_API_URL": "http://no-such-backend.invalid/v1",
    }
    async with start(**bases) as mimic:
        refused = await ask(mimic.port, chat())
        unknown = await ask(mimic.port, request(b"POST", b"/v1/embeddings", b"{}"))
        upload = await ask(mimic.port, request(b"POST", b"/v1/files", b"x" * 1000, [(b"content-type", b"text/plain")]))
    for got in (refused, unknown, upload):
        assert (got.status, got.error()["code"], got.error()["type"]) == (502, "upstream_unreachable", "upstream_error")
    assert "no-such-backend.invalid" in unknown.error()["message"]


UNREADABLE: dict[str, Script] = {
    "no HTTP": reply(b"220 smtp.example ESMTP\r\n", close=True),
    "HTTP/2 preface": reply(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", close=True),
    "closes without an answer": cut(),
    "resets without an answer": cut(reset=True),
    "closes within the head": cut(b"HTTP/1.1 200 OK\r\ncontent-ty"),
    "a head beyond 64 KiB": reply(head(200, [(b"x-large", b"y" * 70_000), LENGTH_TWO]) + b"{}"),
    "an endless head": reply(b"HTTP/1.1 200 OK\r\nx-large: " + b"y" * 200_000),
    "more than 128 fields": reply(head(200, [*((b"x-%d" % n, b"y") for n in range(200)), LENGTH_TWO]) + b"{}"),
    "length and chunked": reply(head(200, [LENGTH_TWO, CHUNKED]) + chunk(b"{}") + LAST_CHUNK),
    "two lengths": reply(head(200, [LENGTH_TWO, (b"content-length", b"3")]) + b"{}}"),
    "odd length": reply(head(200, [(b"content-length", b"+2")]) + b"{}"),
    "gzip, chunked": reply(head(200, [(b"transfer-encoding", b"gzip, chunked")]) + chunk(b"{}") + LAST_CHUNK),
    "chunked on HTTP/1.0": reply(
        head(200, [CHUNKED]).replace(b"1.1", b"1.0", 1) + chunk(b"{}") + LAST_CHUNK, close=True
    ),
    "blank before the colon": reply(b"HTTP/1.1 200 OK\r\nx-blank : 1\r\ncontent-length: 2\r\n\r\n{}"),
    "a folded field": reply(b"HTTP/1.1 200 OK\r\nx-folded: 1\r\n 2\r\ncontent-length: 2\r\n\r\n{}"),
    "NUL in a value": reply(b"HTTP/1.1 200 OK\r\nx-control: a\x00b\r\ncontent-length: 2\r\n\r\n{}"),
    "bare CR in a value": reply(b"HTTP/1.1 200 OK\r\nx-control: a\rset-cookie: b\r\ncontent-length: 2\r\n\r\n{}"),
    "status out of range": reply(b"HTTP/1.1 1000 OK\r\ncontent-length: 2\r\n\r\n{}"),
    "switches protocols": reply(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", close=True
    ),
}


@pytest.mark.parametrize("script", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_is_no_answer_is_a_502_and_the_connection_is_dropped(
    mimic: Mimic, backend: Backend, script: Script
) -> None:
    _drop_idle(backend)
    backend.script = script
    got = await ask(mimic.port, chat())
    assert got.status == 502
    assert got.error()["code"] in ("upstream_bad_response", "upstream_unreachable")
    await backend.until(lambda: not backend.in_use)
    assert len(backend.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_passed_on(mimic: Mimic, backend: Backend, status: int) -> None:
    backend.script = reply(answer(status, b"moved", [(b"location", b"https://elsewhere.example/v1/chat/completions")]))
    got = await ask(mimic.port, chat())
    assert (got.status, got.error()["code"]) == (502, "upstream_bad_response")
    assert got.value(b"location") is None
    assert len(backend.requests) == 1


async def test_html_with_status_200_is_the_callers_to_see(mimic: Mimic, backend: Backend) -> None:
    backend.script = reply(answer(200, HTML, [(b"content-type", b"text/html")]))
    for body in (b"{}", b'{"stream":true}'):
        got = await ask(mimic.port, chat(body))
        assert (got.status, got.body, got.value(b"content-type"), got.complete) == (200, HTML, b"text/html", True)


async def test_gzip_despite_identity_passes_as_it_is(mimic: Mimic, backend: Backend) -> None:
    packed = gzip.compress(COMPLETION)
    backend.script = reply(answer(200, packed, [*JSON_FIELDS, (b"content-encoding", b"gzip")]))
    got = await ask(mimic.port, chat(fields=[(b"accept-encoding", b"identity")]))
    assert (got.body, got.value(b"content-encoding")) == (packed, b"gzip")
    assert got.value(b"content-length") == b"%d" % len(packed)


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
async def test_interim_answers_of_the_backend_are_stepped_over(mimic: Mimic, backend: Backend, interim: bytes) -> None:
    async def hint(request: Request) -> None:
        await request.whole.wait()
        await request.send(b"HTTP/1.1 %s\r\nlink: </x>\r\n\r\n" % interim * 3, answer(200, COMPLETION))

    backend.script = hint
    async with await Caller.connect(mimic.port) as caller:
        for _ in range(2):
            await caller.send(chat())
            got = await caller.response()
            assert (got.status, got.body, got.value(b"link")) == (200, COMPLETION, None)
    assert len({id(seen.connection) for seen in backend.requests}) == 1


async def test_endless_interim_answers_end_somewhere(mimic: Mimic, backend: Backend) -> None:
    async def hint(request: Request) -> None:
        while True:
            await request.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 100)

    backend.script = hint
    got = await ask(mimic.port, chat())
    assert (got.status, got.error()["code"]) == (502, "upstream_bad_response")
    await backend.until(lambda: not backend.in_use)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_close_delimited_body_is_whole_at_the_backends_fin(
    mimic: Mimic, backend: Backend, version: bytes
) -> None:
    backend.script = reply(head(200, JSON_FIELDS).replace(b"1.1", version, 1) + COMPLETION, close=True)
    got = await ask(mimic.port, chat())
    assert (got.body, got.complete) == (COMPLETION, True)


async def test_a_close_delimited_body_that_is_reset_is_a_cut(mimic: Mimic, backend: Backend) -> None:
    gate = asyncio.Event()

    async def tell(request: Request) -> None:
        await request.send(head(200, JSON_FIELDS), COMPLETION[:20])
        await gate.wait()
        request.connection.reset()

    backend.script = tell
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat())
        assert (await caller.head()).status == 200
        seen = await caller.body_until(COMPLETION[:20])
        gate.set()
        while data := await caller.data():
            seen += data
        assert seen == COMPLETION[:20]
        assert not caller.complete


async def test_trailers_of_the_backend_are_dropped(mimic: Mimic, backend: Backend) -> None:
    ending = b"0\r\nset-cookie: a=1\r\nx-trailer: 1\r\n\r\n"
    backend.script = reply(stream_head(JSON_FIELDS) + chunk(COMPLETION) + ending)
    async with await Caller.connect(mimic.port) as caller:
        for _ in range(2):
            await caller.send(chat())
            got = await caller.response()
            assert (got.body, got.value(b"x-trailer"), got.complete) == (COMPLETION, None, True)


async def test_bytes_behind_an_answer_reach_nobody(mimic: Mimic, backend: Backend) -> None:
    smuggled = answer(200, b'{"of":"somebody else"}')
    backend.script = reply(answer(200, COMPLETION) + smuggled)
    async with await Caller.connect(mimic.port) as caller:
        for _ in range(3):
            await caller.send(chat())
            assert (await caller.response()).body == COMPLETION
    assert len({id(seen.connection) for seen in backend.requests}) == 3


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_gets_none_from_the_bytes_behind_it(
    mimic: Mimic, backend: Backend, status: int
) -> None:
    backend.script = reply(head(status, [(b"content-length", b"%d" % len(COMPLETION))]) + COMPLETION)
    async with await Caller.connect(mimic.port) as caller:
        for _ in range(2):
            await caller.send(chat())
            got = await caller.response()
            assert (got.status, got.body, got.complete) == (status, b"", True)
    assert len({id(seen.connection) for seen in backend.requests}) == 2


async def test_bytes_on_an_idle_connection_reach_nobody(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    await ask(mimic.port, chat())
    idle = backend.requests[0].connection
    await idle.send(answer(200, b'{"of":"somebody else"}'))
    await idle.lost.wait()
    assert (await ask(mimic.port, chat())).body == COMPLETION


async def test_a_backend_that_says_close_is_not_used_again(mimic: Mimic, backend: Backend) -> None:
    backend.script = reply(answer(200, COMPLETION, [*JSON_FIELDS, (b"connection", b"close")]))
    for _ in range(2):
        got = await ask(mimic.port, chat())
        assert (got.body, got.complete) == (COMPLETION, True)
    assert len({id(seen.connection) for seen in backend.requests}) == 2


async def test_a_backends_early_refusal_of_an_upload_comes_back(mimic: Mimic, backend: Backend) -> None:
    refusal = b'{"error":{"message":"too large for me"}}'

    async def refuse(request: Request) -> None:
        await request.send(answer(413, refusal))

    backend.script = refuse
    fields = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"8000000")]
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", b"/v1/files", b"x" * 100_000, fields))
        got = await caller.response()
        assert (got.status, got.body) == (413, refusal)
    await backend.until(lambda: not backend.requests[0].connection.open)


async def test_a_caller_that_sends_on_after_an_early_answer_gets_to_read_it(mimic: Mimic, backend: Backend) -> None:
    refusal = b'{"error":{"message":"too large for me"}}'

    async def refuse(request: Request) -> None:
        await request.send(answer(413, refusal))
        request.connection.stop_reading()

    backend.script = refuse
    fields = [(b"content-type", b"multipart/form-data; boundary=x")]
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", b"/v1/files", b"x" * 16_000_000, fields))
        got = await caller.response()
        assert (got.status, got.body, got.complete) == (413, refusal, True)


async def test_an_upload_is_held_back_by_a_backend_that_does_not_read(backend: Backend, start: Start) -> None:
    gate = asyncio.Event()

    async def slow(request: Request) -> None:
        request.connection.stop_reading()
        await gate.wait()
        request.connection.go_on_reading()
        await request.whole.wait()
        await request.send(answer(200, b"%d" % len(request.received)))

    backend.script = slow
    async with start(MAX_BODY_BYTES=f"{UPLOAD_BYTES}") as mimic, await Caller.connect(mimic.port) as caller:
        before = mimic.resident_bytes
        data = request(b"POST", b"/v1/files", b"x" * UPLOAD_BYTES, [(b"content-type", b"application/octet-stream")])
        sending = asyncio.ensure_future(caller.send(data))
        await backend.until(lambda: bool(backend.requests))
        done, _ = await asyncio.wait([sending], timeout=STALL_SECONDS)
        assert not done, "the caller has to wait for the backend"
        assert mimic.resident_bytes - before < 12_000_000
        gate.set()
        await sending
        assert (await caller.response()).body == b"%d" % UPLOAD_BYTES


def _drop_idle(backend: Backend) -> None:
    """So that the next request goes out on a fresh connection, or is replayed on one."""
    for connection in backend.open_connections:
        connection.cancel()
    backend.requests.clear()
