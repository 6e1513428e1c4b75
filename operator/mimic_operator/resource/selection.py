"""Answers which MimicBackend a pod or a workload gets. Webhook, reconciler and offline commands all ask here. Pure.

1. A pod gets the backend that its annotation names, as NAME or NAMESPACE/NAME. Only names that an object can have
   (RFC 1123) become a `Key`: whatever else a pod says must not reach a path of the API.
2. A pod that names none gets its namespace's default; without a default, the only backend in Sidecar mode there.
3. A backend of another namespace must be in Deployment mode and admit the pod's namespace.
4. Where the namespace has none of that name, or none at all, a ClusterMimicBackend in Deployment mode that admits the
   namespace is one: the pod gets the MimicBackend in the namespace of the shared proxy.
5. A workload gets the backend that a user named on it; else the one that the operator wrote into its template before,
   while that still selects it or is invalid; else the oldest whose selector matches, of the same age the first by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.cluster_backend import parse_cluster
from mimic_operator.resource.naming import ANNOTATION_BACKEND
from mimic_operator.resource.spec import AllowedNamespaces, LabelSelector
from mimic_operator.resource.spec.common import NAMESPACE_NAME, NamespaceSelection, backend_reference
from mimic_operator.runtime.kinds import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the choice needs of a MimicBackend; all else is in its revision."""

    namespace: str
    name: str
    mode: str
    default: bool
    suspended: bool = False
    created: str = ""
    """creationTimestamp: text order is age order."""
    problem: str = ""
    """The first thing that is wrong with its spec; empty if it is valid."""
    revision: str = ""
    """The current one, which status names; empty until there is one."""
    allowed: AllowedNamespaces | None = None
    """Of Deployment mode; None if the spec is invalid."""
    needs_key: bool = False
    overrides: tuple[str, ...] = ()
    """What its pods may set for themselves."""
    selector: LabelSelector | None = None
    """Of the workloads that get its sidecar; None selects nothing."""

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a workload with these labels gets its sidecar. An invalid backend gets nothing new."""
        return not self.problem and self.selector is not None and self.selector.matches(labels)


def candidate(manifest: Mapping[str, Any]) -> Candidate:
    """Reads one from the resource as the API server sends it. An invalid spec is no error: its revision may be good."""
    try:
        return candidate_of(manifest, parse(manifest))
    except InvalidBackend as invalid:
        return candidate_of(manifest, None, f"{invalid.problems[0].path} {invalid.problems[0].sentence}")


def candidate_of(manifest: Mapping[str, Any], backend: Backend | None, problem: str = "") -> Candidate:
    """The same where the spec has been parsed already. backend: None if it is invalid, and `problem` says why."""
    metadata, given = manifest.get("metadata") or {}, manifest.get("spec") or {}
    injection = given.get("injection") or {}
    allowed, needs_key, selector = None, False, None
    overrides: tuple[str, ...] = ()
    if backend is not None:
        allowed, needs_key = backend.deployment.allowed_namespaces, backend.deployment.client_auth is not None
        overrides = backend.injection.overrides or ()
        selector = backend.injection.workloads.selector if backend.injection.workloads is not None else None
    return Candidate(
        namespace=str(metadata.get("namespace") or "default"),
        name=str(metadata.get("name") or ""),
        mode=str(given.get("mode") or "Sidecar"),
        default=injection.get("default") is True,
        suspended=given.get("suspend") is True,
        created=str(metadata.get("creationTimestamp") or ""),
        problem=problem,
        revision=str((manifest.get("status") or {}).get("currentRevision") or ""),
        allowed=allowed,
        needs_key=needs_key,
        overrides=overrides,
        selector=selector,
    )


@dataclass(frozen=True, slots=True)
class ClusterCandidate:
    """What the choice needs of a ClusterMimicBackend."""

    name: str
    namespaces: NamespaceSelection
    shared: Key | None = None
    """The MimicBackend of the shared proxy, in Deployment mode."""
    problem: str = ""
    """The first thing that is wrong with its spec; empty if it is valid."""


def cluster_candidate(manifest: Mapping[str, Any]) -> ClusterCandidate:
    """Reads one from the resource as the API server sends it."""
    name = str((manifest.get("metadata") or {}).get("name") or "")
    try:
        cluster = parse_cluster(manifest)
    except InvalidBackend as invalid:
        problem = f"{invalid.problems[0].path} {invalid.problems[0].sentence}"
        return ClusterCandidate(name, NamespaceSelection(), problem=problem)
    shared = Key(cluster.shared_in, name) if cluster.shared_in is not None else None
    return ClusterCandidate(name, cluster.namespaces, shared)


Why = Literal[
    "BadAnnotation",
    "UnknownBackend",
    "NoBackend",
    "SeveralBackends",
    "TwoDefaults",
    "OtherNamespace",
    "NotAllowed",
    "NotAdmitted",
    "NotCreated",
    "InvalidBackend",
    "InvalidClusterBackend",
]


@dataclass(frozen=True, slots=True)
class Unselected:
    """A pod for which there is no backend. backend: the one it names. names: the backends that it could name."""

    why: Why
    backend: str = ""
    names: tuple[str, ...] = ()
    problem: str = ""
    annotation: str = ANNOTATION_BACKEND
    """The one that is wrong, where one is."""


def named_key(annotation: str | None, namespace: str) -> Key | None:
    """The backend that the annotation of a pod in `namespace` names; None without one. Raises ValueError, a remedy."""
    return None if annotation is None else Key(*backend_reference(annotation, namespace))


def default_of(namespace: str, candidates: Iterable[Candidate]) -> Candidate | Unselected:
    """The backend of pods in `namespace` that name none."""
    own = sorted((each for each in candidates if each.namespace == namespace), key=lambda each: each.name)
    defaults = [each for each in own if each.default]
    sidecars = [each for each in own if each.mode == "Sidecar"]
    if len(defaults) > 1:
        return Unselected("TwoDefaults", names=_names(defaults))
    if chosen := defaults or sidecars[: len(sidecars) == 1]:
        return chosen[0]
    return Unselected("SeveralBackends" if sidecars else "NoBackend", names=_names(sidecars))


def backend_of(
    annotation: str | None,
    namespace: str,
    labels: Mapping[str, str],
    candidates: Iterable[Candidate],
    clusters: Sequence[ClusterCandidate] = (),
) -> Candidate | Unselected:
    """The backend of a pod. annotation: the pod's. labels: its namespace's. candidates: may be of any namespace."""
    candidates, labels = tuple(candidates), {NAMESPACE_NAME: namespace, **labels}
    found = _backend_of(annotation, namespace, labels, candidates)
    if isinstance(found, Candidate) or (cluster := cluster_of(found, labels, clusters)) is None:
        return found
    if cluster.problem:
        return Unselected("InvalidClusterBackend", cluster.name, problem=cluster.problem)
    if not cluster.namespaces.admits(labels):
        return Unselected("NotAdmitted", cluster.name, problem=str(cluster.namespaces))
    if cluster.shared is None or all(each.key != cluster.shared for each in candidates):
        return Unselected("NotCreated", cluster.name)
    return _backend_of(str(cluster.shared), namespace, labels, candidates)


def cluster_of(
    unselected: Unselected, labels: Mapping[str, str], clusters: Iterable[ClusterCandidate]
) -> ClusterCandidate | None:
    """The ClusterMimicBackend that is meant by a pod for which its namespace has no MimicBackend.

    It is the one that the pod names, or the only one with a shared proxy that admits the namespace of these labels.
    """
    if unselected.why == "UnknownBackend":
        return next((each for each in clusters if each.name == unselected.backend), None)
    if unselected.why != "NoBackend":
        return None
    shared = [each for each in clusters if each.shared is not None and each.namespaces.admits(labels)]
    return shared[0] if len(shared) == 1 else None


def _backend_of(
    annotation: str | None, namespace: str, labels: Mapping[str, str], candidates: Sequence[Candidate]
) -> Candidate | Unselected:
    try:
        named = named_key(annotation, namespace)
    except ValueError as wrong:
        return Unselected("BadAnnotation", problem=str(wrong))
    if named is None:
        return default_of(namespace, candidates)
    found = next((each for each in candidates if each.key == named), None)
    if found is None:
        own = sorted(each.name for each in candidates if each.namespace == namespace)
        return Unselected("UnknownBackend", named.name if named.namespace == namespace else str(named), tuple(own))
    if found.namespace == namespace:
        return found
    if found.mode != "Deployment":
        return Unselected("OtherNamespace", found.full_name)
    if found.allowed is None:
        return Unselected("InvalidBackend", found.full_name, problem=found.problem)
    return found if found.allowed.admits(labels) else Unselected("NotAllowed", found.full_name)


def owner_of(
    labels: Mapping[str, str], candidates: Iterable[Candidate], *, named: str | None = None, written: str | None = None
) -> str | None:
    """The name of the backend that writes to a workload; None: the operator leaves the workload alone.

    labels: the workload's. candidates: of its namespace. named: the backend that a user's annotation names, on the
    workload or in its template. written: the backend that the operator has written into the template.
    """
    candidates = tuple(candidates)
    names = [
        each.name for each in sorted(candidates, key=lambda each: (each.created, each.name)) if each.selects(labels)
    ]
    if named is not None:
        return named if named in names else None
    if written is not None and (written in names or any(each.name == written and each.problem for each in candidates)):
        return written
    return names[0] if names else None


def _names(candidates: Iterable[Candidate]) -> tuple[str, ...]:
    return tuple(each.name for each in candidates)
