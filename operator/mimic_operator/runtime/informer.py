"""Lists and watches of metadata alone (PartialObjectMetadata): no spec is ever fetched, and little is kept.

The watch is level-triggered: after any break it lists again, and says of what has vanished meanwhile that it is gone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

import httpx2
import msgspec
from lightkube import KubeConfig
from lightkube.config.client_adapter import AsyncClient, ConnectionParams

from mimic_operator.runtime.client import fault_from
from mimic_operator.runtime.faults import Fault, fault_of
from mimic_operator.runtime.kinds import Kind

logger = logging.getLogger("mimic.watch")

PAGE = 500
WATCH_SECONDS = 290
"""Asked of the server; a stream that ends is resumed where it ended."""
SILENCE_SECONDS = 90.0
"""The server sends a bookmark each minute; a connection that is silent for longer is dead."""
T = TypeVar("T")


class Owner(msgspec.Struct, frozen=True, gc=False):
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Manager(msgspec.Struct, frozen=True, gc=False):
    """One entry of managedFields: who applied, without the fields."""

    manager: str = ""
    operation: str = ""
    subresource: str = ""


class Metadata(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What of an object's metadata is looked at (Kubernetes, ObjectMeta)."""

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
        """The owner that made it and will make it again."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)

    def only_by(self, manager: str) -> bool:
        """Whether nobody else has written to it, its status apart."""
        wrote = [entry for entry in self.managed_fields or () if not entry.subresource]
        return len(wrote) == 1 and wrote[0].manager == manager and wrote[0].operation == "Apply"

    def applied_by(self, manager: str) -> bool:
        """Whether somebody holds fields of it through server-side apply."""
        return any(entry.manager == manager and entry.operation == "Apply" for entry in self.managed_fields or ())


class _Item(msgspec.Struct, frozen=True):
    metadata: Metadata


class _Page(msgspec.Struct, frozen=True):
    class Cursor(msgspec.Struct, frozen=True, rename={"resource_version": "resourceVersion", "more": "continue"}):
        resource_version: str = ""
        more: str = ""

    metadata: Cursor
    items: list[_Item] | None = None
    """The API server writes null where there are none."""


class _Change(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class Change(NamedTuple, Generic[T]):
    """`found` is None when the object is gone; `before` is what was kept of it until now."""

    namespace: str
    name: str
    found: T | None
    before: T | None


_PAGE = msgspec.json.Decoder(_Page)
_CHANGE = msgspec.json.Decoder(_Change)
_ITEM = msgspec.json.Decoder(_Item)
_LIST_ACCEPT = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_WATCH_ACCEPT = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class MetadataReader:
    """Connections of its own: a watch holds one for minutes. Failed calls raise Fault."""

    def __init__(self, config: KubeConfig) -> None:
        timeout = httpx2.Timeout(15.0, read=SILENCE_SECONDS)
        single = config.get()
        assert single is not None
        self._http = AsyncClient(single, ConnectionParams(timeout=timeout, trust_env=False))

    async def close(self) -> None:
        await self._http.aclose()

    async def list(
        self, kind: Kind, namespace: str | None = None, labels: str | None = None, fields: str | None = None
    ) -> tuple[list[Metadata], str]:
        """All of them, and the resourceVersion to watch from."""
        found: list[Metadata] = []
        parameters = {"limit": str(PAGE)} | _selection(labels, fields)
        while True:
            page = _PAGE.decode(await self._read(kind, namespace, parameters))
            found.extend(item.metadata for item in page.items or ())
            if not page.metadata.more:
                return found, page.metadata.resource_version
            parameters["continue"] = page.metadata.more

    async def _read(self, kind: Kind, namespace: str | None, parameters: Mapping[str, str]) -> bytes:
        doing = f"list {kind.plural}"
        try:
            answer = await self._http.get(
                kind.path(namespace), params=dict(parameters), headers={"accept": _LIST_ACCEPT}
            )
            answer.raise_for_status()
        except httpx2.HTTPStatusError as error:
            raise fault_from(error, doing) from error
        except httpx2.TransportError as error:
            raise Fault("unreachable", f"{doing}: {type(error).__name__}") from error
        return answer.content

    async def watch(
        self, kind: Kind, since: str, namespace: str | None = None, labels: str | None = None, fields: str | None = None
    ) -> AsyncIterator[tuple[str, Metadata]]:
        """Events after `since` until the stream ends; a Fault of reason `gone` asks for a new list."""
        parameters = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(WATCH_SECONDS),
        } | _selection(labels, fields)
        doing = f"watch {kind.plural}"
        path, accept = kind.path(namespace), {"accept": _WATCH_ACCEPT}
        try:
            async with self._http.stream("GET", path, params=parameters, headers=accept) as answer:
                if answer.is_error:
                    await answer.aread()
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    change = _CHANGE.decode(line)
                    if change.type == "ERROR":
                        status = msgspec.json.decode(change.object)
                        raise fault_of(int(status.get("code") or 500), status, None, doing)
                    yield change.type, _ITEM.decode(change.object).metadata
        except httpx2.HTTPStatusError as error:
            raise fault_from(error, doing) from error
        except (httpx2.TransportError, msgspec.DecodeError) as error:  # a line may be cut short
            raise Fault("unreachable", f"{doing}: {type(error).__name__}") from error


class Informer(Generic[T]):
    """Keeps one kind listed and watched, and tells of each change.

    keep: what of an object is kept, None for one that does not matter; `changed` hears of it and of what has gone.
    """

    def __init__(
        self,
        reader: MetadataReader,
        kind: Kind,
        *,
        keep: Callable[[Metadata], T | None],
        changed: Callable[[Change[T]], None],
        clock: Callable[[], float],
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.items: dict[tuple[str, str], T] = {}
        self.listed = asyncio.Event()
        """Set once all of them have been seen."""
        self.heard = clock()
        """When the server last said anything, on the clock that was given."""
        self._reader = reader
        self._keep = keep
        self._changed = changed
        self._clock = clock
        self._selection = labels, fields

    async def run(self, pause: Callable[[int], float]) -> None:
        """Until cancelled. pause: seconds to wait after so many failures in a row."""
        failures, since = 0, ""
        while True:
            try:
                since = since or await self._list()
                failures = 0
                since = await self._follow(since)
            except Fault as fault:
                failures += 1
                if fault.reason == "gone":
                    since = ""
                level = logging.DEBUG if fault.reason in ("gone", "unreachable") and failures < 3 else logging.WARNING
                logger.log(level, "Watch of %s broke: %s", self.kind.plural, fault, extra={"reason": fault.reason})
                await asyncio.sleep(fault.retry_after or pause(failures))

    async def _list(self) -> str:
        found, version = await self._reader.list(self.kind, self.namespace, *self._selection)
        self.heard = self._clock()
        there = {(metadata.namespace, metadata.name) for metadata in found}
        for key in self.items.keys() - there:
            self._drop(key)
        for metadata in found:
            self._take(metadata)
        self.listed.set()
        return version

    async def _follow(self, since: str) -> str:
        async for event, metadata in self._reader.watch(self.kind, since, self.namespace, *self._selection):
            self.heard = self._clock()
            since = metadata.resource_version or since
            if event == "DELETED":
                self._drop((metadata.namespace, metadata.name))
            elif event != "BOOKMARK":
                self._take(metadata)
        self.heard = self._clock()
        return since

    def _take(self, metadata: Metadata) -> None:
        key = (metadata.namespace, metadata.name)
        kept = self._keep(metadata)
        if kept is None:
            self._drop(key)
        elif (before := self.items.get(key)) != kept:
            self.items[key] = kept
            self._changed(Change(*key, kept, before))

    def _drop(self, key: tuple[str, str]) -> None:
        if (before := self.items.pop(key, None)) is not None:
            self._changed(Change(*key, None, before))


def _selection(labels: str | None, fields: str | None) -> dict[str, str]:
    wanted = {"labelSelector": labels, "fieldSelector": fields}
    return {name: selector for name, selector in wanted.items() if selector}
