"""Judges a MimicBackend by what its schema cannot express: other objects, and what the resource was before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import revision_of
from mimic_operator.resource.selection import Candidate, Unselected, candidate, default_of
from mimic_operator.resource.warnings import warnings_of


@dataclass(frozen=True, slots=True)
class Judgement:
    """refusal: empty if the resource may be written."""

    refusal: str
    warnings: tuple[str, ...]


def judge(
    new: Mapping[str, Any], old: Mapping[str, Any] | None, others: Sequence[Candidate], defaults: ProxyDefaults
) -> Judgement:
    """Judges a MimicBackend that is written. others: the MimicBackends of its namespace, itself among them or not."""
    found, before = candidate(new), candidate(old) if old is not None else None
    siblings = sorted((each for each in others if each.name != found.name), key=lambda each: each.name)
    rivals = [each.name for each in siblings if each.default]
    refusal = ""
    if found.default and rivals and not (before is not None and before.default):
        refusal = (
            f"spec.injection.default: {rivals[0]} is the default of the namespace {found.namespace} already; set it to "
            "false there first."
        )
    warnings = (*_warnings(new, old, defaults), *_of_siblings(found, before, siblings))
    return Judgement(refusal, warnings)


def _of_siblings(found: Candidate, before: Candidate | None, siblings: Sequence[Candidate]) -> Iterator[str]:
    """Pods that name no backend have one now, and would have several."""
    had = default_of(found.namespace, [*siblings, *([before] if before is not None else [])])
    has = default_of(found.namespace, [*siblings, found])
    if isinstance(has, Unselected) and has.why == "SeveralBackends" and not isinstance(had, Unselected):
        names = ", ".join(has.names)
        yield (
            f"The namespace {found.namespace} now has several MimicBackends ({names}) and none is its default: new "
            f"pods that name none are denied. They got {had.name} until now. Set spec.injection.default on one of them."
        )
    if before is not None and (before.mode, found.mode) == ("Deployment", "Sidecar"):
        yield (
            "This change deletes the shared proxy: pods that call it fail until they are created again, and those of "
            "other namespaces are then denied. `kubectl get pods -A -l mimic.dev/injected=pointed` lists them."
        )


def _warnings(new: Mapping[str, Any], old: Mapping[str, Any] | None, defaults: ProxyDefaults) -> Iterator[str]:
    try:
        backend = parse(new)
    except InvalidBackend as invalid:
        for path, sentence in invalid.problems:
            yield f"{path} {sentence}; pods keep the last valid revision."
        return
    for caution in warnings_of(backend):
        yield f"{caution.path}: {caution.sentence}."
    if old is not None:
        yield from _restarts(backend, new, old, defaults)


def _restarts(
    backend: Backend, new: Mapping[str, Any], old: Mapping[str, Any], defaults: ProxyDefaults
) -> Iterator[str]:
    try:
        before = parse(old)
    except InvalidBackend:
        return
    if revision_of(before, defaults).hash == revision_of(backend, defaults).hash:
        return
    if backend.mode == "Deployment":
        yield "This change restarts the pods of the shared proxy, one after another."
        return
    status = new.get("status") or old.get("status") or {}
    pods = (status.get("injected") or {}).get("total") or 0
    workloads = (status.get("rollout") or {}).get("total") or 0
    if not pods and not workloads:
        return
    if not workloads and backend.injection.workloads is None:
        yield f"{pods} pods have the sidecar; they get this when they are created again (kubectl rollout restart)."
        return
    counted = f"{workloads} workload{'' if workloads == 1 else 's'}" if workloads else "workloads"
    bearing = f" ({pods} pods have the sidecar)" if pods else ""
    if backend.rollout.policy == "Manual":
        yield f"This change needs a restart of {counted}{bearing}; spec.rollout.policy is Manual, so you restart them."
    else:
        yield f"This change restarts {counted} that this backend selects, one after another{bearing}."
