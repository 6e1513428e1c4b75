from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from mimic_proxy.http.sse import DEFAULT_LIMIT, Event, Splitter

BOM = b"\xef\xbb\xbf"
_PIECES = [
    b"data: x",
    b"data:y",
    b"data",
    b"data: ",
    b"event: e",
    b"id: 1",
    b": c",
    b"retry: 3",
    b"datax: z",
    b"\xc3\xa9",
]
_LINE_ENDS = [b"\n", b"\r", b"\r\n"]

streams = st.lists(st.sampled_from(_PIECES + _LINE_ENDS * 3), max_size=30).map(b"".join)
lf_streams = st.lists(st.sampled_from([*_PIECES, b"data: " + b"x" * 30, b"\n", b"\n", b"\n\n"]), max_size=30).map(
    b"".join
)


@st.composite
def cut(draw: st.DrawFn, source: st.SearchStrategy[bytes] = streams) -> list[bytes]:
    """A stream in the reads that it may come in."""
    whole = draw(source)
    marks = draw(st.lists(st.integers(0, len(whole)), max_size=12).map(sorted))
    return [whole[a:b] for a, b in pairwise([0, *marks, len(whole)])]


def feed(reads: list[bytes], limit: int = DEFAULT_LIMIT) -> tuple[list[Event], Splitter]:
    splitter = Splitter(limit)
    return [event for read in reads for event in splitter.feed(read)], splitter


def seen(events: list[Event]) -> list[tuple[bytes, bytes]]:
    return [(event.type, event.data) for event in events if event.data is not None]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data: a\r\n\r\n", [(b"", b"a")]),
        (b"data: a\r\r", [(b"", b"a")]),
        (b"data: a\n\r\n", [(b"", b"a")]),
        (b"data: a\r\n\n", [(b"", b"a")]),
        (b"data: a\n\r", [(b"", b"a")]),
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a\n\n", [(b"", b" a")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"data: a\ndata\ndata:\n\n", [(b"", b"a\n\n")]),
        (b"event: e\nid: 7\ndata: a\nretry: 1\n\n", [(b"e", b"a")]),
        (b"event: e\nevent: f\ndata: a\n\ndata: b\n\n", [(b"f", b"a"), (b"", b"b")]),
        (b": ping\n\ndata: a\n\n", [(b"", b"a")]),
        (b": ping\ndata: a\n\n", [(b"", b"a")]),
        (b"event: e\n\n", []),
        (b"database: a\neventual: b\nDATA: c\n data: d\n\n", []),
        (b"data: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"\n\r\n\rdata: a\n\n", [(b"", b"a")]),
        (BOM + b"data: a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"\n" + BOM + b"data: a\n\n", []),
        (b"data: a\n\n" + BOM + b"data: b\n\n", [(b"", b"a")]),
        (b"data: \xe2\x82\xac\n\n", [(b"", "€".encode())]),
        (b"data: \xff\x00\n\n", [(b"", b"\xff\x00")]),
        (b"data: a\x0bb\x0c\xe2\x80\xa8c\n\n", [(b"", b"a\x0bb\x0c\xe2\x80\xa8c")]),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"", []),
    ],
)
def test_finds_the_events_of_a_stream(stream: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    for reads in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        events, splitter = feed(reads)

        assert seen(events) == expected
        assert b"".join(event.raw for event in events) + splitter.tail == stream


@settings(max_examples=400)
@given(cut(), st.booleans())
def test_any_split_gives_the_same_events_and_loses_no_byte(reads: list[bytes], bom: bool) -> None:
    reads = [BOM[:2], BOM[2:], *reads] if bom else reads
    whole = b"".join(reads)

    events, splitter = feed(reads)

    assert seen(events) == seen(feed([whole])[0])
    assert b"".join(event.raw for event in events) + splitter.tail == whole
    assert not splitter.overlong


@settings(max_examples=300)
@given(cut())
def test_sees_the_events_that_the_official_sdk_sees(reads: list[bytes]) -> None:
    events, _ = feed(reads)

    theirs = [(event.event or "", event.data) for event in SSEDecoder().iter_bytes(iter(reads)) if event.data]
    assert [(kind.decode(), data.decode()) for kind, data in seen(events) if data] == theirs


def test_a_cr_at_the_end_of_a_read_counts_at_once() -> None:
    splitter = Splitter()

    assert seen(splitter.feed(b"data: a\r\n\r")) == [(b"", b"a")]
    assert splitter.tail == b""
    assert splitter.feed(b"\ndata: b\r\n\r\n") == [Event(b"\n"), Event(b"data: b\r\n\r\n", b"b")]


def test_holds_nothing_back_between_events() -> None:
    splitter = Splitter()

    assert splitter.feed(b"data: a\n\n\n") == [Event(b"data: a\n\n", b"a"), Event(b"\n")]
    assert splitter.tail == b""


def test_an_event_of_exactly_the_limit_is_seen() -> None:
    event = b"data: " + b"x" * 92 + b"\n\n"

    for reads in ([event], [event[:50], event[50:99], event[99:]]):
        events, splitter = feed(reads, limit=100)
        assert seen(events) == [(b"", event[6:-2])]
        assert not splitter.overlong


def test_a_longer_event_passes_in_pieces_and_the_next_one_is_seen() -> None:
    splitter = Splitter(limit=100)
    start = b"event: e\ndata: " + b"x" * 100

    assert splitter.feed(start) == [Event(start, None, b"e", True)]
    assert (splitter.in_partial, splitter.overlong, splitter.tail) == (True, True, b"")
    assert splitter.feed(b"") == []
    assert splitter.feed(b"yy\n") == [Event(b"yy\n", None, b"", True)]
    assert splitter.in_partial
    assert splitter.feed(b"\ndata: a\n\ndata: ") == [Event(b"\n", None, b"", True), Event(b"data: a\n\n", b"a")]
    assert (splitter.in_partial, splitter.tail) == (False, b"data: ")


@pytest.mark.parametrize(
    ("pieces", "inside"),
    [
        ([b"\r", b"\n"], True),
        ([b"\r\n", b"\r"], False),
        ([b"\r", b"\r"], False),
        ([b"\n", b"\r"], False),
        ([b"\r", b"\n", b"\n"], False),
        ([b"\n", b"x", b"\n"], True),
        ([b"\r", b"\nx\r\n\r\n"], False),
    ],
)
def test_finds_the_blank_line_of_a_long_event_across_reads(pieces: list[bytes], inside: bool) -> None:
    _, splitter = feed([b"data: " + b"x" * 10, *pieces], limit=10)

    assert splitter.in_partial is inside


def test_a_long_event_that_came_in_one_read_is_not_looked_at_either() -> None:
    raw = b"event: e\ndata: " + b"x" * 100 + b"\n\n"

    events, splitter = feed([raw + b"data: a\n\n"], limit=100)

    assert events == [Event(raw, None, b"e", True), Event(b"data: a\n\n", b"a")]
    assert (splitter.in_partial, splitter.overlong) == (False, True)


@settings(max_examples=200)
@given(cut(lf_streams), st.integers(0, 25))
def test_what_is_seen_beside_long_events_does_not_depend_on_the_split(reads: list[bytes], limit: int) -> None:
    events, splitter = feed(reads, limit)
    whole_events, whole = feed([b"".join(reads)], limit)

    assert seen(events) == seen(whole_events)
    assert (splitter.overlong, splitter.in_partial) == (whole.overlong, whole.in_partial)


@settings(max_examples=200)
@given(cut(), st.integers(0, 25))
def test_never_holds_more_than_the_limit_and_loses_no_byte(reads: list[bytes], limit: int) -> None:
    splitter = Splitter(limit)
    out = b""

    for read in reads:
        out += b"".join(event.raw for event in splitter.feed(read))
        assert len(splitter.tail) <= limit

    assert out + splitter.tail == b"".join(reads)
