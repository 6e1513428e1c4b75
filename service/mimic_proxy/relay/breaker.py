"""Whether the backend is given a chance (the circuit breaker pattern).

| state     | allow                        | responded | succeeded  | failed                           |
| closed    | always                       | -         | count to 0 | count up; open at the set number |
| open      | after cooldown: half open    | -         | -          | -                                |
| half open | one probe, one each cooldown | closed    | closed     | open again                       |

The head of a response ends the probing, but only a whole response takes failures back: a backend that hangs within its
streams begins each of them well. A probe that lasts keeps no others out for longer than the cooldown.
Late news of exchanges from before the opening changes nothing while it is open.
"""

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]

_PROBE_HINT_SECONDS = 1.0


class Breaker:
    """Opens after a number of failures without a success between them.

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
