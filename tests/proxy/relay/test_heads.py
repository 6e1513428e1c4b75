"""Heads that were seen before: recognised only where the parser would read the same."""

import asyncio
import re

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.caller import CHAT_BODY, chat
from fakes.inside import inside
from fakes.replies import COMPLETION, Fields
from fakes.transport import Line, turn
from fakes.world import World
from mimic_proxy.errors import MimicError
from mimic_proxy.http.headers import request_names
from mimic_proxy.relay.heads import LONGEST_HEAD, MOST_HEADS, Heads
from mimic_proxy.relay.request import Inbound, read_head
from mimic_proxy.relay.routes import Routes

NAMES = request_names(b"authorization")
LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"


class Oracle:
    """What llhttp makes of one read, as our protocol configures it."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.begun = self.heads = self.ended = 0
        self.clean = True
        self.keep_alive = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.clean = False

    @property
    def one_whole_request(self) -> bool:
        return self.clean and (self.begun, self.heads, self.ended) == (1, 1, 1)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        # Asked here, as the protocol does: after the end it is another message's.
        self.keep_alive = self.parser.should_keep_alive()
        self.heads += 1

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1

    def inbound(self) -> Inbound:
        return read_head(
            self.parser.get_method(),
            self.url,
            self.headers,
            version=self.parser.get_http_version(),
            keep_alive=self.keep_alive,
            names=NAMES,
            now=0.0,
            routes=Routes(),
        )


def remember(heads: Heads, data: bytes) -> None:
    """As the protocol does: only what the parser and all checks have taken."""
    oracle = Oracle(data)
    if not oracle.clean or not oracle.heads:
        return
    try:
        inbound = oracle.inbound()
    except MimicError:
        return
    if inbound.route is not None:
        heads.remember(data, inbound.request, inbound.route)


def head(*lines: bytes, first: bytes = LINE) -> bytes:
    return first + b"".join(line + b"\r\n" for line in (b"host: localhost", *lines)) + b"\r\n"


def known(*lines: bytes, first: bytes = LINE, body: bytes = b"{}") -> bool:
    """Whether such a request is recognised after it was seen once."""
    heads, data = Heads(), head(*lines, first=first) + body
    remember(heads, data)
    return heads.find(data) is not None


@pytest.mark.parametrize("name", [b"content-length", b"Content-Length"])
def test_a_head_is_recognised_whatever_the_length_of_its_body(name: bytes) -> None:
    heads = Heads()
    remember(heads, head(b"x: 1", name + b": 2") + b"{}")
    for body in (b"", b"[1]", b"x" * 123_456):
        found = heads.find(head(b"x: 1", name + b": %d" % len(body)) + body)
        assert found is not None
        assert found[1:] == (len(body), body)
        assert found[0].request.path == b"/v1/chat/completions"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST",
        head(b"x: 1", b"content-length: 3") + b"{}",
        head(b"x: 1", b"content-length: 2") + b"{} ",
        head(b"x: 1", b"content-length: 2") + b"{}" + head(b"x: 1", b"content-length: 2") + b"{}",
        head(b"x: 2", b"content-length: 2") + b"{}",
        head(b"X: 1", b"content-length: 2") + b"{}",
        head(b"x: 1", b"content-length:  2") + b"{}",
        head(b"content-length: 2", b"x: 1") + b"{}",
        head(b"x: 1", b"content-length: 2", b"content-length: 2") + b"{}",
        head(b"x: 1", b"content-length: 0000000002") + b"{}",
        head(b"x: 1", b"content-length: ") + b"{}",
        head(b"x: 1", b"content-length: -2") + b"{}",
        head(b"x: 1", b"content-length: 2 ") + b"{}",
        head(b"x: 1", b"content-length: \xb2") + b"{}",
        head(b"x: 1", b"content-length: 2")[:-2],
        head(b"x: 1") + b"{}",
    ],
)
@pytest.mark.parametrize("came_last", [True, False])
def test_anything_else_goes_to_the_parser(data: bytes, came_last: bool) -> None:
    heads, known_one = Heads(), head(b"x: 1", b"content-length: 2") + b"{}"
    remember(heads, known_one)
    if came_last:
        assert heads.find(known_one) is not None
    assert heads.find(data) is None


def test_heads_that_alternate_are_told_apart() -> None:
    heads = Heads()
    both = [head(b"x-agent: %b" % name, b"content-length: 2", b"y: 1") + b"{}" for name in (b"a", b"b")]
    for data in both:
        remember(heads, data)
    for number in (0, 1, 1, 0, 0, 1):
        found = heads.find(both[number])
        assert found is not None
        assert found[0].request.fields.passing[1:3] == [b": ", b"ab"[number : number + 1]]


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        ([b"content-length: 2", b"expect: 100-continue"], LINE),
        ([b"content-length: 2", b"connection: close"], LINE),
        ([b"content-length: 2"], LINE.replace(b"1.1", b"1.0")),
        ([b"content-length: 2"], b"POST /v1/completions HTTP/1.1\r\n"),
        ([b"content-length: 2"], b"POST /v1/unknown HTTP/1.1\r\n"),
        ([b"content-length: 2", b"x: " + b"1" * LONGEST_HEAD], LINE),
        ([b"content-length: 2", b"host: other"], LINE),
        ([b"content-length: 2", b"upgrade: h2c", b"connection: upgrade"], LINE),
        ([b"content-length:2"], LINE),
    ],
)
def test_only_plain_heads_are_remembered(lines: list[bytes], first: bytes) -> None:
    assert known(b"content-length: 2")
    assert not known(*lines, first=first)


def test_a_query_is_part_of_the_head() -> None:
    heads = Heads()
    first = b"POST /v1/chat/completions?a=1 HTTP/1.1\r\n"
    remember(heads, head(b"content-length: 2", first=first) + b"{}")
    found = heads.find(head(b"content-length: 2", first=first) + b"{}")
    assert found is not None
    assert found[0].request.query == b"a=1"
    assert heads.find(head(b"content-length: 2") + b"{}") is None


def test_the_memory_is_bounded() -> None:
    heads = Heads()
    for number in range(MOST_HEADS + 1):
        remember(heads, head(b"x-request-id: %d" % number, b"content-length: 2") + b"{}")
    assert len(heads._known) == 1
    assert heads.find(head(b"x-request-id: 0", b"content-length: 2") + b"{}") is None


def test_the_memory_is_bounded_in_bytes() -> None:
    heads = Heads()
    for number in range(200):
        remember(heads, head(b"x-long: %03d%b" % (number, b"x" * 8000), b"content-length: 2") + b"{}")
    assert sum(map(len, heads._known)) < 1_048_576
    assert heads.find(head(b"x-long: 199" + b"x" * 8000, b"content-length: 2") + b"{}") is not None


# ---- the parser as the oracle

_LINES = st.lists(
    st.sampled_from(
        [
            b"x: 1",
            b"X:2",
            b"accept: */*",
            b"content-length: 2",
            b"Content-Length: 3",
            b"content-length: ",
            b"content-length: 02",
            b"content-length : 2",
            b"CONTENT-LENGTH: 4",
            b"x-content-length: 2",
            b"transfer-encoding: chunked",
            b"connection: close",
            b"connection: keep-alive",
            b" folded",
            b"host: other",
            b"expect: 100-continue",
            b"x: content-length: 2",
        ]
    ),
    max_size=4,
)
_EDITS = st.lists(
    st.tuples(
        st.floats(0.0, 1.0),
        st.sampled_from(
            [b"", b"\r\n", b"\n", b"\r", b" ", b"2", b"\x00", b":", b"\r\ncontent-length: 2", b"\r\n\r\n", b"POST "]
        ),
        st.integers(0, 3),
    ),
    max_size=3,
)
_BODIES = st.sampled_from([b"", b"{}", b"[1]", b"{} \r\n\r\n", b"0\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"])


@st.composite
def _reads(draw: st.DrawFn) -> bytes:
    """One read: something like a request, with a few bytes put in or taken out."""
    body = draw(_BODIES)
    lines = [*draw(_LINES), *([b"content-length: %d" % len(body)] if draw(st.booleans()) else [])]
    data = head(*lines) + body
    for place, put, taken in draw(_EDITS):
        at = int(place * len(data))
        data = data[:at] + put + data[at + taken :]
    return data


@given(st.lists(_reads(), min_size=1, max_size=4), _reads(), st.integers(0, 3), _BODIES)
@settings(max_examples=400)
def test_what_is_recognised_is_what_the_parser_would_have_read(
    before: list[bytes], other: bytes, which: int, body: bytes
) -> None:
    heads = Heads()
    for data in before:
        remember(heads, data)
    alike = before[which % len(before)]
    start = alike.find(b"\r\n\r\n") + 4
    relong = re.sub(rb"(?i)(content-length: )\d+", rb"\g<1>%d" % len(body), alike[:start]) + body
    for data in (*before, other, relong):
        found = heads.find(data)
        if found is None:
            continue
        seen, length, found_body = found
        oracle = Oracle(data)
        assert oracle.one_whole_request
        parsed = oracle.inbound()
        assert (oracle.body, len(oracle.body)) == (found_body, length)
        assert parsed.route == seen.route
        request = parsed.request
        assert (request.method, request.path, request.query) == (b"POST", seen.request.path, seen.request.query)
        assert (request.http11, request.keep_alive, request.content_length) == (True, True, length)
        assert inside(request.fields) == {**inside(seen.request.fields), "content_length": length}


_CALLER_FIELDS = st.lists(
    st.sampled_from(
        [
            (b"accept-encoding", b"gzip"),
            (b"Accept", b"application/json"),
            (b"X-Stainless-OS", b"Linux"),
            (b"authorization", b"Bearer key"),
            (b"Connection", b"keep-alive"),
            (b"connection", b"x-mine"),
            (b"X-Mine", b"1"),
            (b"x-request-id", b"mine-1"),
            (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            (b"tracestate", b"a=1"),
            (b"baggage", b"b=2"),
        ]
    ),
    max_size=6,
)


@given(_CALLER_FIELDS, st.booleans())
@settings(max_examples=60)
def test_a_head_seen_before_makes_the_same_upstream_head_as_parsing_it(fields: Fields, stream: bool) -> None:
    body = CHAT_BODY.replace(b"}]", b'}],"stream":%b' % (b"true" if stream else b"false"))
    sent: list[bytes] = []

    async def play() -> None:
        world = World()
        world.services.new_trace = lambda: "a" * 64
        line = Line(world)
        (connection,) = world.pool.connections
        for data in (chat(body, fields), chat(body, fields), chat(body[:-1] + b" }", fields)):
            await line.read(data)
            sent.append(connection.sent)
            connection.answer(200, COMPLETION)
            await turn()
        assert line.statuses == [200] * 3

    asyncio.run(play())
    assert sent[0] == sent[1]
    assert (
        sent[2]
        == sent[0].replace(b"content-length: %d" % len(body), b"content-length: %d" % (len(body) + 1))[:-1] + b" }"
    )
