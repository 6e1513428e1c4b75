"""Manifests from files and pipes, YAML or JSON, several documents, Lists; and to them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from mimic_operator.errors import InputError

Manifest = dict[str, Any]
LONGEST_LINE = 120
MOST_NODES = 2_000_000
DEEPEST = 200
UNDER_WAY = -1


class Loader(yaml.CSafeLoader):
    """Times stay the text that they are for Kubernetes. In C, since a file may hold all of a namespace."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Plain(yaml.SafeDumper):
    """Writes repeated values in full: aliases are hard to read and to compare."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def read_manifests(file: str, source: TextIO) -> list[Manifest]:
    """All manifests of a file, or of `source` where the file is `-`; a List is its items. Raises InputError."""
    name = "the standard input" if file == "-" else file
    try:
        text = source.read() if file == "-" else Path(file).read_text("utf-8-sig")
        if _is_too_deep(text):
            raise InputError(f"{name} is nested too deeply: more than {DEEPEST} levels")
        documents = list(yaml.load_all(text, Loader))
        weights: dict[int, int] = {}
        if sum(_weight(document, weights) for document in documents) > MOST_NODES:
            raise InputError(f"{name} is too large: with its aliases written out it has over {MOST_NODES:,} values")
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
    if not isinstance(document.get("metadata") or {}, dict):
        raise InputError(f"{name} holds a {document['kind']} whose metadata is no mapping")
    kind = document["kind"].removesuffix("List")
    if kind == document["kind"] or (kind and "items" not in document):
        yield document
        return
    items = document.get("items") or []
    if not isinstance(items, list):
        raise InputError(f"{name} holds a {document['kind']} whose items are no list")
    # The API's own lists, PodList and the like, say only once what their items are.
    common = {"apiVersion": document.get("apiVersion"), "kind": kind} if kind else {}
    for item in items:
        yield from _flat({**common, **item} if isinstance(item, dict) else item, name)


def _is_too_deep(text: str) -> bool:
    """libyaml would overflow the stack while it builds what is nested 10,000 times."""
    depth = 0
    for event in yaml.parse(text, Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return True
    return False


def _weight(value: object, known: dict[int, int]) -> int:
    """How many values it holds with its aliases written out: a few lines of YAML can hold billions.

    known: by identity. Raises YAMLError for what holds itself.
    """
    if not isinstance(value, (dict, list)):
        return 1
    if (found := known.get(id(value))) is not None:
        if found == UNDER_WAY:
            raise yaml.constructor.ConstructorError(None, None, "it holds itself")
        return found
    known[id(value)] = UNDER_WAY
    inner = value.values() if isinstance(value, dict) else value
    known[id(value)] = 1 + sum(_weight(each, known) for each in inner)
    return known[id(value)]
