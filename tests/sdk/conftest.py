"""The demo as a process, and the official Python SDK in its sync and its async shape as one thing to ask."""

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI

from conformance.demo_process import BACKENDS, demo
from sdk.callers import Sdk


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The base URL of `mimic-proxy demo` with one of the backends, started once when it is first asked for."""
    with contextlib.ExitStack() as running:

        @functools.cache
        def started(backend: str) -> str:
            folder = tmp_path_factory.mktemp(f"demo-{backend}")
            return running.enter_context(demo(folder, BACKENDS[backend]))

        yield started


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Which backend stands behind; tests of streams proper are parametrized by STREAMING instead."""
    return str(request.param)


@pytest.fixture
def demo_url(demos: Callable[[str], str], backend: str) -> str:
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
