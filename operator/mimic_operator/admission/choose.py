"""Which backend a pod gets: the one it names, else its namespace's default, else the only one there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mimic_operator.admission import pods
from mimic_operator.admission.outcomes import OUTCOMES, Outcome
from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import parse
from mimic_operator.resource.naming import ANNOTATION_BACKEND, ANNOTATION_REVISION
from mimic_operator.resource.patterns import OBJECT_NAME
from mimic_operator.resource.spec import AllowedNamespaces


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod is made: its namespace, with what is written on it."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the choice has to know of a MimicBackend; all else stands in its revision."""

    namespace: str
    name: str
    mode: str
    default: bool
    suspended: bool
    problem: str
    """What is wrong with its spec, empty if nothing is."""
    revision: str
    """The current one, which status names; empty until there is one."""
    allowed: AllowedNamespaces | None = None
    """Of Deployment mode; None if the spec is invalid."""
    needs_key: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


def candidate(manifest: Mapping[str, Any]) -> Candidate:
    """Read one from the resource as the API server sends it. An invalid spec is no error: its revision may be good."""
    metadata, given = manifest.get("metadata") or {}, manifest.get("spec") or {}
    problem, allowed, needs_key = "", None, False
    try:
        backend = parse(manifest)
        allowed, needs_key = backend.deployment.allowed_namespaces, backend.deployment.client_auth is not None
    except InvalidBackend as invalid:
        first = invalid.problems[0]
        problem = f"{first.path} {first.sentence}"
    injection = given.get("injection") or {}
    return Candidate(
        namespace=str(metadata.get("namespace") or "default"),
        name=str(metadata.get("name") or ""),
        mode=str(given.get("mode") or "Sidecar"),
        default=injection.get("default") is True,
        suspended=given.get("suspend") is True,
        problem=problem,
        revision=str((manifest.get("status") or {}).get("currentRevision") or ""),
        allowed=allowed,
        needs_key=needs_key,
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """No backend: an outcome, and what its sentence is filled with."""

    outcome: Outcome
    names: Mapping[str, str]

    @property
    def sentence(self) -> str:
        return self.outcome.sentence.format_map(self.names)


def refuse(word: str, **names: object) -> Refusal:
    return Refusal(OUTCOMES[word], {key: str(value) for key, value in names.items()})


def named_backend(pod: pods.Pod, namespace: str) -> tuple[str, str] | None:
    """Namespace and name that the annotation gives; None if there is none. Raises ValueError with a remedy."""
    text = pods.annotations(pod).get(ANNOTATION_BACKEND)
    if text is None:
        return None
    where, separator, name = text.rpartition("/")
    found = (where if separator else namespace, name)
    if not all(is_name(part) for part in found):
        raise ValueError("it holds the name of a MimicBackend, NAME or NAMESPACE/NAME.")
    return found


def is_name(text: str) -> bool:
    """Whether an object can have it; whatever else comes from a pod must not get into a path of the API."""
    return len(text) <= 253 and OBJECT_NAME.allows(text)


def choose(pod: pods.Pod, place: Place, candidates: Sequence[Candidate]) -> Candidate | Refusal:
    """The backend of a pod among `candidates`, which may be of several namespaces."""
    try:
        named = named_backend(pod, place.name)
    except ValueError as wrong:
        return refuse("BadAnnotation", annotation=ANNOTATION_BACKEND, remedy=wrong)
    if not is_name(pods.annotations(pod).get(ANNOTATION_REVISION) or "none"):
        remedy = "it holds a revision's name, which the operator writes. Remove it, and pods get the current one."
        return refuse("BadAnnotation", annotation=ANNOTATION_REVISION, remedy=remedy)
    if named is None:
        return _unnamed(place, candidates)
    own = sorted(found.name for found in candidates if found.namespace == place.name)
    found = next((each for each in candidates if (each.namespace, each.name) == named), None)
    if found is None:
        backend = named[1] if named[0] == place.name else "/".join(named)
        remedy = f"There are: {', '.join(own)}." if own else f"The namespace {place.name} has none."
        return refuse("UnknownBackend", backend=backend, remedy=remedy)
    if found.namespace == place.name:
        return found
    if found.mode != "Deployment":
        return refuse("OtherNamespace", backend=found.full_name, namespace=place.name)
    if found.allowed is None:
        return refuse("InvalidBackend", backend=found.full_name, problem=found.problem)
    if not _admits(found.allowed, place):
        return refuse("NotAllowed", backend=found.full_name, namespace=place.name)
    return found


def _unnamed(place: Place, candidates: Sequence[Candidate]) -> Candidate | Refusal:
    own = sorted((each for each in candidates if each.namespace == place.name), key=lambda each: each.name)
    defaults = [each for each in own if each.default]
    sidecars = [each for each in own if each.mode == "Sidecar"]
    if len(defaults) > 1:
        return refuse("TwoDefaults", namespace=place.name, names=_list(defaults))
    if chosen := defaults or (sidecars if len(sidecars) == 1 else []):
        return chosen[0]
    if sidecars:
        return refuse("SeveralBackends", namespace=place.name, names=_list(sidecars))
    return refuse("NoBackend", namespace=place.name)


def _list(candidates: Sequence[Candidate]) -> str:
    return ", ".join(each.name for each in candidates)


def _admits(allowed: AllowedNamespaces, place: Place) -> bool:
    if allowed.from_ == "Selector":
        return allowed.selector is not None and allowed.selector.matches(place.labels)
    return allowed.from_ == "All"
