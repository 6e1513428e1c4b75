"""Brings one backend in line, whatever has happened: observe, plan, apply, report."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mimic_operator.reconcile.apply import Applier
from mimic_operator.reconcile.observe import Observer
from mimic_operator.reconcile.plan import plan
from mimic_operator.reconcile.report import Reporter
from mimic_operator.reconcile.state import Memory
from mimic_operator.reconcile.tenure import Tenure
from mimic_operator.resource.kinds import BACKEND
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.kinds import Key

COMING_SECONDS = 1.0
"""The event of a backend that was just made is on its way."""
ELSEWHERE_SECONDS = 60.0
"""After which the other operator may have gone."""


@dataclass(slots=True)
class Slots:
    """How many workloads restart at once. limit: of all backends together. wake: called with those that may go on."""

    limit: int
    wake: Callable[[Key], None]
    open: bool = False
    """False until every backend has been reconciled once: until then it is unknown what restarts already."""
    _held: dict[Key, int] = field(default_factory=dict)
    _waiting: dict[Key, None] = field(default_factory=dict)
    """In the order in which they came."""

    def free(self) -> int:
        """So many more workloads may be written now."""
        return max(0, self.limit - sum(self._held.values())) if self.open else 0

    def hold(self, key: Key, moving: int, *, waits: bool) -> None:
        """So many workloads of a backend move now. waits: it would begin more if it could, and is woken then."""
        self._held.pop(key, None)
        if moving:
            self._held[key] = moving
        if waits:
            self._waiting.setdefault(key)
        else:
            self._waiting.pop(key, None)
        self._wake()

    def start(self) -> None:
        """Everything that moves is known now."""
        self.open = True
        self._wake()

    def _wake(self) -> None:
        """As many as there is room for; each says anew what it holds and whether it waits."""
        for key in list(self._waiting)[: self.free()]:
            del self._waiting[key]
            self.wake(key)


@dataclass(slots=True)
class Reconciler:
    """add: queues a backend."""

    cluster: Cluster
    observer: Observer
    applier: Applier
    reporter: Reporter
    tenure: Tenure
    slots: Slots
    add: Callable[[Key], None]
    memories: dict[Key, Memory] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> float | None:
        """One pass; the seconds after which to observe again. May raise Fault, and is tried again then."""
        state = await self.observer.observe(key, self._memory(key))
        if state.entry is None:
            if await self._exists(key):
                return COMING_SECONDS
        elif (other := await self.tenure.elsewhere(state.status_there.get("operator"))) is not None:
            self.reporter.elsewhere(state, state.entry, other)
            self.slots.hold(key, 0, waits=False)
            return ELSEWHERE_SECONDS
        # Between the plan and the hold nothing is awaited: no two backends take the same slot.
        planned = plan(replace(state, free=self.slots.free()))
        if planned.rollout is not None:
            self.slots.hold(key, len(planned.rollout.begun), waits=planned.rollout.waits)
        for gone in planned.wake:
            self.add(gone)
        await self.applier.apply(state, planned)
        again = [planned.again, await self.reporter.report(state, planned)]
        if planned.ended:
            self._forget(key)
        return min((seconds for seconds in again if seconds is not None), default=None)

    def _memory(self, key: Key) -> Memory:
        entry, memory = self.observer.store.entries.get(key), self.memories.get(key)
        if memory is None or (entry is not None and memory.uid not in ("", entry.uid)):  # another one of the same name
            memory = self.memories[key] = Memory()
        if entry is not None:
            memory.uid = entry.uid
            if entry.backend is not None:
                memory.at(entry.generation)
        return memory

    async def _exists(self, key: Key) -> bool:
        """Whether the API server has the backend, although its event has not come. Nothing is released before."""
        manifest = await self.cluster.get(BACKEND, key.namespace, key.name) if key.name else None
        return manifest is not None and not manifest["metadata"].get("deletionTimestamp")

    def _forget(self, key: Key) -> None:
        self.memories.pop(key, None)
        self.slots.hold(key, 0, waits=False)
        self.reporter.forget(key)
