"""Addresses of both families, tried in turn and staggered (RFC 8305)."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.echo import connect
from mimic_proxy.errors import UpstreamTimeout
from mimic_proxy.relay import dial
from mimic_proxy.relay.dial import Address, interleave, open_socket

FOUR, SIX = socket.AF_INET, socket.AF_INET6


def four(number: int) -> Address:
    return (FOUR, (f"192.0.2.{number}", 80))


def six(number: int) -> Address:
    return (SIX, (f"2001:db8::{number}", 80, 0, 0))


# ---- addresses


@pytest.mark.parametrize(
    ("given_addresses", "expected"),
    [
        ([], []),
        ([four(1)], [four(1)]),
        ([four(1), four(2)], [four(1), four(2)]),
        ([six(1), six(2), four(1), four(2)], [six(1), four(1), six(2), four(2)]),
        ([four(1), six(1), six(2)], [four(1), six(1), six(2)]),
        ([six(1), six(2), six(3), four(1)], [six(1), four(1), six(2), six(3)]),
    ],
)
def test_families_alternate_in_the_order_of_the_resolver(given_addresses: Any, expected: Any) -> None:
    assert interleave(given_addresses) == expected


@given(st.lists(st.one_of(st.integers(1, 9).map(four), st.integers(1, 9).map(six)), max_size=12))
def test_no_address_is_lost_and_none_overtakes_its_own_family(addresses: list[Address]) -> None:
    got = interleave(addresses)
    for family in (FOUR, SIX):
        assert [one for one in got if one[0] == family] == [one for one in addresses if one[0] == family]


class Resolver:
    """What the resolver answers, and what becomes of each address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[Address] = []
        self.cancelled: list[Address] = []
        self.gates: dict[Address, asyncio.Future[None]] = {}
        self.sockets: list[socket.socket] = []
        monkeypatch.setattr(dial, "_connect_one", self.connect_one)
        self.monkeypatch = monkeypatch

    def resolve(self, *addresses: Address) -> None:
        async def getaddrinfo(host: str, port: int, **how: Any) -> Any:
            return [(family, socket.SOCK_STREAM, 6, "", where) for family, where in addresses]

        self.monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        self.gates = {address: asyncio.get_running_loop().create_future() for address in addresses}

    async def connect_one(self, address: Address) -> socket.socket:
        self.tried.append(address)
        try:
            await self.gates[address]
        except asyncio.CancelledError:
            self.cancelled.append(address)
            raise
        made = socket.socket()
        self.sockets.append(made)
        return made

    async def until_tried(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.tried) < number:
                await asyncio.sleep(0)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver(monkeypatch)
    yield made
    for one in made.sockets:
        one.close()


async def test_a_failure_starts_the_next_address_at_once(resolver: Resolver) -> None:
    resolver.resolve(six(1), four(1), four(2))
    task = asyncio.ensure_future(open_socket("backend.test", 80))
    await resolver.until_tried(1)
    resolver.gates[six(1)].set_exception(OSError(101, "Network is unreachable"))
    await resolver.until_tried(2)
    resolver.gates[four(1)].set_result(None)
    assert await task is resolver.sockets[0]
    assert resolver.tried == [six(1), four(1)]


async def test_a_silent_address_is_overtaken_and_given_up(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "STAGGER_SECONDS", 0.001)
    resolver.resolve(six(1), six(2), four(1))
    task = asyncio.ensure_future(open_socket("backend.test", 80))
    await resolver.until_tried(3)
    resolver.gates[four(1)].set_result(None)
    assert await task is resolver.sockets[0]
    await asyncio.sleep(0)
    assert sorted(resolver.cancelled) == [six(1), six(2)]


async def test_of_two_that_connect_at_once_the_second_is_closed(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "STAGGER_SECONDS", 0.001)
    resolver.resolve(six(1), four(1))
    task = asyncio.ensure_future(open_socket("backend.test", 80))
    await resolver.until_tried(2)
    for gate in resolver.gates.values():
        gate.set_result(None)
    winner = await task
    for _ in range(5):
        await asyncio.sleep(0)
    assert [one.fileno() >= 0 for one in resolver.sockets] == [one is winner for one in resolver.sockets]


async def test_when_all_fail_the_first_failure_is_told(resolver: Resolver) -> None:
    resolver.resolve(six(1), four(1))
    resolver.gates[six(1)].set_exception(OSError(101, "first"))
    resolver.gates[four(1)].set_exception(OSError(111, "second"))
    with pytest.raises(OSError, match="first"):
        await open_socket("backend.test", 80)


async def test_who_is_cancelled_gives_up_all_addresses(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "STAGGER_SECONDS", 0.001)
    resolver.resolve(six(1), four(1))
    task = asyncio.ensure_future(open_socket("backend.test", 80))
    await resolver.until_tried(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(5):
        await asyncio.sleep(0)
    assert sorted(resolver.cancelled) == sorted([six(1), four(1)])


async def test_a_silent_address_is_given_up_by_the_connect_timer(resolver: Resolver) -> None:
    resolver.resolve(four(1))
    with pytest.raises(UpstreamTimeout, match=r"backend\.test:80 within 0\.02 s \(connect timer\)") as raised:
        await connect("http://backend.test", timeout=0.02)
    assert (raised.value.timer, resolver.cancelled) == ("connect", [four(1)])
