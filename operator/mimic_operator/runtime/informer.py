"""Keeps kinds listed and watched, with the contract of client-go's informers.

1. A list, then watch requests one after another from its version on. A failed request is repeated with back-off; a
   version that is too old leads to a new list, and what that does not hold any more is reported as gone.
2. Nothing that the API server answers ends an informer. `trouble` holds the last failure until a request succeeds.
3. Events, bookmarks and watch requests that ended in order are signs of life; `age` counts from the last.
4. What was observed stays observed while requests fail: a kind or a namespace that is away loses nothing by it.

Most kinds are read as metadata alone (PartialObjectMetadata): no specification is fetched, and little is kept.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from mimic_operator.errors import OperatorError
from mimic_operator.runtime.client import Cluster, Object, Selector
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.kinds import Kind
from mimic_operator.runtime.queue import Backoff

logger = logging.getLogger("mimic.watch")

SILENCE_SECONDS = 90.0
"""The server sends a bookmark each minute; a connection without a byte for longer is broken."""
QUIET_FAILURES = 3
"""Failures in a row from which on one is worth a warning: a single one is the daily business of an API server."""
GRACE_SECONDS = 10.0
"""For so long a watch request may outlast the time after which the server was to end it."""
STEADY_SECONDS = 60.0
"""A watch that held this long was no failure."""
SHORTEST_WATCH_SECONDS = 0.5
"""A watch request that ended sooner without an event counts as failed: repeated at once it would be a storm."""
T = TypeVar("T")


class NotSynced(OperatorError):
    """The first list of a kind did not succeed in time; the message names the kind and the reason."""


class Owner(msgspec.Struct, frozen=True, gc=False):
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Manager(msgspec.Struct, frozen=True, gc=False):
    """One entry of managedFields: who applied and when, without the fields."""

    manager: str = ""
    operation: str = ""
    subresource: str = ""
    time: str = ""


class Metadata(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """The part of an object's metadata that the operator reads (Kubernetes, ObjectMeta)."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Owner] | None = None
    managed_fields: list[Manager] | None = None

    def controller(self) -> Owner | None:
        """The owner that created the object and will create it again."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)

    def only_by(self, manager: str) -> bool:
        """Whether no one else has written to the object, its status apart."""
        wrote = [entry for entry in self.managed_fields or () if not entry.subresource]
        return len(wrote) == 1 and wrote[0].manager == manager and wrote[0].operation == "Apply"

    def applied_at(self, manager: str) -> str:
        """When the manager last applied fields that it holds (RFC 3339); empty if it holds none."""
        entries = (each for each in self.managed_fields or () if each.manager == manager and each.operation == "Apply")
        return next((entry.time or "unknown" for entry in entries), "")


class Change(NamedTuple, Generic[T]):
    """`found` is None when the object is gone; `before` is what was kept of it until now."""

    namespace: str
    name: str
    found: T | None
    before: T | None


class _Item(msgspec.Struct, frozen=True):
    metadata: Metadata


class _Page(msgspec.Struct, frozen=True):
    metadata: Metadata
    items: list[msgspec.Raw] | None = None
    """The API server writes null where there are none."""


_PAGE = msgspec.json.Decoder(_Page)
_ITEM = msgspec.json.Decoder(_Item)
_OBJECT: msgspec.json.Decoder[Object] = msgspec.json.Decoder(Object)


@dataclass(frozen=True, slots=True)
class View(Generic[T]):
    """What is requested of each object and what is kept of it. `keep` returns None for one that does not matter."""

    list_as: str
    watch_as: str
    read: Callable[[bytes], tuple[Metadata, T | None]]


def metadata_only(keep: Callable[[Metadata], T | None]) -> View[T]:
    """Objects as metadata alone."""
    partial = "application/json;as={};g=meta.k8s.io;v=v1"

    def read(content: bytes) -> tuple[Metadata, T | None]:
        metadata = _ITEM.decode(content).metadata
        return metadata, keep(metadata)

    return View(partial.format("PartialObjectMetadataList"), partial.format("PartialObjectMetadata"), read)


def whole(kind: Kind, keep: Callable[[Object], T | None]) -> View[T]:
    """Whole objects. Items of a list do not repeat their kind: it is added."""
    head = {"apiVersion": kind.api_version, "kind": kind.kind}

    def read(content: bytes) -> tuple[Metadata, T | None]:
        return _ITEM.decode(content).metadata, keep(head | _OBJECT.decode(content))

    return View("application/json", "application/json", read)


@dataclass(slots=True, kw_only=True)
class Informer(Generic[T]):
    """Keeps one kind, of one namespace or of all; reports each change.

    optional: the cluster may do without the kind; it then counts as listed, and is tried again with back-off.
    clock: monotonic seconds. watch_seconds: length of one watch request.
    """

    cluster: Cluster
    kind: Kind
    view: View[T]
    changed: Callable[[Change[T]], None]
    clock: Callable[[], float]
    backoff: Backoff
    watch_seconds: float
    namespace: str | None = None
    labels: Selector = None
    fields: Selector = None
    optional: bool = False
    items: dict[tuple[str, str], T] = field(default_factory=dict)
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once all objects have been observed."""
    trouble: Fault | None = None
    """Why the last request failed; None while requests succeed."""
    on_trouble: Callable[[], None] = lambda: None
    """Called when `trouble` came or went."""
    alive: float = field(init=False)
    """When the server last gave a sign of life."""

    def __post_init__(self) -> None:
        self.alive = self.clock()

    def age(self) -> float:
        """Seconds since the last sign of life. A kind that the cluster does without has none to give."""
        return 0.0 if self.optional and self.is_away() else self.clock() - self.alive

    def is_away(self) -> bool:
        """Whether the server refuses the kind: it does not serve it, or the account lacks the right."""
        return self.trouble is not None and self.trouble.reason in ("absent", "forbidden")

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        failures, since = 0, ""
        self.alive = self.clock()
        while True:
            begun = self.clock()
            try:
                since = since or await self._list()
                self._well()
                begun = self.clock()
                since = await self._follow(since)
                failures = 0
            except Fault as fault:
                failures = 1 if self.clock() - begun >= STEADY_SECONDS else failures + 1
                if fault.reason in ("gone", "absent", "forbidden", "invalid"):
                    since = ""  # a kind that went away has other versions when it is back
                self._failed(fault, failures)
                if fault.reason != "gone" or failures > 1:
                    await asyncio.sleep(fault.retry_after or self.backoff(failures))

    async def _list(self) -> str:
        there: set[tuple[str, str]] = set()
        version = ""
        pages = self.cluster.pages(
            self.kind, self.namespace, labels=self.labels, fields=self.fields, accept=self.view.list_as
        )
        async for content in pages:
            page = _decoded(content, _PAGE)
            version = page.metadata.resource_version
            for item in page.items or ():
                there.add(self._take(bytes(item)))
            await asyncio.sleep(0)  # thousands of objects: the Lease has to be renewed in between
        for key in self.items.keys() - there:
            self._drop(key)
        self.listed.set()
        return version

    async def _follow(self, since: str) -> str:
        begun, events = self.clock(), 0
        async for event, content in self.cluster.events(
            self.kind,
            self.namespace,
            since,
            seconds=self.watch_seconds,
            silence=min(SILENCE_SECONDS, self.watch_seconds + GRACE_SECONDS),
            labels=self.labels,
            fields=self.fields,
            accept=self.view.watch_as,
        ):
            self._well()
            events += 1
            metadata = _decoded(content, _ITEM).metadata
            since = metadata.resource_version or since
            if event == "DELETED":
                self._drop((metadata.namespace, metadata.name))
            elif event != "BOOKMARK":
                self._take(content)
        if not events and self.clock() - begun < SHORTEST_WATCH_SECONDS:
            raise Fault("unavailable", f"watch {self.kind.plural}: the server ended it at once")
        self._well()
        return since

    def _take(self, content: bytes) -> tuple[str, str]:
        try:
            metadata, kept = self.view.read(content)
        except Exception:
            metadata = _decoded(content, _ITEM).metadata
            extra = {"key": f"{metadata.namespace}/{metadata.name}"}
            logger.exception("A %s cannot be read, what was known of it stays", self.kind.kind, extra=extra)
            return metadata.namespace, metadata.name
        key = (metadata.namespace, metadata.name)
        if kept is None:
            self._drop(key)
        elif (before := self.items.get(key)) != kept:
            self.items[key] = kept
            self.changed(Change(*key, kept, before))
        return key

    def _drop(self, key: tuple[str, str]) -> None:
        if (before := self.items.pop(key, None)) is not None:
            self.changed(Change(*key, None, before))

    def _well(self) -> None:
        self.alive = self.clock()
        if self.trouble is not None:
            if self.trouble.reason != "gone":
                logger.info("The watch of %s works again", self.name())
            self.trouble = None
            self.on_trouble()

    def _failed(self, fault: Fault, failures: int) -> None:
        before, self.trouble = self.trouble, fault
        self.on_trouble()
        if self.optional and self.is_away():
            if before is None or before.reason != fault.reason:
                logger.info("The cluster has no %s: %s", self.name(), fault, extra={"reason": fault.reason})
            self.listed.set()
            return
        loud = failures == QUIET_FAILURES or (self.is_away() and (before is None or before.reason != fault.reason))
        level = logging.WARNING if loud else logging.DEBUG
        logger.log(level, "The watch of %s fails: %s", self.name(), fault, extra={"reason": fault.reason})

    def name(self) -> str:
        return self.kind.plural if self.namespace is None else f"{self.kind.plural} of namespace {self.namespace}"


@dataclass(slots=True)
class Informers:
    """All informers of a process. A namespace whose every kind is refused is away: it is skipped until it is back.

    returned: called with the name of a namespace that was away and is back. troubled: called when a request of any
    failed, or succeeded again.
    """

    members: Sequence[Informer[Any]]
    clock: Callable[[], float]
    returned: Callable[[str], None] = lambda _: None
    troubled: Callable[[], None] = lambda: None
    running: bool = False
    away: frozenset[str] = frozenset()
    """Watched namespaces that were deleted, or whose rights were taken away."""

    def __post_init__(self) -> None:
        for informer in self.members:
            informer.on_trouble = self._judge

    async def run(self) -> None:
        """Runs all until cancelled."""
        self.running = True
        async with asyncio.TaskGroup() as group:
            for informer in self.members:
                group.create_task(informer.run())

    async def synced(self, seconds: float, check_seconds: float = 0.05) -> None:
        """Waits until everything has been observed once, namespaces that are away apart. Raises NotSynced."""
        end = self.clock() + seconds
        while missing := [each for each in self.members if not each.listed.is_set()]:
            if all(each.namespace in self.away for each in missing):
                return
            if self.clock() >= end:
                why = "; ".join(f"{each.name()}: {each.trouble or 'no response'}" for each in missing[:3])
                raise NotSynced(f"The first list did not succeed within {seconds:.0f} s. {why}")
            await asyncio.sleep(check_seconds)

    def _judge(self) -> None:
        before = self.away
        self.away = frozenset(
            namespace
            for namespace, informers in self._by_namespace().items()
            if all(each.is_away() for each in informers if not each.optional)
        )
        for namespace in sorted(self.away - before):
            logger.warning("Namespace %s is skipped until it is back: every kind in it is refused", namespace)
        for namespace in sorted(before - self.away):
            logger.info("Namespace %s is back", namespace)
            self.returned(namespace)
        self.troubled()

    def ages(self) -> dict[tuple[str, ...], float]:
        """Seconds since the last sign of life, by kind; none is expected of namespaces that are away."""
        found: dict[tuple[str, ...], float] = {}
        for informer in self.members if self.running else ():
            if informer.namespace not in self.away:
                label = (informer.kind.plural,)
                found[label] = max(found.get(label, 0.0), informer.age())
        return found

    def _by_namespace(self) -> dict[str, list[Informer[Any]]]:
        found: dict[str, list[Informer[Any]]] = {}
        for informer in self.members:
            if informer.namespace is not None:
                found.setdefault(informer.namespace, []).append(informer)
        return found


async def all_metadata(cluster: Cluster, kind: Kind, namespace: str | None) -> list[Metadata]:
    """The metadata of all objects of a kind. Raises Fault."""
    accept = metadata_only(lambda metadata: metadata).list_as
    pages = cluster.pages(kind, namespace, accept=accept)
    return [_decoded(bytes(item), _ITEM).metadata async for page in pages for item in _decoded(page, _PAGE).items or ()]


def _decoded(content: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(content)
    except msgspec.DecodeError as error:
        raise Fault("unreachable", "the response is not what Kubernetes sends") from error


def scopes(namespaces: Iterable[str]) -> Sequence[str | None]:
    """What to watch: each namespace by itself, or with none named the whole cluster at once."""
    return tuple(namespaces) or (None,)
