"""What the operator refuses.

    OperatorError
    |- InvalidBackend     a MimicBackend that cannot be used; every problem with the path of its field
    |- InputError         a file that cannot be read, or holds something else than manifests
    `- SettingsError      the operator's own environment; every problem with the name of its variable

A message says what to write instead and never repeats a value: a secret may have been put there by mistake.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

Reason = Literal[
    "conflict",
    "gone",
    "throttled",
    "forbidden",
    "absent",
    "invalid",
    "unavailable",
    "unreachable",
    "timeout",
    "internal",
]
"""Classes of what goes wrong with the API server, as metrics and logs call them; `internal` for defects too."""


class Problem(NamedTuple):
    """One thing that is wrong: a field's path (`spec.auth.tokenURL`) or a variable's name, and a sentence."""

    path: str
    sentence: str


class OperatorError(Exception):
    """Something that the person who deploys can fix."""


class InvalidBackend(OperatorError):
    """A MimicBackend that cannot be used; `problems` holds all that is wrong, in the order of their paths."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        count = "1 invalid field" if len(self.problems) == 1 else f"{len(self.problems)} invalid fields"
        super().__init__("\n".join([f"{count}:", *(f"  {path}: {wrong}" for path, wrong in self.problems)]))


class InputError(OperatorError):
    """A file that is no use; the message names it."""


class SettingsError(OperatorError):
    """Settings that cannot be used; `problems` holds all that is wrong."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        count = "1 invalid setting" if len(self.problems) == 1 else f"{len(self.problems)} invalid settings"
        super().__init__("\n".join([f"{count}:", *(f"  {path}: {wrong}" for path, wrong in self.problems)]))
