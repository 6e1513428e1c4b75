"""Names of models as labels. Pure.

A caller chooses the name it sends, so a name becomes a label only if it is known to be a model: it stands in MODELS, or
the backend has answered to it. Only so many do; all others are `other`.
"""

from collections.abc import Iterable

OTHER = "other"
MOST_LABELS = 8
LONGEST_LABEL = 64


class ModelLabels:
    """The names that have a label of their own. `fixed`: MODELS; where there are any, no other name gets one."""

    __slots__ = ("_fixed", "_known", "_most")

    def __init__(self, fixed: Iterable[str] = (), most: int = MOST_LABELS) -> None:
        names = tuple(fixed)
        self._most = most
        self._fixed = bool(names)
        self._known: dict[str, str] = {}
        for name in names:
            self._learn(name)

    def __len__(self) -> int:
        return len(self._known)

    def label(self, model: str | None) -> str:
        """The label of a name; `other` for those without one."""
        return OTHER if model is None else self._known.get(model, OTHER)

    def answered(self, model: str | None) -> str:
        """The label of a name that the backend has just answered to with success."""
        if model is None:
            return OTHER
        if model not in self._known and not self._fixed:
            self._learn(model)
        return self._known.get(model, OTHER)

    def _learn(self, name: str) -> None:
        if len(self._known) < self._most and name and name.isprintable():
            self._known[name] = name[:LONGEST_LABEL]
