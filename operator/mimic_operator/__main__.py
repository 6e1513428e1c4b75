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
from importlib.metadata import version

from mimic_operator.cli.surroundings import Surroundings
from mimic_operator.errors import OperatorError

FAILED, WRONG = 1, 2
EXIT_CODES = "exit codes: 0 ended well, 1 unexpected end or the answer is no, 2 usage, settings or input"


COMMANDS = {
    "reconciler": "make the cluster what its MimicBackends say; several may run, one works",
    "webhook": "answer the API server's admission reviews",
    "render": "show what MimicBackends become, without a cluster",
    "inject": "show what injection makes of pods, and why, without a cluster",
    "release": "take Mimic's fields off all workloads, before the operator is uninstalled",
    "check": "say what is wrong with an installation or one pod, and what to do",
    "crd": "print the CustomResourceDefinition",
}
"""Name and purpose. The module of this name in cli/ is imported when the command runs; it has
`add_arguments(parser)` and `run(arguments, surroundings) -> int`."""


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
        # The reader, as in `| head`, has closed the pipe; nothing more can be written, not at exit either.
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
    for name, purpose in COMMANDS.items():
        sub = commands.add_parser(name, help=purpose, description=f"{name}: {purpose}.", epilog=EXIT_CODES)
        if name == chosen:
            module = importlib.import_module(f"mimic_operator.cli.{name}")
            module.add_arguments(sub)
            run = module.run
    return parser, run


if __name__ == "__main__":
    sys.exit(main())
