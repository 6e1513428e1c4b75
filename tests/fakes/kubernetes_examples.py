"""The MimicBackends that the documentation shows."""

from pathlib import Path
from typing import Any

import yaml

from mimic_operator.resource.backend import Backend, parse

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples" / "kubernetes" / "backends").glob("*.yaml"))


def manifest_in(file: Path) -> dict[str, Any]:
    """The one manifest of a file."""
    manifest: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return manifest


def backend_in(file: Path) -> Backend:
    """The same, read as strictly as kubectl does it."""
    return parse(manifest_in(file), strict=True)
