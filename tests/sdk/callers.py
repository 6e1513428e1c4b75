"""The official Python SDK in its sync and its async shape as one thing to ask."""

from collections.abc import Callable, Iterable
from typing import Any

import anyio.to_thread
from openai import AsyncOpenAI, OpenAI


class Sdk:
    """One client; a test gives it a call to make on whichever client it is, and awaits what came of it."""

    def __init__(self, client: OpenAI | AsyncOpenAI) -> None:
        self._client = client

    async def ask(self, call: Callable[[Any], Any]) -> Any:
        """The result of a call that does not stream."""
        if isinstance(self._client, AsyncOpenAI):
            return await call(self._client)
        return await anyio.to_thread.run_sync(call, self._client)

    async def collect(self, call: Callable[[Any], Any]) -> list[Any]:
        """All that a call gives one by one: the chunks of a stream, the items of a list."""
        seen: list[Any] = []
        await self.collect_into(seen, call)
        return seen

    async def collect_into(self, seen: list[Any], call: Callable[[Any], Any]) -> None:
        """Like `collect`, for calls that fail in the middle: `seen` has what came before."""
        if isinstance(self._client, AsyncOpenAI):
            found = call(self._client)
            async for item in found if hasattr(found, "__aiter__") else await found:
                seen.append(item)  # noqa: PERF401  extend() would keep nothing of what came before an error
        else:
            await anyio.to_thread.run_sync(lambda: _exhaust(seen, call(self._client)))


def _exhaust(seen: list[Any], found: Iterable[Any]) -> None:
    for item in found:
        seen.append(item)  # noqa: PERF402  as above
