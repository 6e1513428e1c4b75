"""A Mimic whose metrics are counted, between fakes of its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fakes.backend import Backend
from fakes.caller import ask, chat
from fakes.mimic import Mimic, running, secrets_of, settings
from fakes.replies import ok
from fakes.scrape import Scrape
from fakes.token_service import TokenService


@dataclass(frozen=True, slots=True)
class Metered:
    """The process and what is around it."""

    mimic: Mimic
    backend: Backend
    tokens: TokenService

    @property
    def port(self) -> int:
        return self.mimic.port

    async def scrape(self) -> Scrape:
        """The metrics of this moment."""
        return await Scrape.of(self.mimic)


Meter = Callable[..., AbstractAsyncContextManager[Metered]]
"""Starts a Mimic of the test's own to be counted, with the settings that are given as keywords."""


@asynccontextmanager
async def metering(folder: Path, *, stop: bool = True, **more: str) -> AsyncIterator[Metered]:
    """A ready Mimic: the model `m` has answered once, and so has a label of its own. stop: as in `running`."""
    async with Backend() as backend, TokenService() as tokens:
        # Whether a lost connection was a kept one is chance where tests share a process.
        environ = settings(backend, tokens, **{"RETRY_DEAD_CONNECTION": "False", **more})
        async with running(environ, folder, secrets_of(tokens), stop=stop) as mimic:
            backend.script = ok()
            assert (await ask(mimic.port, chat())).status == 200
            backend.reset()
            yield Metered(mimic, backend, tokens)
