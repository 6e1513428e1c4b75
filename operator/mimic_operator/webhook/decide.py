"""Decides on one pod: which backend, whether it gets the proxy, why, and in which shape; `mutate` then changes it."""

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from mimic_operator.errors import InvalidBackend
from mimic_operator.resource import naming
from mimic_operator.resource.backend import parse
from mimic_operator.resource.naming import ANNOTATION_BACKEND, ANNOTATION_REVISION
from mimic_operator.resource.revision import Revision
from mimic_operator.resource.spec import AllowedNamespaces
from mimic_operator.resource.spec.common import DATA_KEY, backend_reference, is_name
from mimic_operator.webhook import pods
from mimic_operator.webhook.environment import LOOPBACK, Remarked, Told, change, lacks_key, remark
from mimic_operator.webhook.outcomes import OUTCOMES, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod is made: its namespace, with what is written on it."""

    name: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)


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
    return backend_reference(text, namespace)


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


NATIVE_SINCE = (1, 32)
"""From here on every kubelet that the skew policy allows has native sidecars (1.29)."""
MOVED_PORTS = range(18480, 18500)
"""Where a free port is looked for if the usual one is taken."""
GRACE_SECONDS = 30
DRAIN_SECONDS = 25
"""What the configuration says; less where the pod's grace is shorter."""
KILL_SECONDS = 3
"""Left of the grace after draining, for the process to end."""
CLIENT_KEY = "OPENAI_API_KEY"

Door = Literal["label", "namespace"]
"""What brought the pod here: its own label (denies what cannot be), or its namespace's (never denies)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The circumstances of one admission."""

    place: Place
    door: Door = "label"
    server: tuple[int, int] = NATIVE_SINCE
    """Major and minor version of the API server."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The shape that a revision takes in one pod."""

    revision: Revision
    told: Told
    targets: tuple[tuple[str, int], ...]
    """Containers that get the environment: field of the pod's spec, and position in it."""
    sidecar: bool
    native: bool
    port: int
    admin_port: int
    guaranteed: bool
    pod_resources: tuple[str, ...]
    """What the pod's own resources say for all of its containers together: the proxy then says nothing of it."""
    drain_seconds: int
    meshes: tuple[str, ...]
    skipped_ports: Mapping[str, str]
    """By annotation of a mesh: what holds for the pod where it says nothing itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """reason: the outcome's word. fit: None if the pod stays as it is."""

    outcome: Outcome
    verdict: Verdict
    sentence: str
    remarks: tuple[Remarked, ...] = ()
    backend: str = ""
    """NAMESPACE/NAME."""
    fit: Fit | None = None

    @property
    def reason(self) -> str:
        return self.outcome.word


Revisions = Callable[[str, str], Revision | None]
"""From namespace and name to the revision, None if there is none."""


def wanted_revision(pod: pods.Pod, chosen: Candidate) -> str:
    """The name of the revision that a pod gets: the one its template is on, else the backend's current one."""
    return pods.annotations(pod).get(naming.ANNOTATION_REVISION) or chosen.revision


def decide(pod: pods.Pod, request: Request, candidates: Sequence[Candidate], revisions: Revisions) -> Decision:
    """What becomes of a pod that is made.

    candidates: the MimicBackends of its namespace, and the one that its annotation names if that is elsewhere.
    """
    found = _decide(pod, request, candidates, revisions)
    remarks = (*found.remarks, *_circumstances(pod, request, found))
    return softened(replace(found, remarks=remarks), request.door)


def softened(decision: Decision, door: Door) -> Decision:
    """Whoever came by the namespace's door is never denied."""
    if door == "namespace" and decision.verdict is Verdict.DENIED:
        return replace(decision, verdict=Verdict.WARNED)
    return decision


def _decide(pod: pods.Pod, request: Request, candidates: Sequence[Candidate], revisions: Revisions) -> Decision:
    if request.door == "label" and pods.labels(pod).get(naming.LABEL_INJECT) != "true":
        return end("NotOptedIn")
    if is_injected(pod):
        return end("AlreadyInjected")
    if pods.is_windows(pod):
        return end("Windows")
    if pods.is_mirror(pod):
        return end("MirrorPod")
    chosen = choose(pod, request.place, candidates)
    if isinstance(chosen, Refusal):
        return _refused(pod, chosen)
    if chosen.mode == "Sidecar" and pods.spec(pod).get("hostNetwork"):
        return replace(end("HostNetwork"), backend=chosen.full_name)
    revision = _revision(pod, request.place, chosen, revisions)
    if isinstance(revision, Refusal):
        return replace(_refused(pod, revision), backend=chosen.full_name)
    fit = _fit(pod, request, chosen, revision)
    if isinstance(fit, Refusal):
        return replace(_refused(pod, fit), backend=chosen.full_name)
    url, word = fit.told.url, "Injected" if fit.sidecar else "Pointed"
    done = end(word, backend=chosen.name if fit.sidecar else chosen.full_name, revision=revision.name, url=url)
    remarks = (*_of_backend(chosen), *_of_containers(pod, fit), *_of_fit(pod, fit))
    return replace(done, backend=chosen.full_name, fit=fit, remarks=remarks)


def is_injected(pod: pods.Pod) -> bool:
    """Whether the pod bears the proxy already, and it is ours."""
    named = any(container.get("name") == naming.CONTAINER for container in pods.every_container(pod))
    return named and naming.ANNOTATION_TEMPLATE_HASH in pods.annotations(pod)


def end(word: str, **names: object) -> Decision:
    """The decision of this word, its sentence filled in."""
    outcome = OUTCOMES[word]
    sentence = outcome.sentence.format_map({key: str(value) for key, value in names.items()})
    return Decision(outcome=outcome, verdict=outcome.verdict, sentence=sentence)


def _refused(pod: pods.Pod, refusal: Refusal) -> Decision:
    """A workload that the operator labelled must not stop because its backend went."""
    if naming.LABEL_MANAGED in pods.labels(pod) and refusal.outcome.word in ("UnknownBackend", "NoBackend"):
        return end("BackendGone", backend=pods.annotations(pod).get(naming.ANNOTATION_BACKEND, ""))
    outcome = refusal.outcome
    return Decision(outcome=outcome, verdict=outcome.verdict, sentence=refusal.sentence)


def _revision(pod: pods.Pod, place: Place, chosen: Candidate, revisions: Revisions) -> Revision | Refusal:
    """One of the chosen backend alone, whatever the pod's annotation names."""
    name = wanted_revision(pod, chosen)
    found = revisions(chosen.namespace, name) if name else None
    if found is not None and found.backend == chosen.name:
        return found if found.mode == "Deployment" else _beside(pod, place, chosen, found)
    if name:
        return refuse("RevisionMissing", revision=name, backend=chosen.full_name)
    if chosen.problem:
        return refuse("InvalidBackend", backend=chosen.full_name, problem=chosen.problem)
    return refuse("SuspendedBackend" if chosen.suspended else "NotReconciled", backend=chosen.full_name)


def _beside(pod: pods.Pod, place: Place, chosen: Candidate, revision: Revision) -> Revision | Refusal:
    """A sidecar's revision, which a backend that was one once still has: what held for it then holds now."""
    if pods.spec(pod).get("hostNetwork"):
        return refuse("HostNetwork")
    if place.name != chosen.namespace:
        return refuse("OtherNamespace", backend=chosen.full_name, namespace=place.name)
    return revision


def _fit(pod: pods.Pod, request: Request, chosen: Candidate, revision: Revision) -> Fit | Refusal:
    sidecar = revision.mode == "Sidecar"
    native = sidecar and _is_native(revision, request.server)
    ports = _ports(pod, revision) if sidecar else (revision.port, revision.admin_port)
    if isinstance(ports, Refusal):
        return ports
    if sidecar and (taken := _taken_name(pod, revision)) is not None:
        return taken
    try:
        key = client_key(pod)
    except ValueError as wrong:
        return refuse("BadAnnotation", annotation=naming.ANNOTATION_CLIENT_KEY_SECRET, remedy=wrong)
    url = revision.url_at(ports[0])
    hosts = LOOPBACK if sidecar else (str(urlsplit(url).hostname),)
    told = Told(revision.injection.env, url, None if sidecar else key, hosts)
    targets = tuple(_targets(pod, revision, with_init=native or not sidecar))
    unarmed = (lacks_key(pods.spec(pod)[field][position], told) for field, position in targets)
    if not sidecar and chosen.needs_key and key is None and any(unarmed):
        return refuse("ClientKeyMissing", backend=chosen.full_name, namespace=request.place.name)
    return Fit(
        revision=revision,
        told=told,
        targets=targets,
        sidecar=sidecar,
        native=native,
        port=ports[0],
        admin_port=ports[1],
        guaranteed=sidecar and pods.is_guaranteed(pod),
        pod_resources=pods.resources_of_all(pod) if sidecar else (),
        drain_seconds=_drain_seconds(pod),
        meshes=tuple(sorted(pods.meshes(pod, request.place.labels, request.place.annotations))) if sidecar else (),
        skipped_ports=pods.inherited_ports(request.place.annotations),
    )


def client_key(pod: pods.Pod) -> tuple[str, str] | None:
    """Secret and key in it that the annotation names, NAME or NAME/KEY. Raises ValueError with a remedy."""
    text = pods.annotations(pod).get(naming.ANNOTATION_CLIENT_KEY_SECRET)
    if text is None:
        return None
    secret, separator, key = text.partition("/")
    if not is_name(secret) or (separator and not all(each.allows(key) for each in DATA_KEY)):
        raise ValueError("it holds the name of a Secret in the pod's namespace, NAME or NAME/KEY.")
    return secret, key or CLIENT_KEY


def _is_native(revision: Revision, server: tuple[int, int]) -> bool:
    wanted = revision.injection.native
    return wanted == "Always" or (wanted == "Auto" and server >= NATIVE_SINCE)


def _ports(pod: pods.Pod, revision: Revision) -> tuple[int, int] | Refusal:
    """The API's and the admin port. A port that the user chose is never moved; the others go to free ones."""
    used = pods.used_ports(pod)
    wanted = {"port": revision.port, "adminPort": revision.admin_port}
    fixed = {"port": revision.injection.port is not None, "adminPort": revision.injection.admin_port is not None}
    for field, port in wanted.items():
        if fixed[field] and port in used:
            return refuse("PortTaken", port=port, backend=revision.backend, container=used[port], field=field)
    given: list[int] = []
    for field, port in wanted.items():
        others = [*given, *(wanted[other] for other in wanted if other != field and fixed[other])]
        free = (each for each in (port, *MOVED_PORTS) if each not in used and each not in others)
        # A port that only stands in the way of the other usual one keeps its place.
        chosen = next((each for each in free if each == port or each not in wanted.values()), None)
        if chosen is None:
            first, last = MOVED_PORTS[0], MOVED_PORTS[-1]
            return refuse("NoFreePort", first=first, last=last, backend=revision.backend)
        given.append(chosen)
    return given[0], given[1]


def _taken_name(pod: pods.Pod, revision: Revision) -> Refusal | None:
    if any(container.get("name") == naming.CONTAINER for container in pods.every_container(pod)):
        return refuse("NameTaken", what="a container", name=naming.CONTAINER)
    ours = {volume["name"] for volume in revision.volumes}
    taken = sorted(ours & {volume.get("name") for volume in pods.spec(pod).get("volumes") or ()})
    return refuse("NameTaken", what="a volume", name=taken[0]) if taken else None


def _targets(pod: pods.Pod, revision: Revision, *, with_init: bool) -> Iterator[tuple[str, int]]:
    chosen = revision.injection.containers
    init = range(pods.leading_sidecars(pod), len(pods.init_containers(pod))) if with_init else ()
    places = [("initContainers", position) for position in init]
    places += [("containers", position) for position in range(len(pods.containers(pod)))]
    for field, position in places:
        name = pods.spec(pod)[field][position].get("name")
        if name in pods.MESH_CONTAINERS or name in chosen.exclude:
            continue
        if not chosen.include or name in chosen.include:
            yield field, position


def _drain_seconds(pod: pods.Pod) -> int:
    grace = pods.spec(pod).get("terminationGracePeriodSeconds")
    return DRAIN_SECONDS if grace is None else max(1, min(DRAIN_SECONDS, int(grace) - KILL_SECONDS))


# Remarks


def _of_backend(chosen: Candidate) -> Iterator[Remarked]:
    if chosen.problem:
        yield remark("StaleBackend", backend=chosen.full_name, state=f"invalid ({chosen.problem})")
    elif chosen.suspended:
        yield remark("StaleBackend", backend=chosen.full_name, state="suspended")


def _of_containers(pod: pods.Pod, fit: Fit) -> Iterator[Remarked]:
    if not fit.targets:
        yield remark("NoContainers", reason="spec.injection.containers admits none of this pod")
    for field, position in fit.targets:
        yield from change(pods.spec(pod)[field][position], fit.told).remarks


def _of_fit(pod: pods.Pod, fit: Fit) -> Iterator[Remarked]:
    if not fit.sidecar:
        return
    used = pods.used_ports(pod)
    for wanted, port in ((fit.revision.port, fit.port), (fit.revision.admin_port, fit.admin_port)):
        if wanted != port:
            yield remark("PortMoved", wanted=wanted, container=used.get(wanted, naming.CONTAINER), port=port)
    names = [each["name"] for each in pods.init_containers(pod) if not pods.is_native_sidecar(each)]
    if names and not fit.native:
        yield remark("InitContainersUnserved", names=", ".join(names))
    elif names and fit.meshes:
        yield remark("MeshInitContainers", names=", ".join(names))
    elif names:
        yield remark("InitContainersServed", names=", ".join(names))
    if pods.is_of_a_job(pod) and not fit.native:
        yield remark("JobNeverEnds", admin_port=fit.admin_port)
    if fit.guaranteed:
        yield remark("Guaranteed")
    if fit.pod_resources:
        yield remark("PodResources", names=" and ".join(fit.pod_resources))
    if fit.drain_seconds < DRAIN_SECONDS:
        yield remark("ShortGrace", seconds=fit.drain_seconds)
    for mesh in fit.meshes:
        yield remark("MeshPort", admin_port=fit.admin_port, mesh=mesh)


def _circumstances(pod: pods.Pod, request: Request, found: Decision) -> Iterator[Remarked]:
    if found.reason == "NotOptedIn":
        return
    yield from unknown_keys(pod, injected=found.reason == "AlreadyInjected")
    if found.fit is not None and found.fit.sidecar and pods.controller(pod) is None:
        yield remark("BarePod")
    if pods.metadata(pod).get("generateName") and not pods.metadata(pod).get("name"):
        yield remark("GeneratedName")
    if request.door == "namespace":
        yield remark("NamespaceEntry")
    if request.dry_run:
        yield remark("DryRun")


LABELS = (naming.LABEL_INJECT, naming.LABEL_MANAGED, naming.LABEL_COMPONENT)
ANNOTATIONS = (
    naming.ANNOTATION_BACKEND,
    naming.ANNOTATION_REVISION,
    naming.ANNOTATION_RETRY_AT,
    naming.ANNOTATION_CLIENT_KEY_SECRET,
)
WRITTEN = (naming.ANNOTATION_CONFIG_HASH, naming.ANNOTATION_TEMPLATE_HASH, naming.ANNOTATION_PORT)
"""By the webhook, into pods; on a pod that comes without the proxy they say nothing."""
FIELDS = {naming.ANNOTATION_PORT: "spec.injection.port of the MimicBackend chooses it."}
NAMESPACES = {naming.LABEL_INJECTION: "It is a label of namespaces; on pods it is mimic.dev/inject."}


def unknown_keys(pod: pods.Pod, *, injected: bool) -> Iterator[Remarked]:
    """injected: the pod came with the proxy in it, and with what the webhook wrote then."""
    labels, annotations = pods.labels(pod), pods.annotations(pod)
    yield from _unknown("Label", labels, LABELS, "annotation", ANNOTATIONS)
    known = (*ANNOTATIONS, *WRITTEN) if injected else ANNOTATIONS
    yield from _unknown("Annotation", annotations, known, "label", LABELS)


def _unknown(
    where: str, given: Mapping[str, str], known: tuple[str, ...], other: str, others: tuple[str, ...]
) -> Iterator[Remarked]:
    for key in sorted(given):
        if key.startswith(f"{naming.GROUP}/") and key not in known:
            yield remark("UnknownKey", where=where, key=key, remedy=_remedy(key, known, other, others))


def _remedy(key: str, known: tuple[str, ...], other: str, others: tuple[str, ...]) -> str:
    if key in others:
        return f"Set it as {'an' if other == 'annotation' else 'a'} {other}."
    if key in NAMESPACES:
        return NAMESPACES[key]
    if key in WRITTEN:
        return f"Mimic writes it itself. {FIELDS.get(key, '')}".strip()
    near = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {near[0]}?" if near else ""
