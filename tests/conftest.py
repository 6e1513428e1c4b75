"""What all tests share."""

import pytest
from hypothesis import settings

# No deadline: a machine that is busy for a moment fails no property.
settings.register_profile("mimic", deadline=None)
settings.load_profile("mimic")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Mimic runs on asyncio; one loop for the session lets servers outlive a test."""
    return "asyncio"
