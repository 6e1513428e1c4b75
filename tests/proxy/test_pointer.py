"""Places in a JSON document."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy import pointer

DOCUMENT = {"data": {"content": [{"text": "a"}, {"text": "b"}], "a.b": 1, "": 2}, "~/": None, "7": "seven"}


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("data.content.1.text", "b"),
        ("/data/content/1/text", "b"),
        ("/data/a.b", 1),
        ("/data/", 2),
        ("/~0~1", None),
        ("7", "seven"),
        (".", DOCUMENT),
        ("data.content.2", pointer.MISSING),
        ("data.content.-1", pointer.MISSING),
        ("data.content.01", pointer.MISSING),
        ("data.content." + "9" * 5000, pointer.MISSING),
        ("data.content.text", pointer.MISSING),
        ("data.other", pointer.MISSING),
        ("7.0", pointer.MISSING),
        ("~/", None),
    ],
)
def test_a_place_is_found_as_it_is_written(written: str, found: Any) -> None:
    assert pointer.find(DOCUMENT, pointer.parse(written)) == found


@pytest.mark.parametrize("written", ["", "..", "secret..b", ".secret", "secret.", "/secret~2", "/secret~"])
def test_what_is_no_place_is_refused_without_being_repeated(written: str) -> None:
    with pytest.raises(ValueError, match=r"^(must be|holds)") as caught:
        pointer.parse(written)
    assert "secret" not in str(caught.value)


@given(st.lists(st.text(max_size=5), max_size=4).map(tuple))
def test_what_is_written_is_read_as_the_same_place(place: pointer.Pointer) -> None:
    assert pointer.parse(pointer.written(place)) == place
