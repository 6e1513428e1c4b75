"""Which traceparent counts (W3C Trace Context, 3.2.2 and 4)."""

import pytest

from mimic_proxy.http.headers import read_request, request_names

IDS = b"-" + b"1" * 32 + b"-" + b"2" * 16
VALID = b"00" + IDS + b"-01"
NAMES = request_names(b"authorization")


@pytest.mark.parametrize(
    "value",
    [VALID, b"00" + IDS + b"-00", b"00" + IDS + b"-ff", b"01" + IDS + b"-01", b"cc" + IDS + b"-01-what-comes-later"],
)
def test_the_first_version_and_later_ones_count(value: bytes):
    assert read_request([(b"traceparent", value)], NAMES).traceparent == value


@pytest.mark.parametrize(
    "value",
    [
        VALID + b"-more",
        VALID + b"-",
        b"01" + IDS + b"-01x",
        b"01" + IDS + b"-1",
        b"ff" + IDS + b"-01",
        b"0" + IDS + b"-01",
        VALID.replace(b"1" * 32, b"0" * 32),
        VALID.replace(b"2" * 16, b"0" * 16),
        VALID.replace(b"1" * 32, b"A" * 32),
        b"",
    ],
)
def test_what_is_malformed_counts_as_none(value: bytes):
    assert not read_request([(b"traceparent", value)], NAMES).traceparent


def test_two_are_none():
    assert not read_request([(b"traceparent", VALID), (b"traceparent", VALID)], NAMES).traceparent


@pytest.mark.parametrize(("baggage", "passing"), [(False, b""), (True, b"baggage: user=1\r\n")])
def test_baggage_passes_only_where_it_is_meant_to(baggage: bool, passing: bytes):
    fields = read_request([(b"baggage", b"user=1")], request_names(b"authorization", baggage=baggage))
    assert b"".join(fields.passing) == passing
