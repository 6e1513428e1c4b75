"""What the reconciler remembers of each backend between two turns; a new leader begins without."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mimic_operator.reconcile.rollout import Plan, Trail
from mimic_operator.reconcile.workload import Ref
from mimic_operator.resource.hot import Kept

REFUSED_SECONDS = 60.0
"""After which what was refused is tried again: somebody may have changed a policy."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A write that the API server refused. target: of the write. at: monotonic seconds."""

    target: str | None
    sentence: str
    at: float

    def again(self, now: float) -> float:
        """Seconds until it is tried again."""
        return self.at + REFUSED_SECONDS - now


@dataclass(slots=True)
class Memory:
    """Of one backend."""

    trails: Mapping[str, Trail] = field(default_factory=dict)
    released: dict[Ref, str] = field(default_factory=dict)
    """Workloads whose fields were taken off and that have not settled yet, with their uid."""
    refusals: dict[str, Refusal] = field(default_factory=dict)
    """By the workload's uid."""
    uid: str = ""
    generation: int = 0
    reported: Mapping[str, Any] | None = None
    """The status as it was written last."""
    reported_version: str = ""
    """The backend's resourceVersion that this led to."""
    reported_at: float = float("-inf")
    plan: Plan | None = None
    """Of the last turn."""
    kept: dict[str, tuple[str, Kept | None]] = field(default_factory=dict)
    """Older revisions by name, each with the resourceVersion at which it was read; None where it cannot be read."""
    frozen: set[str] = field(default_factory=set)
    """Those that cannot have the newest configuration, which was said of them."""

    def at(self, generation: int) -> None:
        """With another spec, what was lost or refused before counts no more: it is tried again."""
        if self.generation != generation:
            self.generation = generation
            self.refusals = {}
            self.trails = {uid: replace(trail, losses=()) for uid, trail in self.trails.items()}

    def refused(self, target: str, now: float) -> dict[str, str]:
        """What is not to be tried again yet, with what was said of writing the target, or of a release."""
        found = self.refusals.items()
        return {uid: each.sentence for uid, each in found if each.target in (target, None) and each.again(now) > 0}

    def retry(self, now: float) -> float | None:
        """Seconds after which something that was refused is tried again."""
        waiting = [left for each in self.refusals.values() if (left := each.again(now)) > 0]
        return min(waiting, default=None)

    def told(self, seen: Mapping[str, Any]) -> Mapping[str, Any]:
        """The status as the operator means it. seen: what stands there, all that a new leader has."""
        return self.reported if self.reported is not None else seen

    def standing(self, seen: Mapping[str, Any], version: str) -> Mapping[str, Any]:
        """The status that stands there. seen: at `version`, which may be from before it was written last."""
        if self.reported is None or _later(version, self.reported_version):
            return seen
        return self.reported


def _later(version: str, other: str) -> bool:
    """Resource versions are numbers that grow (KEP-5504)."""
    return version.isdecimal() and other.isdecimal() and int(version) > int(other)
