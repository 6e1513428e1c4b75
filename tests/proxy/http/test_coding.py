"""Content codings of answers that are read whole."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.http.coding import decoded


@given(st.binary(max_size=2000))
def test_what_was_packed_comes_out_as_it_was(body: bytes) -> None:
    assert decoded(gzip.compress(body), b"gzip", 2000) == body
    assert decoded(body, b"", 2000) == decoded(body, b"identity", 2000) == body


@pytest.mark.parametrize(
    ("body", "coding", "said"),
    [
        (b"x", b"br", "not asked for"),
        (b"x", b"gzip", "not the gzip"),
        (gzip.compress(b"x" * 100)[:-5], b"gzip", "not the gzip"),
        (gzip.compress(b"x" * 3000), b"gzip", "more than 2000 bytes"),
    ],
    ids=["another coding", "no gzip", "cut", "large"],
)
def test_what_cannot_be_read_is_told(body: bytes, coding: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decoded(body, coding, 2000)
