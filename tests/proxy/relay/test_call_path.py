"""The way of a streamed chat through the product: the files that docs/architecture.md names, and no others."""

import asyncio
import dataclasses
import io
import logging
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType

import pytest
from fastapi import FastAPI

import mimic_proxy
from fakes.backend import Backend
from fakes.caller import STREAM_BODY, Caller, chat
from fakes.replies import DONE, chunk, delta, reply, stream_head
from fakes.token_service import TokenService
from mimic_proxy.app import running as serving
from mimic_proxy.app.listeners import Listeners
from mimic_proxy.app.mimic import Mimic
from mimic_proxy.app.running import run
from mimic_proxy.relay import loop as ticking
from mimic_proxy.relay.states import State, table
from mimic_proxy.settings.fields import load
from mimic_proxy.telemetry.logs import ExchangeLog, LineWriter

PRODUCT = Path(mimic_proxy.__file__).parent
ARCHITECTURE = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text("utf-8")
EVENTS = [delta(role="assistant"), delta("one"), delta("two", finish="stop"), DONE]


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend(reply(stream_head() + b"".join(map(chunk, EVENTS)) + b"0\r\n\r\n")) as server:
        yield server
        server.reset()


@pytest.fixture
async def served(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Mimic, int]]:
    """A Mimic with everything that listens to it, and its port."""
    monkeypatch.setattr(serving, "_settle_memory", lambda: None)
    # It looks at deadlines only if a call lasts that long.
    monkeypatch.setattr(ticking, "PERIOD_SECONDS", 60.0)
    loop = asyncio.get_running_loop()
    async with TokenService() as tokens:
        urls = {"CHAT_API_URL": f"{backend.url}/v1", "EMBEDDING_API_URL": f"{backend.url}/v1"}
        settings = load(
            {**urls, "TOKEN_URL": tokens.url, "AUTH_CODE": tokens.auth_code, "HOST": "127.0.0.1", "PORT": "0"}
            | {"ADMIN_HOST": "127.0.0.1", "ADMIN_PORT": "0"}
        )
        log = ExchangeLog(
            LineWriter(io.BytesIO().write),
            level=logging.INFO,
            style="json",
            clock=time.monotonic,
            wall=time.time,
            later=loop.call_later,
        )
        listeners = Listeners(settings, log, lambda: pytest.fail("nobody scrapes"))
        # How late the loop is, is measured beside the calls.
        mimic = Mimic(settings, dataclasses.replace(listeners.telemetry, lag=lambda seconds: None))
        ready: asyncio.Future[str] = loop.create_future()
        task = asyncio.ensure_future(run(mimic, FastAPI(), "1.2.3", ready.set_result))
        await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
        yield mimic, int(ready.result().rpartition(":")[2])
        mimic.request_stop()
        async with asyncio.timeout(10):
            await task
        listeners.close()


async def test_a_streamed_chat_runs_through_the_files_that_the_documentation_names(
    served: tuple[Mimic, int],
) -> None:
    mimic, port = served
    seen: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PRODUCT):
            seen.add(str(file.relative_to(PRODUCT)))

    async with await Caller.connect(port) as caller:
        for _ in range(2):
            # The second finds its connections, its head, its token and its series.
            seen.clear()
            sys.setprofile(note)
            try:
                await caller.send(chat(STREAM_BODY))
                response = await caller.response()
                mimic.batch.flush()
            finally:
                sys.setprofile(None)
            assert response.body == b"".join(EVENTS)
    seen.discard("telemetry/lag.py")
    named = documented("The way of one call")
    assert len(named) <= 25
    # Machine code shows no calls.
    assert seen == {file for file in named if not is_compiled(file)}


def test_the_documentation_has_the_table_of_states() -> None:
    assert table() in ARCHITECTURE
    assert all(f"`{state.value}`" in ARCHITECTURE for state in State)


def documented(heading: str) -> set[str]:
    """The files that stand below a heading."""
    text = ARCHITECTURE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return {file for file in re.findall(r"`([a-z_/]+\.py)`", text) if not file.startswith("tests/")}


def is_compiled(file: str) -> bool:
    name = f"mimic_proxy.{file.removesuffix('.py').replace('/', '.')}"
    return not str(sys.modules[name].__file__).endswith(".py")
