"""`mimic-operator inject FILE`: what becomes of pods, without a cluster.

The manifests go to the standard output, the reasons to the error output, so that it works in a pipe:
`kustomize build . | mimic-operator inject - | kubectl apply -f -`.
"""

import argparse

from mimic_operator.cli.manifest_files import read_manifests, write_manifests
from mimic_operator.cli.surroundings import Surroundings
from mimic_operator.resource.container import proxy_defaults
from mimic_operator.settings import load
from mimic_operator.webhook.decide import NATIVE_SINCE, Namespace, Request
from mimic_operator.webhook.offline import Judged, describe, inject, world_of
from mimic_operator.webhook.outcomes import Verdict

DENIED = 1
"""Exit code: the cluster would refuse some of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="manifests of pods or workloads (YAML or JSON, several documents and Lists too); - is the standard input",
    )
    parser.add_argument(
        "--backend",
        action="append",
        default=[],
        metavar="FILE",
        help="MimicBackends, besides those in the files; may be given several times",
    )
    parser.add_argument("--namespace", default="default", help="of manifests that name none (default: default)")
    parser.add_argument(
        "--kubernetes",
        type=_version,
        default=NATIVE_SINCE,
        metavar="1.NN",
        help="version to decide for (default: 1.32)",
    )
    parser.add_argument("--explain", action="store_true", help="print every note, and each change of a pod")


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Prints all manifests and what became of them; 1 if one would be denied.

    Raises InputError for a file that cannot be read, InvalidBackend for a backend that cannot be used.
    """
    defaults = proxy_defaults(load(surroundings.environ))
    manifests = [each for file in arguments.files for each in read_manifests(file, surroundings.source)]
    more = [each for file in arguments.backend for each in read_manifests(file, surroundings.source)]
    world = world_of([*manifests, *more], arguments.namespace, defaults)
    request = Request(namespace=Namespace(arguments.namespace), server=arguments.kubernetes)
    judged = [inject(each, world, request) for each in manifests]
    write_manifests([each.manifest for each in judged], surroundings.out, explicit_start=len(judged) > 1)
    for each in judged:
        surroundings.err.writelines(f"{line}\n" for line in describe(each, explain=arguments.explain))
    if all(each.decision is None for each in judged):
        surroundings.err.write("There is no pod and no workload in it.\n")
    return DENIED if any(_is_denied(each) for each in judged) else 0


def _is_denied(judged: Judged) -> bool:
    return judged.decision is not None and judged.decision.verdict is Verdict.DENIED


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.removeprefix("v").partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise argparse.ArgumentTypeError("must be a version like 1.32")
    return int(major), int(minor)
