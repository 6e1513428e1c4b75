"""What the demo's model says: an answer that shows what reached it. The same conversation gets the same answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_LONGEST_QUOTE: Final = 2000
_SAY = re.compile(r"\s*(?:please\s+)?(?:say|repeat|echo)\b[\s:]*(.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back since the user spoke last."""

    tool: str
    content: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation as the assistant sees it.

    text: the user's last message. turn: how many messages the user has sent.
    attachments: parts of that message that are neither text nor image.
    """

    text: str
    turn: int = 1
    instructions: str = ""
    images: int = 0
    attachments: int = 0
    results: tuple[ToolResult, ...] = ()


def answer(asked: Asked, nth: int = 0) -> str:
    """The answer in words; the nth of several differs from the others."""
    text = _answer(asked)
    return text if nth == 0 else f"{text} (Answer {nth + 1}.)"


def answer_object(asked: Asked) -> dict[str, Any]:
    """The answer as a JSON object."""
    return {"answer": _answer(asked), "question": _shortened(asked.text), "turn": asked.turn}


def _answer(asked: Asked) -> str:
    if asked.results:
        found = " ".join(f"{result.tool} answered {_shortened(result.content)}." for result in asked.results)
        return f"{found} That is for your request: {_quoted(asked.text)}"
    if not asked.images and not asked.attachments and (said := _SAY.fullmatch(asked.text)):
        return said[1].strip().strip("\"'")
    parts = [
        f"You asked: {_quoted(asked.text)}" if asked.text.rstrip().endswith("?") else f"You said: {_quoted(asked.text)}"
    ]
    if not asked.text.strip():
        parts = ["You sent no text."]
    parts.append(f"I received {_contents(asked)}.")
    if asked.turn > 1:
        parts.append(f"It is message {asked.turn} of our conversation.")
    if asked.instructions.strip():
        parts.append(f"My instructions are: {_quoted(asked.instructions)}")
    parts.append("I am a demo without a model behind me, so this is all I can tell.")
    return " ".join(parts)


def _contents(asked: Asked) -> str:
    counted = [_count(len(asked.text.split()), "word")]
    if asked.images:
        counted.append(_count(asked.images, "image"))
    if asked.attachments:
        counted.append(_count(asked.attachments, "attachment"))
    return " and ".join(", ".join(counted).rsplit(", ", 1))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _quoted(text: str) -> str:
    return f'"{_shortened(text)}"'


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."


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
