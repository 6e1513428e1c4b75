"""What reaches the backend, and what comes back, is what was sent: byte for byte, but for the header table."""

import re

import pytest

from fakes.backend import Backend, Request
from fakes.caller import Response, ask, request
from fakes.mimic import Mimic, Start, eventually
from fakes.replies import answer, chunk, echo, head, reply

PICTURE_BYTES = 20 * 1024 * 1024
ODD_BODY = (
    '{ "zeta" : 1.0,"model":"m","temperature":0.70,"n":1,"seed":12345678901234567890,"big":1e400,\t"dup":1,"dup":2,\r\n'
    '"messages":[{"role":"user","content":"grüße \\u00e9 😀 \\ud83d\\ude00 \\/"}],'
    '"vendor_field":{"b":[1.0,-0,1E+2],"a":null}}  \n'
).encode()
FORM = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n\x00\xff\r\n\r\n--xyz--\r\n'
MULTIPART = (b"content-type", b"multipart/form-data; boundary=xyz")
ODD_QUERY = b"a=b%20c&x=%2F&x=2&empty=&plus=+&%7e=~"

# Method, raw path after /v1, body, fields of the body, the base that it goes to.
ROUTES = [
    (b"POST", b"/chat/completions", ODD_BODY, (), b"/chat-base"),
    (b"POST", b"/embeddings", ODD_BODY, (), b"/embedding-base"),
    (b"GET", b"/chat/completions", None, (), b"/chat-base"),
    (b"GET", b"/chat/completions/chatcmpl%2F1", None, (), b"/chat-base"),
    (b"POST", b"/chat/completions/chatcmpl-1", ODD_BODY, (), b"/chat-base"),
    (b"DELETE", b"/chat/completions/chatcmpl-1", None, (), b"/chat-base"),
    (b"GET", b"/chat/completions/chatcmpl-1/messages", None, (), b"/chat-base"),
    (b"POST", b"/completions", ODD_BODY, (), b"/chat-base"),
    (b"POST", b"/responses", ODD_BODY, (), b"/chat-base"),
    (b"GET", b"/responses/resp_%C3%A9", None, (), b"/chat-base"),
    (b"DELETE", b"/responses/resp_1", None, (), b"/chat-base"),
    (b"POST", b"/responses/resp_1/cancel", None, (), b"/chat-base"),
    (b"POST", b"/responses/resp_2/cancel", b"", (), b"/chat-base"),
    (b"GET", b"/responses/resp_1/input_items", None, (), b"/chat-base"),
    (b"POST", b"/moderations", ODD_BODY, (), b"/chat-base"),
    (b"POST", b"/images/generations", ODD_BODY, (), b"/chat-base"),
    (b"POST", b"/images/edits", FORM, (MULTIPART,), b"/chat-base"),
    (b"POST", b"/audio/speech", ODD_BODY, (), b"/chat-base"),
    (b"POST", b"/audio/transcriptions", FORM, (MULTIPART,), b"/chat-base"),
    (b"POST", b"/audio/translations", FORM, (MULTIPART,), b"/chat-base"),
    (b"GET", b"/files", None, (), b"/chat-base"),
    (b"POST", b"/files", FORM, (MULTIPART,), b"/chat-base"),
    (b"GET", b"/files/a%2fb%2Fc/content", None, (), b"/chat-base"),
    (b"DELETE", b"/files/file-1", None, (), b"/chat-base"),
    (b"POST", b"/batches", ODD_BODY, (), b"/chat-base"),
    (b"GET", b"/batches/batch_1", None, (), b"/chat-base"),
    (b"POST", b"/batches/batch_1/cancel", None, (), b"/chat-base"),
    (b"POST", b"/vector_stores", ODD_BODY, (), b"/chat-base"),
    (b"POST", b"/uploads/upload_1/parts", FORM, (MULTIPART,), b"/chat-base"),
    (b"DELETE", b"/models/ft%3Am", None, (), b"/chat-base"),
]
ROUTE_NAMES = [f"{method.decode()} {path.decode()}" for method, path, *_ in ROUTES]

KEPT = [
    (b"x-stainless-lang", b"python"),
    (b"x-stainless-retry-count", b"0"),
    (b"OpenAI-Organization", b"org-1"),
    (b"X-Vendor", b"one"),
    (b"x-vendor", b"two, three"),
    (b"accept", b"application/json"),
    (b"user-agent", b"OpenAI/Python 3.54.0"),
    (b"idempotency-key", b"k-1"),
    (b"x-request-id", b"req.of:the-caller_1"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"tracestate", b"vendor=1"),
]
DROPPED = [
    (b"Authorization", b"Bearer sk-of-the-caller"),
    (b"api-key", b"sk-of-the-caller"),
    (b"X-Api-Key", b"sk-of-the-caller"),
    (b"cookie", b"sid=sk-of-the-caller"),
    (b"Connection", b"keep-alive, X-Named"),
    (b"x-named", b"hop"),
    (b"keep-alive", b"timeout=5"),
    (b"te", b"trailers"),
    (b"proxy-authorization", b"Basic sk-of-the-caller"),
    (b"proxy-connection", b"keep-alive"),
    (b"proxy-anything", b"1"),
    (b"baggage", b"user=1"),
]
OURS = {b"host", b"authorization", b"traceparent", b"tracestate", b"connection"}


def kept(fields: list[tuple[bytes, bytes]], *more: bytes) -> list[tuple[bytes, bytes]]:
    """Fields but those that are Mimic's to write, in an order that can be compared."""
    return sorted((name.lower(), value) for name, value in fields if name.lower() not in OURS | set(more))


@pytest.mark.parametrize(("method", "path", "body", "fields", "base"), ROUTES, ids=ROUTE_NAMES)
async def test_method_path_query_fields_and_body_reach_the_backend_as_they_were_sent(
    mimic: Mimic,
    backend: Backend,
    method: bytes,
    path: bytes,
    body: bytes | None,
    fields: tuple[tuple[bytes, bytes], ...],
    base: bytes,
) -> None:
    backend.script = reply(answer(200, b"{}"))
    described: list[tuple[bytes, bytes]] = []
    if body is not None:
        described = [*(fields or ((b"content-type", b"application/json"),)), (b"content-length", b"%d" % len(body))]
    sent = request(method, b"/v1%s?%s" % (path, ODD_QUERY), body, [*KEPT, *DROPPED, *described])
    assert (await ask(mimic.port, sent, method)).status == 200
    got = await backend.request()
    assert (got.method, got.target) == (method, b"%s%s?%s" % (base, path, ODD_QUERY))
    assert got.body == (body or b"")
    assert kept(got.headers, b"content-length") == kept([*KEPT, *described], b"content-length")
    assert got.value(b"host") == b"127.0.0.1:%d" % backend.port
    assert (got.value(b"authorization") or b"").startswith(b"Bearer fake-access-token-")
    assert got.value(b"content-length") in ((b"%d" % len(body),) if body is not None else (None, b"0"))


@pytest.mark.parametrize("path", [b"/completions", b"/moderations", b"/responses"])
async def test_a_body_that_is_no_json_is_the_backends_to_judge_on_routes_that_are_passed_through(
    mimic: Mimic, backend: Backend, path: bytes
) -> None:
    backend.script = reply(answer(400, b"no JSON, says the backend"))
    got = await ask(mimic.port, request(b"POST", b"/v1" + path, b"no JSON"))
    assert (got.status, got.body) == (400, b"no JSON, says the backend")
    assert (await backend.request()).body == b"no JSON"


async def test_a_trace_goes_on_through_mimic(mimic: Mimic, backend: Backend) -> None:
    backend.script = echo
    await ask(mimic.port, request(b"POST", b"/v1/embeddings", b"{}", KEPT))
    got = await backend.request()
    parent = got.value(b"traceparent") or b""
    assert re.fullmatch(rb"00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-[0-9a-f]{2}", parent)
    assert got.value(b"tracestate") == b"vendor=1"


@pytest.mark.parametrize(
    "parents", [[], [b"garbage"], [b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"], [KEPT[-2][1], KEPT[-2][1]]]
)
async def test_without_a_valid_traceparent_a_new_root_begins_and_tracestate_is_dropped(
    mimic: Mimic, backend: Backend, parents: list[bytes]
) -> None:
    backend.script = echo
    fields = [*((b"traceparent", parent) for parent in parents), (b"tracestate", b"vendor=1")]
    await ask(mimic.port, request(b"POST", b"/v1/embeddings", b"{}", fields))
    got = await backend.request()
    parent = got.value(b"traceparent") or b""
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", parent)
    assert b"0af7651916cd43dd8448eb211c80319c" not in parent
    assert got.value(b"tracestate") is None


async def test_an_image_message_of_20_mib_survives_both_ways(mimic: Mimic, backend: Backend) -> None:
    backend.script = echo
    picture = b"iVBORw0KGgo/" * (PICTURE_BYTES // 12)
    part = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,' + picture + b'"}}'
    body = b'{"model":"m","messages":[{"role":"user","content":[' + part + b"]}]}"
    got = await ask(mimic.port, request(b"POST", b"/v1/chat/completions", body))
    assert got.status == 200
    assert (await backend.request()).body == body
    assert got.body == body


async def test_a_chunked_body_arrives_whole(mimic: Mimic, backend: Backend) -> None:
    backend.script = echo
    chunks = b"".join(chunk(ODD_BODY[at : at + 7]) for at in range(0, len(ODD_BODY), 7)) + b"0\r\n\r\n"
    fields = [(b"transfer-encoding", b"chunked")]
    got = await ask(mimic.port, request(b"POST", b"/v1/chat/completions", chunks, fields))
    assert got.body == ODD_BODY


async def test_a_chunked_upload_stays_chunked(mimic: Mimic, backend: Backend) -> None:
    backend.script = echo
    fields = [(b"transfer-encoding", b"chunked"), MULTIPART]
    got = await ask(mimic.port, request(b"POST", b"/v1/files", chunk(FORM) + b"0\r\n\r\n", fields))
    seen = await backend.request()
    assert (seen.value(b"transfer-encoding"), seen.value(b"content-length")) == (b"chunked", None)
    assert (seen.body, got.body) == (FORM, FORM)


async def test_binary_answers_come_back_as_they_are(mimic: Mimic, backend: Backend) -> None:
    sound = bytes(range(256)) * 1024
    backend.script = reply(answer(200, sound, [(b"content-type", b"audio/mpeg")]))
    got = await ask(mimic.port, request(b"POST", b"/v1/audio/speech", b'{"model":"m","input":"x"}'))
    assert (got.body, got.value(b"content-type"), got.complete) == (sound, b"audio/mpeg", True)
    assert got.value(b"content-length") == b"%d" % len(sound)


RESPONSE_KEPT = [
    (b"content-type", b"application/json; charset=utf-8"),
    (b"openai-processing-ms", b"12"),
    (b"openai-version", b"2020-10-01"),
    (b"x-ratelimit-remaining-tokens", b"149984"),
    (b"retry-after", b"7"),
    (b"retry-after-ms", b"7000"),
    (b"x-should-retry", b"false"),
    (b"x-vendor", b"one"),
    (b"x-vendor", b"two"),
]
RESPONSE_DROPPED = [
    (b"set-cookie", b"sid=1"),
    (b"www-authenticate", b"Bearer realm=backend"),
    (b"proxy-authenticate", b"Basic"),
    (b"connection", b"keep-alive, x-named"),
    (b"x-named", b"hop"),
    (b"keep-alive", b"timeout=75"),
]


@pytest.mark.parametrize("status", [200, 201, 400, 404, 409, 422, 429, 500, 503, 529])
async def test_the_backends_answer_comes_back_with_its_status_fields_and_bytes(
    mimic: Mimic, backend: Backend, status: int
) -> None:
    body = b'{"error" : {"message":"the backend\'s own words, 1.0","code":null},\t"x":[1.0]}\n'
    backend.script = reply(answer(status, body, [*RESPONSE_KEPT, *RESPONSE_DROPPED]))
    got = await ask(mimic.port, request(b"POST", b"/v1/chat/completions", b"{}"))
    assert (got.status, got.body, got.complete) == (status, body, True)
    ours = {b"date", b"server", b"content-length", b"x-request-id"}
    assert sorted(field for field in got.headers if field[0] not in ours) == sorted(RESPONSE_KEPT)
    assert got.value(b"content-length") == b"%d" % len(body)


async def sent_id(mimic: Mimic, given: list[bytes]) -> Response:
    fields = [(b"x-request-id", value) for value in given]
    return await ask(mimic.port, request(b"POST", b"/v1/embeddings", b"{}", fields))


@pytest.mark.parametrize(
    ("given", "backends", "expected", "upstream"),
    [
        ([b"mine-1"], None, b"mine-1", None),
        ([b"mine-1"], b"theirs-1", b"mine-1", b"theirs-1"),
        ([b"same-1"], b"same-1", b"same-1", None),
        ([], b"theirs-1", b"theirs-1", None),
        ([b"not valid!"], b"theirs-1", b"theirs-1", None),
        ([b"x" * 129], b"theirs-1", b"theirs-1", None),
    ],
)
async def test_the_request_id_is_the_callers_or_else_the_backends(
    mimic: Mimic, backend: Backend, given: list[bytes], backends: bytes | None, expected: bytes, upstream: bytes | None
) -> None:
    fields = [] if backends is None else [(b"x-request-id", backends)]
    backend.script = reply(answer(200, b"{}", fields))
    got = await sent_id(mimic, given)
    assert got.value(b"x-request-id") == expected
    assert got.value(b"x-upstream-request-id") == upstream


@pytest.mark.parametrize("given", [[], [b"not valid!"], [b"x" * 129]])
async def test_without_a_valid_request_id_each_answer_gets_a_new_one(
    mimic: Mimic, backend: Backend, given: list[bytes]
) -> None:
    backend.script = reply(answer(200, b"{}"))
    ids = {(await sent_id(mimic, given)).value(b"x-request-id") for _ in range(3)}
    assert len(ids) == 3
    assert all(found and re.fullmatch(rb"[A-Za-z0-9._:-]{1,128}", found) for found in ids)


async def test_the_request_id_stands_in_the_log(mimic: Mimic, backend: Backend) -> None:
    backend.script = reply(answer(200, b"{}"))
    await sent_id(mimic, [b"an-id-to-be-found-again"])
    await eventually(lambda: "an-id-to-be-found-again" in mimic.log)


async def test_a_base_urls_query_is_kept_before_the_callers(backend: Backend, start: Start) -> None:
    backend.script = echo
    bases = {
        "CHAT_API_URL": f"{backend.url}/deployments/x?api-version=2024-10-21",
        "EMBEDDING_API_URL": f"{backend.url}/special/embeddings?v=1",
    }
    async with start(**bases) as mimic:
        await ask(mimic.port, request(b"POST", b"/v1/chat/completions?a=1", b"{}"))
        await ask(mimic.port, request(b"POST", b"/v1/embeddings", b"{}"))
        await ask(mimic.port, request(b"GET", b"/v1/files", None), b"GET")
    targets = [seen.target for seen in backend.requests]
    assert targets == [
        b"/deployments/x/chat/completions?api-version=2024-10-21&a=1",
        b"/special/embeddings?v=1",
        b"/deployments/x/files?api-version=2024-10-21",
    ]


async def empty(request: Request) -> None:
    await request.whole.wait()
    await request.send(head(204, [(b"x-vendor", b"1")]))


async def test_an_answer_without_a_body_has_none_and_the_connection_goes_on(mimic: Mimic, backend: Backend) -> None:
    backend.script = empty
    got = await ask(mimic.port, request(b"DELETE", b"/v1/files/f", None), b"DELETE")
    assert (got.status, got.body, got.complete) == (204, b"", True)
    assert (got.value(b"content-length"), got.value(b"transfer-encoding")) == (None, None)
