"""`mimic-operator inject FILE`: read, decide, print. The patched manifests go to the standard output, the reasons to
the error output, so that it stands in a pipe: `kustomize build . | mimic-operator inject - | kubectl apply -f -`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml

from mimic_operator.admission.choose import Place
from mimic_operator.admission.inject import NATIVE_SINCE, Request
from mimic_operator.admission.offline import Judged, Manifest, describe, inject, world_of
from mimic_operator.admission.outcomes import Verdict
from mimic_operator.errors import InputError
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.naming import KIND

DESCRIPTION = """\
Print a pod, or the workload around it, as it would come out of the cluster, and say why. Nothing is asked of any
cluster. MimicBackends are taken from the file itself and from --backend. Exit code 1: something was denied."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "file", help="manifests (YAML or JSON, several documents and Lists too); - is the standard input"
    )
    parser.add_argument("--backend", action="append", default=[], metavar="FILE", help="MimicBackends; may be repeated")
    parser.add_argument(
        "--namespace", default="default", help="where what names no namespace stands (default: default)"
    )
    parser.add_argument(
        "--kubernetes", type=_version, default=NATIVE_SINCE, metavar="1.NN", help="version to decide for"
    )
    parser.add_argument("--explain", action="store_true", help="every remark, and each change to the pod")


def run(arguments: argparse.Namespace, defaults: ProxyDefaults, source: TextIO, out: TextIO, err: TextIO) -> int:
    """Print all documents and what became of them. Returns the exit code.

    Raises InputError for a file that cannot be read, InvalidBackend for a backend that cannot be used.
    """
    documents = _read(arguments.file, source)
    more = [document for file in arguments.backend for document in _read(file, source)]
    backends = [document for document in (*documents, *more) if document.get("kind") == KIND]
    world = world_of(backends, arguments.namespace, defaults)
    request = Request(place=Place(arguments.namespace), server=arguments.kubernetes)
    judged = [inject(document, world, request) for document in documents]
    yaml.safe_dump_all([each.manifest for each in judged], out, sort_keys=False, allow_unicode=True, width=1000)
    for each in judged:
        err.writelines(f"{line}\n" for line in describe(each, explain=arguments.explain))
    if not any(each.decision for each in judged):
        err.write("No pod and no workload was found in it.\n")
    return int(any(_is_denied(each) for each in judged))


def _is_denied(judged: Judged) -> bool:
    return judged.decision is not None and judged.decision.verdict is Verdict.DENIED


def _read(file: str, source: TextIO) -> list[Manifest]:
    name = "the standard input" if file == "-" else file
    try:
        text = source.read() if file == "-" else Path(file).read_text("utf-8")
        documents = list(yaml.safe_load_all(text))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"{name} cannot be read: {reason}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(
            f"{name} is no YAML{where}: {getattr(error, 'problem', None) or 'it cannot be parsed'}"
        ) from None
    return [found for document in documents if document is not None for found in _flat(document, name)]


def _flat(document: Any, name: str) -> Sequence[Manifest]:
    """A List is its items."""
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise InputError(f"{name} holds something that is no Kubernetes manifest: each needs a kind")
    if document["kind"] == "List":
        return [found for item in document.get("items") or () for found in _flat(item, name)]
    return [document]


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.removeprefix("v").partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise argparse.ArgumentTypeError("must be a version like 1.32")
    return int(major), int(minor)
