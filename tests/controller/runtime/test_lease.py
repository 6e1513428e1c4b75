"""The election on a scripted clock, with an API server that can be cut off."""

import asyncio
import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from fakes.virtual_time import in_virtual_time
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Kind
from mimic_operator.runtime.lease import Election, Terms


class Server:
    """Holds one Lease. cut: names of candidates that get no response; late: seconds for each response."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.cut: set[str] = set()
        self.late = 0.0
        self.writes: list[tuple[float, str]] = []

    def of(self, name: str) -> "Seat":
        return Seat(self, name)


class Seat:
    """The server as one candidate reaches it."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name

    async def _reach(self) -> None:
        await asyncio.sleep(self.server.late)
        if self.name in self.server.cut:
            await asyncio.Event().wait()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        await self._reach()
        return copy.deepcopy(self.server.lease)

    async def create(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._reach()
        if self.server.lease is not None:
            raise Fault("conflict", "it exists")
        return self._store(manifest)

    async def replace(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._reach()
        assert self.server.lease is not None
        if manifest["metadata"]["resourceVersion"] != self.server.lease["metadata"]["resourceVersion"]:
            raise Fault("conflict", "it has changed")
        return self._store(manifest)

    def _store(self, manifest: dict[str, Any]) -> dict[str, Any]:
        server = self.server
        server.version += 1
        server.lease = copy.deepcopy(manifest)
        server.lease["metadata"]["resourceVersion"] = str(server.version)
        server.writes.append((asyncio.get_running_loop().time(), manifest["spec"]["holderIdentity"]))
        return copy.deepcopy(server.lease)


class Candidate:
    """led: from when to when it led, on the common clock."""

    def __init__(self, server: Server, name: str) -> None:
        loop = asyncio.get_running_loop()
        self.led: list[float] = []
        self.election = Election(
            server.of(name), namespace="mimic", name="lease", identity=name, clock=loop.time, wall=lambda: 1e9
        )
        self.task = asyncio.create_task(self._run(loop.time))

    async def _run(self, clock: Callable[[], float]) -> None:
        await self.election.acquire()
        self.led.append(clock())
        try:
            await self.election.hold()
        finally:
            self.led.append(clock())

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        await self.election.release()


@pytest.mark.parametrize("terms", [(10.0, 10.0, 2.0), (15.0, 16.0, 2.0), (15.0, 10.0, 10.0), (15.0, 10.0, 0.0)])
def test_a_deadline_that_is_not_shorter_than_the_duration_is_refused(terms: tuple[float, float, float]):
    with pytest.raises(ValueError, match="two lead at a time"):
        Terms(*terms)


def test_the_terms_are_those_of_kubernetes_own_components():
    assert (Terms().duration, Terms().deadline, Terms().retry) == (15.0, 10.0, 2.0)


def test_a_leader_that_is_cut_off_ends_before_another_begins():
    async def scenario() -> None:
        server = Server()
        first = Candidate(server, "first")
        await asyncio.sleep(5)
        second = Candidate(server, "second")
        await asyncio.sleep(20)
        server.cut.add("first")
        await asyncio.sleep(40)
        assert first.led[0] < 1
        ended, begun = first.led[1], second.led[0]
        cut = 25.0
        assert cut < ended <= cut + 10.0
        assert ended < begun <= cut + 15.0 + 2.0 + 0.1
        await second.stop()

    in_virtual_time(scenario())


def test_fault_10_the_time_of_a_lease_counts_from_its_acquisition():
    """The first lists took longer than the Lease holds; renewal began after them, with a deadline of its own."""

    async def scenario() -> None:
        server = Server()
        loop = asyncio.get_running_loop()
        election = Election(
            server.of("slow"), namespace="mimic", name="lease", identity="slow", clock=loop.time, wall=lambda: 1e9
        )
        await election.acquire()
        await asyncio.sleep(12)  # something that should not have come between
        rival = Candidate(server, "rival")
        begun = loop.time()
        await election.hold()
        assert loop.time() == begun, "ten seconds without a renewal are over"
        await asyncio.sleep(20)
        assert rival.led
        await rival.stop()

    in_virtual_time(scenario())


def test_one_request_that_hangs_costs_no_lease():
    async def scenario() -> None:
        server = Server()
        leader = Candidate(server, "leader")
        await asyncio.sleep(5)
        server.cut.add("leader")
        await asyncio.sleep(6)
        server.cut.clear()
        await asyncio.sleep(60)
        assert len(leader.led) == 1
        await leader.stop()

    in_virtual_time(scenario())


def test_a_response_that_comes_late_shortens_the_time_that_is_left():
    """The server wrote the renewal when it got it; others count from then."""

    async def scenario() -> None:
        server = Server()
        server.late = 2.0  # for the read and for the write
        leader = Candidate(server, "leader")
        await asyncio.sleep(30)
        last = server.writes[-1][0]
        server.cut.add("leader")
        await asyncio.sleep(30)
        assert leader.led[1] <= last + 10.0

    in_virtual_time(scenario())


def test_another_takes_a_released_lease_at_once_and_a_foreign_holder_ends_the_leader():
    async def scenario() -> None:
        server = Server()
        first = Candidate(server, "first")
        await asyncio.sleep(1)
        second = Candidate(server, "second")
        await asyncio.sleep(10)
        assert second.led == []
        await first.stop()
        released = asyncio.get_running_loop().time()
        await asyncio.sleep(3)
        assert second.led[0] - released <= 2.1
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 2
        server.lease["spec"]["holderIdentity"] = "somebody"
        server.lease["metadata"]["resourceVersion"] = "taken"
        await asyncio.sleep(3)
        assert len(second.led) == 2

    in_virtual_time(scenario())


def test_a_candidate_that_never_tried_releases_nothing():
    async def scenario() -> None:
        server = Server()
        server.cut.add("idle")
        idle = Candidate(server, "idle")
        await asyncio.sleep(7)
        await idle.stop()
        assert server.writes == []

    in_virtual_time(scenario())
