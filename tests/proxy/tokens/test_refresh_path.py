"""The way of a token refresh through the product: the files that docs/architecture.md names, and no others."""

import asyncio
import math
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import cast

import pytest

import mimic_proxy
from fakes.token_service import TokenService
from mimic_proxy.app.listeners import Listeners
from mimic_proxy.app.mimic import Mimic
from mimic_proxy.settings.fields import load
from mimic_proxy.telemetry.logs import ExchangeLog

PRODUCT = Path(mimic_proxy.__file__).parent
ARCHITECTURE = Path(__file__).parents[3] / "docs" / "architecture.md"


@pytest.fixture
async def mimic() -> AsyncIterator[Mimic]:
    async with TokenService() as tokens:
        urls = {"CHAT_API_URL": "http://127.0.0.1:9/v1", "EMBEDDING_API_URL": "http://127.0.0.1:9/v1"}
        settings = load({**urls, "TOKEN_URL": tokens.url, "AUTH_CODE": tokens.auth_code})
        log = cast(ExchangeLog, SimpleNamespace(hosts={}))
        listeners = Listeners(settings, log, lambda: pytest.fail("nobody scrapes"))
        made = Mimic(settings, listeners.telemetry)
        yield made
        await made.close()
        listeners.close()


async def generation(mimic: Mimic, number: int) -> None:
    """Until the token of this generation is there."""
    while mimic.token_state().generation < number:
        await asyncio.sleep(0.001)


async def test_a_refresh_runs_through_the_files_that_the_documentation_names(mimic: Mimic) -> None:
    mimic.tokens.start()
    await generation(mimic, 1)
    seen: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PRODUCT):
            seen.add(str(file.relative_to(PRODUCT)))

    mimic.tokens._started_at = -math.inf
    sys.setprofile(note)
    try:
        mimic.tokens.refresh()
        while mimic.tokens._flight is not None:
            await asyncio.sleep(0)
    finally:
        sys.setprofile(None)
    assert mimic.token_state().generation == 2
    named = documented()
    assert len(named) <= 14
    # Machine code shows no calls.
    assert seen == {file for file in named if not is_compiled(file)}, sorted(seen)


def documented() -> set[str]:
    """The files that stand below the heading "The way of a token"."""
    text = ARCHITECTURE.read_text("utf-8").partition("## The way of a token\n")[2].partition("\n## ")[0]
    return {file for file in re.findall(r"`([a-z_/]+\.py)`", text) if not file.startswith("tests/")}


def is_compiled(file: str) -> bool:
    module = sys.modules.get(f"mimic_proxy.{file.removesuffix('.py').replace('/', '.')}")
    return module is not None and not str(module.__file__).endswith(".py")
