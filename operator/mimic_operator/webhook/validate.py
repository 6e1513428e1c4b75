"""What a MimicBackend's schema cannot say, since it needs other objects or the past."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimic_operator.errors import InvalidBackend
from mimic_operator.resource.backend import Backend, parse
from mimic_operator.resource.container import ProxyDefaults
from mimic_operator.resource.revision import revision_of
from mimic_operator.resource.selection import Candidate, candidate
from mimic_operator.resource.warnings import cautions


@dataclass(frozen=True, slots=True)
class Judgement:
    """refusal: empty if the resource may be written."""

    refusal: str
    warnings: tuple[str, ...]


def judge(
    new: Mapping[str, Any], old: Mapping[str, Any] | None, others: Sequence[Candidate], defaults: ProxyDefaults
) -> Judgement:
    """Judge a MimicBackend that is written. others: the MimicBackends of its namespace, itself among them or not."""
    found = candidate(new)
    rivals = [each.name for each in others if each.default and each.name != found.name]
    was_default = old is not None and candidate(old).default
    refusal = ""
    if found.default and rivals and not was_default:
        refusal = (
            f"spec.injection.default: {rivals[0]} is the default of the namespace {found.namespace} already; set it to "
            "false there first."
        )
    return Judgement(refusal, tuple(_warnings(new, old, defaults)))


def _warnings(new: Mapping[str, Any], old: Mapping[str, Any] | None, defaults: ProxyDefaults) -> Iterator[str]:
    try:
        backend = parse(new)
    except InvalidBackend as invalid:
        for path, sentence in invalid.problems:
            yield f"{path} {sentence}; pods keep the last good revision."
        return
    for caution in cautions(backend):
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
        yield f"{pods} pods have the sidecar; they get this when they are made anew (kubectl rollout restart)."
        return
    counted = f"{workloads} workload{'' if workloads == 1 else 's'}" if workloads else "workloads"
    bearing = f" ({pods} pods have the sidecar)" if pods else ""
    if backend.rollout.policy == "Manual":
        yield f"This change needs a restart of {counted}{bearing}; spec.rollout.policy is Manual, so it is yours."
    else:
        yield f"This change restarts {counted} that this backend selects, one after another{bearing}."
