"""`mimic-operator render FILE`: what MimicBackends become, without a cluster."""

import argparse
from collections.abc import Iterator

import yaml

from mimic_operator.errors import InputError, InvalidBackend, Problem
from mimic_operator.explain import explain
from mimic_operator.manifest_files import Manifest, Plain, read_manifests, write_manifests
from mimic_operator.reconcile.manifests import desired
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.container import ProxyDefaults, proxy_defaults
from mimic_operator.resource.naming import KIND
from mimic_operator.resource.revision import revision_of
from mimic_operator.settings import load
from mimic_operator.surroundings import Surroundings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="manifests (YAML or JSON, several documents and Lists too); - is the standard input",
    )
    parser.add_argument("--namespace", default="default", help="of backends that name none (default: default)")
    parser.add_argument("--explain", action="store_true", help="say it in words instead of YAML")


def run(arguments: argparse.Namespace, surroundings: Surroundings) -> int:
    """Prints all of it. MIMIC_IMAGE and the other settings of proxies count here too.

    Raises InputError for a file that cannot be read or holds no MimicBackend, InvalidBackend with the problems of all
    backends at once.
    """
    defaults = proxy_defaults(load(surroundings.environ))
    found = [manifest for file in arguments.files for manifest in read_manifests(file, surroundings.source)]
    backends = _parsed([manifest for manifest in found if manifest["kind"] == KIND], arguments.namespace)
    if arguments.explain:
        surroundings.out.write("\n".join(explain(backend, revision_of(backend, defaults)) for backend in backends))
        return 0
    manifests = [manifest for backend in backends for manifest in _rendered(backend, defaults)]
    write_manifests(manifests, surroundings.out, explicit_start=True, dumper=_Dumper)
    return 0


def _parsed(manifests: list[Manifest], namespace: str) -> list[Backend]:
    if not manifests:
        raise InputError(f"there is no {KIND} in what was given")
    backends: list[Backend] = []
    problems: list[Problem] = []
    for manifest in manifests:
        given = manifest.get("metadata")
        metadata = {"namespace": namespace, **given} if isinstance(given, dict) else {}
        try:
            backends.append(parse({**manifest, "metadata": metadata}, strict=True))
        except InvalidBackend as wrong:
            prefix = f"{metadata.get('name')}: " if len(manifests) > 1 else ""
            problems.extend(Problem(f"{prefix}{path}", sentence) for path, sentence in wrong.problems)
    if problems:
        raise InvalidBackend(problems)
    return backends


def _rendered(backend: Backend, defaults: ProxyDefaults) -> Iterator[Manifest]:
    yield from desired(backend, revision_of(backend, defaults))


class _Dumper(Plain):
    """Files inside of manifests stay readable."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
