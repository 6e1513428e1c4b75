"""`mimic-operator render FILE`: what MimicBackends become, without a cluster; `--explain` says it in words."""

import argparse
from collections.abc import Iterator, Sequence
from textwrap import fill

import yaml

from mimic_operator.cli.manifest_files import Manifest, Plain, read_manifests, write_manifests
from mimic_operator.cli.surroundings import Surroundings
from mimic_operator.errors import InputError, InvalidBackend, Problem
from mimic_operator.reconcile.manifests import desired
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.container import ProxyDefaults, proxy_defaults
from mimic_operator.resource.mounts import secret_keys
from mimic_operator.resource.naming import ANNOTATION_BACKEND, KIND, LABEL_INJECT
from mimic_operator.resource.revision import Revision, revision_of
from mimic_operator.resource.spec.common import NamespaceSelection
from mimic_operator.resource.warnings import warnings_of
from mimic_operator.settings import load


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


WIDTH = 110
Row = tuple[str, str]


def explain(backend: Backend, revision: Revision) -> str:
    """Several lines, the last one ended."""
    rows = [*_calls(backend), *_credential(backend), *_pods(backend, revision), *_objects(backend, revision)]
    rows += [("Warning", f"{warning.path}: {warning.sentence}") for warning in warnings_of(backend)]
    widest = max(len(label) for label, _ in rows)
    lines = [f"{backend.namespace}/{backend.name}"]
    for label, text in rows:
        head = f"  {label:<{widest}}  "
        lines.append(fill(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False))
    return "\n".join(lines) + "\n"


def _calls(backend: Backend) -> Iterator[Row]:
    yield "Backend", f"{backend.chat.url} speaks {backend.dialect.type}"
    if backend.embedding.url != backend.chat.url:
        yield "Embeddings", backend.embedding.url
    if backend.models.static:
        yield "Models", ", ".join(backend.models.static)


def _credential(backend: Backend) -> Iterator[Row]:
    auth = backend.auth
    if auth.token_url is None:
        yield "Token", "none is sent" if auth.grant == "None" else "the Secret's, as it is"
    else:
        yield "Token", f"grant {auth.grant} at {auth.token_url}"
    if auth.secret_ref is not None:
        yield "Secret", f"{auth.secret_ref.name} in namespace {backend.namespace}, with {_listed(secret_keys(auth))}"
    if auth.service_account_token is not None:
        yield "Identity", f"a token of the pod's service account, for {auth.service_account_token.audience}"


def _pods(backend: Backend, revision: Revision) -> Iterator[Row]:
    image = revision.container["image"]
    if backend.mode == "Deployment":
        yield "Runs", f"as a Deployment of {image}"
        yield "Callers", f"{_callers(backend)} call {revision.url}"
        yield "Next", f"label pods {LABEL_INJECT}=true and annotate them {ANNOTATION_BACKEND}={_named(backend)}"
        return
    yield "Runs", f"as a sidecar of {image}, API at {revision.url}"
    if backend.injection.env.mode != "None":
        yield "Sets", f"{_listed(backend.injection.env.names)} in the application's containers"
    workloads = backend.injection.workloads
    if workloads is None:
        yield "Pods", f"those that are labelled {LABEL_INJECT}=true{_chosen(backend)}"
    else:
        restart = "restarted one after another" if backend.rollout.policy == "Automatic" else "left for you to restart"
        yield "Workloads", f"{workloads.selector}; they are {restart}"


def _objects(backend: Backend, revision: Revision) -> Iterator[Row]:
    names = [f"{each['kind']} {each['metadata']['name']}" for each in desired(backend, revision)]
    yield "Objects", ", ".join(names)
    yield "Revision", revision.name


def _callers(backend: Backend) -> str:
    allowed = backend.deployment.allowed_namespaces
    if allowed.from_ == "All":
        return "pods of all namespaces"
    if allowed.from_ == "Same":
        return f"pods of namespace {backend.namespace}"
    return f"pods of namespaces {NamespaceSelection(names=allowed.names, selector=allowed.selector)}"


def _named(backend: Backend) -> str:
    return (
        backend.name if backend.deployment.allowed_namespaces.from_ == "Same" else f"{backend.namespace}/{backend.name}"
    )


def _chosen(backend: Backend) -> str:
    if backend.injection.default:
        return " and name no other backend"
    return f"; where the namespace has several backends, also annotated {ANNOTATION_BACKEND}={backend.name}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
