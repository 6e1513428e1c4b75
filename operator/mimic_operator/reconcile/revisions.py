"""Which revision a backend's workloads are to carry, and which ones are still needed. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mimic_operator.reconcile.manifests import controller_revision
from mimic_operator.reconcile.store import ChildSeen, PodSeen
from mimic_operator.reconcile.workload import Workload
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.naming import ANNOTATION_DEFAULTS
from mimic_operator.resource.revision import Revision, revision_of


@dataclass(frozen=True, slots=True)
class Target:
    """What workloads are to carry. made: None where only the name is kept of what an older operator made."""

    name: str
    made: Revision | None
    defaults: ProxyDefaults
    waiting: str = ""
    """The revision of the upgraded operator, which waits for the next change (decided case 6)."""


def target_of(
    backend: Backend,
    defaults: ProxyDefaults,
    *,
    status: Mapping[str, Any],
    stored: Mapping[str, ChildSeen],
    on_upgrade: bool,
) -> Target:
    """The revision that the spec asks for, in what of it is the user's.

    stored: the backend's ControllerRevisions by name. on_upgrade: whether a change of the operator's own restarts too.
    Where nothing is selected it restarts nobody anyhow, and pods get the new one when their owners restart them.
    """
    newest = revision_of(backend, defaults)
    fresh = Target(newest.name, newest, defaults)
    wanted = str(status.get("updateRevision") or "")
    restarts_nobody = backend.injection.workloads is None
    if on_upgrade or restarts_nobody or wanted == newest.name or wanted not in stored:
        return fresh
    earlier = defaults_of(stored[wanted])
    if earlier is None:
        return fresh
    same = revision_of(backend, earlier)
    if same.name == wanted:
        return Target(wanted, same, earlier, newest.name)
    if status.get("observedGeneration") == backend.generation:
        return Target(wanted, None, earlier, newest.name)
    return fresh


def defaults_of(child: ChildSeen) -> ProxyDefaults | None:
    """What the operator's settings said when a revision was made; None where that cannot be read."""
    try:
        return ProxyDefaults(**json.loads((child.annotations or {})[ANNOTATION_DEFAULTS]))
    except (KeyError, ValueError, TypeError):
        return None


def stored_form(backend: Backend, revision: Revision, defaults: ProxyDefaults) -> dict[str, Any]:
    """The ControllerRevision. Its data never changes (the API server refuses that), so it is applied once."""
    manifest = controller_revision(backend, revision)
    manifest["metadata"]["annotations"] = {ANNOTATION_DEFAULTS: json.dumps(asdict(defaults), sort_keys=True)}
    return manifest


def needed(names: Iterable[str], pods: Iterable[PodSeen], workloads: Iterable[Workload]) -> set[str]:
    """Revisions that somebody may still ask for: those named, and those of pods and of pod templates."""
    found = {name for name in names if name}
    found |= {pod.revision for pod in pods if pod.revision is not None}
    return found | {workload.fields.revision for workload in workloads if workload.fields.revision is not None}
