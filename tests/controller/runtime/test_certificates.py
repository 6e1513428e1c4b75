"""The webhook's authority and leaf, through their years; OpenSSL judges by real handshakes."""

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mimic_operator.runtime.certificates import (
    AUTHORITY_DAYS,
    LEAF_DAYS,
    Certificates,
    Pair,
    ends,
    make_authority,
    make_leaf,
    renewed,
    service_names,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = service_names("mimic-webhook", "mimic-system")


def later(days: float) -> datetime:
    return NOW + timedelta(days=days)


async def shakes_hands(leaf: Pair, bundle: bytes, name: str, folder: Path) -> bool:
    """Whether a client that trusts the bundle accepts the leaf under this name."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "tls.crt").write_bytes(leaf.certificate)
    (folder / "tls.key").write_bytes(leaf.key)
    server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=bundle.decode())
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=server)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True


@pytest.mark.parametrize("name", NAMES)
async def test_the_service_is_trusted_under_its_names(name: str, tmp_path: Path):
    found = renewed(None, NAMES, datetime.now(UTC))
    assert await shakes_hands(found.leaf, found.bundle, name, tmp_path)
    assert not await shakes_hands(found.leaf, found.bundle, "other.mimic-system.svc", tmp_path)


async def test_both_leaves_are_trusted_while_one_authority_follows_another(tmp_path: Path):
    now = datetime.now(UTC)
    old = renewed(None, NAMES, now)
    spoilt = replace(old, authority=replace(old.authority, key=make_authority(now).key))
    new = renewed(spoilt, NAMES, now)
    assert new.authority.certificate != old.authority.certificate
    for leaf in (old.leaf, new.leaf):
        assert await shakes_hands(leaf, new.bundle, NAMES[0], tmp_path)


def test_what_is_good_is_left_alone():
    found = renewed(None, NAMES, NOW)
    assert renewed(found, NAMES, later(LEAF_DAYS / 2)) is found


def test_a_leaf_is_renewed_in_time_by_the_same_authority():
    found = renewed(None, NAMES, NOW)
    after = renewed(found, NAMES, later(LEAF_DAYS * 0.7))
    assert after.authority == found.authority
    assert ends(after.leaf.certificate) > ends(found.leaf.certificate)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: replace(found, leaf=replace(found.leaf, key=found.authority.key)),
        lambda found: replace(found, leaf=Pair(b"", b"")),
        lambda found: replace(found, leaf=make_leaf(found.authority, ["other"], NOW)),
        lambda found: replace(found, leaf=make_leaf(make_authority(NOW), NAMES, NOW)),
    ],
    ids=["the key of another", "empty", "other names", "another authority"],
)
def test_a_leaf_that_is_no_use_is_made_anew(spoil):
    found = renewed(None, NAMES, NOW)
    after = renewed(spoil(found), NAMES, NOW)
    assert after.authority == found.authority
    assert renewed(after, NAMES, NOW) is after


def test_an_authority_leaves_the_bundle_only_after_its_last_leaf_has_ended():
    found, seen = renewed(None, NAMES, NOW), []
    first = found.authority.certificate
    for day in range(0, AUTHORITY_DAYS + 200, 10):
        found = renewed(found, NAMES, later(day))
        trusted = first in found.bundle
        seen.append((trusted, found.authority.certificate == first))
        assert ends(found.leaf.certificate) > later(day + 20)
    assert seen[0] == (True, True)
    assert seen[-1] == (False, False)
    overlap = seen.count((True, False)) * 10
    assert LEAF_DAYS <= overlap <= LEAF_DAYS + 20


def test_an_authority_that_was_replaced_early_leaves_early():
    found = renewed(None, NAMES, NOW)
    spoilt = replace(found, authority=replace(found.authority, key=found.leaf.key))
    after = renewed(spoilt, NAMES, later(10))
    assert after.retired == (found.authority.certificate,)
    assert renewed(after, NAMES, later(10 + LEAF_DAYS + 1)).retired == ()


def test_a_leaf_never_outlives_its_authority():
    authority = make_authority(NOW)
    leaf = make_leaf(authority, NAMES, later(AUTHORITY_DAYS - 10))
    assert ends(leaf.certificate) <= ends(authority.certificate)


def test_damaged_ones_among_the_retired_are_dropped_and_keys_stand_in_no_repr():
    found = renewed(None, NAMES, NOW)
    assert renewed(replace(found, retired=(b"damaged",)), NAMES, NOW).retired == ()
    assert "PRIVATE" not in repr(found)
    assert isinstance(found, Certificates)
