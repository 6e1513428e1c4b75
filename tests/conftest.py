"""What all tests share."""

import os

import pytest
from hypothesis import settings

# No deadline: a machine that is busy for a moment fails no property.
settings.register_profile("mimic", deadline=None)
settings.load_profile("mimic")
# As Mimic sets it for itself: the first instrumentation of a process reads it for all that follow.
os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,gen_ai_latest_experimental")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Mimic runs on asyncio; one loop for the session lets servers outlive a test."""
    return "asyncio"
