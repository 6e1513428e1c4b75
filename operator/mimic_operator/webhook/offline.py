"""Injection without a cluster: what `mimic-operator inject FILE` prints, by the same decision as the webhook's."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import jsonpatch

from mimic_operator.errors import InputError
from mimic_operator.resource import naming
from mimic_operator.resource.backend import parse
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import Revision, revision_of
from mimic_operator.resource.selection import Candidate, candidate, owner_of
from mimic_operator.webhook import pods
from mimic_operator.webhook.decide import Decision, Namespace, Request, decide
from mimic_operator.webhook.mutate import Operation, patch
from mimic_operator.webhook.outcomes import Verdict
from mimic_operator.webhook.pods import malformed, malformed_metadata

Manifest = dict[str, Any]
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), ("spec", "template")),
    **dict.fromkeys(("ReplicationController", "Job", "Rollout"), ("spec", "template")),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where the pod stands in a workload."""
SELECTABLE = ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
"""What spec.injection.workloads of a backend can select."""
JOBS = ("Job", "CronJob")


@dataclass(frozen=True, slots=True)
class Judged:
    """A document as it comes out, and what became of the pod in it; no decision where it holds none."""

    manifest: Manifest
    decision: Decision | None = None
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """What the cluster is taken to hold: these backends, each at the revision that its spec asks for."""

    candidates: tuple[Candidate, ...]
    revisions: Mapping[tuple[str, str], Revision]
    """By namespace and name of the backend."""


def world_of(manifests: Sequence[Manifest], namespace: str, defaults: ProxyDefaults) -> World:
    """Backends that name no namespace stand in `namespace`. Raises InvalidBackend."""
    placed = [{**each, "metadata": {"namespace": namespace, **(each.get("metadata") or {})}} for each in manifests]
    backends = [parse(each, strict=True) for each in placed]
    revisions = {(each.namespace, each.name): revision_of(each, defaults) for each in backends}
    found = map(candidate, placed)
    candidates = tuple(replace(each, revision=revisions[each.namespace, each.name].name) for each in found)
    return World(candidates, revisions)


def inject(document: Manifest, world: World, request: Request) -> Judged:
    """What the cluster would make of a document that is applied in the request's namespace, or in the one it names.

    Whatever holds no pod comes back as it is, and so does what is denied. Raises InputError for a pod that is none.
    """
    kind = str(document.get("kind"))
    if kind not in TEMPLATES:
        return Judged(document)
    if wrong := malformed_metadata(document.get("metadata")):
        raise _no_pod(kind, wrong)
    metadata = document.get("metadata") or {}
    namespace = str(metadata.get("namespace") or request.namespace.name)
    place = request.namespace if namespace == request.namespace.name else Namespace(namespace)
    whole = deepcopy(document)
    pod = _pod_in(whole)
    if kind in SELECTABLE:
        _select(pod, metadata.get("labels") or {}, namespace, world)
    seen = {**pod, "metadata": {**(pod.get("metadata") or {}), **_owner(kind)}}
    decision = decide(seen, replace(request, namespace=place), world.candidates, _revisions(world, seen))
    if decision.verdict is Verdict.DENIED:
        return Judged(document, decision)
    operations = tuple(patch(pod, decision))
    patched = jsonpatch.apply_patch(pod, list(operations))
    pod.clear()
    pod.update(patched)
    return Judged(whole, decision, operations)


def describe(judged: Judged, *, explain: bool) -> Iterator[str]:
    """Lines on one decision: what somebody has to know, and with `explain` every note and each change."""
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


def _select(pod: Manifest, labels: Mapping[str, str], namespace: str, world: World) -> None:
    """Labels the template as the operator would, if a backend selects the workload and no user has labelled it."""
    given, annotations = pod["metadata"].get("labels") or {}, pod["metadata"].get("annotations") or {}
    own = [each for each in world.candidates if each.namespace == namespace]
    chosen = owner_of(labels, own, named=annotations.get(naming.ANNOTATION_BACKEND))
    if chosen is None or naming.LABEL_INJECT in given or pods.spec(pod).get("hostNetwork") or pods.is_windows(pod):
        return
    pod["metadata"]["labels"] = {**given, naming.LABEL_INJECT: "true", naming.LABEL_MANAGED: "true"}
    pod["metadata"]["annotations"] = {naming.ANNOTATION_BACKEND: chosen, **annotations}


def _owner(kind: str) -> Manifest:
    """Who will own the pod; only a Pod of its own has nobody."""
    if kind == "Pod":
        return {}
    return {"ownerReferences": [{"kind": "Job" if kind in JOBS else "ReplicaSet", "name": "", "controller": True}]}


def _revisions(world: World, pod: Manifest) -> Any:
    """Offline there is one revision of each backend, whichever the template was on."""
    by_name = {(namespace, found.name): found for (namespace, _), found in world.revisions.items()}

    def find(namespace: str, name: str) -> Revision | None:
        own = [found for (where, _), found in world.revisions.items() if where == namespace]
        on_it = [found for found in own if name.startswith(f"mimic-{found.backend}-")]
        return by_name.get((namespace, name)) or (on_it[0] if len(on_it) == 1 else None)

    return find
