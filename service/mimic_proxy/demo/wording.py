"""Text as tokens: a simple tokeniser, and what limits an answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*\S{1,4}|\s+")


@dataclass(frozen=True, slots=True)
class Wording:
    """An answer's text in tokens, and why it ends: `stop` or `length`."""

    tokens: tuple[str, ...]
    finish: str

    @property
    def text(self) -> str:
        return "".join(self.tokens)


def tokens(text: str) -> list[str]:
    """Pieces of at most four characters, each with the white space before it; joined they are the text again."""
    return _TOKEN.findall(text)


def limited(text: str, stop: Sequence[str] = (), most: int | None = None) -> Wording:
    """The text up to the first of the `stop` texts, at most `most` tokens of it."""
    ends = [text.find(mark) for mark in stop if mark and mark in text]
    if ends:
        text = text[: min(ends)]
    pieces = tokens(text)
    if most == 0 or (most is not None and len(pieces) > most):
        return Wording(tuple(pieces[:most]), "length")
    return Wording(tuple(pieces), "stop")
