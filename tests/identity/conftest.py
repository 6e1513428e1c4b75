"""One Keycloak and one gateway for all tests; what they measured is printed at the end."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.tools import lacking
from identity.company import Company, gateway
from identity.distribution import VERSION, NotToBeHad
from identity.keycloak import keycloak
from identity.realm import Keys
from identity.realm import company as company_realm

FIGURES = pytest.StashKey[list[str]]()
PATIENCE_SECONDS = 600
"""The first test waits for the download and for Keycloak's start."""


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Company]:
    """Without Java or the download the tests are skipped, or fail where tools are required."""
    keys = Keys.made()
    figures = pytestconfig.stash.setdefault(FIGURES, [])
    began = time.monotonic()
    try:
        with keycloak(tmp_path_factory.mktemp("keycloak"), company_realm(keys)) as provider:
            figures.append(f"Keycloak {VERSION} up after {time.monotonic() - began:.1f} s")
            with gateway(tmp_path_factory.mktemp("gateway"), provider.issuer) as url:
                yield Company(provider, url, keys, figures)
    except NotToBeHad as reason:
        lacking(str(reason))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(PATIENCE_SECONDS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for figure in config.stash.get(FIGURES, []):
        terminalreporter.write_line(figure)
