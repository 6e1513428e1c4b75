"""What an expression of PromQL asks for: metrics with their matchers, and labels that it groups or joins by.

No parser: promtool says whether an expression is valid. Strings are set aside first, so that nothing in them is taken
for a part of the expression.
"""

import re
from dataclasses import dataclass

_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"(?<![\w:.\"$])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\(|[\w:])")
_MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\x00(\d+)\x00")
_RANGE = re.compile(r"\[([^\]]*)\]")
_COMPARISON = re.compile(r"(==|!=|>=|<=|>|<)(?!=|~)")
_WORDS = frozenset({"and", "or", "unless", "bool", "inf", "nan", "sum", "min", "max", "avg", "count", "group"})
"""Words that no parenthesis needs to follow at once."""


@dataclass(frozen=True, slots=True)
class Matcher:
    label: str
    operator: str
    value: str

    @property
    def values(self) -> list[str]:
        """What the label may be, for a list of words."""
        return self.value.split("|") if "~" in self.operator else [self.value]


@dataclass(frozen=True, slots=True)
class Selector:
    metric: str
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """labels: those that it groups or joins by. ranges: what stands in square brackets."""

    selectors: tuple[Selector, ...]
    labels: frozenset[str]
    ranges: tuple[str, ...]


def read(expr: str) -> Expression:
    """Take an expression apart."""
    strings: list[str] = []

    def aside(match: re.Match[str]) -> str:
        strings.append(match.group()[1:-1])
        return f"\x00{len(strings) - 1}\x00"

    bare = _STRING.sub(aside, expr)
    labels = {label.strip() for group in _GROUPING.findall(bare) for label in group.split(",") if label.strip()}
    ranges = tuple(_RANGE.findall(bare))
    rest = _RANGE.sub("", _GROUPING.sub(" ", bare))
    rest = re.sub(r"\boffset\s+\S+", " ", rest)
    selectors = tuple(
        Selector(name, tuple(Matcher(label, how, strings[int(at)]) for label, how, at in _MATCHER.findall(braces)))
        for name, braces in _SELECTOR.findall(rest)
        if name not in _WORDS
    )
    return Expression(selectors, frozenset(labels), ranges)


def without_comparisons(expr: str) -> str:
    """The same with each comparison giving 0 or 1 for every series instead of leaving some out."""
    strings: list[str] = []

    def aside(match: re.Match[str]) -> str:
        strings.append(match.group())
        return f"\x00{len(strings) - 1}\x00"

    bare = re.sub(r"\{[^}]*\}", aside, expr)
    compared = _COMPARISON.sub(r"\1 bool", bare)
    return re.sub(r"\x00(\d+)\x00", lambda match: strings[int(match.group(1))], compared)
