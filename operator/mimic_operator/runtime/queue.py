"""A work queue of keys, with the contract of client-go's: a key is in it once, and never processed twice at a time.

What has to be done for a key is decided when it is processed, never when it is added: events may be lost or doubled.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Key

logger = logging.getLogger("mimic.queue")
SPARE_TIMERS = 64
"""Timers that were replaced and still lie in the heap, beyond which it is built anew."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait after failures in a row: doubled from `first` up to `most`, the second half of it random."""

    random: Callable[[], float]
    first: float = 0.5
    most: float = 300.0

    def __call__(self, failures: int) -> float:
        wanted: float = min(self.most, self.first * 2 ** min(max(failures, 1) - 1, 30))
        return wanted * (0.5 + self.random() / 2)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one key was processed. reason: empty, or the class of the fault."""

    key: Key
    seconds: float
    reason: str = ""


Work = Callable[[Key], Awaitable[float | None]]
"""Processes one key; returns the seconds after which to process it again. May raise Fault."""


@dataclass(slots=True)
class WorkQueue:
    """work: may raise Fault; anything else that it raises is a defect, logged and retried with reason `internal`."""

    work: Work
    clock: Callable[[], float]
    backoff: Backoff
    done: Callable[[Outcome], None]
    _waiting: dict[Key, float] = field(default_factory=dict)
    """Keys that are due, in the order in which they became due, with the time at which they did."""
    _working: set[Key] = field(default_factory=set)
    _later: dict[Key, float] = field(default_factory=dict)
    """The one timer of each key that is not due yet."""
    _timers: list[tuple[float, Key]] = field(default_factory=list)
    """The same as a heap. Timers that were replaced stay in it until their time."""
    _failures: dict[Key, int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: Key) -> None:
        """Makes the key due now; its timer is dropped."""
        self._later.pop(key, None)
        self._waiting.setdefault(key, self.clock())
        self._changed.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Makes the key due after so many seconds, unless it is due or its timer ends earlier."""
        at = self.clock() + seconds
        if key in self._waiting or at >= self._later.get(key, float("inf")):
            return
        self._later[key] = at
        heapq.heappush(self._timers, (at, key))
        if len(self._timers) > 2 * len(self._later) + SPARE_TIMERS:
            self._timers = [(at, key) for key, at in self._later.items()]
            heapq.heapify(self._timers)
        self._changed.set()

    def age(self) -> float:
        """Seconds for which the key that became due first has waited for a worker."""
        first = next(iter(self._waiting.values()), None)
        return 0.0 if first is None else max(0.0, self.clock() - first)

    def idle(self) -> bool:
        """Whether no key is due or being processed; timers do not count."""
        return not self._waiting and not self._working

    async def run(self, workers: int) -> None:
        """Processes keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self._next()
            self._working.add(key)
            try:
                await self._process(key)
            finally:
                self._working.discard(key)
                self._changed.set()
            # A key with nothing to do never waits: without this, many of them would keep the Lease from being renewed.
            await asyncio.sleep(0)

    async def _next(self) -> Key:
        while True:
            until = self._promote(self.clock())
            key = next((key for key in self._waiting if key not in self._working), None)
            if key is not None:
                del self._waiting[key]
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(until):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _promote(self, now: float) -> float | None:
        """Makes keys due whose time has come; returns the seconds until the next timer ends, None without one."""
        while self._timers:
            at, key = self._timers[0]
            if self._later.get(key) == at:
                if at > now:
                    return at - now
                del self._later[key]
                self._waiting.setdefault(key, now)
            heapq.heappop(self._timers)
        return None

    async def _process(self, key: Key) -> None:
        start = self.clock()
        try:
            again = await self.work(key)
        except Fault as fault:
            self._failed(key, start, fault)
        except Exception as error:
            logger.exception("Reconciling %s failed with a defect", key, extra={"key": str(key)})
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
