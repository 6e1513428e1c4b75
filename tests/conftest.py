"""What all tests share."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

from fakes.loop import LoopFaults

# No deadline: a machine that is busy for a moment fails no property.
settings.register_profile("mimic", deadline=None)
settings.load_profile("mimic")
# As Mimic sets it for itself: the first instrumentation of a process reads it for all that follow.
os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,gen_ai_latest_experimental")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Mimic runs on asyncio; one loop for the session lets servers outlive a test."""
    return "asyncio"


@pytest.fixture
async def loop_faults() -> AsyncIterator[LoopFaults]:
    """The loop is that of the whole session: nobody's handler may stay behind."""
    loop = asyncio.get_running_loop()
    yield loop.set_exception_handler
    loop.set_exception_handler(None)
