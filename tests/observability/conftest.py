"""A real collector for the tests of this folder that look at what arrives."""

from collections.abc import Iterator

import pytest

from fakes.collector import Otelcol, otelcol
from fakes.tools import tool


@pytest.fixture(scope="session")
def _collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Otelcol]:
    with otelcol(tool("otelcol"), tmp_path_factory.mktemp("otelcol")) as running:
        yield running


@pytest.fixture
def collector(_collector: Otelcol) -> Otelcol:
    """The session's collector; tests find their spans by the id of their trace."""
    return _collector
