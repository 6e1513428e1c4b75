"""Decides on one pod: which backend, whether it gets the proxy, why, and in which shape; `mutate` then changes it."""

import difflib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

from mimic_operator.resource import naming
from mimic_operator.resource.revision import Revision
from mimic_operator.resource.selection import Candidate, ClusterCandidate, Unselected, backend_of
from mimic_operator.resource.spec.common import DATA_KEY, is_name
from mimic_operator.webhook import pods
from mimic_operator.webhook.environment import LOOPBACK, Environment, change, lacks_key
from mimic_operator.webhook.outcomes import OUTCOMES, Note, Outcome, Verdict, note
from mimic_operator.webhook.overrides import (
    NO_OVERRIDES,
    OVERRIDES,
    BadOverride,
    Overrides,
    read_overrides,
    refused_overrides,
)

NATIVE_SINCE = (1, 32)
"""From here on every kubelet that the skew policy allows has native sidecars (1.29)."""
MOVED_PORTS = range(18480, 18500)
"""Where a free port is looked for if the usual one is taken."""
GRACE_SECONDS = 30
"""The grace period of a pod that states none (Kubernetes, pod lifecycle)."""
KILL_SECONDS = 3
"""Left of the grace period after draining, for the process to end."""
CLIENT_KEY = "OPENAI_API_KEY"
OLD_REVISION = "it holds a revision's name, which the operator writes. Remove it, and pods get the current one."

Trigger = Literal["label", "namespace"]
"""What brought the pod here: its own label (denies what cannot be), or its namespace's (never denies)."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """The namespace of a pod. created: Unix time, 0 if unknown."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    clusters: tuple[ClusterCandidate, ...] = ()
    """The ClusterMimicBackends, where the namespace has no MimicBackend for the pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The circumstances of one admission. server: major and minor version of the API server."""

    namespace: Namespace
    trigger: Trigger = "label"
    server: tuple[int, int] = NATIVE_SINCE
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The shape that a revision takes in one pod."""

    revision: Revision
    environment: Environment
    targets: tuple[tuple[str, int], ...]
    """Containers that get the environment: field of the pod's spec, and position in it."""
    sidecar: bool
    native: bool
    port: int
    admin_port: int
    overrides: Overrides = NO_OVERRIDES
    """What the pod sets for its sidecar itself."""
    present: bool = False
    """The pod has the sidecar already: only the environment of containers that came later is added."""
    guaranteed: bool = False
    pod_resources: tuple[str, ...] = ()
    """What the pod's own resources say for all of its containers together: the proxy then says nothing of it."""
    drain_seconds: int | None = None
    """Where the pod's grace period is too short for what the revision says."""
    meshes: tuple[str, ...] = ()
    skipped_ports: Mapping[str, str] = field(default_factory=dict)
    """By annotation of a mesh: what holds for the pod where it says nothing itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """fit: None if the pod gets no proxy. left_out: only the namespace asked for it."""

    outcome: Outcome
    verdict: Verdict
    sentence: str
    notes: tuple[Note, ...] = ()
    backend: str = ""
    """NAMESPACE/NAME."""
    fit: Fit | None = None
    left_out: bool = False

    @property
    def reason(self) -> str:
        """The outcome's word."""
        return self.outcome.word


class Refused(Exception):
    """Ends a decision without the proxy. decision: the result."""

    def __init__(self, word: str, **names: object) -> None:
        super().__init__(word)
        self.decision = end(word, **names)


Revisions = Callable[[str, str], Revision | None]
"""From namespace and name to the revision, None if there is none."""


def decide(pod: pods.Pod, request: Request, candidates: Sequence[Candidate], revisions: Revisions) -> Decision:
    """What becomes of a pod that is created.

    candidates: the MimicBackends of its namespace, and the one that its annotation names if that is elsewhere.
    """
    try:
        found = _decide(pod, request, candidates, revisions)
    except Refused as refused:
        found = refused.decision
    notes = (*found.notes, *_circumstances(pod, request, found))
    return softened(replace(found, notes=notes), request.trigger)


def softened(decision: Decision, trigger: Trigger) -> Decision:
    """A pod that only its namespace volunteered is never denied."""
    if trigger == "namespace" and decision.verdict is Verdict.DENIED:
        return replace(decision, verdict=Verdict.WARNED, left_out=decision.reason != "Malformed")
    return decision


def end(word: str, **names: object) -> Decision:
    """The decision of this word, its sentence filled in."""
    outcome = OUTCOMES[word]
    sentence = outcome.sentence.format_map({key: str(value) for key, value in names.items()})
    return Decision(outcome=outcome, verdict=outcome.verdict, sentence=sentence)


def choose(pod: pods.Pod, namespace: Namespace, candidates: Iterable[Candidate]) -> Candidate | Unselected:
    """The backend of a pod, by its annotation and its namespace."""
    named, revision = (
        pods.annotations(pod).get(key) for key in (naming.ANNOTATION_BACKEND, naming.ANNOTATION_REVISION)
    )
    if not is_name(revision or "none"):
        return Unselected("BadAnnotation", problem=OLD_REVISION, annotation=naming.ANNOTATION_REVISION)
    return backend_of(named, namespace.name, namespace.labels, candidates, namespace.clusters)


def wanted_revisions(pod: pods.Pod, chosen: Candidate) -> list[str]:
    """Names of the revisions that a pod may get, the best first: the one its template is on, then the current one."""
    named = pods.annotations(pod).get(naming.ANNOTATION_REVISION) or ""
    return list(dict.fromkeys(name for name in (named, chosen.revision) if name))


def is_injected(pod: pods.Pod) -> bool:
    """Whether the pod has the proxy already, and it is ours."""
    return _proxy_in(pod) is not None and naming.ANNOTATION_TEMPLATE_HASH in pods.annotations(pod)


def _proxy_in(pod: pods.Pod) -> pods.Container | None:
    return next((each for each in pods.every_container(pod) if each.get("name") == naming.CONTAINER), None)


def _decide(pod: pods.Pod, request: Request, candidates: Sequence[Candidate], revisions: Revisions) -> Decision:
    if request.trigger == "label" and pods.labels(pod).get(naming.LABEL_INJECT) != "true":
        return end("NotOptedIn")
    if is_injected(pod):
        return _again(pod, request, candidates, revisions)
    if pods.is_windows(pod):
        return end("Windows")
    if pods.is_mirror(pod):
        return end("MirrorPod")
    chosen = choose(pod, request.namespace, candidates)
    if isinstance(chosen, Unselected):
        return _unselected(pod, request.namespace, chosen)
    try:
        if chosen.mode == "Sidecar":
            _check_sidecar(pod, request.namespace, chosen)
        revision = _revision(pod, request.namespace, chosen, revisions)
        fit = _fit(pod, request, chosen, revision)
    except Refused as refused:
        return replace(refused.decision, backend=chosen.full_name)
    url, word = fit.environment.url, "Injected" if fit.sidecar else "Pointed"
    done = end(word, backend=chosen.name if fit.sidecar else chosen.full_name, revision=revision.name, url=url)
    notes = (*_of_backend(pod, chosen, revision), *_of_containers(pod, fit), *_of_fit(pod, chosen, fit))
    return replace(done, backend=chosen.full_name, fit=fit, notes=notes)


def _again(pod: pods.Pod, request: Request, candidates: Sequence[Candidate], revisions: Revisions) -> Decision:
    """The API server calls again when a later webhook has changed the pod: its containers get the environment too."""
    proxy, unchanged = _proxy_in(pod), end("AlreadyInjected")
    chosen = choose(pod, request.namespace, candidates)
    if proxy is None or isinstance(chosen, Unselected):
        return unchanged
    try:
        revision = _revision(pod, request.namespace, chosen, revisions)
    except Refused:
        return unchanged
    native = any(each is proxy for each in pods.init_containers(pod))
    ports = {entry["name"]: str(entry.get("value")) for entry in proxy.get("env") or ()}
    if revision.mode != "Sidecar" or not ports.get("PORT", "").isdecimal():
        return unchanged
    port = int(ports["PORT"])
    fit = Fit(
        revision=revision,
        environment=Environment(revision.injection.env, revision.url_at(port), None, LOOPBACK),
        targets=tuple(_targets(pod, revision, with_init=native)),
        sidecar=True,
        native=native,
        port=port,
        admin_port=revision.admin_port,
        present=True,
    )
    later = [each for each in (pods.spec(pod)[field][at] for field, at in fit.targets) if _changes(each, fit)]
    names = ", ".join(each["name"] for each in later)
    if native and not pods.is_native_sidecar(proxy):
        found = end("RestartPolicyRestored", container=naming.CONTAINER)
    elif later:
        found = end("EnvironmentAdded", names=names)
    else:
        return replace(unchanged, backend=chosen.full_name)
    return replace(found, backend=chosen.full_name, fit=fit)


def _changes(container: pods.Container, fit: Fit) -> bool:
    return change(container, fit.environment).env != (container.get("env") or [])


def _unselected(pod: pods.Pod, namespace: Namespace, found: Unselected) -> Decision:
    if found.why in ("UnknownBackend", "NoBackend") and naming.LABEL_MANAGED in pods.labels(pod):
        # A workload that the operator labelled must not stop because its backend went.
        return end("BackendGone", backend=pods.annotations(pod).get(naming.ANNOTATION_BACKEND, ""))
    names = ", ".join(found.names)
    known = f"There are: {names}." if names else f"The namespace {namespace.name} has none."
    return end(
        found.why,
        annotation=found.annotation,
        remedy=found.problem if found.why == "BadAnnotation" else known,
        namespace=namespace.name,
        backend=found.backend,
        names=names,
        problem=found.problem,
    )


def _revision(pod: pods.Pod, namespace: Namespace, chosen: Candidate, revisions: Revisions) -> Revision:
    """One of the chosen backend alone, whatever the pod's annotation names."""
    for name in wanted_revisions(pod, chosen):
        found = revisions(chosen.namespace, name)
        if found is not None and found.backend == chosen.name:
            if found.mode == "Sidecar":
                # The backend may be in Deployment mode by now: what holds for sidecars holds for this revision.
                _check_sidecar(pod, namespace, chosen)
            return found
    if chosen.problem:
        raise Refused("InvalidBackend", backend=chosen.full_name, problem=chosen.problem)
    raise Refused("SuspendedBackend" if chosen.suspended else "NotReconciled", backend=chosen.full_name)


def _check_sidecar(pod: pods.Pod, namespace: Namespace, chosen: Candidate) -> None:
    if pods.spec(pod).get("hostNetwork"):
        raise Refused("HostNetwork")
    if namespace.name != chosen.namespace:
        raise Refused("OtherNamespace", backend=chosen.full_name, namespace=namespace.name)


def _fit(pod: pods.Pod, request: Request, chosen: Candidate, revision: Revision) -> Fit:
    sidecar = revision.mode == "Sidecar"
    native = sidecar and _is_native(revision, request.server)
    own = _overrides(pod, chosen, revision) if sidecar else NO_OVERRIDES
    port, admin_port = _ports(pod, revision, own) if sidecar else (revision.port, revision.admin_port)
    if sidecar:
        _check_names(pod, revision)
    key, url = client_key(pod), revision.url_at(port)
    hosts = LOOPBACK if sidecar else (str(urlsplit(url).hostname),)
    environment = Environment(revision.injection.env, url, None if sidecar else key, hosts)
    targets = tuple(_targets(pod, revision, with_init=native or not sidecar))
    fit = Fit(
        revision=revision,
        environment=environment,
        targets=targets,
        sidecar=sidecar,
        native=native,
        port=port,
        admin_port=admin_port,
        drain_seconds=_drain_seconds(pod, revision),
    )
    if not sidecar:
        unarmed = (lacks_key(pods.spec(pod)[field][position], environment) for field, position in targets)
        if chosen.needs_key and key is None and any(unarmed):
            raise Refused("ClientKeyMissing", backend=chosen.full_name, namespace=request.namespace.name)
        return fit
    namespace = request.namespace
    return replace(
        fit,
        overrides=own,
        guaranteed=pods.is_guaranteed(pod),
        pod_resources=pods.resources_of_all(pod),
        meshes=tuple(sorted(pods.meshes(pod, namespace.labels, namespace.annotations))),
        skipped_ports=pods.inherited_ports(namespace.annotations),
    )


def client_key(pod: pods.Pod) -> tuple[str, str] | None:
    """Secret and key in it that the annotation names, NAME or NAME/KEY."""
    text = pods.annotations(pod).get(naming.ANNOTATION_CLIENT_KEY_SECRET)
    if text is None:
        return None
    secret, separator, key = text.partition("/")
    if not is_name(secret) or (separator and not all(each.allows(key) for each in DATA_KEY)):
        remedy = "it holds the name of a Secret in the pod's namespace, NAME or NAME/KEY."
        raise Refused("BadAnnotation", annotation=naming.ANNOTATION_CLIENT_KEY_SECRET, remedy=remedy)
    return secret, key or CLIENT_KEY


def _is_native(revision: Revision, server: tuple[int, int]) -> bool:
    wanted = revision.injection.native
    return wanted == "Always" or (wanted == "Auto" and server >= NATIVE_SINCE)


def _overrides(pod: pods.Pod, chosen: Candidate, revision: Revision) -> Overrides:
    try:
        return read_overrides(pods.annotations(pod), chosen.overrides, revision.container["resources"])
    except BadOverride as wrong:
        raise Refused("BadAnnotation", annotation=wrong.annotation, remedy=wrong) from None


def _ports(pod: pods.Pod, revision: Revision, own: Overrides) -> tuple[int, int]:
    """The API's and the admin port. A port that the user chose is never moved; the others go to free ones."""
    used = pods.used_ports(pod)
    wanted = {"port": own.port or revision.port, "adminPort": own.admin_port or revision.admin_port}
    fixed = {
        "port": (own.port or revision.injection.port) is not None,
        "adminPort": (own.admin_port or revision.injection.admin_port) is not None,
    }
    if wanted["port"] == wanted["adminPort"]:
        raise Refused("BadAnnotation", annotation=naming.ANNOTATION_PORT, remedy="it is the admin port as well.")
    for name, port in wanted.items():
        if fixed[name] and port in used:
            raise Refused("PortTaken", port=port, backend=revision.backend, container=used[port], field=name)
    given: list[int] = []
    for name, port in wanted.items():
        others = [*given, *(wanted[other] for other in wanted if other != name and fixed[other])]
        free = (each for each in (port, *MOVED_PORTS) if each not in used and each not in others)
        # The other default port is left to the other listener.
        chosen = next((each for each in free if each == port or each not in wanted.values()), None)
        if chosen is None:
            first, last = MOVED_PORTS[0], MOVED_PORTS[-1]
            raise Refused("NoFreePort", first=first, last=last, backend=revision.backend)
        given.append(chosen)
    return given[0], given[1]


def _check_names(pod: pods.Pod, revision: Revision) -> None:
    if _proxy_in(pod) is not None:
        raise Refused("NameTaken", what="a container", name=naming.CONTAINER)
    ours = {volume["name"] for volume in revision.volumes}
    if taken := sorted(ours & {volume.get("name") for volume in pods.spec(pod).get("volumes") or ()}):
        raise Refused("NameTaken", what="a volume", name=taken[0])


def _targets(pod: pods.Pod, revision: Revision, *, with_init: bool) -> Iterator[tuple[str, int]]:
    chosen = revision.injection.containers
    init = range(pods.leading_sidecars(pod), len(pods.init_containers(pod))) if with_init else ()
    positions = [("initContainers", position) for position in init]
    positions += [("containers", position) for position in range(len(pods.containers(pod)))]
    for name_of_list, position in positions:
        name = pods.spec(pod)[name_of_list][position].get("name")
        if name in pods.MESH_CONTAINERS or name in chosen.exclude or name == naming.CONTAINER:
            continue
        if not chosen.include or name in chosen.include:
            yield name_of_list, position


def _drain_seconds(pod: pods.Pod, revision: Revision) -> int | None:
    """Seconds to drain where the pod's grace period is too short for what the revision says; else None."""
    grace = pods.spec(pod).get("terminationGracePeriodSeconds")
    left = max(1, (GRACE_SECONDS if grace is None else int(grace)) - KILL_SECONDS)
    return left if left < revision.drain_seconds else None


# Notes


def _of_backend(pod: pods.Pod, chosen: Candidate, revision: Revision) -> Iterator[Note]:
    if chosen.problem:
        yield note("StaleBackend", backend=chosen.full_name, state=f"invalid ({chosen.problem})")
    elif chosen.suspended:
        yield note("StaleBackend", backend=chosen.full_name, state="suspended")
    named = pods.annotations(pod).get(naming.ANNOTATION_REVISION)
    if named and named != revision.name:
        yield note("RevisionMissing", revision=named, backend=chosen.full_name, current=revision.name)


def _of_containers(pod: pods.Pod, fit: Fit) -> Iterator[Note]:
    if not fit.targets:
        yield note("NoContainers", reason="spec.injection.containers admits none of this pod")
    for name_of_list, position in fit.targets:
        yield from change(pods.spec(pod)[name_of_list][position], fit.environment).notes


def _of_fit(pod: pods.Pod, chosen: Candidate, fit: Fit) -> Iterator[Note]:
    if not fit.sidecar:
        return
    used = pods.used_ports(pod)
    own, revision = fit.overrides, fit.revision
    for wanted, port in (
        (own.port or revision.port, fit.port),
        (own.admin_port or revision.admin_port, fit.admin_port),
    ):
        if wanted != port:
            yield note("PortMoved", wanted=wanted, container=used.get(wanted, naming.CONTAINER), port=port)
    init = (each for each in pods.init_containers(pod) if not pods.is_native_sidecar(each))
    names = ", ".join(each["name"] for each in init if each["name"] not in pods.MESH_CONTAINERS)
    if names and not fit.native:
        yield note("InitContainersUnserved", names=names)
    elif names:
        yield note("MeshInitContainers" if fit.meshes else "InitContainersServed", names=names)
    if pods.is_of_a_job(pod) and not fit.native:
        yield note("JobNeverEnds", admin_port=fit.admin_port)
    if fit.guaranteed:
        yield note("Guaranteed")
    if fit.pod_resources:
        yield note("PodResources", names=" and ".join(fit.pod_resources))
    if fit.drain_seconds is not None:
        yield note("ShortGrace", seconds=fit.drain_seconds)
    for annotation, group in refused_overrides(pods.annotations(pod), chosen.overrides):
        yield note("OverrideIgnored", annotation=annotation, group=group, backend=chosen.full_name)
    for mesh in fit.meshes:
        yield note("MeshPort", admin_port=fit.admin_port, mesh=mesh)


def _circumstances(pod: pods.Pod, request: Request, found: Decision) -> Iterator[Note]:
    if found.reason == "NotOptedIn":
        return
    yield from unknown_keys(pod, injected=is_injected(pod))
    if found.fit is not None and found.fit.sidecar and pods.controller(pod) is None:
        yield note("BarePod")
    if pods.metadata(pod).get("generateName") and not pods.metadata(pod).get("name"):
        yield note("GeneratedName")
    if request.trigger == "namespace":
        yield note("NamespaceEntry")
    if request.dry_run:
        yield note("DryRun")


LABELS = (naming.LABEL_INJECT, naming.LABEL_INJECTED, naming.LABEL_MANAGED, naming.LABEL_COMPONENT)
ANNOTATIONS = (
    naming.ANNOTATION_BACKEND,
    naming.ANNOTATION_REVISION,
    naming.ANNOTATION_RETRY_AT,
    naming.ANNOTATION_CLIENT_KEY_SECRET,
    naming.ANNOTATION_URL,
    *OVERRIDES,
)
WRITTEN = (naming.ANNOTATION_CONFIG_HASH, naming.ANNOTATION_TEMPLATE_HASH)
"""By the webhook, into pods; on a pod that comes without the proxy they say nothing."""


def unknown_keys(pod: pods.Pod, *, injected: bool) -> Iterator[Note]:
    """Labels and annotations under mimic.dev/ that have no effect. injected: the pod came with the proxy in it."""
    known = (*ANNOTATIONS, *WRITTEN) if injected else ANNOTATIONS
    for where, given, own, remedy in (
        ("Label", pods.labels(pod), LABELS, functools.partial(_remedy, other="an annotation", others=ANNOTATIONS)),
        ("Annotation", pods.annotations(pod), known, functools.partial(_remedy, other="a label", others=LABELS)),
    ):
        for key in sorted(given):
            if key.startswith(f"{naming.GROUP}/") and key not in own:
                yield note("UnknownKey", where=where, key=key, remedy=remedy(key, own))


def _remedy(key: str, known: tuple[str, ...], *, other: str, others: tuple[str, ...]) -> str:
    if key in others:
        return f"Set it as {other}."
    if key == naming.LABEL_INJECTION:
        return "It is a label of namespaces; on pods it is mimic.dev/inject."
    if key in WRITTEN:
        return "Mimic writes it itself."
    near = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {near[0]}?" if near else ""
