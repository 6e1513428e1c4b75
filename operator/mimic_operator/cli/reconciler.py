"""`mimic-operator reconciler`."""

import argparse
import asyncio
import os
import random
import socket
import time

from mimic_operator.cli.surroundings import Surroundings
from mimic_operator.reconcile.process import Machine
from mimic_operator.reconcile.process import run as run_process
from mimic_operator.runtime.hosting import cluster_config
from mimic_operator.runtime.logs import configure
from mimic_operator.runtime.process import run_to_its_end
from mimic_operator.settings import AT_A_CLUSTER, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: it is configured by its environment."""


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Runs until SIGTERM or SIGINT. Raises SettingsError."""
    settings = load(surroundings.environ, needed=AT_A_CLUSTER)
    configure(level=settings.log_level, style=settings.log_format, sink=surroundings.err.buffer)
    # The name of a pod is unique; two processes on one machine differ by the number.
    identity = f"{surroundings.environ.get('HOSTNAME') or socket.gethostname()}_{os.getpid()}"
    machine = Machine(identity=identity, clock=time.monotonic, wall=time.time, random=random.random)
    return run_to_its_end(
        "reconciler",
        surroundings.environ,
        lambda shown: asyncio.run(run_process(settings, cluster_config(), machine, shown)),
    )
