"""Manifests from files and pipes, YAML or JSON, several documents, Lists; and to them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from mimic_operator.errors import InputError

Manifest = dict[str, Any]
LONGEST_LINE = 120


class Plain(yaml.SafeDumper):
    """What is said twice is written twice: aliases are hard to read and to compare."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def read_manifests(file: str, source: TextIO) -> list[Manifest]:
    """All manifests of a file, or of `source` where the file is `-`; a List is its items. Raises InputError."""
    name = "the standard input" if file == "-" else file
    try:
        text = source.read() if file == "-" else Path(file).read_text("utf-8-sig")
        documents = list(yaml.safe_load_all(text))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"{name} cannot be read: {reason}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{name} is no YAML{where}: {getattr(error, 'problem', None) or 'it is malformed'}") from None
    return [found for document in documents if document is not None for found in _flat(document, name)]


def write_manifests(
    manifests: Iterable[Mapping[str, Any]],
    out: TextIO,
    *,
    explicit_start: bool = False,
    dumper: type[yaml.SafeDumper] = Plain,
) -> None:
    """As YAML, keys in their order; the same bytes each time. explicit_start: `---` before the first one too."""
    yaml.dump_all(
        manifests,
        out,
        Dumper=dumper,
        explicit_start=explicit_start,
        sort_keys=False,
        allow_unicode=True,
        width=LONGEST_LINE,
    )


def _flat(document: Any, name: str) -> Iterator[Manifest]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise InputError(f"{name} holds something that is no Kubernetes manifest: each needs a kind")
    if document["kind"] != "List":
        yield document
        return
    items = document.get("items") or []
    if not isinstance(items, list):
        raise InputError(f"{name} holds a List whose items are no list")
    for item in items:
        yield from _flat(item, name)
