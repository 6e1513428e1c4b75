"""`mimic-operator webhook`."""

import argparse
import asyncio

from mimic_operator.cli.surroundings import Surroundings
from mimic_operator.runtime.hosting import cluster_config
from mimic_operator.runtime.logs import configure
from mimic_operator.runtime.process import run_to_its_end
from mimic_operator.settings import AT_A_CLUSTER, load
from mimic_operator.webhook.process import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: it is configured by its environment."""


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Runs until SIGTERM or SIGINT. Raises SettingsError."""
    settings = load(surroundings.environ, needed=AT_A_CLUSTER)
    config = cluster_config()
    configure(level=settings.log_level, style=settings.log_format, sink=surroundings.err.buffer)
    return run_to_its_end("webhook", surroundings.environ, lambda shown: asyncio.run(serve(settings, config, shown)))
