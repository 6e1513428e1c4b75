"""What goes to the caller: one head, one body, delimited as the caller can read it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.caller import Response as Got
from fakes.ports import Caller, read_answers
from mimic_proxy.errors import Overloaded
from mimic_proxy.http.framing import LARGE_BYTES, Framing, framing_for, stream_framing
from mimic_proxy.http.headers import (
    RequestFields,
    ResponseFields,
    read_request,
    read_response,
    request_names,
    response_names,
)
from mimic_proxy.relay.ports import Request
from mimic_proxy.relay.response import Response
from mimic_proxy.telemetry.record import Record

ORIGIN = b"https://page.example"


def begun(
    *, http11: bool = True, origin: bytes | None = None, request_id: bytes | None = None
) -> tuple[Response, Caller]:
    caller = Caller()
    pairs = [(b"host", b"localhost"), *([(b"x-request-id", request_id)] if request_id else [])]
    fields: RequestFields = read_request(pairs, request_names(b"authorization"))
    request = Request(
        method=b"POST",
        path=b"/v1/x",
        query=b"",
        fields=fields,
        http11=http11,
        keep_alive=True,
        started=0.0,
        cors_origin=origin,
    )
    return Response(caller, request, Record(0.0, "chat", "POST", "/v1/x"), b"req_new"), caller


def backend(status: int = 200, *pairs: tuple[bytes, bytes]) -> ResponseFields:
    return read_response(status, list(pairs), response_names(own_cors=False))


def read(caller: Caller, *, closed: bool = False) -> Got:
    (answer,) = read_answers(caller.written, closed=closed)
    return answer


LENGTH_5 = (b"content-length", b"5")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("status", "pairs", "http11", "framing", "line"),
    [
        (200, [LENGTH_5], True, Framing.LENGTH, b"content-length: 5\r\n"),
        (200, [LENGTH_5], False, Framing.LENGTH, b"content-length: 5\r\n"),
        (200, [CHUNKED], True, Framing.CHUNKED, b"transfer-encoding: chunked\r\n"),
        (200, [CHUNKED], False, Framing.CLOSE, b""),
        (200, [], True, Framing.CHUNKED, b"transfer-encoding: chunked\r\n"),
        (200, [], False, Framing.CLOSE, b""),
        (204, [], True, Framing.LENGTH, b""),
        (204, [], False, Framing.LENGTH, b""),
        (304, [], True, Framing.LENGTH, b""),
        (304, [LENGTH_5], True, Framing.LENGTH, b"content-length: 5\r\n"),
    ],
)
def test_a_body_is_delimited_as_the_backend_has_it(
    status: int, pairs: Any, http11: bool, framing: Framing, line: bytes
) -> None:
    assert framing_for(backend(status, *pairs), http11) == (framing, line)


def test_204_has_no_length() -> None:
    """RFC 9110, 8.6: a server must not send one, and a caller might wait for its bytes."""
    assert framing_for(backend(204, LENGTH_5), True) == (Framing.LENGTH, b"")


@pytest.mark.parametrize(("http11", "framing"), [(True, Framing.CHUNKED), (False, Framing.CLOSE)])
def test_a_body_of_unknown_length_is_chunked_or_ends_with_the_connection(http11: bool, framing: Framing) -> None:
    assert stream_framing(http11)[0] is framing


@pytest.mark.parametrize(
    ("framing", "piece", "last"),
    [
        (Framing.CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n"),
        (Framing.LENGTH, b"hello", b""),
        (Framing.CLOSE, b"hello", b""),
    ],
)
def test_a_piece_of_a_body_on_the_wire(framing: Framing, piece: bytes, last: bytes) -> None:
    assert (framing.data(b"hello"), framing.data(b""), framing.last) == (piece, b"", last)


def test_a_head_goes_out_with_the_first_bytes_of_its_body() -> None:
    answer, caller = begun()
    answer.open(backend(200, LENGTH_5), keep_alive=True)
    assert (caller.written, answer.committed) == (b"", True)
    answer.write(b"hello", last=True)
    assert (read(caller).body, answer._record.response_bytes) == (b"hello", 5)


@pytest.mark.parametrize("size", [LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1])
@pytest.mark.parametrize("pair", [CHUNKED, None])
def test_large_pieces_are_the_same_on_the_wire(size: int, pair: tuple[bytes, bytes] | None) -> None:
    answer, caller = begun()
    body = b"x" * size
    answer.open(backend(200, *([pair] if pair else [(b"content-length", b"%d" % (2 * size))])), keep_alive=True)
    answer.write(body)
    answer.write(body, last=True)
    assert (read(caller).body, read(caller).complete) == (body * 2, True)


def test_an_empty_piece_writes_the_head_that_waits_and_nothing_else() -> None:
    answer, caller = begun()
    answer.open(backend(200, CHUNKED), keep_alive=True)
    answer.write(b"")
    written = caller.written
    assert written.endswith(b"\r\n\r\n")
    answer.write(b"")
    assert caller.written == written


@pytest.mark.parametrize(
    ("http11", "keep_alive", "said"),
    [(True, True, []), (True, False, [b"close"]), (False, True, [b"close"]), (False, False, [b"close"])],
)
def test_a_stream_says_close_where_the_connection_ends(http11: bool, keep_alive: bool, said: list[bytes]) -> None:
    answer, caller = begun(http11=http11)
    answer.open_events(None, keep_alive)
    answer.ping()
    assert read(caller).fields(b"connection") == said


def test_an_old_caller_s_answer_of_known_length_need_not_close() -> None:
    answer, caller = begun(http11=False)
    answer.open(backend(200, LENGTH_5), keep_alive=True)
    answer.write(b"hello", last=True)
    assert read(caller).fields(b"connection") == []


def test_an_error_is_one_whole_answer() -> None:
    answer, caller = begun(request_id=b"mine-1")
    answer.error(Overloaded("Mimic is busy. Ünïcode too.", retry_after=0.2), keep_alive=False)
    got = read(caller)
    assert (got.status, got.error()["message"]) == (503, "Mimic is busy. Ünïcode too.")
    assert got.value(b"content-length") == b"%d" % len(got.body)
    assert (got.value(b"x-request-id"), got.value(b"retry-after-ms")) == (b"mine-1", b"200")
    assert (answer._record.status, answer.stream) == (503, False)


def test_frames_and_pings_are_events_of_their_own() -> None:
    answer, caller = begun()
    answer.open_events(None, keep_alive=True)
    answer.frame(json.dumps({"error": 1}).encode())
    answer.ping()
    answer.write(b"", last=True)
    assert read(caller).body == b'data: {"error": 1}\n\n: ping\n\n'
    assert answer._record.response_bytes == len(read(caller).body)


def test_a_page_that_may_read_is_named() -> None:
    answer, caller = begun(origin=ORIGIN)
    answer.open_events(None, keep_alive=True)
    answer.ping()
    got = read(caller)
    assert (got.value(b"access-control-allow-origin"), got.value(b"vary")) == (ORIGIN, b"origin")


@given(
    st.lists(st.binary(max_size=50), max_size=8),
    st.sampled_from(["length", "chunked", "close"]),
    st.booleans(),
)
@settings(max_examples=100)
def test_whatever_is_written_is_read(pieces: list[bytes], framing: str, http11: bool) -> None:
    answer, caller = begun(http11=http11)
    body = b"".join(pieces)
    pairs = {"length": [(b"content-length", b"%d" % len(body))], "chunked": [CHUNKED], "close": []}[framing]
    answer.open(backend(200, *pairs), keep_alive=http11)
    for piece in pieces:
        answer.write(piece)
    answer.write(b"", last=True)
    got = read(caller, closed=not http11)
    assert (got.body, got.complete, answer._record.response_bytes) == (body, True, len(body))
