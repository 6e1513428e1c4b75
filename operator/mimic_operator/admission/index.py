"""What the webhook knows of the cluster: candidates and revisions in small form, kept up to date by watches."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from mimic_operator.admission.choose import Candidate, candidate
from mimic_operator.errors import OperatorError
from mimic_operator.resource.revision import Revision, from_data


class Name(NamedTuple):
    """Of an object in a namespace."""

    namespace: str
    name: str


class Index:
    """MimicBackends by namespace, and revisions as bytes: read when they are injected. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._backends: dict[str, dict[str, Candidate]] = {}
        self._revisions: dict[Name, bytes] = {}
        self._changed: dict[tuple[str, Name], float] = {}
        self.heard = {"MimicBackend": clock(), "ControllerRevision": clock()}
        """When something was last heard of a kind."""

    def backend_seen(self, manifest: Mapping[str, Any]) -> Candidate:
        """There is one, new or changed."""
        found = candidate(manifest)
        self._touch("MimicBackend", Name(found.namespace, found.name))
        self._backends.setdefault(found.namespace, {})[found.name] = found
        return found

    def backend_gone(self, name: Name) -> None:
        self._touch("MimicBackend", name)
        own = self._backends.get(name.namespace, {})
        own.pop(name.name, None)
        if not own:
            self._backends.pop(name.namespace, None)
        self._changed.pop(("MimicBackend", name), None)

    def revision_seen(self, manifest: Mapping[str, Any]) -> Revision | None:
        """There is one. None if it is not ours, or written by a newer operator."""
        name = Name(manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        self._touch("ControllerRevision", name)
        data = manifest.get("data") or {}
        encoded = msgspec.json.encode({key: value for key, value in data.items() if key != "spec"})
        found = _read(encoded)
        if found is not None:
            self._revisions[name] = encoded
        return found

    def revision_gone(self, name: Name) -> None:
        self._touch("ControllerRevision", name)
        self._revisions.pop(name, None)
        self._changed.pop(("ControllerRevision", name), None)

    def backend(self, name: Name) -> Candidate | None:
        return self._backends.get(name.namespace, {}).get(name.name)

    def backends(self, namespace: str) -> list[Candidate]:
        return list(self._backends.get(namespace, {}).values())

    def revision(self, name: Name) -> Revision | None:
        encoded = self._revisions.get(name)
        return None if encoded is None else _read(encoded)

    def names(self, kind: str) -> set[Name]:
        if kind == "ControllerRevision":
            return set(self._revisions)
        return {Name(each.namespace, each.name) for own in self._backends.values() for each in own.values()}

    def keep(self, kind: str, listed: Iterable[Name], since: float) -> int:
        """Drop what a list, begun at `since`, did not hold: kopf tells nobody what went while its watch was cut.

        Returns how many were dropped.
        """
        stale = {name for name in self.names(kind) - set(listed) if self._changed.get((kind, name), 0.0) < since}
        for name in stale:
            (self.backend_gone if kind == "MimicBackend" else self.revision_gone)(name)
        return len(stale)

    def age(self, kind: str) -> float:
        """Seconds since the last event of a kind."""
        return self._clock() - self.heard[kind]

    def _touch(self, kind: str, name: Name) -> None:
        self.heard[kind] = self._changed[kind, name] = self._clock()


def _read(encoded: bytes) -> Revision | None:
    try:
        return from_data(msgspec.json.decode(encoded))
    except (KeyError, TypeError, OperatorError):
        return None
