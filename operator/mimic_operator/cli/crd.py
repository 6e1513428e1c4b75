"""`mimic-operator crd`: the CustomResourceDefinitions as YAML."""

import argparse
import io
from collections.abc import Mapping
from typing import Any

from mimic_operator.cli.manifest_files import write_manifests
from mimic_operator.cli.surroundings import Surroundings
from mimic_operator.resource.crd import cluster_definition, definition


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Prints them."""
    write_manifests([definition(), cluster_definition()], surroundings.out)
    return 0


def definition_yaml(manifest: Mapping[str, Any]) -> str:
    """One of them; the same bytes each time."""
    text = io.StringIO()
    write_manifests([manifest], text)
    return text.getvalue()
