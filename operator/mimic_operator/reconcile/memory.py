"""What the reconciler remembers of each backend between two turns; a new leader begins without."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mimic_operator.reconcile.rollout import Plan, Trail
from mimic_operator.reconcile.workload import Ref
from mimic_operator.resource.hot import Kept


@dataclass(slots=True)
class Memory:
    """Of one backend."""

    trails: Mapping[str, Trail] = field(default_factory=dict)
    released: dict[Ref, str] = field(default_factory=dict)
    """Workloads whose fields were taken off and that have not settled yet, with their uid."""
    uid: str = ""
    generation: int = 0
    reported: Mapping[str, Any] | None = None
    """The status as it was written last."""
    reported_at: float = float("-inf")
    plan: Plan | None = None
    """Of the last turn."""
    kept: dict[str, tuple[str, Kept | None]] = field(default_factory=dict)
    """Older revisions by name, each with the resourceVersion at which it was read; None where it cannot be read."""
    frozen: set[str] = field(default_factory=set)
    """Those that cannot have the newest configuration, which was said of them."""

    def at(self, generation: int) -> None:
        """With another spec, what was lost to somebody before counts no more: it is tried again."""
        if self.generation != generation:
            self.generation = generation
            self.trails = {uid: replace(trail, losses=()) for uid, trail in self.trails.items()}
