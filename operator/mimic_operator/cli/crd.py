"""`mimic-operator crd`: the CustomResourceDefinition as YAML."""

import argparse
import io

from mimic_operator.cli.manifest_files import write_manifests
from mimic_operator.cli.surroundings import Surroundings
from mimic_operator.resource.crd import definition


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Prints it."""
    surroundings.out.write(definition_yaml())
    return 0


def definition_yaml() -> str:
    """The manifest; the same bytes each time."""
    text = io.StringIO()
    write_manifests([definition()], text)
    return text.getvalue()
