"""An exchange with every port in the test's hand; pools, servers and certificates for what needs a socket."""

from collections.abc import AsyncIterator

import pytest
import trustme

from fakes.echo import Server
from fakes.listener import Pools
from fakes.world import World


@pytest.fixture
def world() -> World:
    """One kept connection, a token, no limits on slots, and the default timers."""
    return World()


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    """Makes pools of real connections, by URL."""
    made = Pools()
    yield made
    await made.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Answers what it gets; the test starts it."""
    made = Server()
    yield made
    await made.stop()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()
