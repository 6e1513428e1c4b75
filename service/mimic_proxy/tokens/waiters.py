"""Requests parked until a refresh has ended: each is told once, in order, and none for ever."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from mimic_proxy.errors import MimicError
from mimic_proxy.tokens.token import AccessToken

Waiter = Callable[[AccessToken | MimicError], None]


class Timer(Protocol):
    """What `call_later` returns."""

    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], None]], Timer]


class Waiters:
    """Waiters in the order they came. Every one is called from the event loop itself, never from within `answer`.

    clock: monotonic seconds. patience: seconds after which a waiter gets what `late` makes.
    """

    def __init__(
        self, patience: float, late: Callable[[], MimicError], *, clock: Callable[[], float], call_later: CallLater
    ) -> None:
        self._patience = patience
        self._late = late
        self._clock = clock
        self._call_later = call_later
        self._deadlines: dict[Waiter, float] = {}
        self._told: set[Waiter] = set()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._deadlines) - len(self._told)

    def park(self, waiter: Waiter) -> None:
        """Keeps `waiter` until the next answer."""
        self._deadlines[waiter] = self._clock() + self._patience
        if self._timer is None:
            self._timer = self._call_later(self._patience, self._look)

    def leave(self, waiter: Waiter) -> None:
        """`waiter` will not be called any more; unknown ones are ignored."""
        self._deadlines.pop(waiter, None)
        self._told.discard(waiter)

    def answer(self, result: AccessToken | MimicError) -> None:
        """Tells all who wait now."""
        for waiter in self._deadlines:
            self._tell(waiter, result)
        self._rest()

    def _tell(self, waiter: Waiter, result: AccessToken | MimicError) -> None:
        # A turn of the loop each: a waiter that raises harms no other, and one that leaves meanwhile is not called.
        self._told.add(waiter)
        asyncio.get_running_loop().call_soon(self._deliver, waiter, result)

    def _deliver(self, waiter: Waiter, result: AccessToken | MimicError) -> None:
        if waiter in self._told:
            self.leave(waiter)
            waiter(result)

    def _look(self) -> None:
        self._timer = None
        now = self._clock()
        oldest = None
        for waiter, deadline in self._deadlines.items():
            if deadline > now:
                oldest = deadline
                break
            self._tell(waiter, self._late())
        if oldest is not None:
            self._timer = self._call_later(oldest - now, self._look)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
