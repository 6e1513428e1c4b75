"""Names that fit, and stay apart."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mimic_operator.resource.naming import child_name, label_value, labels_of, selector_of

SUBDOMAIN = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?){0,3}", fullmatch=True
)
DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def test_names_are_plain_where_they_fit():
    assert child_name("corp") == "mimic-corp"
    assert child_name("corp", "0123456789") == "mimic-corp-0123456789"
    assert child_name("a" * 57) == f"mimic-{'a' * 57}"
    assert label_value("a" * 63) == "a" * 63


def test_at_64_characters_a_label_is_cut_and_at_63_it_is_not():
    """Kubernetes, labels: 63 characters at most."""
    cut = label_value("a" * 64)
    assert (len(cut), cut.startswith("a" * 52 + "-")) == (63, True)
    assert label_value("a" * 65) != cut
    assert labels_of("a" * 63)["mimic.dev/backend"] == "a" * 63
    assert labels_of("a" * 64)["mimic.dev/backend"] == selector_of("a" * 64)["mimic.dev/backend"] == cut
    assert len(child_name("a" * 57)) == len(child_name("a" * 58)) == 63
    assert child_name("a" * 58) != f"mimic-{'a' * 57}"


@given(name=SUBDOMAIN, suffix=st.from_regex(r"[0-9a-f]{10}", fullmatch=True))
def test_names_are_dns_labels_whatever_the_backend_is_called(name: str, suffix: str):
    assert DNS_LABEL.fullmatch(child_name(name))
    assert DNS_LABEL.fullmatch(child_name(name, suffix))
    assert len(label_value(name)) <= 63


@given(one=SUBDOMAIN, other=SUBDOMAIN)
def test_two_backends_never_share_a_name_or_a_selector(one: str, other: str):
    if one != other:
        assert child_name(one) != child_name(other)
        assert selector_of(one) != selector_of(other)


def test_a_dot_and_a_dash_stay_apart():
    assert child_name("a.b") != child_name("a-b")


def test_names_are_the_same_in_every_version():
    """A change would leave the objects of the version before behind."""
    assert child_name("corp.eu", "0123456789") == "mimic-corp-eu-0123456789-74f43b4dd4"
    assert child_name("x" * 80) == f"mimic-{'x' * 46}-876a4d0a7f"


def test_selector_is_part_of_the_labels():
    assert selector_of("corp").items() <= labels_of("corp").items()
