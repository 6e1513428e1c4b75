"""A work queue of keys: a key waits once, is worked on by one worker at a time, and comes back later when it failed.

What is to be done for a key is decided when its turn comes, never when it is added: events may be lost or doubled.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from mimic_operator.runtime.faults import Fault

logger = logging.getLogger("mimic.queue")


class Key(NamedTuple):
    """Which MimicBackend."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds after failures in a row: doubled from `first` to `most`, of which a random half is waited for."""

    random: Callable[[], float]
    first: float = 0.5
    most: float = 300.0

    def __call__(self, failures: int) -> float:
        wanted: float = min(self.most, self.first * 2 ** min(max(failures, 1) - 1, 30))
        return wanted * (0.5 + self.random() / 2)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one turn of a key ended. reason: empty, or the class of the fault."""

    key: Key
    seconds: float
    reason: str = ""


Work = Callable[[Key], Awaitable[float | None]]
"""Brings the world in line for one key; answers with the seconds after which to look again. May raise Fault."""


@dataclass(slots=True)
class WorkQueue:
    """work: may raise Fault; anything else it raises is a defect, logged and retried like one of reason `internal`."""

    work: Work
    clock: Callable[[], float]
    backoff: Backoff
    done: Callable[[Outcome], None]
    _waiting: dict[Key, float] = field(default_factory=dict)
    """In order of their coming, with the time since when they could have been worked on."""
    _working: set[Key] = field(default_factory=set)
    _later: list[tuple[float, Key]] = field(default_factory=list)
    _failures: dict[Key, int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: Key) -> None:
        """Its turn comes as soon as a worker is free; once, however often it is added meanwhile."""
        self._waiting.setdefault(key, self.clock())
        self._changed.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Its turn comes after so many seconds at the latest."""
        heapq.heappush(self._later, (self.clock() + seconds, key))
        self._changed.set()

    def age(self) -> float:
        """Seconds for which the oldest key has waited for a worker."""
        first = next(iter(self._waiting.values()), None)
        return 0.0 if first is None else max(0.0, self.clock() - first)

    def idle(self) -> bool:
        """Whether nothing waits and nothing is worked on; what comes later does not count."""
        return not self._waiting and not self._working

    async def run(self, workers: int) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self._next()
            self._working.add(key)
            try:
                await self._turn(key)
            finally:
                self._working.discard(key)
                self._changed.set()
            # A turn that finds nothing to do never waits: without this, many of them would keep the Lease from renewal.
            await asyncio.sleep(0)

    async def _next(self) -> Key:
        while True:
            now = self.clock()
            while self._later and self._later[0][0] <= now:
                self._waiting.setdefault(heapq.heappop(self._later)[1], now)
            key = next((key for key in self._waiting if key not in self._working), None)
            if key is not None:
                del self._waiting[key]
                return key
            self._changed.clear()
            until = self._later[0][0] - now if self._later else None
            try:
                async with asyncio.timeout(until):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _turn(self, key: Key) -> None:
        start = self.clock()
        try:
            again = await self.work(key)
        except Fault as fault:
            self._failed(key, start, fault)
        except Exception as error:
            logger.exception("Reconciling %s broke", key, extra={"key": str(key)})
            self._failed(key, start, Fault("internal", type(error).__name__))
        else:
            self._failures.pop(key, None)
            if again is not None:
                self.add_after(key, again)
            self.done(Outcome(key, self.clock() - start))

    def _failed(self, key: Key, start: float, fault: Fault) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = self.backoff(failures) if fault.retry_after is None else fault.retry_after
        level = logging.INFO if fault.reason == "conflict" and failures < 3 else logging.WARNING
        extra = {"key": str(key), "reason": fault.reason, "retry_seconds": round(pause, 3)}
        logger.log(level, "Reconciling %s failed: %s", key, fault, extra=extra)
        self.add_after(key, pause)
        self.done(Outcome(key, self.clock() - start, fault.reason))
