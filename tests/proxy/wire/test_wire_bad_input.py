"""What a caller may get wrong: each with its status, its code and a message that helps."""

import asyncio
import json

import pytest

from fakes.backend import Backend
from fakes.caller import CHAT_BODY, Caller, Response, ask, chat, request
from fakes.mimic import PROMPT, Mimic, Start
from fakes.replies import answer, hang, head, ok, reply

MIB = 1024 * 1024
TOO_LARGE = 33 * MIB


def refused(got: Response, status: int, code: str) -> dict[str, object]:
    """Assert the shape of an error that Mimic originated; the error object."""
    error = got.error()
    assert (got.status, error["code"]) == (status, code), got
    assert (got.value(b"content-type") or b"").startswith(b"application/json")
    assert got.value(b"content-length") == b"%d" % len(got.body)
    assert got.value(b"x-request-id")
    assert PROMPT not in str(error["message"])
    assert "Traceback" not in str(error["message"])
    return error


NO_OBJECTS = {
    "empty": b"",
    "blank": b" \r\n",
    "no JSON": b"model=m&prompt=" + PROMPT.encode(),
    "cut": CHAT_BODY[:-3],
    "trailing": CHAT_BODY + b"}",
    "array": b"[" + CHAT_BODY + b"]",
    "string": b'"' + PROMPT.encode() + b'"',
    "null": b"null",
    "deep": b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
}


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/embeddings"])
@pytest.mark.parametrize("body", NO_OBJECTS.values(), ids=NO_OBJECTS)
async def test_a_body_that_is_no_json_object_is_refused_in_words(
    mimic: Mimic, backend: Backend, path: bytes, body: bytes
) -> None:
    error = refused(await ask(mimic.port, request(b"POST", path, body)), 400, "invalid_request")
    assert error["type"] == "invalid_request_error"
    assert "JSON" in str(error["message"]) or "nested" in str(error["message"])
    assert backend.requests == []


BACKENDS_TO_JUDGE = {
    "no model": b'{"messages":[]}',
    "model is a number": b'{"model":1.0,"messages":[]}',
    "stream is a string": b'{"model":"m","stream":"yes"}',
    "n is a list": b'{"model":"m","n":[1]}',
    "stream_options without stream": b'{"model":"m","stream_options":{"include_usage":true}}',
    "stream_options is a string": b'{"model":"m","stream":true,"stream_options":"all"}',
    "empty object": b"{}",
    "huge numbers": b'{"model":"m","n":1e999,"max_tokens":99999999999999999999999}',
    "bytes that are no UTF-8": b'{"model":"m","user":"\xff\xfe"}',
    "same key twice": b'{"model":"a","model":"b"}',
}


@pytest.mark.parametrize("body", BACKENDS_TO_JUDGE.values(), ids=BACKENDS_TO_JUDGE)
async def test_what_only_the_backend_can_judge_passes_and_its_refusal_comes_back(
    mimic: Mimic, backend: Backend, body: bytes
) -> None:
    refusal = b'{"error": {"message": "you must provide a model parameter", "code": null}}'
    backend.script = reply(answer(400, refusal))
    got = await ask(mimic.port, chat(body))
    assert (got.status, got.body) == (400, refusal)
    assert (await backend.request()).body == body


async def test_a_body_beyond_the_limit_is_refused_by_its_content_length(mimic: Mimic, backend: Backend) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(b"{", [(b"content-length", b"%d" % TOO_LARGE)]))
        error = refused(await caller.response(), 413, "request_too_large")
    assert "33554432" in str(error["message"]) or "MAX_BODY_BYTES" in str(error["message"])
    assert backend.requests == []


async def test_a_caller_that_sends_all_of_a_body_beyond_the_limit_gets_to_read_the_refusal(
    mimic: Mimic, backend: Backend
) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(b'{"a":"' + b"x" * (TOO_LARGE - 8) + b'"}'))
        refused(await caller.response(), 413, "request_too_large")


async def test_a_chunked_body_beyond_the_limit_is_refused_on_the_way(mimic: Mimic, backend: Backend) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(b"", [(b"transfer-encoding", b"chunked")]))
        for _ in range(33):
            await caller.send(b"%x\r\n" % MIB + b" " * MIB + b"\r\n")
        refused(await caller.response(), 413, "request_too_large")
    assert backend.requests == []


async def test_an_upload_beyond_the_limit_is_refused_and_its_backend_connection_ended(
    backend: Backend, start: Start
) -> None:
    backend.script = hang()
    fields = [(b"content-type", b"multipart/form-data; boundary=x"), (b"transfer-encoding", b"chunked")]
    async with start(MAX_UPLOAD_BYTES="2000000") as mimic, await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", b"/v1/files", b"", fields))
        for _ in range(3):
            await caller.send(b"%x\r\n" % MIB + b" " * MIB + b"\r\n")
        error = refused(await caller.response(), 413, "request_too_large")
        assert "MAX_UPLOAD_BYTES" in str(error["message"])
    await backend.until(lambda: not backend.in_use)


async def test_an_upload_may_be_larger_than_any_body_that_is_held(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    fields = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"%d" % (40 * MIB))]
    before = mimic.resident_bytes
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", b"/v1/files", b"", fields))
        for _ in range(40):
            await caller.send(b"x" * MIB)
        assert (await caller.response()).status == 200
    assert len((await backend.request()).received) == 40 * MIB
    assert mimic.resident_bytes - before < 20 * MIB


async def test_max_body_bytes_is_a_setting(backend: Backend, start: Start) -> None:
    backend.script = ok()
    async with start(MAX_BODY_BYTES="100") as mimic:
        assert (await ask(mimic.port, chat(b'{"model":"m"}' + b" " * 87))).status == 200
        refused(await ask(mimic.port, chat(b'{"model":"m"}' + b" " * 88)), 413, "request_too_large")


async def test_full_buffers_of_all_exchanges_refuse_the_next_body(backend: Backend, start: Start) -> None:
    backend.script = ok()
    part = b'{"model":"m","user":"' + b"x" * 700_000
    whole = [(b"content-length", b"%d" % (len(part) + 2))]
    async with (
        start(MAX_BODY_BYTES="1000000", MAX_BUFFERED_BYTES="1000000") as mimic,
        await Caller.connect(mimic.port) as first,
    ):
        await first.send(chat(part, whole))
        got = await _until_refused(mimic, chat(part + b'"}'))
        error = refused(got, 503, "overloaded")
        assert int(got.value(b"retry-after-ms") or b"0") > 0
        assert "MAX_BUFFERED_BYTES" in str(error["message"]) or "buffer" in str(error["message"])
        await first.send(b'"}')
        assert (await first.response()).status == 200
        assert (await ask(mimic.port, chat(part + b'"}'))).status == 200


async def _until_refused(mimic: Mimic, data: bytes) -> Response:
    """Ask until the bytes of the other caller have arrived in Mimic, so that there is no room."""
    async with asyncio.timeout(5):
        got = await ask(mimic.port, data)
        while got.status == 200:
            got = await ask(mimic.port, data)
    return got


UNKNOWN = [
    (b"POST", b"/v1/nonsense"),
    (b"GET", b"/nonsense"),
    (b"POST", b"/v1/chat/completion"),
    (b"POST", b"/v1/chat/completions/"),
    (b"POST", b"/v1//chat/completions"),
    (b"POST", b"/chat/completions"),
    (b"GET", b"/v1/organization/users"),
    (b"GET", b"/v1/organization/projects"),
    (b"GET", b"/v1/realtime"),
    (b"GET", b"/v1/files/../organization/users"),
    (b"GET", b"/v1/files/%2e%2e/organization/users"),
    (b"GET", b"/v1/files/%2E./x"),
    (b"POST", b"/v1/images/../chat/completions"),
    (b"GET", b"/v1/files/x%2f%2fy"),
    (b"GET", b"/v1/files/x\\..\\y"),
    (b"GET", b"/v1/files/x%5cy"),
    (b"GET", b"/v1/files/..%00/organization"),
    (b"GET", b"/v1/files/..%20/organization"),
    (b"GET", b"/v1/files/%252e%252e/organization"),
]


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
async def test_unknown_routes_are_told_in_the_openai_shape(
    mimic: Mimic, backend: Backend, method: bytes, path: bytes
) -> None:
    body = b"{}" if method == b"POST" else None
    refused(await ask(mimic.port, request(method, path, body), method), 404, "unknown_route")
    assert backend.requests == []


WRONG_METHODS = [
    (b"GET", b"/v1/embeddings", b"POST"),
    (b"PUT", b"/v1/chat/completions", b"POST"),
    (b"PATCH", b"/v1/embeddings", b"POST"),
    (b"POST", b"/v1/models", b"GET"),
    (b"DELETE", b"/v1/moderations", b"POST"),
    (b"PUT", b"/v1/models/m", b"GET"),
    (b"OPTIONS", b"/v1/chat/completions", b"POST"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), WRONG_METHODS)
async def test_wrong_methods_are_told_with_the_right_ones(
    mimic: Mimic, backend: Backend, method: bytes, path: bytes, allowed: bytes
) -> None:
    got = await ask(mimic.port, request(method, path, b"{}" if method != b"GET" else None), method)
    refused(got, 405, "method_not_allowed")
    assert allowed in (got.value(b"allow") or b"")
    assert backend.requests == []


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/embeddings", b"/v1/files", b"/v1/files/f/content"])
async def test_head_is_not_relayed(mimic: Mimic, backend: Backend, path: bytes) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"HEAD", path, None, [(b"connection", b"close")]))
        got = await caller.response(b"HEAD")
        assert (got.status, got.body) == (405, b"")
        assert await caller.ended() == b""
    assert backend.requests == []


BROKEN_CHUNKS = {
    "size is no number": b"xyz\r\n{}\r\n0\r\n\r\n",
    "size is negative": b"-2\r\n{}\r\n0\r\n\r\n",
    "size with prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "size overflows": b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "data longer than its size": b"1\r\n{}\r\n0\r\n\r\n",
    "no line end after the data": b"2\r\n{}0\r\n\r\n",
    "bare LF": b"2\n{}\n0\n\n",
}


@pytest.mark.parametrize("body", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
async def test_broken_chunked_encoding_is_refused_and_the_connection_closed(
    mimic: Mimic, backend: Backend, body: bytes
) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(chat(body, [(b"transfer-encoding", b"chunked")]))
        refused(await caller.response(), 400, "invalid_request")
        assert await caller.ended() == b""
    assert backend.requests == []


async def test_broken_chunks_in_an_upload_reach_no_backend_as_a_whole_request(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    fields = [(b"content-type", b"multipart/form-data; boundary=x"), (b"transfer-encoding", b"chunked")]
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", b"/v1/files", b"3\r\nabc\r\n", fields))
        await caller.send(b"xyz\r\n")
        await caller.ended()
    assert not any(seen.whole.is_set() for seen in backend.requests)
    await backend.until(lambda: not backend.in_use)


LARGE_HEADS = {
    "100 KB in one field": [(b"x-large", b"y" * 100_000)],
    "100 KB in many fields": [(b"x-large-%d" % number, b"y" * 1000) for number in range(100)],
    "129 fields": [(b"x-%d" % number, b"y") for number in range(129)],
}


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/models", b"/nonsense"])
@pytest.mark.parametrize("fields", LARGE_HEADS.values(), ids=LARGE_HEADS)
async def test_heads_beyond_the_limits_are_refused(
    mimic: Mimic, backend: Backend, path: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", path, b"{}", fields))
        refused(await caller.response(), 431, "head_too_large")
        await caller.ended()
    assert backend.requests == []


async def test_a_target_of_100_kb_is_refused(mimic: Mimic, backend: Backend) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", b"/v1/chat/completions?" + b"q" * 100_000, b"{}"))
        refused(await caller.response(), 431, "head_too_large")
        await caller.ended()


async def test_an_endless_head_is_cut_off(mimic: Mimic, backend: Backend) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx: ")
        for _ in range(10):
            await caller.send_if_open(b"y" * 40_000)
        refused(await caller.response(), 431, "head_too_large")
        await caller.ended()


async def test_a_head_within_the_limits_passes(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    fields = [(b"x-%d" % number, b"y" * 480) for number in range(120)]
    assert (await ask(mimic.port, chat(fields=fields))).status == 200
    assert (await backend.request()).value(b"x-119") == b"y" * 480


async def test_fields_after_the_body_are_neither_counted_nor_passed_on(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    body = b"2\r\n{}\r\n0\r\nauthorization: Bearer x\r\nx-trailer: 1\r\n\r\n"
    assert (await ask(mimic.port, chat(body, [(b"transfer-encoding", b"chunked")]))).status == 200
    seen = await backend.request()
    assert seen.value(b"x-trailer") is None
    assert (seen.value(b"authorization") or b"").startswith(b"Bearer fake-access-token-")


async def test_an_error_is_not_cut_by_bytes_that_the_caller_still_sends(mimic: Mimic, backend: Backend) -> None:
    async with await Caller.connect(mimic.port) as caller:
        await caller.send(request(b"POST", b"/v1/nonsense", b"x" * (8 * MIB)))
        refused(await caller.response(), 404, "unknown_route")


async def test_the_openapi_document_is_served(mimic: Mimic, backend: Backend) -> None:
    got = await ask(mimic.port, request(b"GET", b"/openapi.json"), b"GET")
    assert got.status == 200
    assert "/v1/models" in json.loads(got.body)["paths"]


async def test_an_answer_without_content_is_no_stream(mimic: Mimic, backend: Backend) -> None:
    backend.script = reply(head(200, [(b"content-length", b"0")]))
    got = await ask(mimic.port, chat())
    assert (got.status, got.body, got.complete) == (200, b"", True)
