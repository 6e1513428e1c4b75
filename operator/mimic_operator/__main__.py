"""The command line: `mimic-operator reconciler | webhook | render | inject | release | crd`.

Here a process meets its surroundings: arguments, environment, standard streams. What a command needs is imported when
it runs, so that the offline ones start at once and work without a Kubernetes client.

Exit codes: 0 ended well, 1 ended unexpectedly or the answer is no, 2 wrong usage, settings or input.
"""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from mimic_operator.errors import OperatorError
from mimic_operator.surroundings import Surroundings

FAILED, WRONG = 1, 2
EXIT_CODES = "exit codes: 0 ended well, 1 unexpected end or the answer is no, 2 usage, settings or input"


@dataclass(frozen=True, slots=True)
class Command:
    """module: imported when the command runs; has `add_arguments(parser)` and `run(arguments, surroundings) -> int`."""

    name: str
    purpose: str
    module: str


COMMANDS = (
    Command(
        "reconciler", "make the cluster what its MimicBackends say; several may run, one works", "reconcile.command"
    ),
    Command("webhook", "answer the API server's admission reviews", "webhook.process"),
    Command("render", "show what MimicBackends become, without a cluster", "cli.render"),
    Command("inject", "show what injection makes of pods, and why, without a cluster", "cli.inject"),
    Command(
        "release", "take Mimic's fields off all workloads, before the operator is uninstalled", "reconcile.release"
    ),
    Command("crd", "print the CustomResourceDefinition", "cli.crd"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser, run = _parser(given)
    options = parser.parse_args(given)
    assert run is not None
    try:
        return run(options, Surroundings(os.environ, sys.stdin, sys.stdout, sys.stderr))
    except OperatorError as error:
        sys.stderr.write(f"mimic-operator: {error}\n")
        return WRONG
    except KeyboardInterrupt:
        return FAILED
    except BrokenPipeError:
        # Whoever reads, as in `| head`, has seen enough; nothing more can be written, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stderr.write(f"mimic-operator: the output cannot be written: {error.strerror}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


Run = Callable[[argparse.Namespace, Surroundings], int]


def _parser(given: Sequence[str]) -> tuple[argparse.ArgumentParser, Run | None]:
    """The parser, and the chosen command's function; only the module of that one is imported."""
    parser = argparse.ArgumentParser(
        prog="mimic-operator", description="The Kubernetes operator of Mimic.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"mimic-operator {version('mimic')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    chosen = next((word for word in given if not word.startswith("-")), None)
    run: Run | None = None
    for command in COMMANDS:
        text = f"{command.name}: {command.purpose}."
        sub = commands.add_parser(command.name, help=command.purpose, description=text, epilog=EXIT_CODES)
        if command.name == chosen:
            module = importlib.import_module(f"mimic_operator.{command.module}")
            module.add_arguments(sub)
            run = module.run
    return parser, run


if __name__ == "__main__":
    sys.exit(main())
