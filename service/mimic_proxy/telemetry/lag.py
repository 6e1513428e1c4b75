"""How late the event loop is: everything that it serves is as late as the timer that is watched here."""

from collections.abc import Callable

PERIOD_SECONDS = 0.25


class LagMeter:
    """Sets a timer again and again and tells how late each was.

    call_later: the loop's. clock: monotonic seconds.
    """

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
        tell: Callable[[float], None],
    ) -> None:
        self._call_later = call_later
        self._clock = clock
        self._tell = tell
        self._due = 0.0
        self._stopped = False

    def start(self) -> None:
        """Begins to watch."""
        self._due = self._clock() + PERIOD_SECONDS
        self._call_later(PERIOD_SECONDS, self._ring)

    def stop(self) -> None:
        """Ends with the timer that runs."""
        self._stopped = True

    def _ring(self) -> None:
        if not self._stopped:
            # A loop may be early by the resolution of its clock.
            self._tell(max(self._clock() - self._due, 0.0))
            self.start()
