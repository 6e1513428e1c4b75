"""Which release of Mimic this is."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from mimic_proxy.telemetry.metrics import Build


def own_version() -> str:
    """The version of the distribution; told apart from one that was never installed."""
    try:
        return version("mimic")
    except PackageNotFoundError:
        return "0+unknown"


def own_build() -> Build:
    """What runs here; MIMIC_REVISION is set by whoever builds an image."""
    return Build(own_version(), os.environ.get("MIMIC_REVISION", ""), platform.python_version())
