"""Answers as steps, without a socket."""

import gzip
import zlib
from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.demo import faults as fault_module
from mimic_proxy.demo.delivery import Cut, Frame, Pause, Stream, body_steps, compressed, stream_steps
from mimic_proxy.demo.faults import NONE, Faults, parse, swollen
from mimic_proxy.demo.refusals import Refusal

FRAMES = [
    Frame("open", b"o\n\n"),
    *(Frame("content", b"%d\n\n" % number) for number in range(5)),
    Frame("finish", b"f\n\n"),
    Frame("usage", b"u\n\n"),
    Frame("done", b"d\n\n"),
]
SHORT = [FRAMES[0], *FRAMES[-3:]]
WHOLE = b"".join(frame.data for frame in FRAMES)


def steps(text: str, frames: list[Frame] = FRAMES) -> list[object]:
    """What a stream with these faults consists of; bytes that follow each other are joined."""
    found: list[object] = []
    for step in stream_steps(Stream(frames, lambda code, message: b"E%r\n\n" % code), parse(text)):
        if isinstance(step, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += step
        else:
            found.append(step)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [WHOLE]),
        ("no-done", [b"o\n\n0\n\n1\n\n2\n\n3\n\n4\n\n"]),
        ("hang-mid=7", [b"o\n\n0\n\n1\n\n", Pause(7.0), WHOLE[9:]]),
        ("cut-mid", [b"o\n\n0\n\n1\n\n", Cut()]),
        ("half-event", [b"o\n\n0\n\n1\n\n2"]),
        ("half-event,cut-mid", [b"o\n\n0\n\n1\n\n2", Cut()]),
        ("hang-mid=7, cut-mid", [b"o\n\n0\n\n1\n\n", Pause(7.0), Cut()]),
        ("error-frame", [b"o\n\n0\n\n1\n\nENone\n\n"]),
        ("error-frame,cut-mid", [b"o\n\n0\n\n1\n\nENone\n\n", Cut()]),
        ("error-first-429", [b"E429\n\n"]),
    ],
)
def test_a_fault_makes_a_stream_go_like_this(text: str, expected: list[object]) -> None:
    assert steps(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("cut-mid", [b"o\n\n", Cut()]), ("hang-mid=7", [b"o\n\n", Pause(7.0), b"f\n\nu\n\nd\n\n"])],
)
def test_a_stream_without_content_has_a_middle_too(text: str, expected: list[object]) -> None:
    assert steps(text, SHORT) == expected


def test_slow_chunks_pause_between_all_events() -> None:
    found = steps("slow-chunks=250")
    assert found[1::2] == [Pause(0.25)] * (len(FRAMES) - 1)
    assert b"".join(step for step in found if isinstance(step, bytes)) == WHOLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [b"0123456789"]),
        ("hang-mid=2", [b"01234", Pause(2.0), b"56789"]),
        ("cut-mid", [b"01234", Cut()]),
        ("slow-chunks=1", [b"01", Pause(0.001), b"23", Pause(0.001), b"45", Pause(0.001), b"67", Pause(0.001), b"89"]),
    ],
)
def test_a_fault_makes_a_body_go_like_this(text: str, expected: list[object]) -> None:
    assert list(body_steps(b"0123456789", parse(text))) == expected


@given(st.lists(st.binary(min_size=1)))
def test_each_compressed_step_can_be_read_when_it_comes(parts: list[bytes]) -> None:
    reader, read = zlib.decompressobj(wbits=31), []
    sent = list(compressed(parts))
    read = [reader.decompress(step) for step in sent if isinstance(step, bytes)]
    assert read == [*parts, b""]
    assert gzip.decompress(b"".join(step for step in sent if isinstance(step, bytes))) == b"".join(parts)


def test_pieces_swell_to_the_count_and_size_asked_for() -> None:
    assert list(swollen(["a", "b"], parse("many-events=5"))) == ["a", "b", "a", "b", "a"]
    assert [len(piece) for piece in swollen(["a", "b"], parse("big-events=9"))] == [9, 9]
    assert len(list(swollen([], parse("many-events=3")))) == 3
    assert list(swollen(["a"], NONE)) == ["a"]


@pytest.mark.parametrize(
    ("header", "model", "expected"),
    [
        (None, None, NONE),
        ("", "demo/chat-large", NONE),
        ("status-429, retry-after=2.5", None, Faults(status=429, retry_after=2.5)),
        (None, "fault-status-429,retry-after-2", Faults(status=429, retry_after=2)),
        ("gzip", "fault-cut-mid", Faults(gzip=True, cut_mid=True)),
        ("HANG-MID", None, Faults(hang_mid=600)),
        ("error-first", None, Faults(error_first=503)),
        ("refuse-token=a-1", None, Faults(refuse_token="a-1")),
    ],
)
def test_header_and_model_name_the_faults(header: str | None, model: str | None, expected: Faults) -> None:
    assert parse(header, model) == expected


@pytest.mark.parametrize(
    "header", ["nonsense", "status-200", "status-x", "hang-mid=-1", "hang-mid=nan", "many-events=1e9", "gzip=2", "cut"]
)
def test_an_unknown_fault_is_refused_with_what_is_known(header: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse(header)
    assert caught.value.status == 400
    assert header in caught.value.message or "takes" in caught.value.message


def test_the_table_names_every_fault() -> None:
    with pytest.raises(Refusal) as caught:
        parse("?")
    known = caught.value.message.rpartition(": ")[2].removesuffix(".").split(", ")
    assert sorted(known) == sorted(field.name.replace("_", "-") for field in fields(Faults))
    rows = [line.split()[0] for line in (fault_module.__doc__ or "").splitlines() if line.startswith("    ")]
    assert rows[1:] == known
    assert all(one != other for one, other in pairwise(rows))
