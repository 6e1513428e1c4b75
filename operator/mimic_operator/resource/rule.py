"""One rule between the fields of a resource, in both languages: CEL for the API server, Python for `parse`.

CEL sees what stands in the resource, defaults filled in; fields without a default have to be asked for by `has`.
Python sees the same as read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mimic_operator.resource.shape import key_of


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold in a section.

    section: attributes that lead to it, from the spec on; empty for the spec. field: the field that is to blame, below
    the section, by attributes. cel: over `self`, the section. holds: over the section as read.
    """

    section: tuple[str, ...]
    field: tuple[str, ...]
    cel: str
    holds: Callable[[Any], bool]
    sentence: str

    @property
    def path(self) -> str:
        return ".".join(("spec", *map(key_of, (*self.section, *self.field))))

    def as_cel(self) -> dict[str, str]:
        found = {"rule": self.cel, "message": self.sentence}
        return found | ({"fieldPath": "".join(f".{key_of(name)}" for name in self.field)} if self.field else {})


def words(these: Sequence[str]) -> str:
    """A CEL list of texts."""
    return f"[{', '.join(repr(word) for word in these)}]"
