"""Programs that some tests need and that no package index brings: Prometheus, an OpenTelemetry collector, a browser."""

import os
import shutil
from typing import NoReturn

import pytest

REQUIRED = "MIMIC_TEST_TOOLS"
"""Set to `required`, as in CI, a missing program fails its tests instead of skipping them."""
PACKAGES = {
    "prometheus": "Debian, Ubuntu: apt install prometheus",
    "promtool": "Debian, Ubuntu: apt install prometheus",
    "otelcol": "an OpenTelemetry collector with the OTLP receiver and the file exporter",
    "chromium": "Debian: apt install chromium",
}
_SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


def tool(name: str) -> str:
    """The path of a program of PACKAGES; without it the test is skipped, or fails where tools are required."""
    found = shutil.which(name, path=_SEARCHED)
    if found is None:
        lacking(f"{name} is not on this machine ({PACKAGES[name]})")
    return found


def lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it where tools are required."""
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(reason)
    pytest.skip(reason)
