"""The backend's head by tables: what passes, what is replaced, what never leaves."""

import pytest

from mimic_proxy.errors import MethodNotAllowed, Overloaded, TokenRejected
from mimic_proxy.http.headers import (
    STATUS_LINES,
    ResponseFields,
    error_fields,
    read_response,
    request_ids,
    response_names,
)


def response(*pairs: tuple[bytes, bytes], status: int = 200, own_cors: bool = False) -> ResponseFields:
    return read_response(status, list(pairs), response_names(own_cors=own_cors))


# ---- backend to caller


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Type: application/json\r\n",
        b"openai-processing-ms: 12\r\n",
        b"x-ratelimit-remaining-tokens: 7\r\n",
        b"Retry-After: 3\r\n",
        b"retry-after-ms: 300\r\n",
        b"x-should-retry: true\r\n",
        b"X-Vendor: v\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n",
        b'ETag: "a"\r\n',
    ],
)
def test_the_backend_s_fields_pass_with_their_bytes(line: bytes) -> None:
    name, value = line[:-2].split(b": ")
    assert response((name, value)).lines == [line]


@pytest.mark.parametrize(
    "name",
    [
        b"Set-Cookie",
        b"set-cookie2",
        b"WWW-Authenticate",
        b"Proxy-Authenticate",
        b"Proxy-Status",
        b"Connection",
        b"Keep-Alive",
        b"Transfer-Encoding",
        b"Trailer",
        b"Upgrade",
        b"Location",
        b"X-Request-Id",
    ],
)
def test_these_of_the_backend_never_pass(name: bytes) -> None:
    assert response((name, b"chunked")).lines == []


def test_the_backend_s_cors_fields_give_way_to_ours() -> None:
    pair = (b"Access-Control-Allow-Origin", b"*")
    assert response(pair, own_cors=True).lines == []
    assert response(pair).lines == [b"Access-Control-Allow-Origin: *\r\n"]


@pytest.mark.parametrize(
    ("connection", "close", "passes", "seconds"),
    [
        (b"close", True, True, 5.0),
        (b"Close, x-mine", True, False, 5.0),
        (b"keep-alive", False, True, 5.0),
        (b"Keep-Alive", False, True, 5.0),
        (b"x-mine", False, False, 5.0),
        (b"Upgrade, Keep-Alive", False, True, 5.0),
        (b"keep-alive, x-mine", False, False, 5.0),
    ],
)
def test_what_the_backend_s_connection_names_is_for_this_hop(
    connection: bytes, close: bool, passes: bool, seconds: float
) -> None:
    fields = response((b"X-Mine", b"v"), (b"Connection", connection), (b"Keep-Alive", b"timeout=5, max=100"))
    assert (fields.close, fields.lines == [b"X-Mine: v\r\n"]) == (close, passes)
    assert fields.keep_alive_seconds == seconds, "the idle limit of the backend is what keeps dead connections away"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0),
        (b"max=3, Timeout=75", 75.0),
        (b"timeout=0", 0.0),
        (b"max=3", None),
        (b"timeout=x", None),
        (b"timeout=-1", None),
    ],
)
def test_the_backend_s_idle_limit_is_read(value: bytes, seconds: float | None) -> None:
    assert response((b"Keep-Alive", value)).keep_alive_seconds == seconds


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"identity", b""])
def test_codings_of_the_backend_beside_chunked_are_refused(coding: bytes) -> None:
    with pytest.raises(ValueError, match="coding"):
        response((b"Transfer-Encoding", coding))


def test_more_than_128_fields_of_the_backend_are_refused() -> None:
    response(*[(b"x", b"1")] * 128)
    with pytest.raises(ValueError, match="128"):
        response(*[(b"x", b"1")] * 129)


@pytest.mark.parametrize(
    ("status", "content_type", "encoding", "expected"),
    [
        (200, b"text/event-stream", None, True),
        (200, b"Text/Event-Stream; charset=utf-8", None, True),
        (206, b"text/event-stream", b"identity", True),
        (200, b"text/event-stream", b"gzip", False),
        (400, b"text/event-stream", None, False),
        (200, b"application/json", None, False),
        (200, None, None, False),
    ],
)
def test_an_event_stream_is_one_that_can_be_read(
    status: int, content_type: bytes | None, encoding: bytes | None, expected: bool
) -> None:
    pairs = [(b"Content-Type", content_type)] if content_type else []
    pairs += [(b"Content-Encoding", encoding)] if encoding else []
    assert response(*pairs, status=status).event_stream is expected


@pytest.mark.parametrize(
    ("caller", "backend", "expected"),
    [
        (None, None, [b"x-request-id: new\r\n"]),
        (b"mine", None, [b"x-request-id: mine\r\n"]),
        (b"mine", b"mine", [b"x-request-id: mine\r\n"]),
        (b"mine", b"theirs", [b"x-request-id: mine\r\n", b"x-upstream-request-id: theirs\r\n"]),
        (None, b"theirs", [b"x-request-id: theirs\r\n"]),
        (None, b"not valid", [b"x-request-id: new\r\n", b"x-upstream-request-id: not valid\r\n"]),
    ],
)
def test_an_answer_has_one_request_id(caller: bytes | None, backend: bytes | None, expected: list[bytes]) -> None:
    assert request_ids(caller, backend, b"new") == expected


def test_every_status_has_its_line() -> None:
    assert STATUS_LINES[200] == b"HTTP/1.1 200 OK\r\n"
    assert STATUS_LINES[299] == b"HTTP/1.1 299 \r\n"
    assert sorted(STATUS_LINES) == list(range(200, 1000))


@pytest.mark.parametrize(
    ("error", "hints"),
    [
        (Overloaded("Try again.", retry_after=0.5), [b"retry-after: 1\r\n", b"retry-after-ms: 500\r\n"]),
        (TokenRejected("No.", should_retry=False), [b"x-should-retry: false\r\n"]),
        (MethodNotAllowed("No.", allowed=["POST", "GET"]), [b"allow: GET, POST\r\n"]),
    ],
)
def test_our_errors_carry_their_hints(error: Overloaded, hints: list[bytes]) -> None:
    assert error_fields(error) == [b"content-type: application/json\r\n", *hints]
