"""Client keys: who is let in, under which name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimic_proxy.errors import ClientKeyRefused, ClientKeysMissing
from mimic_proxy.relay.access import MOST_NAMES, OTHERS, AcceptedKeys

KEYS = AcceptedKeys([("crm", "mk-one"), ("crm", "mk-two"), ("search", "mk-three")])


@pytest.mark.parametrize(
    ("credential", "name"),
    [
        (b"Bearer mk-one", "crm"),
        (b"bearer  mk-two ", "crm"),
        (b"mk-three", "search"),
    ],
)
def test_a_listed_key_gives_its_entrys_name(credential: bytes, name: str) -> None:
    assert KEYS.name_of(credential) == name


@pytest.mark.parametrize(
    "credential", [None, b"", b"Bearer ", b"Bearer mk-on", b"Bearer mk-one2", b"Basic mk-one", b"crm", b"\xff\xfe"]
)
def test_everything_else_is_refused_with_what_to_set(credential: bytes | None) -> None:
    got = KEYS.name_of(credential)
    assert isinstance(got, ClientKeyRefused)
    assert (got.status, got.code, got.type) == (401, "invalid_api_key", "invalid_request_error")
    assert "API key" in got.message
    assert (b"www-authenticate", b"Bearer") in got.hints()


def test_without_a_list_nobody_is_told_that_the_key_is_wrong() -> None:
    got = AcceptedKeys(()).name_of(b"Bearer mk-one")
    assert isinstance(got, ClientKeysMissing)
    assert got.status == 503


def test_names_beyond_the_most_are_let_in_as_others() -> None:
    many = AcceptedKeys((f"team-{number}", f"mk-{number}") for number in range(MOST_NAMES + 2))
    assert many.name_of(b"mk-0") == "team-0"
    assert many.name_of(b"mk-%d" % (MOST_NAMES + 1)) == OTHERS


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_key_lets_in_itself_alone(key: str, other: str) -> None:
    key = "k" + key.strip() + "k"
    keys = AcceptedKeys([("a", key)])
    assert keys.name_of(f"Bearer {key}".encode("utf-8", "replace")) == "a" or min(key) >= "\ud800"
    got = keys.name_of(other.encode("utf-8", "replace"))
    assert isinstance(got, ClientKeyRefused) or other.strip() == key or other.lower().startswith("bearer ")
