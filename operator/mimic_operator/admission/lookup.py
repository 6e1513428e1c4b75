"""What a decision needs from the cluster: the index first, the API server where the index does not know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mimic_operator.admission import pods
from mimic_operator.admission.choose import Candidate, Place, Refusal, choose, named_backend
from mimic_operator.admission.index import Index, Name
from mimic_operator.admission.inject import wanted_revision
from mimic_operator.resource.revision import Revision

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
