"""Who may start now: slots with a bounded queue, a budget of bytes, and the circuit breaker."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from mimic_proxy.errors import CircuitOpen, MimicError, Overloaded

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


State = Literal["closed", "open", "half_open"]

_PROBE_HINT_SECONDS = 1.0


class Breaker:
    """The circuit breaker: opens after a number of failures without a success between them.

    | state     | allow                         | responded | succeeded  | failed                           |
    | closed    | always                        | -         | count to 0 | count up; open at the set number |
    | open      | after the cooldown: half open | -         | -          | -                                |
    | half open | one probe in each cooldown    | closed    | closed     | open again                       |

    The head of a response ends the probing, but only a whole response takes failures back: a backend that hangs within
    its streams begins each of them well. A probe that lasts keeps no others out for longer than the cooldown.
    Late news of exchanges from before the opening changes nothing while it is open.

    failures: 0 switches it off. cooldown: seconds without any exchange before one is tried as a probe.
    changed: is told of each new state.
    """

    __slots__ = ("_cooldown", "_count", "_failures", "_next_probe", "_state", "changed")

    def __init__(self, failures: int, cooldown: float, changed: Callable[[State], None] = lambda state: None) -> None:
        self._failures = failures
        self._cooldown = cooldown
        self._count = 0
        self._next_probe = 0.0
        self._state: State = "closed"
        self.changed = changed

    def configure(self, failures: int, cooldown: float) -> None:
        """Other settings from now on; switched off, it closes."""
        self._failures = failures
        self._cooldown = cooldown
        if not failures and self._state != "closed":
            self._count = 0
            self._enter("closed")

    @property
    def state(self) -> State:
        """half_open: a probe is on its way."""
        return self._state

    def allow(self, now: float) -> float | None:
        """None lets an exchange start; else the seconds that its caller had better wait.

        An exchange that was let through reports succeeded, failed or abandoned, once.
        """
        if self._state == "closed":
            return None
        if now < self._next_probe:
            left = self._next_probe - now
            return left if self._state == "open" else min(_PROBE_HINT_SECONDS, left)
        self._next_probe = now + self._cooldown
        self._enter("half_open")
        return None

    def responded(self) -> None:
        """The backend has begun to respond."""
        if self._state == "half_open":
            self.succeeded()

    def succeeded(self) -> None:
        """The backend has responded to the end."""
        if self._state != "open":
            self._count = 0
            if self._state == "half_open":
                self._enter("closed")

    def failed(self, now: float) -> None:
        """The backend could not be reached, or failed by its own fault."""
        if not self._failures or self._state == "open":
            return
        self._count += 1
        if self._state == "half_open" or self._count >= self._failures:
            self._next_probe = now + self._cooldown
            self._enter("open")

    def abandoned(self) -> None:
        """The exchange ended without showing anything of the backend: the next one is the probe."""
        if self._state == "half_open":
            self._next_probe = 0.0
            self._enter("open")

    def _enter(self, state: State) -> None:
        if state == self._state:
            return
        self._state = state
        self.changed(state)


class Admission:
    """One call's slot, and its debt to the breaker: whoever was let through reports once how the backend did."""

    __slots__ = ("_breaker", "_holds", "_owes", "_slots")

    def __init__(self, slots: Slots, breaker: Breaker) -> None:
        self._slots = slots
        self._breaker = breaker
        self._holds = False
        self._owes = False

    def enter(self, now: float) -> MimicError | None:
        """A slot is this call's from now on. The error: the backend is left alone for a while."""
        self._holds = True
        wait = self._breaker.allow(now)
        if wait is not None:
            return CircuitOpen("The backend failed repeatedly and is given a pause.", retry_after=wait)
        self._owes = True
        return None

    def responded(self) -> None:
        """The backend has begun to respond."""
        if self._owes:
            self._owes = False
            self._breaker.responded()

    def succeeded(self) -> None:
        """The backend has responded to the end."""
        self._breaker.succeeded()

    def failed(self, now: float) -> None:
        """The backend could not be reached, or failed by its own fault."""
        self._owes = False
        self._breaker.failed(now)

    def leave(self) -> None:
        """The call has ended: the slot goes to the next."""
        if self._owes:
            self._breaker.abandoned()
        if self._holds:
            self._holds = False
            self._slots.give()


def overloaded() -> MimicError:
    """Neither a slot nor a place in the queue is free."""
    return Overloaded("Mimic is at MAX_CONCURRENCY and its queue is full. Try again shortly.", retry_after=0.5)
