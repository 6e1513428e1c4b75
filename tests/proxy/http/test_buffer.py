"""Bytes that are collected: the same bytes in the same order, at about their own size."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.http.framing import Buffer

PIECES = st.lists(st.one_of(st.binary(max_size=5), st.sampled_from([b"x" * 4095, b"y" * 4096, b"z" * 70_000])))


@given(PIECES)
def test_everything_comes_out_as_it_went_in(pieces: list[bytes]) -> None:
    made = Buffer()
    for piece in pieces:
        made.append(piece)
    whole = b"".join(pieces)
    assert made.size == len(whole)
    assert (made.take(), made.take()) == (whole, whole)
    made.append(b"more")
    assert made.take() == whole + b"more"
    made.clear()
    assert (made.take(), made.size) == (b"", 0)


def test_a_piece_that_is_alone_is_not_copied() -> None:
    made, piece = Buffer(), b"a small one"
    made.append(piece)
    assert made.take() is piece


@pytest.mark.parametrize("sizes", [(1,), (2,), (1, 4096), (100, 2, 5000)])
def test_small_pieces_take_hardly_more_than_their_bytes(sizes: tuple[int, ...]) -> None:
    """A list of pieces of two bytes takes more than twenty times theirs."""
    pieces = [bytes(size) for size in sizes]
    tracemalloc.start()
    try:
        made = Buffer()
        while made.size < 1_000_000:
            for piece in pieces:
                made.append(piece)
        kept, _ = tracemalloc.get_traced_memory()
        assert len(made.take()) == made.size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1.2 * made.size
    assert peak < 2.2 * made.size
