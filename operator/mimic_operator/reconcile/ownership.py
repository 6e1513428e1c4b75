"""Which backend a workload belongs to. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from mimic_operator.reconcile.workload import Workload
from mimic_operator.resource.spec import LabelSelector


@dataclass(frozen=True, slots=True)
class Claim:
    """What one MimicBackend says about workloads of its namespace. selector: None selects nothing."""

    name: str
    created: str
    selector: LabelSelector | None
    valid: bool = True
    """An invalid one keeps what it has until it is mended, and gets nothing new."""


def owner_of(workload: Workload, claims: Iterable[Claim]) -> str | None:
    """The one backend that writes to a workload (decided cases 1 and 3); None: the operator leaves it alone.

    It is the one that the workload's annotation names, else the one that the operator has written already, else the
    oldest whose selector matches; of the same age the first by name. What a user has written stands.
    """
    if workload.controlled:
        return None
    claims = tuple(claims)
    matching = sorted((claim.created, claim.name) for claim in claims if _selects(claim, workload))
    names = [name for _, name in matching]
    named, by_user = workload.chosen, True
    if named is None:
        named, by_user = workload.fields.backend, not (workload.applied and workload.fields.managed)
    if named is not None:
        kept = any(claim.name == named and not claim.valid for claim in claims) and not by_user
        if named in names or kept:
            return named
        if by_user:
            return None
    return names[0] if names else None


def _selects(claim: Claim, workload: Workload) -> bool:
    return claim.valid and claim.selector is not None and claim.selector.matches(workload.labels)
