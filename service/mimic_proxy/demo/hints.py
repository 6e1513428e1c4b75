"""What a request says that can fill the arguments of a tool: names, quoted texts, numbers."""

import re
from collections.abc import Callable, Sequence
from typing import Final

_QUOTED = re.compile(r"\"([^\"]{1,200})\"|'([^'\s][^']{0,200})'(?!\w)|\u201c([^\u201d]{1,200})\u201d")
_NAMES = re.compile(r"(?<!^)(?<![.!?]\s)\b[^\W\d_a-z]\w+(?:\s+[^\W\d_a-z]\w+)*")
_NUMBERS = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])")
_MOST_CHARACTERS: Final = 10_000


class Hints:
    """Each hint is given out once, in the order in which the text holds them."""

    def __init__(self, text: str) -> None:
        text = text[:_MOST_CHARACTERS]
        quoted = ["".join(found) for found in _QUOTED.findall(text)]
        self._texts = quoted or _NAMES.findall(text)
        self._numbers = _NUMBERS.findall(text)
        self._said = text.lower()

    def text(self, fits: Callable[[str], bool]) -> str | None:
        return _first(self._texts, fits)

    def integer(self, fits: Callable[[float], bool]) -> int | None:
        found = _first(self._numbers, lambda digits: "." not in digits and fits(int(digits)))
        return None if found is None else int(found)

    def number(self, fits: Callable[[float], bool]) -> float | None:
        found = _first(self._numbers, lambda digits: fits(float(digits)))
        return None if found is None else float(found)

    def mentioned(self, values: Sequence[object]) -> object | None:
        """The first of `values` that the text names as a word."""
        for value in values:
            if isinstance(value, str) and value and re.search(rf"(?<!\w){re.escape(value.lower())}(?!\w)", self._said):
                return value
        return None


def _first(hints: list[str], fits: Callable[[str], bool]) -> str | None:
    for place, hint in enumerate(hints):
        if fits(hint):
            return hints.pop(place)
    return None
