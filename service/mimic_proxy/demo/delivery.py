"""Sending an answer step by step, and noticing a caller who leaves."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mimic_proxy.demo.steps import Cut, Pause, Step


@dataclass(slots=True)
class Stats:
    """What has come to the backend since it started.

    open: answers on their way now. abandoned: those whose caller left before the end.
    redirected: requests that followed a scripted redirect.
    """

    requests: int = 0
    unauthorized: int = 0
    open: int = 0
    completed: int = 0
    abandoned: int = 0
    redirected: int = 0


class Delivery(Response):
    """A response whose body is a list of steps.

    The caller's leaving ends it at once, also in a pause. After a Cut the body is not ended, which makes the server
    close the connection.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        stats: Stats,
        *,
        status: int = 200,
        headers: Mapping[str, str],
        silence: float | None = None,
    ) -> None:
        self.status_code = status
        self.background = None
        self.init_headers(headers)
        self._steps = steps
        self._stats = stats
        self._silence = silence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._stats.open += 1
        left = asyncio.ensure_future(_leaving(receive))
        try:
            if await self._send(send, left):
                self._stats.completed += 1
            elif left.done():
                self._stats.abandoned += 1
        finally:
            self._stats.open -= 1
            left.cancel()

    async def _send(self, send: Send, left: asyncio.Future[None]) -> bool:
        """Whether the answer was sent to its end."""
        if self._silence:
            await asyncio.wait({left}, timeout=self._silence)
        if left.done():
            return False
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for step in self._steps:
            if isinstance(step, bytes):
                await send({"type": "http.response.body", "body": step, "more_body": True})
                # A write that need not wait does not yield: without this a long stream holds up everybody else.
                await asyncio.sleep(0)
            elif isinstance(step, Pause):
                await asyncio.wait({left}, timeout=step.seconds)
            else:
                assert isinstance(step, Cut)
                return False
            if left.done():
                return False
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


async def _leaving(receive: Receive) -> None:
    """Ends when the caller has closed its connection; the request's body has been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
