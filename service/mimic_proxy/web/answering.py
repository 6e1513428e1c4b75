"""A request that the web application is answering, as the ticker and the stop see it: one more exchange."""

import asyncio
from collections.abc import Callable


class Answering:
    """Belongs to the task that answers. left: whether the caller has gone."""

    given_up = False
    """It was cancelled from here, not by whoever runs the task."""

    def __init__(self, task: "asyncio.Task[None]", left: Callable[[], bool]) -> None:
        self._task = task
        self._left = left

    def tick(self) -> None:
        """Nobody works on for a caller who has left, nor holds up the stop."""
        if self._left():
            self.drain()

    def drain(self) -> None:
        """The process stops now."""
        if not self.given_up:
            self.given_up = True
            self._task.cancel()

    def took(self, cancelled: asyncio.CancelledError) -> None:
        """The cancellation has arrived. Raises it again where it is not ours."""
        if not self.given_up:
            raise cancelled
        self._task.uncancel()
