"""Which of several operators that watch a namespace looks after a backend: one, and the others leave it alone."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mimic_operator.reconcile.workload import seconds_of
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import LEASE

LEASE_CHECK_SECONDS = 30.0
DEAD_AFTER = 10
"""An operator whose Lease was not renewed for so many of its durations is gone."""


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """One installation of the operator, as `status.operator` names it: SCOPE:NAMESPACE/LEASE.

    Of two that watch the same namespace, one that watches only some has its backends before one that watches all, and
    of two alike the first by name: both see the same status and come to the same answer.
    """

    clusterwide: bool
    namespace: str
    lease: str

    def __str__(self) -> str:
        return f"{'cluster' if self.clusterwide else 'namespaces'}:{self.namespace}/{self.lease}"


def identity_in(text: object) -> Identity | None:
    """As the status has it; None where there is none."""
    scope, _, name = str(text or "").partition(":")
    namespace, _, lease = name.partition("/")
    return Identity(scope == "cluster", namespace, lease) if scope in ("cluster", "namespaces") and lease else None


@dataclass(slots=True)
class Tenure:
    """Which backends another operator has. own: this one. clock: monotonic seconds. wall: Unix time."""

    cluster: Cluster
    own: Identity
    clock: Callable[[], float]
    wall: Callable[[], float]
    _alive: dict[Identity, tuple[float, bool]] = field(default_factory=dict)

    async def elsewhere(self, named: object) -> Identity | None:
        """The operator that has a backend whose status names it; None: this one has it. Raises Fault."""
        other = identity_in(named)
        if other is None or self.own <= other or (other.namespace, other.lease) == (self.own.namespace, self.own.lease):
            return None
        return other if await self._lives(other) else None

    async def _lives(self, other: Identity) -> bool:
        """By its Lease, which an operator that is uninstalled or moved renews no more."""
        now = self.clock()
        checked, alive = self._alive.get(other, (float("-inf"), True))
        if now - checked > LEASE_CHECK_SECONDS:
            alive = await self._renewed(other)
            self._alive[other] = now, alive
        return alive

    async def _renewed(self, other: Identity) -> bool:
        try:
            lease = await self.cluster.get(LEASE, other.namespace, other.lease)
        except Fault as fault:
            if fault.reason != "forbidden":
                raise
            return True
        spec = (lease or {}).get("spec") or {}
        renewed = seconds_of(str(spec.get("renewTime") or ""))
        return self.wall() - renewed < DEAD_AFTER * float(spec.get("leaseDurationSeconds") or 15)
