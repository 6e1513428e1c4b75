"""Election of one leader by a Lease (Kubernetes coordination.k8s.io/v1; the algorithm of client-go's leaderelection).

Clocks of different machines are not compared: another's Lease has run out when it has not changed for its duration,
measured on our own clock.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import LEASE

logger = logging.getLogger("mimic.leader")
RELEASE_TRIES = 3


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds: how long a Lease holds, how long its holder tries to renew it, how often anybody tries."""

    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The Lease as it was last seen, and since when it has looked like this."""

    version: str = ""
    holder: str = ""
    since: float = 0.0
    duration: float = 0.0

    def free(self, now: float, identity: str) -> bool:
        """Whether it may be taken."""
        return self.holder in ("", identity) or now >= self.since + self.duration


def seen(lease: dict[str, Any], before: Seen, now: float) -> Seen:
    """What a fresh look at the Lease tells; the time counts from its last change."""
    spec = lease.get("spec") or {}
    fresh = Seen(
        version=lease["metadata"]["resourceVersion"],
        holder=str(spec.get("holderIdentity") or ""),
        since=now,
        duration=float(spec.get("leaseDurationSeconds") or 0),
    )
    return replace(fresh, since=before.since) if fresh.version == before.version else fresh


class Election:
    """One candidate. `acquire` returns once it leads, `hold` once it does not any more."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        wall: Callable[[], float],
        terms: Terms = Terms(),
    ) -> None:
        self._cluster = cluster
        self._namespace, self._name, self._identity = namespace, name, identity
        self._clock, self._wall, self._terms = clock, wall, terms
        self._seen = Seen()

    async def acquire(self) -> None:
        """Waits for the Lease to be free, and takes it."""
        while not await self._try():
            await asyncio.sleep(self._terms.retry)
        logger.info("Leading", extra={"identity": self._identity, "lease": self._name})

    async def hold(self) -> None:
        """Renews until the Lease is lost: another has it, or it could not be renewed before the deadline."""
        renewed = self._clock()
        while self._clock() - renewed < self._terms.deadline:
            await asyncio.sleep(self._terms.retry)
            left = max(0.1, renewed + self._terms.deadline - self._clock())
            try:
                async with asyncio.timeout(left):
                    held = await self._try()
            except TimeoutError:
                held = False
            if held:
                renewed = self._clock()
            elif self._seen.holder not in ("", self._identity):
                break
        logger.error("The Lease is lost", extra={"identity": self._identity, "lease": self._name})

    async def release(self) -> None:
        """Lets another take it at once; for an end in good order."""
        for left in reversed(range(RELEASE_TRIES)):
            try:
                lease = await self._cluster.get(LEASE, self._namespace, self._name)
                if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._now()}
                    await self._cluster.replace(LEASE, lease)
                return
            except Fault as fault:
                # A renewal that was cancelled on its way may still arrive.
                if fault.reason != "conflict" or not left:
                    logger.warning("The Lease could not be released: %s", fault)
                    return

    async def _try(self) -> bool:
        """One attempt to take or renew it; a conflict means that another was faster."""
        try:
            lease = await self._cluster.get(LEASE, self._namespace, self._name)
            if lease is None:
                made = await self._cluster.create(LEASE, self._lease())
                self._seen = seen(made, self._seen, self._clock())
                return True
            self._seen = seen(lease, self._seen, self._clock())
            if not self._seen.free(self._clock(), self._identity):
                return False
            made = await self._cluster.replace(LEASE, self._taken(lease))
        except Fault as fault:
            if fault.reason != "conflict":
                logger.warning("The Lease could not be reached: %s", fault, extra={"reason": fault.reason})
            return False
        self._seen = seen(made, self._seen, self._clock())
        return True

    def _lease(self) -> dict[str, Any]:
        metadata = {"name": self._name, "namespace": self._namespace}
        start = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": {}}
        return self._taken(start)

    def _taken(self, lease: dict[str, Any]) -> dict[str, Any]:
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
