"""Places in a JSON document, as people write them: `data.content`, `choices.0.text`, or `/data/content` (RFC 6901).

A dot separates names, a whole number is the index of an array (or the name it spells). What begins with `/` is a JSON
pointer, for names that hold dots. `.` alone is the document itself.
"""

from typing import Any, Final

Pointer = tuple[str, ...]
"""The names and indexes on the way from the root; empty for the document itself."""


class Missing:
    """Nothing stands there; JSON's null is a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


def parse(written: str) -> Pointer:
    """The pointer that is written so. Raises ValueError, whose message does not repeat it."""
    if written == ".":
        return ()
    if written.startswith("/"):
        if any(escape not in ("0", "1") for escape in _after_tildes(written)):
            raise ValueError("holds a ~ that is neither ~0 nor ~1 (RFC 6901, 3)")
        return tuple(part.replace("~1", "/").replace("~0", "~") for part in written[1:].split("/"))
    parts = tuple(written.split("."))
    if not all(parts):
        raise ValueError("must be names separated by dots, for example data.content, or begin with / (RFC 6901)")
    return parts


def written(pointer: Pointer) -> str:
    """How the pointer is written, with dots where that is possible."""
    if not pointer:
        return "."
    if all(part and "." not in part for part in pointer) and not pointer[0].startswith("/"):
        return ".".join(pointer)
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in pointer)


def find(document: Any, pointer: Pointer) -> Any:
    """What stands there in a decoded document, or MISSING."""
    value = document
    for part in pointer:
        value = step(value, part)
        if value is MISSING:
            return MISSING
    return value


def step(value: Any, part: str) -> Any:
    """What stands below `value` under one name or index, or MISSING."""
    if isinstance(value, dict):
        return value.get(part, MISSING)
    if isinstance(value, list) and part.isascii() and part.isdigit() and (part == "0" or part[0] != "0"):
        # More digits than any array has elements, and Python refuses to convert thousands of them.
        return value[index] if len(part) < 10 and (index := int(part)) < len(value) else MISSING
    return MISSING


def _after_tildes(text: str) -> list[str]:
    return [part[:1] for part in text.split("~")[1:]]
