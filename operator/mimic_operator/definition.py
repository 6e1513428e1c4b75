"""`mimic-operator crd`: the CustomResourceDefinition as YAML."""

import argparse

import yaml

from mimic_operator.resource.crd import definition
from mimic_operator.surroundings import Surroundings

WIDTH = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Prints it."""
    surroundings.out.write(definition_yaml())
    return 0


def definition_yaml() -> str:
    """The manifest; the same bytes each time."""
    text: str = yaml.dump(definition(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    return text


class _Dumper(yaml.SafeDumper):
    """What is said twice is written twice: aliases are hard to read and to compare."""

    def ignore_aliases(self, data: object) -> bool:
        return True
