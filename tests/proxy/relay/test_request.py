"""A parsed head judged where the parser is lenient, and the heads that are answered without an exchange."""

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimic_proxy.errors import HeadTooLarge, InvalidRequest
from mimic_proxy.http.headers import request_names
from mimic_proxy.relay.request import (
    MAX_HEAD_BYTES,
    Inbound,
    asgi_scope,
    head_size,
    preflight_answer,
    read_head,
    without_upgrade,
)
from mimic_proxy.relay.routes import Routes

HOST = (b"host", b"localhost")
Pairs = list[tuple[bytes, bytes]]


def read(
    url: bytes = b"/v1/chat/completions",
    pairs: Pairs | None = None,
    *,
    method: bytes = b"POST",
    version: str = "1.1",
    keep_alive: bool = True,
) -> Inbound:
    names = request_names(b"authorization")
    headers = [HOST] if pairs is None else pairs
    return read_head(
        method, url, headers, version=version, keep_alive=keep_alive, names=names, now=7.0, routes=Routes()
    )


def test_a_head_becomes_a_request_and_its_route() -> None:
    made = read(
        b"/v1/chat/completions?a=%2F&b", [HOST, (b"content-length", b"5"), (b"origin", b"https://page.example")]
    )
    request = made.request
    assert (request.method, request.path, request.query) == (b"POST", b"/v1/chat/completions", b"a=%2F&b")
    assert (request.http11, request.keep_alive, request.started, request.content_length) == (True, True, 7.0, 5)
    assert request.cors_origin == b"https://page.example"
    assert made.route is not None


@pytest.mark.parametrize(
    ("method", "url"), [(b"GET", b"/v1/models"), (b"POST", b"/v1/nonsense"), (b"PUT", b"/v1/files")]
)
def test_what_is_not_relayed_has_no_route(method: bytes, url: bytes) -> None:
    assert read(url, method=method).route is None


@pytest.mark.parametrize(
    ("url", "method", "target"),
    [
        (b"/a?b#c", b"GET", b"/a?b"),
        (b"*", b"OPTIONS", b"/*"),
        (b"http://h/a?b", b"GET", b"/a?b"),
        (b"HTTPS://h:1/a", b"GET", b"/a"),
        (b"http://h", b"GET", b"/"),
        (b"http://h?a=/b", b"GET", b"/?a=/b"),
        (b"http://h#/a", b"GET", b"/"),
        (b"http://user@h/a", b"GET", b"/a"),
        (b"//h/a", b"GET", b"//h/a"),
    ],
)
def test_the_target_loses_its_origin(url: bytes, method: bytes, target: bytes) -> None:
    assert read(url, method=method).target == target


@pytest.mark.parametrize("url", [b"*", b"h:443", b"ftp://h/a", b"a/b", b""])
def test_other_targets_are_refused(url: bytes) -> None:
    with pytest.raises(InvalidRequest, match="target"):
        read(url, method=b"GET")


@pytest.mark.parametrize(
    ("pairs", "version", "word"),
    [
        ([], "1.1", "no Host"),
        ([HOST], "0.9", "HTTP/0.9"),
        ([HOST], "2.0", "HTTP/2.0"),
        ([HOST, (b"transfer-encoding", b"chunked")], "1.0", "HTTP/1.0"),
        ([HOST, HOST], "1.1", "more than one Host"),
        ([HOST, (b"transfer-encoding", b"gzip")], "1.1", "chunked"),
    ],
)
def test_what_must_not_be_guessed_is_refused(pairs: Pairs, version: str, word: str) -> None:
    with pytest.raises(InvalidRequest, match=word):
        read(pairs=pairs, version=version)


def test_an_old_caller_needs_no_host_and_is_not_kept() -> None:
    request = read(pairs=[], version="1.0").request
    assert (request.http11, request.keep_alive) == (False, False)


def test_heads_are_bounded() -> None:
    read(pairs=[HOST, *[(b"x", b"1")] * 127])
    with pytest.raises(HeadTooLarge, match="128 fields"):
        read(pairs=[HOST, *[(b"x", b"1")] * 128])
    with pytest.raises(HeadTooLarge, match="64 KiB"):
        read(pairs=[HOST, (b"x", b"1" * MAX_HEAD_BYTES)])
    assert head_size(b"/", [HOST]) < 64


@given(
    st.sampled_from([b"POST", b"GET"]),
    st.lists(
        st.sampled_from(
            [
                (b"Connection", b"Upgrade"),
                (b"connection", b"upgrade, HTTP2-Settings"),
                (b"Connection", b"close, Upgrade"),
                (b"Upgrade", b"h2c"),
                (b"Upgrade", b"websocket"),
                (b"HTTP2-Settings", b"AAMAAABkAARAAAAAAAIAAAAA"),
                (b"X-Mine", b"1"),
                (b"content-type", b"application/json"),
            ]
        ),
        max_size=6,
    ),
    st.sampled_from(["1.1", "1.0"]),
)
@settings(max_examples=100)
def test_a_head_without_its_offer_is_one_that_the_parser_takes(method: bytes, pairs: Pairs, version: str) -> None:
    class Seen:
        def __init__(self) -> None:
            self.headers: Pairs = []
            self.ended = False

        def on_header(self, name: bytes, value: bytes) -> None:
            self.headers.append((name, value))

        def on_message_complete(self) -> None:
            self.ended = True

    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    parser.feed_data(without_upgrade(method, b"/a?b", version, [HOST, *pairs, (b"content-length", b"0")]))
    assert (seen.ended, parser.should_upgrade(), parser.get_http_version()) == (True, False, version)
    names = {name.lower() for name, _ in seen.headers}
    assert not {b"upgrade", b"http2-settings"} & names
    assert [pair for pair in seen.headers if pair[0] == b"X-Mine"] == [pair for pair in pairs if pair[0] == b"X-Mine"]
    closes = any(b"close" in value for name, value in pairs)
    assert any(b"close" in value for name, value in seen.headers if name == b"connection") is closes


@pytest.mark.parametrize(
    ("pairs", "connection"),
    [
        ([(b"Connection", b"Upgrade, X-Mine, close"), (b"Upgrade", b"h2c")], [b"x-mine, close"]),
        ([(b"Connection", b"upgrade"), (b"Upgrade", b"h2c"), (b"Connection", b"x-mine")], [b"x-mine"]),
        ([(b"Connection", b"HTTP2-Settings, Upgrade"), (b"HTTP2-Settings", b"AAMA"), (b"Upgrade", b"h2c")], []),
    ],
)
def test_what_connection_names_beside_the_offer_stays_for_this_hop(pairs: Pairs, connection: list[bytes]) -> None:
    lines = without_upgrade(b"POST", b"/", "1.1", [HOST, *pairs, (b"X-Mine", b"v")]).split(b"\r\n")
    assert [line[12:] for line in lines if line.lower().startswith(b"connection: ")] == connection
    assert not [line for line in lines if line.lower().startswith((b"upgrade", b"http2"))]


def test_a_preflight_is_answered_with_what_was_asked_for() -> None:
    asks = (b"Access-Control-Request-Headers", b"authorization, x-stainless-os")
    answer = preflight_answer(
        read(pairs=[HOST, (b"origin", b"https://page.example"), asks], method=b"OPTIONS"), b"req_1"
    )
    assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
    for line in (
        b"access-control-allow-origin: https://page.example",
        b"access-control-allow-headers: authorization, x-stainless-os",
        b"x-request-id: req_1",
        b"vary: origin",
    ):
        assert b"\r\n" + line + b"\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_scope_has_the_raw_path_and_the_decoded_one() -> None:
    made = read(b"/v1/models/a%2Fb%E2%98%83?x=%20", [HOST, (b"X-Vendor", b"v")], method=b"GET")
    scope = asgi_scope(made, {"client": ("127.0.0.1", 1)})
    assert (scope["raw_path"], scope["path"], scope["query_string"]) == (
        b"/v1/models/a%2Fb%E2%98%83",
        "/v1/models/a/b\u2603",
        b"x=%20",
    )
    assert (scope["headers"], scope["client"]) == ([HOST, (b"x-vendor", b"v")], ("127.0.0.1", 1))
