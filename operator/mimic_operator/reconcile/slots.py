"""How many workloads restart at once, over all backends."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mimic_operator.reconcile.queue import Key


@dataclass(slots=True)
class Slots:
    """limit: of all backends together. wake: called with backends that may go on."""

    limit: int
    wake: Callable[[Key], None]
    open: bool = False
    """False until every backend has been looked at once: until then nobody knows what moves already."""
    _held: dict[Key, int] = field(default_factory=dict)
    _waiting: dict[Key, None] = field(default_factory=dict)
    """In the order in which they came."""

    def free(self) -> int:
        """So many more workloads may be written now."""
        return max(0, self.limit - sum(self._held.values())) if self.open else 0

    def hold(self, key: Key, moving: int, *, waits: bool) -> None:
        """So many workloads of a backend move now. waits: it would begin more if it could, and is woken then."""
        self._held.pop(key, None)
        if moving:
            self._held[key] = moving
        if waits:
            self._waiting.setdefault(key)
        else:
            self._waiting.pop(key, None)
        self._wake()

    def start(self) -> None:
        """Everything that moves is known now."""
        self.open = True
        self._wake()

    def _wake(self) -> None:
        """As many as there is room for; each says anew what it holds and whether it waits."""
        for key in list(self._waiting)[: self.free()]:
            del self._waiting[key]
            self.wake(key)
