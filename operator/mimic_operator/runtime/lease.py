"""Elects one leader by a Lease (Kubernetes coordination.k8s.io/v1), by the algorithm of client-go's leaderelection.

1. A Lease is free when it has no holder, or has not changed for its duration, measured on our own clock: clocks of
   different machines are not compared.
2. The holder stops to be one after `deadline` without a renewal, which is shorter than the duration for which others
   wait: between the two no one leads, and never two do.
3. The deadline counts from the moment before the request that took or renewed the Lease, never from a later one.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import LEASE, Kind

logger = logging.getLogger("mimic.leader")
RELEASE_TRIES = 3


class Leases(Protocol):
    """The calls to the API server that an election makes. Each may raise Fault."""

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None: ...
    async def create(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]: ...
    async def replace(self, kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds: how long a Lease holds, how long its holder tries to renew it, the pause between attempts."""

    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.deadline < self.duration:
            raise ValueError("an election needs retry < deadline < duration, or two lead at a time")


@dataclass(frozen=True, slots=True)
class Observed:
    """The Lease as it was last observed, and since when it has looked like this."""

    version: str = ""
    holder: str = ""
    since: float = 0.0
    duration: float = 0.0

    def is_free(self, now: float, identity: str) -> bool:
        """Whether it may be taken."""
        return self.holder in ("", identity) or now >= self.since + self.duration


def observed(lease: dict[str, Any], before: Observed, now: float) -> Observed:
    """What the Lease shows now; the time counts from its last change."""
    spec = lease.get("spec") or {}
    fresh = Observed(
        version=lease["metadata"]["resourceVersion"],
        holder=str(spec.get("holderIdentity") or ""),
        since=now,
        duration=float(spec.get("leaseDurationSeconds") or 0),
    )
    return replace(fresh, since=before.since) if fresh.version == before.version else fresh


class Election:
    """One candidate. `acquire` returns once it leads, `hold` once it does not any more.

    Run `hold` at once after `acquire`, before the first slow thing. clock: monotonic seconds; wall: Unix time.
    """

    def __init__(
        self,
        leases: Leases,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        wall: Callable[[], float],
        terms: Terms = Terms(),
    ) -> None:
        self._leases = leases
        self._namespace, self._name, self._identity = namespace, name, identity
        self._clock, self._wall, self._terms = clock, wall, terms
        self._observed = Observed()
        self._renewed = float("-inf")
        self._wrote = False

    async def acquire(self) -> None:
        """Waits for the Lease to be free, and takes it."""
        while not await self._try(self._terms.deadline / 2):
            await asyncio.sleep(self._terms.retry)
        logger.info("Leading", extra={"identity": self._identity, "lease": self._name})

    async def hold(self) -> None:
        """Renews the Lease until it is lost: another holds it, or it was not renewed before the deadline."""
        while (left := self._renewed + self._terms.deadline - self._clock()) > 0:
            await asyncio.sleep(min(self._terms.retry, left))
            left = self._renewed + self._terms.deadline - self._clock()
            # A request that hangs leaves time for another one, on another connection.
            held = left > 0 and await self._try(min(left, self._terms.deadline / 2))
            if not held and self._observed.holder not in ("", self._identity):
                break
        logger.error("The Lease is lost", extra={"identity": self._identity, "lease": self._name})

    async def release(self) -> None:
        """Lets another take it at once, for an end in good order. Does nothing for a candidate that never tried."""
        for left in reversed(range(RELEASE_TRIES if self._wrote else 0)):
            try:
                lease = await self._leases.get(LEASE, self._namespace, self._name)
                if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._now()}
                    await self._leases.replace(LEASE, lease)
                return
            except Fault as fault:
                # A renewal that was cancelled on its way may still arrive.
                if fault.reason != "conflict" or not left:
                    logger.warning("The Lease could not be released: %s", fault)
                    return

    async def _try(self, seconds: float) -> bool:
        """One attempt to take or renew it; a conflict means that another was faster."""
        start = self._clock()
        try:
            async with asyncio.timeout(seconds):
                lease = await self._leases.get(LEASE, self._namespace, self._name)
                if lease is not None:
                    self._observed = observed(lease, self._observed, self._clock())
                    if not self._observed.is_free(self._clock(), self._identity):
                        return False
                self._wrote = True
                taken = self._taken(lease)
                made = await (
                    self._leases.create(LEASE, taken) if lease is None else self._leases.replace(LEASE, taken)
                )
        except TimeoutError:
            logger.warning("The Lease could not be reached: no response in time", extra={"reason": "timeout"})
            return False
        except Fault as fault:
            if fault.reason != "conflict":
                logger.warning("The Lease could not be reached: %s", fault, extra={"reason": fault.reason})
            return False
        self._observed = observed(made, self._observed, self._clock())
        self._renewed = start
        return True

    def _taken(self, lease: dict[str, Any] | None) -> dict[str, Any]:
        if lease is None:
            metadata = {"name": self._name, "namespace": self._namespace}
            lease = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata}
        spec = dict(lease.get("spec") or {})
        if spec.get("holderIdentity") != self._identity:
            transitions = int(spec.get("leaseTransitions") or 0)
            spec |= {"acquireTime": self._now(), "leaseTransitions": transitions + 1}
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._terms.duration),
            "renewTime": self._now(),
        }
        return {**lease, "spec": spec}

    def _now(self) -> str:
        """MicroTime, RFC 3339 with microseconds."""
        return datetime.fromtimestamp(self._wall(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
