"""Provides what a decision needs from the cluster: from the index, else from the API server."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from mimic_operator.errors import OperatorError
from mimic_operator.resource.revision import Revision, from_data
from mimic_operator.webhook import pods
from mimic_operator.webhook.decide import Candidate, Place, Refusal, candidate, choose, named_backend, wanted_revision


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


PLACE_SECONDS = 10.0
"""For so long a namespace's labels are remembered."""
MOST_PLACES = 10_000
Object = Mapping[str, Any]


class Source(Protocol):
    """The API server. Each raises Fault."""

    async def backend(self, name: Name) -> Object | None: ...
    async def backends(self, namespace: str) -> list[Object]: ...
    async def revision(self, name: Name) -> Object | None: ...
    async def namespace(self, name: str) -> Object | None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """Enough to decide on one pod."""

    place: Place
    candidates: tuple[Candidate, ...]
    revisions: Mapping[Name, Revision]


@dataclass(slots=True)
class Lookup:
    """missed: called with a kind that the index did not hold. clock: monotonic seconds."""

    index: Index
    source: Source
    clock: Callable[[], float]
    missed: Callable[[str], None]
    _places: dict[str, tuple[float, Place]] = field(default_factory=dict)

    async def know(self, pod: pods.Pod, namespace: str) -> Known:
        """All that `decide` may ask about this pod. Raises Fault."""
        place = await self._place(namespace)
        candidates = tuple(await self._candidates(pod, namespace))
        chosen = choose(pod, place, candidates)
        if isinstance(chosen, Refusal):
            return Known(place, candidates, {})
        if not wanted_revision(pod, chosen) and (fresh := await self._ask(Name(chosen.namespace, chosen.name))):
            candidates = (*(each for each in candidates if each.full_name != fresh.full_name), fresh)
            chosen = fresh
        name = Name(chosen.namespace, wanted_revision(pod, chosen))
        revision = await self._revision(name) if name.name else None
        return Known(place, candidates, {} if revision is None else {name: revision})

    async def _place(self, namespace: str) -> Place:
        now = self.clock()
        known = self._places.get(namespace)
        if known is not None and now - known[0] < PLACE_SECONDS:
            return known[1]
        metadata = ((await self.source.namespace(namespace)) or {}).get("metadata") or {}
        place = Place(namespace, metadata.get("labels") or {}, metadata.get("annotations") or {})
        if len(self._places) >= MOST_PLACES:
            self._places.clear()
        self._places[namespace] = (now, place)
        return place

    async def _candidates(self, pod: pods.Pod, namespace: str) -> list[Candidate]:
        found = self.index.backends(namespace)
        try:
            named = named_backend(pod, namespace)
        except ValueError:
            return found
        if named is not None:
            name = Name(*named)
            other = self.index.backend(name) or await self._ask(name)
            return found if other is None or other in found else [*found, other]
        if found:
            return found
        self.missed("MimicBackend")
        return [self.index.backend_seen(each) for each in await self.source.backends(namespace)]

    async def _ask(self, name: Name) -> Candidate | None:
        self.missed("MimicBackend")
        manifest = await self.source.backend(name)
        return None if manifest is None else self.index.backend_seen(manifest)

    async def _revision(self, name: Name) -> Revision | None:
        found = self.index.revision(name)
        if found is not None:
            return found
        self.missed("ControllerRevision")
        manifest = await self.source.revision(name)
        return None if manifest is None else self.index.revision_seen(manifest)
