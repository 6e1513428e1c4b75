"""Heads of both sides by tables: what passes, what is replaced, what never leaves."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.inside import inside
from mimic_proxy.errors import InvalidRequest
from mimic_proxy.http.headers import (
    MAX_NAMES,
    Names,
    RequestFields,
    head_end,
    head_start,
    read_request,
    request_names,
)
from mimic_proxy.telemetry.propagation import trace_lines, unsampled

DIGITS = "0af7651916cd43dd8448eb211c80319c" + "00f067aa0ba902b7" + "b7ad6b7169203331"
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NEW_ROOT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
HOST = (b"Host", b"localhost")
Pairs = list[tuple[bytes, bytes]]


def request(*pairs: tuple[bytes, bytes], token_header: bytes = b"authorization") -> RequestFields:
    return read_request([HOST, *pairs], request_names(token_header))


def sent(fields: RequestFields, *, identity: bool = False, credential: bytes = b"authorization: Bearer t\r\n") -> Pairs:
    """The head that goes upstream, read by a foreign parser."""
    start = head_start(b"POST", b"/v1/x", b"backend.test", fields, credential, identity=identity)
    parser = h11.Connection(h11.SERVER)
    trace = unsampled(fields.traceparent, DIGITS)
    lines = trace_lines(trace, fields.traceparent, fields.tracestate, traced=False)
    parser.receive_data(start + head_end(lines, length=0, chunked=False))
    head = parser.next_event()
    assert isinstance(head, h11.Request)
    return [(bytes(name), bytes(value)) for name, value in head.headers]


def values(pairs: Pairs, name: bytes) -> list[bytes]:
    return [value for key, value in pairs if key == name]


# ---- caller to backend


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"Content-Type", b"application/json; charset=utf-8"),
        (b"Accept", b"application/json"),
        (b"User-Agent", b"OpenAI/Python 3.54.0"),
        (b"X-Stainless-OS", b"Linux"),
        (b"X-Stainless-Retry-Count", b"1"),
        (b"OpenAI-Organization", b"org"),
        (b"OpenAI-Beta", b"assistants=v2"),
        (b"Idempotency-Key", b"k"),
        (b"X-Vendor", b'odd "value", with; signs\t\xe9'),
        (b"X-Empty", b""),
        (b"Forwarded", b"for=1.2.3.4"),
        (b"Content-Encoding", b"gzip"),
        (b"Range", b"bytes=0-1"),
        (b"Origin", b"https://page.example"),
    ],
)
def test_other_fields_pass_with_the_bytes_they_came_as(name: bytes, value: bytes) -> None:
    start = head_start(b"POST", b"/", b"h", request((name, value)), b"", identity=False)
    assert b"\r\n%b: %b\r\n" % (name, value) in start


@pytest.mark.parametrize(
    "name",
    [
        b"Authorization",
        b"AUTHORIZATION",
        b"api-key",
        b"X-Api-Key",
        b"Cookie",
        b"Proxy-Authorization",
        b"Proxy-Connection",
        b"Proxy-Anything",
        b"Connection",
        b"Keep-Alive",
        b"TE",
        b"Trailer",
        b"Upgrade",
        b"HTTP2-Settings",
        b"Baggage",
        b"Expect",
    ],
)
def test_credentials_and_hop_by_hop_fields_never_leave(name: bytes) -> None:
    assert b"s3cr3t" not in repr(sent(request((name, b"s3cr3t")))).encode()


@pytest.mark.parametrize("header", [b"authorization", b"x-gateway-token", b"api-key"])
def test_the_credential_stands_once_under_the_configured_name(header: bytes) -> None:
    fields = request((header.title(), b"s3cr3t"), (b"Authorization", b"s3cr3t"), token_header=header)
    got = sent(fields, credential=header + b": ours\r\n")
    assert values(got, header) == [b"ours"]
    assert b"s3cr3t" not in repr(got).encode()


def test_no_credential_leaves_without_one() -> None:
    got = sent(request((b"Authorization", b"s3cr3t")), credential=b"")
    assert values(got, b"authorization") == []


def test_the_host_is_the_backend_s() -> None:
    assert values(sent(request()), b"host") == [b"backend.test"]


@pytest.mark.parametrize(
    ("connection", "passes"),
    [
        (b"keep-alive", True),
        (b"Keep-Alive", True),
        (b"close", True),
        (b"x-mine", False),
        (b"keep-alive, X-Mine", False),
        (b"close , x-MINE ,", False),
        (b",,", True),
    ],
)
def test_what_connection_names_is_for_this_hop(connection: bytes, passes: bool) -> None:
    got = sent(request((b"X-Mine", b"v"), (b"Connection", connection)))
    assert values(got, b"x-mine") == ([b"v"] if passes else [])
    assert values(got, b"connection") == []


def test_several_connection_fields_count_together() -> None:
    got = sent(request((b"Connection", b"a"), (b"A", b"1"), (b"Connection", b"b"), (b"B", b"2")))
    assert [name for name, _ in got] == [b"host", b"authorization", b"traceparent", b"content-length"]


@pytest.mark.parametrize("named", [b"content-length", b"content-type", b"host", b"transfer-encoding"])
def test_connection_cannot_name_what_frames_or_addresses_a_message(named: bytes) -> None:
    pairs = [(b"Connection", named), (b"Content-Type", b"text/plain"), (b"Content-Length", b"5")]
    fields = request(*pairs)
    assert (fields.content_length, fields.content_type, fields.host) == (5, b"text/plain", b"localhost")
    chunked = request((b"Connection", named), (b"Transfer-Encoding", b"chunked"))
    assert chunked.chunked


@pytest.mark.parametrize("connection", [b"origin", b"close, Origin", b"authorization, expect"])
def test_connection_cannot_hide_what_is_judged(connection: bytes) -> None:
    names = request_names(b"authorization", client_keys=True)
    judged = [(b"Origin", b"https://page.example"), (b"Authorization", b"Bearer key"), (b"Expect", b"100-continue")]
    fields = read_request([(b"host", b"localhost"), (b"Connection", connection), *judged], names)
    assert (fields.origin, fields.credential, fields.expect_continue) == (b"https://page.example", b"Bearer key", True)


@pytest.mark.parametrize("second", [(b"host", b"localhost"), (b"HOST", b"other")])
def test_two_host_fields_are_refused(second: tuple[bytes, bytes]) -> None:
    with pytest.raises(InvalidRequest, match="more than one Host"):
        request(second)


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"identity", b"chunked, chunked", b"", b"x\tchunked"])
def test_codings_beside_chunked_are_refused(coding: bytes) -> None:
    with pytest.raises(InvalidRequest, match="chunked"):
        request((b"Transfer-Encoding", coding))


@pytest.mark.parametrize(
    ("asked", "identity", "expected"),
    [
        ([], False, []),
        ([], True, [b"identity"]),
        ([b"gzip, br"], False, [b"gzip, br"]),
        ([b"gzip, br"], True, [b"identity"]),
        ([b"gzip", b"br;q=0.5"], False, [b"gzip, br;q=0.5"]),
    ],
)
def test_encodings_are_asked_for_as_the_caller_did_but_not_of_streams(
    asked: list[bytes], identity: bool, expected: list[bytes]
) -> None:
    got = sent(request(*[(b"Accept-Encoding", value) for value in asked]), identity=identity)
    assert values(got, b"accept-encoding") == expected


@pytest.mark.parametrize(
    ("given_ids", "expected"),
    [
        ([b"mine-1"], b"mine-1"),
        ([b"a" * 128], b"a" * 128),
        ([b"a" * 129], None),
        ([b""], None),
        ([b"with space"], None),
        ([b"caf\xe9"], None),
        ([b"bad!", b"good"], b"good"),
        ([b"first", b"second"], b"first"),
    ],
)
def test_the_caller_s_id_counts_if_it_is_a_plain_one(given_ids: list[bytes], expected: bytes | None) -> None:
    fields = request(*[(b"X-Request-Id", value) for value in given_ids])
    assert fields.request_id == expected
    assert values(sent(fields), b"x-request-id") == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("parents", "states", "expected"),
    [
        ([PARENT], [b"a=1", b"b=2"], (PARENT, [b"a=1", b"b=2"])),
        ([], [b"a=1"], (NEW_ROOT, [])),
        ([PARENT, PARENT], [b"a=1"], (NEW_ROOT, [])),
        ([b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"], [b"a=1"], (NEW_ROOT, [])),
        ([b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01"], [b"a=1"], (NEW_ROOT, [])),
        ([b"ff" + PARENT[2:]], [b"a=1"], (NEW_ROOT, [])),
        ([PARENT.upper()], [b"a=1"], (NEW_ROOT, [])),
        ([PARENT + b"-more"], [b"a=1"], (NEW_ROOT, [])),
        ([b"nonsense", PARENT], [b"a=1"], (NEW_ROOT, [])),
    ],
)
def test_a_trace_goes_on_if_it_is_valid(
    parents: list[bytes], states: list[bytes], expected: tuple[bytes, list[bytes]]
) -> None:
    pairs = [(b"Traceparent", value) for value in parents] + [(b"tracestate", value) for value in states]
    got = sent(request(*pairs))
    assert (values(got, b"traceparent"), values(got, b"tracestate")) == ([expected[0]], expected[1])


@pytest.mark.parametrize(
    ("length", "chunked", "expected"),
    [
        (5, False, [(b"content-length", b"5")]),
        (0, False, [(b"content-length", b"0")]),
        (5, True, [(b"content-length", b"5")]),
        (None, True, [(b"transfer-encoding", b"chunked")]),
        (None, False, []),
    ],
)
def test_a_body_is_framed_one_way(length: int | None, chunked: bool, expected: Pairs) -> None:
    end = head_end(b"traceparent: %b\r\n" % NEW_ROOT, length=length, chunked=chunked)
    lines = [tuple(line.split(b": ")) for line in end.split(b"\r\n") if line]
    assert lines == [(b"traceparent", NEW_ROOT), *expected]
    assert end.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("value", "asks"), [(b"100-continue", True), (b"100-Continue ", True), (b"other", False)])
def test_an_expectation_is_read(value: bytes, asks: bool) -> None:
    assert request((b"Expect", value)).expect_continue is asks


# ---- the memory of spellings


def test_spellings_are_remembered_up_to_a_number_and_still_judged_beyond_it() -> None:
    names = request_names(b"authorization")
    read_request([(b"x-%d" % number, b"") for number in range(MAX_NAMES + 100)], names)
    assert len(names) == MAX_NAMES
    fields = read_request([(b"aUtHoRiZaTiOn", b"s3cr3t"), (b"pRoXy-x", b"s3cr3t"), (b"X-Fine", b"v")], names)
    assert b"".join(fields.passing) == b"X-Fine: v\r\n"


def test_long_spellings_are_judged_and_not_remembered() -> None:
    """A thousand names of 60 KiB would stay for the life of the process."""
    names = request_names(b"authorization")
    long = b"proxy-" + b"x" * 60_000
    for number in range(100):
        fields = read_request([(b"%b%d" % (long, number), b"v"), (b"y" * 64 + b"%d" % number, b"v")], names)
        assert b"proxy-" not in b"".join(fields.passing)
    assert sum(map(len, names)) < 1000


_NAME = st.from_regex(rb"[A-Za-z0-9-]{1,12}", fullmatch=True)
_VALUE = st.from_regex(rb"[\x21-\x7e\x80-\xff]([\x20-\x7e\x80-\xff\t]{0,20}[\x21-\x7e\x80-\xff])?", fullmatch=True)
_FIELD = st.one_of(
    st.tuples(_NAME, _VALUE),
    st.tuples(st.sampled_from([b"Connection", b"connection"]), st.lists(_NAME, max_size=3).map(b", ".join)),
    st.tuples(st.sampled_from([b"Authorization", b"Cookie", b"Api-Key", b"X-API-KEY"]), st.just(b"s3cr3t")),
)


@given(st.lists(_FIELD, max_size=10))
@settings(max_examples=150)
def test_whatever_the_caller_sends_the_backend_gets_one_clean_head(pairs: Pairs) -> None:
    names: Names = request_names(b"authorization")
    try:
        fields = read_request([HOST, *pairs], names)
    except InvalidRequest:
        return
    assert inside(read_request([HOST, *pairs], names)) == inside(fields), "a spelling is judged the same each time"
    lower = [name for name, _ in sent(fields)]
    for name in (b"host", b"authorization", b"traceparent", b"content-length"):
        assert lower.count(name) == 1
    assert not {b"connection", b"cookie", b"api-key", b"x-api-key", b"te", b"upgrade", b"transfer-encoding"} & set(
        lower
    )
    assert b"s3cr3t" not in b"".join(fields.passing)
