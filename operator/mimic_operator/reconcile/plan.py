"""Which revision a backend's workloads are to carry, which ones are still needed, and their configuration. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mimic_operator.reconcile.manifests import Manifest, config_map, controller_revision
from mimic_operator.reconcile.store import ChildSeen, PodSeen
from mimic_operator.reconcile.workload import Workload
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.naming import ANNOTATION_DEFAULTS
from mimic_operator.resource.revision import Kept, Revision, config_for, first_config, needs_restart, revision_of


@dataclass(frozen=True, slots=True)
class Target:
    """What workloads are to carry. made: None where it has to be read from the ControllerRevision (`as_kept`)."""

    name: str
    made: Revision | None
    defaults: ProxyDefaults
    waiting: str = ""
    """The revision of the upgraded operator, which waits for the next change (decided case 6)."""
    kept: bool = False
    """Whether `made` is what a ControllerRevision holds, without configuration."""


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
    return Target(wanted, same if same.name == wanted else None, earlier, newest.name)


def as_kept(target: Target, kept: Kept | None, backend: Backend, defaults: ProxyDefaults, *, unchanged: bool) -> Target:
    """The target that is kept where nothing in the spec asks for a restart since; else a fresh one.

    An operator that makes another container of the same spec cannot make the old one again. unchanged: whether the
    spec is the one that was observed last, which decides where the revision does not hold its own.
    """
    asked = needs_restart(kept, backend) if kept is not None else True
    if kept is None or asked or (asked is None and not unchanged):
        newest = revision_of(backend, defaults)
        return Target(newest.name, newest, defaults)
    return replace(target, made=kept.revision, kept=True)


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


def older_config_map(kept: Kept, backend: Backend, *, there: bool) -> tuple[Manifest | None, bool]:
    """The ConfigMap of a revision of which only the data is left, and whether its pods get the backend's configuration.

    None: it stays as it is. there: whether it exists; one that has gone is made anew with what the revision began
    with, since no pod starts without it.
    """
    config = config_for(kept, backend)
    given = config if config is not None or there else first_config(kept, backend)
    made = config_map(backend, replace(kept.revision, config=given)) if given is not None else None
    return made, config is not None


def needed(names: Iterable[str], pods: Iterable[PodSeen], workloads: Iterable[Workload]) -> set[str]:
    """Revisions that somebody may still ask for: those named, and those of pods and of pod templates."""
    found = {name for name in names if name}
    found |= {pod.revision for pod in pods if pod.revision is not None}
    return found | {workload.fields.revision for workload in workloads if workload.fields.revision is not None}
