"""One Mimic for all tests that need no settings of their own; its log is judged after each of them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.backend import Backend
from fakes.caller import close_left_open
from fakes.metered import Meter, Metered, metering
from fakes.mimic import Mimic, Start, running, secrets_of, settings
from fakes.token_service import TokenService


@pytest.fixture(autouse=True)
def _close_left_open() -> Iterator[None]:
    """A test that fails closes none of its callers, and a later, unrelated one would report the sockets."""
    yield
    close_left_open()


@pytest.fixture(scope="session")
async def _shared_backend(anyio_backend: str) -> AsyncIterator[Backend]:
    async with Backend() as server:
        yield server


@pytest.fixture(scope="session")
async def _shared_mimic(_shared_backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mimic]:
    async with TokenService() as tokens:
        environ = settings(_shared_backend, tokens)
        async with running(environ, tmp_path_factory.mktemp("mimic"), secrets_of(tokens)) as process:
            yield process


@pytest.fixture
async def backend(_shared_backend: Backend) -> AsyncIterator[Backend]:
    """The backend behind `mimic`; a test sets its `script`. What it found wrong fails the test at its end."""
    _shared_backend.reset()
    yield _shared_backend
    _shared_backend.reset()


@pytest.fixture
async def mimic(_shared_mimic: Mimic, backend: Backend) -> AsyncIterator[Mimic]:
    """The shared process, with default settings but the log level (DEBUG) and DRAIN_TIMEOUT."""
    yield _shared_mimic
    _shared_mimic.judge()


@pytest.fixture
async def tokens() -> AsyncIterator[TokenService]:
    """A token service of the test's own."""
    async with TokenService() as service:
        yield service


@pytest.fixture
def start(tmp_path: Path, backend: Backend, tokens: TokenService) -> Start:
    """Start a Mimic of the test's own between `tokens` and `backend`: `async with start(PORT_SETTING="1")`."""

    @asynccontextmanager
    async def begin(*, ready: bool = True, stop: bool = True, **more: str) -> AsyncIterator[Mimic]:
        environ = settings(backend, tokens, **more)
        async with running(environ, tmp_path, secrets_of(tokens), ready=ready, stop=stop) as process:
            yield process

    return begin


@pytest.fixture
def meter(tmp_path: Path) -> Meter:
    """Start a metered Mimic of the test's own: `async with meter(PORT_SETTING="1")`."""

    @asynccontextmanager
    async def begin(*, stop: bool = True, **more: str) -> AsyncIterator[Metered]:
        async with metering(tmp_path, stop=stop, **more) as found:
            yield found
            found.backend.reset()

    return begin


@pytest.fixture(scope="session")
async def _shared_metered(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Metered]:
    async with metering(tmp_path_factory.mktemp("metered")) as found:
        yield found


@pytest.fixture
async def metered(_shared_metered: Metered) -> AsyncIterator[Metered]:
    """The shared process whose metrics are counted: the model `m` has answered before, nothing is repeated."""
    _shared_metered.backend.reset()
    yield _shared_metered
    _shared_metered.mimic.judge()
    _shared_metered.backend.reset()
