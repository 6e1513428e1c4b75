"""`mimic-operator check [POD]`: what is wrong with an installation, or with one pod, and what to do."""

import argparse
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from textwrap import fill

from mimic_operator.check.findings import Finding, findings
from mimic_operator.check.pod import pod_findings
from mimic_operator.check.reading import Reader, Survey
from mimic_operator.cli.surroundings import Surroundings
from mimic_operator.runtime.certificates import ends
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.hosting import cluster_config

OK, FAILED = 0, 1
WIDTH = 110


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("pod", nargs="?", metavar="POD", help="a pod to check (default: the installation)")
    parser.add_argument(
        "-n",
        "--namespace",
        help="of the pod (default: default); without POD, where a trial pod is sent as a dry run (default: the first "
        "namespace with a MimicBackend)",
    )


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Prints the findings; 1 if one is an error. Nothing is written. Raises SettingsError."""
    with Reader(cluster_config(), time.sleep) as reader:
        survey = Survey(reader, version("mimic"))
        try:
            if arguments.pod is None:
                found = list(findings(survey.installation(arguments.namespace), datetime.now(UTC), ends))
            else:
                found = list(pod_findings(survey.pod(arguments.namespace or "default", arguments.pod)))
        except Fault as fault:
            print(f"mimic-operator: the API server could not be read: {fault}", file=surroundings.err)
            return FAILED
    surroundings.out.writelines(f"{line}\n" for line in lines(found))
    return FAILED if any(each.level == "error" for each in found) else OK


def lines(found: Iterable[Finding]) -> Iterable[str]:
    """One finding after another, each with its remedy below it."""
    for each in found:
        head = f"{each.level:<8} {each.subject:<14} "
        blank = " " * len(head)
        yield fill(each.sentence, WIDTH, initial_indent=head, subsequent_indent=blank, break_on_hyphens=False)
        if each.remedy and each.level != "ok":
            yield fill(each.remedy, WIDTH, initial_indent=blank + "-> ", subsequent_indent=blank + "   ")
