"""The demo as a process, and the official Python SDK in its sync and its async shape as one thing to ask."""

import asyncio
import contextlib
import functools
import gc
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI

from conformance.demo_process import demo
from conformance.forms import FORMS, Form
from sdk.callers import Sdk


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Form], str]]:
    """The base URL of `mimic-proxy demo` in one form, started once when it is first asked for."""
    with contextlib.ExitStack() as running:

        @functools.cache
        def started(backend: Form) -> str:
            folder = tmp_path_factory.mktemp(f"demo-{backend}")
            return running.enter_context(demo(folder, arguments=backend.arguments))

        yield started


@pytest.fixture(params=FORMS, ids=str)
def backend(request: pytest.FixtureRequest) -> Form:
    """How the backend behind speaks; tests of streams proper are parametrized by STREAMING instead."""
    form: Form = request.param
    return form


@pytest.fixture
def demo_url(demos: Callable[[Form], str], backend: Form) -> str:
    return demos(backend)


@pytest.fixture(params=["sync", "async"])
async def sdk(request: pytest.FixtureRequest, demo_url: str) -> AsyncIterator[Sdk]:
    """The SDK as an application has it: a base URL, any key. No retries, so that nothing is hidden."""
    if request.param == "sync":
        with OpenAI(base_url=demo_url, api_key="any-key", max_retries=0) as client:
            yield Sdk(client)
    else:
        async with AsyncOpenAI(base_url=demo_url, api_key="any-key", max_retries=0) as client:
            yield Sdk(client)
        # A stream that was left half read is an asynchronous generator: it has to end in the loop that ran it.
        gc.collect()
        await asyncio.sleep(0)
