"""A text that matches a regular expression, for the `pattern` of a JSON schema.

Read are literals, escapes, classes, groups, alternation (the first branch is taken), anchors and quantifiers.
Look-around and back-references are stepped over: whoever asks checks the text against the pattern.
"""

import re
import string
from dataclasses import dataclass
from typing import Final

_ALPHABET: Final = (
    string.ascii_lowercase + string.digits + string.ascii_uppercase + string.punctuation + " \t\n\u00e9\u4e2d"
)
_QUANTIFIER = re.compile(r"[*+?]|\{(\d+)(,(\d*))?\}")
_ANCHORS: Final = frozenset({"^", "$", r"\b", r"\B", r"\A", r"\Z", r"\z"})
_MOST_REPEATS: Final = 10_000


def example(pattern: str, *, stretch: int = 0, nth: int = 0) -> str | None:
    """A text that should match, None if there is none to be found.

    stretch: how many repetitions beyond the fewest are taken where they are allowed.
    nth: which of the fitting characters is taken at each place, so that several texts differ.
    """
    try:
        return _Reader(pattern, stretch, nth).alternatives()
    except (re.error, IndexError, ValueError, RecursionError):
        return None


@dataclass(slots=True)
class _Reader:
    pattern: str
    stretch: int
    nth: int
    at: int = 0

    def alternatives(self) -> str:
        """The first of the branches up to the end of the group or of the pattern."""
        first = self.sequence()
        while self.at < len(self.pattern) and self.pattern[self.at] == "|":
            self.at += 1
            self.sequence()
        return first

    def sequence(self) -> str:
        parts: list[str] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            piece = self.atom()
            parts.append(piece * self.repeats())
        return "".join(parts)

    def atom(self) -> str:
        if self.pattern[self.at] == "(":
            return self.group()
        start = self.at
        self.at = self.end_of_atom()
        text = self.pattern[start : self.at]
        if text in _ANCHORS:
            return ""
        return text if len(text) == 1 and text != "." else self.character(text)

    def end_of_atom(self) -> int:
        """Where the escape, class or character that starts here ends."""
        if self.pattern[self.at] == "\\":
            longer = {"x": 4, "u": 6}.get(self.pattern[self.at + 1], 2)
            return self.at + longer
        if self.pattern[self.at] != "[":
            return self.at + 1
        end = self.at + 1
        end += self.pattern[end] == "^"
        end += self.pattern[end] == "]"
        while self.pattern[end] != "]":
            end += 2 if self.pattern[end] == "\\" else 1
        return end + 1

    def character(self, text: str) -> str:
        fitting = [letter for letter in _ALPHABET if re.fullmatch(text, letter)]
        if not fitting:
            fitting = [re.sub(r"^\\", "", text)]
        return fitting[self.nth % len(fitting)]

    def group(self) -> str:
        self.at += 1
        silent = False
        if self.pattern.startswith("?", self.at):
            silent = self.pattern[self.at + 1] in "=!" or self.pattern[self.at + 1 : self.at + 3] in ("<=", "<!")
            named = self.pattern[self.at + 1] in "<P" and not silent
            self.at = (
                self.pattern.index(">", self.at) + 1 if named else self.at + 2 + (self.pattern[self.at + 1] == "<")
            )
        inner = self.alternatives()
        if not self.pattern.startswith(")", self.at):
            raise ValueError("a group that does not end")
        self.at += 1
        return "" if silent else inner

    def repeats(self) -> int:
        found = _QUANTIFIER.match(self.pattern, self.at)
        if not found:
            return 1
        self.at = found.end()
        if self.pattern.startswith(("?", "+"), self.at):
            self.at += 1
        fewest = {"*": 0, "+": 1, "?": 0}.get(found[0])
        most = 1 if found[0] == "?" else _MOST_REPEATS
        if fewest is None:
            fewest = int(found[1])
            most = int(found[3]) if found[3] else (_MOST_REPEATS if found[2] else fewest)
        return min(fewest + self.stretch, most, _MOST_REPEATS)
