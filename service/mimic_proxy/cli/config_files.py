"""Adds to the configuration files of other programs, which are their users': nothing in them is lost or replaced.

An addition is made in the text; then the result is read again, and unless it is the old document and the addition,
nothing is written. What stands there already stays as it is: it is only reported.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from mimic_proxy.cli.tools import OWN_MARK, ConfigFile

OURS = "mimic"
KEPT = frozenset({"$schema", "model"})
"""Set already, these stay as they are: the tool is started with the model as an option."""


class CannotAdd(Exception):
    """The file is not ours to change in this way; the message says why."""


def added(file: ConfigFile, before: str | None) -> str:
    """The text of the file with its addition; `before` itself where everything stands there already.

    before: the text that is there, None if there is no file. Raises CannotAdd.
    """
    if file.form == "own":
        if before is not None and OWN_MARK not in before:
            raise CannotAdd("the file exists and `mimic-proxy connect` did not write it")
        return str(file.content)
    return (_json if file.form == "json" else _yaml)(file.content, before or "")


def write(file: ConfigFile) -> Path | None:
    """Writes the addition; the path of the backup, if there was a file before. Raises CannotAdd, OSError.

    A file that has everything already is not touched.
    """
    path = Path(os.path.realpath(file.path))
    before = path.read_text("utf-8") if path.exists() else None
    text = added(file, before)
    if text == before:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    backup = _backup(path) if before is not None else None
    # Beside it and then in its place: a reader sees the old file or the new one, and a full disk costs neither.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        if before is not None:
            shutil.copymode(path, draft)
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return backup


def _backup(path: Path) -> Path:
    """Copies the file to the first name that is free."""
    number = 1
    while (backup := path.with_name(f"{path.name}.before-mimic-{number}")).exists():
        number += 1
    shutil.copy2(path, backup)
    return backup


# JSON


def _json(content: Any, before: str) -> str:
    if not before.strip():
        return json.dumps(content, indent=2) + "\n"
    try:
        old = json.loads(before, object_pairs_hook=_unique)
    except ValueError as error:
        raise CannotAdd(f"the file is not plain JSON ({error})") from None
    merged = _merged(old, content, "")
    if merged == old:
        return before
    found = re.search(r"^([ \t]+)\S", before, re.MULTILINE)
    return json.dumps(merged, indent=found.group(1) if found else 2, ensure_ascii=False) + "\n"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _merged(old: Any, content: Any, where: str) -> Any:
    """The old document with the addition. What is under a key `mimic`, or an entry named Mimic, is ours to replace."""
    if isinstance(old, dict) and isinstance(content, dict):
        found = dict(old)
        for key, value in content.items():
            inner = f"{where}.{key}" if where else key
            if key not in old or key == OURS:
                found[key] = value
            else:
                found[key] = _merged(old[key], value, inner)
        return found
    if isinstance(old, list) and isinstance(content, list):
        names = {entry["name"] for entry in content}
        return [entry for entry in old if not (isinstance(entry, dict) and entry.get("name") in names)] + content
    if old == content or where in KEPT:
        return old
    raise CannotAdd(f"`{where}` is set to something else")


# YAML


def _yaml(content: Any, before: str) -> str:
    try:
        old = yaml.safe_load(before)
    except yaml.YAMLError as error:
        raise CannotAdd(f"the file is not valid YAML ({str(error).splitlines()[0]})") from None
    if old is None:
        return before + _ended(before) + _block(content)
    if isinstance(old, list) and isinstance(content, list):
        wanted = _lacking(old, content, "model_id")
        return _checked(before + _ended(before) + _block(wanted), [*old, *wanted]) if wanted else before
    if isinstance(old, dict) and isinstance(content, dict):
        return _mapping(content, old, before)
    raise CannotAdd("the file does not have the form that its program documents")


def _mapping(content: dict[str, Any], old: dict[str, Any], before: str) -> str:
    lists = {key: value for key, value in content.items() if isinstance(value, list) and isinstance(old.get(key), list)}
    # What names and versions the file itself is its owner's.
    about = {"name", "version", "schema"} if "models" in content else set()
    plain = {key: value for key, value in content.items() if key not in lists and key not in old}
    for key, value in content.items():
        if key in old and key not in lists and key not in about and old[key] != value:
            raise CannotAdd(f"`{key}` is set to something else")
    text, expected = before, {**old, **plain}
    if plain:
        text = text + _ended(text) + _block(plain)
    for key, entries in lists.items():
        if wanted := _lacking(old[key], entries, "name"):
            text = _into_list(text, key, wanted)
            expected[key] = [*wanted, *old[key]]
    return before if text == before else _checked(text, expected)


def _lacking(old: list[Any], entries: list[Any], identity: str) -> list[Any]:
    """The entries that a list lacks. Raises CannotAdd where it has another of the same `identity`, a key."""
    wanted = [entry for entry in entries if entry not in old]
    known = [entry.get(identity) for entry in old if isinstance(entry, dict)]
    for entry in wanted:
        if entry[identity] in known:
            raise CannotAdd(f"an entry {entry[identity]} is there and says something else")
    return wanted


def _into_list(text: str, key: str, entries: list[Any]) -> str:
    """The text with entries before the first of a list in block style, indented as that is."""
    found = re.search(rf"^{re.escape(key)}:[ \t]*(#.*)?\n(?:[ \t]*(?:#.*)?\n)*([ \t]*)- ", text, re.MULTILINE)
    if found is None:
        raise CannotAdd(f"`{key}` is not a list with an entry on each line")
    start, indent = found.start(2), found.group(2)
    block = "".join(f"{indent}{line}\n" for line in _block(entries).splitlines())
    return text[:start] + block + text[start:]


def _checked(text: str, expected: Any) -> str:
    try:
        right = yaml.safe_load(text) == expected
    except yaml.YAMLError:
        right = False
    if not right:
        raise CannotAdd("the file is written in a way that leaves no safe place for an addition")
    return text


def _block(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)


def _ended(text: str) -> str:
    """The line end that a text lacks."""
    return "" if not text or text.endswith("\n") else "\n"
