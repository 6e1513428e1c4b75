"""A ClusterMimicBackend: which namespaces may use it, and the MimicBackend that each of them gets. Pure.

In Sidecar mode every admitted namespace gets a MimicBackend of the same name, which uses a Secret or the workload
identity of that namespace. In Deployment mode one namespace gets it, with the shared proxy that the others call.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mimic_operator.errors import InvalidBackend, Problem
from mimic_operator.resource.fields import UNKNOWN, read_fields, write_fields
from mimic_operator.resource.naming import (
    API_VERSION,
    CLUSTER_KIND,
    KIND,
    LABEL_CLUSTER_BACKEND,
    label_value,
)
from mimic_operator.resource.rules import broken
from mimic_operator.resource.spec import AllowedNamespaces, Spec
from mimic_operator.resource.spec.cluster import RULES, ClusterSpec
from mimic_operator.resource.spec.common import NAMESPACE_NAME, NamespaceSelection, object_name

Manifest = dict[str, Any]
EXCLUDED = ("kube-system", "kube-public", "kube-node-lease")
"""Namespaces of the cluster itself never get a backend, whatever the selector is."""
NAMED = 5
"""So many namespaces are named in a message; for others only the number is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterBackend:
    """One ClusterMimicBackend, valid."""

    name: str
    uid: str
    generation: int
    spec: ClusterSpec

    @property
    def namespaces(self) -> NamespaceSelection:
        return self.spec.namespaces

    @property
    def shared_in(self) -> str | None:
        """The namespace of the shared proxy; None in Sidecar mode."""
        return self.spec.deployment_namespace

    def admits(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether pods of the namespace may use it."""
        return namespace not in EXCLUDED and self.namespaces.admits({NAMESPACE_NAME: namespace, **labels})


def parse_cluster(manifest: Mapping[str, Any], *, strict: bool = False) -> ClusterBackend:
    """Reads one resource. strict: refuses unknown fields. Raises InvalidBackend with all problems."""
    problems: list[Problem] = []
    if manifest.get("apiVersion") != API_VERSION or manifest.get("kind") != CLUSTER_KIND:
        problems.append(Problem("kind", f"must be {CLUSTER_KIND}, with apiVersion {API_VERSION}"))
    metadata = manifest.get("metadata") or {}
    name = object_name("").read(metadata.get("name") or "", "metadata.name", problems)
    given = manifest.get("spec")
    if not isinstance(given, Mapping):
        raise InvalidBackend([*problems, Problem("spec", "is required")])
    spec: ClusterSpec = read_fields(ClusterSpec, given, "spec", problems)
    if not strict:
        problems = [problem for problem in problems if problem.sentence != UNKNOWN]
    inner = [Problem(path.replace("spec.backend", "spec", 1), sentence) for path, sentence in problems]
    problems += [
        Problem(path.replace("spec", "spec.backend", 1), sentence) for path, sentence in broken(spec.backend, inner)
    ]
    if not problems:
        sections = {(): spec, ("backend",): spec.backend}
        problems += [Problem(rule.path, rule.sentence) for rule in RULES if not rule.holds(sections[rule.section])]
    if problems:
        raise InvalidBackend(problems)
    generation = metadata.get("generation")
    return ClusterBackend(
        name=name,
        uid=str(metadata.get("uid") or ""),
        generation=generation if isinstance(generation, int) else 0,
        spec=spec,
    )


def backends_of(cluster: ClusterBackend, namespaces: Mapping[str, Mapping[str, str]]) -> dict[str, Manifest]:
    """The MimicBackends by namespace. namespaces: labels by name."""
    spec = cluster.spec.backend
    if cluster.shared_in is None:
        admitted = [name for name, labels in namespaces.items() if cluster.admits(name, labels)]
        return {name: _backend(cluster, name, spec) for name in sorted(admitted)}
    if cluster.shared_in not in namespaces:
        return {}
    assert spec.deployment is not None
    allowed = AllowedNamespaces(from_="Selector", selector=cluster.namespaces.selector, names=cluster.namespaces.names)
    shared = replace(spec, deployment=replace(spec.deployment, allowed_namespaces=allowed))
    return {cluster.shared_in: _backend(cluster, cluster.shared_in, shared)}


def _backend(cluster: ClusterBackend, namespace: str, spec: Spec) -> Manifest:
    owner = {"apiVersion": API_VERSION, "kind": CLUSTER_KIND, "name": cluster.name, "uid": cluster.uid}
    written = write_fields(spec)
    if not spec.suspend:
        del written["suspend"]  # a namespace may suspend its own, and so does `mimic-operator release`
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": cluster.name,
            "namespace": namespace,
            "labels": {LABEL_CLUSTER_BACKEND: label_value(cluster.name)},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}],
        },
        "spec": written,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What the MimicBackend of one namespace reports."""

    ready: str = "Unknown"
    reason: str = "NotReconciled"
    pods: int = 0


def status_of(
    cluster: ClusterBackend,
    admitted: Sequence[str],
    created: Mapping[str, Created],
    failed: Mapping[str, str],
    before: Mapping[str, Any],
    now: str,
) -> Manifest:
    """The status. admitted: namespaces. created: by namespace. failed: why a namespace has no MimicBackend of it."""
    unready = {name: each.reason for name, each in created.items() if each.ready != "True"} | dict(failed)
    if not admitted:
        verdict = ("False", "NoNamespaces", f"no namespace is selected: {cluster.namespaces}")
    elif not created and not failed:
        verdict = ("False", "NoNamespaces", f"the namespace {cluster.shared_in} of the shared proxy does not exist")
    elif unready:
        some = ", ".join(f"{name} ({unready[name]})" for name in sorted(unready)[:NAMED])
        more = f" and {len(unready) - NAMED} more" if len(unready) > NAMED else ""
        verdict = ("False", "Conflict" if failed else "NotReady", f"not ready: {some}{more}"[:1024])
    else:
        verdict = ("True", "Ready", "")
    found: Manifest = {
        "observedGeneration": cluster.generation,
        "mode": cluster.spec.backend.mode,
        "namespaces": {
            "admitted": len(admitted),
            "ready": len(created) - len(unready.keys() & created.keys()),
            "failed": len(failed),
        },
        "pods": sum(each.pods for each in created.values()),
    }
    return found | {
        "conditions": _conditions({"ConfigValid": ("True", "Valid", ""), "Ready": verdict}, found, before, now)
    }


def invalid_status(generation: int, problems: Sequence[Problem], before: Mapping[str, Any], now: str) -> Manifest:
    """The status of a resource that cannot be used; its namespaces keep what they have."""
    message = "; ".join(f"{path}: {sentence}" for path, sentence in problems)[:1024]
    kept = {key: before[key] for key in ("mode", "namespaces", "pods") if key in before}
    found: Manifest = {"observedGeneration": generation, **kept}
    wrong = ("False", "Invalid", message)
    return found | {"conditions": _conditions({"ConfigValid": wrong, "Ready": wrong}, found, before, now)}


def _conditions(
    verdicts: Mapping[str, tuple[str, str, str]], found: Mapping[str, Any], before: Mapping[str, Any], now: str
) -> list[Manifest]:
    earlier = {condition.get("type"): condition for condition in before.get("conditions") or ()}
    made = []
    for name, (status, reason, message) in verdicts.items():
        old = earlier.get(name) or {}
        since = old.get("lastTransitionTime", now) if old.get("status") == status else now
        condition = {"type": name, "status": status, "reason": reason, "message": message}
        made.append(condition | {"observedGeneration": found["observedGeneration"], "lastTransitionTime": since})
    return made
