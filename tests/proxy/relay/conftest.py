"""An exchange with every port in the test's hand."""

import pytest

from fakes.world import World


@pytest.fixture
def world() -> World:
    """One kept connection, a token, no limits on slots, and the default timers."""
    return World()
