"""Who may start now: slots with a bounded queue, and a budget of bytes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

Waiter = Callable[[], None]


class Slots:
    """A number of slots, and a queue for those who come when all are taken. All operations are O(1).

    limit: slots; 0 means no limit. queue_limit: places in the queue; 0 means no queue.
    A waiter is called once, with a slot that is already its own, in the order of arrival.
    """

    __slots__ = ("_granting", "_in_use", "_limit", "_queue", "_queue_limit")

    def __init__(self, limit: int, queue_limit: int) -> None:
        self._limit = limit
        self._queue_limit = queue_limit
        self._in_use = 0
        # A plain dict is O(n) at its front once many have left it from there.
        self._queue: OrderedDict[Waiter, None] = OrderedDict()
        self._granting = False

    def resize(self, limit: int, queue_limit: int) -> None:
        """Other limits from now on. Nobody is turned out; whoever fits in now gets a slot."""
        self._limit = limit
        self._queue_limit = queue_limit
        if self._queue:
            # Given back as it is taken: the loop of `give` lets in as many as there is room for.
            self._in_use += 1
            self.give()

    @property
    def in_use(self) -> int:
        """Slots that are taken."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """Waiters in the queue."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whoever asks now is turned away."""
        return bool(self._limit) and self._in_use >= self._limit and len(self._queue) >= self._queue_limit

    def take(self, waiter: Waiter) -> Literal["granted", "queued", "full"]:
        """Take a slot, or a place in the queue. The waiter is not called for a slot that is granted at once."""
        if not self._limit or (self._in_use < self._limit and not self._queue):
            self._in_use += 1
            return "granted"
        if len(self._queue) >= self._queue_limit:
            return "full"
        if waiter in self._queue:
            raise ValueError("this waiter is in the queue already")
        self._queue[waiter] = None
        return "queued"

    def leave(self, waiter: Waiter) -> None:
        """Give up a place in the queue; nothing happens for one who is not there any more."""
        self._queue.pop(waiter, None)

    def give(self) -> None:
        """Give a slot back; the oldest waiter gets it."""
        if not self._in_use:
            raise RuntimeError("a slot was given back that nobody had taken")
        self._in_use -= 1
        if self._granting:
            return
        self._granting = True
        try:
            # A loop and not a recursion: a waiter may give its slot back from within its call.
            while self._queue and (not self._limit or self._in_use < self._limit):
                waiter, _ = self._queue.popitem(last=False)
                self._in_use += 1
                waiter()
        finally:
            self._granting = False


class Budget:
    """An amount, in bytes, that many share. limit: 0 means no limit."""

    __slots__ = ("_held", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def resize(self, limit: int) -> None:
        """Another limit from now on; what is taken stays taken."""
        self._limit = limit

    @property
    def held(self) -> int:
        """The part that is taken."""
        return self._held

    def has(self, amount: int) -> bool:
        """There is that much left now."""
        return not self._limit or self._held + amount <= self._limit

    def take(self, amount: int) -> bool:
        """Take an amount if there is that much left."""
        if not self.has(amount):
            return False
        self._held += amount
        return True

    def give(self, amount: int) -> None:
        """Give an amount back."""
        if amount > self._held:
            raise RuntimeError("more was given back than had been taken")
        self._held -= amount
