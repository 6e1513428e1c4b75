"""The demo as a process, and the official Python SDK in its sync and its async shape as one thing to ask."""

from collections.abc import AsyncIterator, Iterator

import pytest
from openai import AsyncOpenAI, OpenAI

from conformance.demo_process import demo
from sdk.callers import Sdk


@pytest.fixture(scope="session")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of `mimic-proxy demo`, started once."""
    with demo(tmp_path_factory.mktemp("demo")) as base_url:
        yield base_url


@pytest.fixture(params=["sync", "async"])
async def sdk(request: pytest.FixtureRequest, demo_url: str) -> AsyncIterator[Sdk]:
    """The SDK as an application has it: a base URL, any key. No retries, so that nothing is hidden."""
    if request.param == "sync":
        with OpenAI(base_url=demo_url, api_key="any-key", max_retries=0) as client:
            yield Sdk(client)
    else:
        async with AsyncOpenAI(base_url=demo_url, api_key="any-key", max_retries=0) as client:
            yield Sdk(client)
