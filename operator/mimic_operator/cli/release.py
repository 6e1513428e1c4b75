"""`mimic-operator release --all`."""

import argparse
import asyncio
import time
from collections.abc import Callable
from functools import partial

from mimic_operator.cli.surroundings import Surroundings
from mimic_operator.reconcile.release import NotReleased, Release
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.hosting import cluster_config
from mimic_operator.runtime.informer import all_metadata
from mimic_operator.settings import Settings, load

OK, FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "--all", action="store_true", required=True, help="every workload that the operator has written"
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait for each workload to settle before the next"
    )
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="wait for each (default: 600)")


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Prints what it does. Raises SettingsError."""
    settings = load(surroundings.environ)

    def say(sentence: str) -> None:
        print(sentence, file=surroundings.out, flush=True)

    try:
        asyncio.run(_release(settings, say, 0.0 if arguments.no_wait else arguments.timeout))
    except (NotReleased, Fault) as error:
        print(f"mimic-operator: {error}", file=surroundings.err)
        return FAILED
    return OK


async def _release(settings: Settings, say: Callable[[str], None], patience: float) -> None:
    async with Cluster(cluster_config()) as cluster:
        listed = partial(all_metadata, cluster)
        await Release(cluster, listed, settings.watch_namespaces or (None,), say, patience, time.monotonic).run()
