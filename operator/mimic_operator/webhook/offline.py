"""Injects without a cluster, by the same decision as the webhook's: the logic of `mimic-operator inject FILE`."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from mimic_operator.errors import InputError
from mimic_operator.resource import naming
from mimic_operator.resource.backend import parse
from mimic_operator.resource.cluster_backend import backends_of, parse_cluster
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import Revision, revision_of
from mimic_operator.resource.selection import Candidate, ClusterCandidate, candidate, cluster_candidate, owner_of
from mimic_operator.runtime.kinds import Key
from mimic_operator.webhook import pods
from mimic_operator.webhook.decide import Decision, Namespace, Request, Revisions, decide
from mimic_operator.webhook.mutate import Operation, mutate, patch
from mimic_operator.webhook.pods import malformed, malformed_metadata

Manifest = dict[str, Any]
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), ("spec", "template")),
    **dict.fromkeys(("ReplicationController", "Job", "Rollout"), ("spec", "template")),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""JSON path of the pod in a workload."""
SELECTABLE = ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
"""What spec.injection.workloads of a backend can select."""
INJECTION = naming.LABEL_INJECTION
JOBS = ("Job", "CronJob")


@dataclass(frozen=True, slots=True)
class Judged:
    """A document after the decision on its pod; no decision where it holds no pod."""

    manifest: Manifest
    decision: Decision | None = None
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """The assumed content of the cluster. revisions: by backend, the one that its spec asks for."""

    candidates: tuple[Candidate, ...]
    revisions: Mapping[Key, Revision]
    namespaces: Mapping[str, Namespace]
    clusters: tuple[ClusterCandidate, ...] = ()


def world_of(manifests: Sequence[Manifest], namespace: str, defaults: ProxyDefaults) -> World:
    """Of the backends and Namespaces among the manifests. Raises InvalidBackend.

    namespace: of manifests that name none.
    """
    labels: dict[str, Mapping[str, str]] = {
        str((each.get("metadata") or {}).get("namespace") or namespace): {} for each in manifests
    }
    found: dict[str, Namespace] = {}
    for each in manifests:
        if each["kind"] == "Namespace":
            metadata = each.get("metadata") or {}
            name = str(metadata.get("name"))
            found[name] = Namespace(name, metadata.get("labels") or {}, metadata.get("annotations") or {})
    labels |= {name: each.labels for name, each in found.items()}
    backends = [
        {**each, "metadata": {"namespace": namespace, **(each.get("metadata") or {})}}
        for each in manifests
        if each["kind"] == naming.KIND
    ]
    clusters = [parse_cluster(each, strict=True) for each in manifests if each["kind"] == naming.CLUSTER_KIND]
    for cluster in clusters:
        shared_in = [cluster.shared_in] if cluster.shared_in is not None else []
        backends += backends_of(cluster, {**{name: {} for name in shared_in}, **labels}).values()
    candidates: dict[Key, Candidate] = {}
    revisions: dict[Key, Revision] = {}
    for each in backends:
        revision = revision_of(parse(each, strict=True), defaults)
        own = replace(candidate(each), revision=revision.name)
        if own.key not in candidates:  # one that the namespace has itself comes first
            candidates[own.key], revisions[own.key] = own, revision
    known = tuple(cluster_candidate(each) for each in manifests if each["kind"] == naming.CLUSTER_KIND)
    return World(tuple(candidates.values()), revisions, found, known)


def inject(document: Manifest, world: World, request: Request) -> Judged:
    """What the cluster would make of a document that is applied in the request's namespace, or in the one it names.

    A document without a pod is returned as it is, and so is one whose pod gets no proxy. Raises InputError for a
    malformed pod.
    """
    kind = str(document.get("kind"))
    if kind not in TEMPLATES:
        return Judged(document)
    if wrong := malformed_metadata(document.get("metadata")):
        raise _no_pod(kind, wrong)
    metadata = document.get("metadata") or {}
    name = str(metadata.get("namespace") or request.namespace.name)
    namespace = replace(world.namespaces.get(name) or Namespace(name), clusters=world.clusters)
    whole = deepcopy(document)
    pod = _pod_in(whole)
    if kind in SELECTABLE:
        _select(pod, metadata, name, world)
    seen = {**pod, "metadata": {**(pod.get("metadata") or {}), **_owner(kind)}}
    by_namespace = naming.LABEL_INJECT not in pods.labels(pod) and namespace.labels.get(INJECTION) == "enabled"
    request = replace(request, namespace=namespace, trigger="namespace" if by_namespace else "label")
    decision = decide(seen, request, world.candidates, _revisions(world))
    if decision.fit is None:
        return Judged(document, decision)
    operations = tuple(patch(pod, decision))
    patched = mutate(pod, decision)
    pod.clear()
    pod.update(patched)
    return Judged(whole, decision, operations)


def describe(judged: Judged, *, explain: bool) -> Iterator[str]:
    """Lines on one decision: what someone has to know, and with `explain` every note and each change."""
    decision, manifest = judged.decision, judged.manifest
    if decision is None:
        return
    metadata = manifest.get("metadata") or {}
    name = metadata.get("name") or metadata.get("generateName") or "(without a name)"
    yield f"{str(manifest['kind']).lower()}/{name}: {decision.verdict}, {decision.reason}. {decision.sentence}"
    for each in decision.notes:
        if each.warns or explain:
            yield f"  {'warning' if each.warns else 'note'}, {each.word}. {each.sentence}"
    if explain:
        for operation in judged.operations:
            yield f"  {operation['op']} {operation['path']}"


def _pod_in(whole: Manifest) -> Manifest:
    """The pod, or the template of one, in a document that may be changed."""
    found, path = whole, ".".join(TEMPLATES[whole["kind"]])
    for key in TEMPLATES[whole["kind"]]:
        found = (found.get(key) or {}) if isinstance(found, dict) else found
    if wrong := malformed(found, path=path):
        raise _no_pod(whole["kind"], wrong)
    found["metadata"] = found.get("metadata") or {}
    return found


def _no_pod(kind: str, wrong: str) -> InputError:
    return InputError(f"a {kind} in it is malformed: {wrong}")


def _select(pod: Manifest, workload: Mapping[str, Any], namespace: str, world: World) -> None:
    """Labels the template as the operator would, if a backend selects the workload and no user has labelled it.

    workload: its metadata.
    """
    given, annotations = pods.labels(pod), pods.annotations(pod)
    own = [each for each in world.candidates if each.namespace == namespace]
    named = {**annotations, **(workload.get("annotations") or {})}.get(naming.ANNOTATION_BACKEND)
    chosen = owner_of(workload.get("labels") or {}, own, named=named)
    if chosen is None or naming.LABEL_INJECT in given or pods.spec(pod).get("hostNetwork") or pods.is_windows(pod):
        return
    pod["metadata"]["labels"] = {**given, naming.LABEL_INJECT: "true", naming.LABEL_MANAGED: "true"}
    pod["metadata"]["annotations"] = {naming.ANNOTATION_BACKEND: chosen, **annotations}


def _owner(kind: str) -> Manifest:
    """The pod's future owner; a Pod that is written as such has none."""
    if kind == "Pod":
        return {}
    return {"ownerReferences": [{"kind": "Job" if kind in JOBS else "ReplicaSet", "name": "", "controller": True}]}


def _revisions(world: World) -> Revisions:
    """Offline there is one revision of each backend, and a template that names another gets it too."""
    by_name = {Key(key.namespace, each.name): each for key, each in world.revisions.items()}
    return lambda namespace, name: by_name.get(Key(namespace, name))
