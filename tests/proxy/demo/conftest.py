"""The demo backend on a real socket, and clients for it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import httpx2
import pytest
import uvicorn
from openai import OpenAI

from mimic_proxy.demo.backend import create_app
from mimic_proxy.demo.oauth import Credentials
from mimic_proxy.demo.options import DemoOptions

Start = Callable[..., str]


@contextlib.contextmanager
def _running(options: DemoOptions, credentials: Credentials | None = None) -> Iterator[str]:
    """The URL of a demo backend that listens from now on: what connects before it serves waits in the backlog."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(options, credentials=credentials), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts demo backends that end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda options, credentials=None: stack.enter_context(_running(options, credentials))


@pytest.fixture(scope="package")
def demo() -> Iterator[str]:
    """The URL of a backend that accepts any token."""
    with _running(DemoOptions(any_token=True)) as url:
        yield url


@pytest.fixture
def http(demo: str) -> Iterator[httpx2.Client]:
    """A client of that backend, with a token."""
    with httpx2.Client(base_url=demo, headers={"authorization": "Bearer any"}, trust_env=False) as client:
        yield client


@pytest.fixture
def sdk(demo: str) -> Iterator[OpenAI]:
    """The official SDK, pointed at that backend."""
    with OpenAI(base_url=f"{demo}/v1", api_key="any", max_retries=0) as client:
        yield client
