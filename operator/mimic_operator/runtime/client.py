"""Calls to the API server: server-side apply, get, list, delete. Objects are plain mappings."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

import httpx2
import msgspec
from lightkube import AsyncClient, KubeConfig
from lightkube.core import resource
from lightkube.generic_resource import Generic
from lightkube.types import CascadeType, PatchType

from mimic_operator.runtime.faults import Fault, fault_of
from mimic_operator.runtime.kinds import POD, Kind
from mimic_operator.runtime.spans import OFF, Spans

CALL_SECONDS = 15.0
Object = dict[str, Any]


class Cluster:
    """One API server. Every failed call raises Fault; its text holds what the server said, never what was sent.

    spans: calls within one of them have spans of their own.
    """

    def __init__(self, config: KubeConfig, spans: Spans = OFF) -> None:
        self._spans = spans
        self._lightkube: Any = AsyncClient(config=config, timeout=httpx2.Timeout(CALL_SECONDS), trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._lightkube.close()

    async def apply(
        self, kind: Kind, manifest: Mapping[str, Any], *, manager: str, force: bool, status: bool = False
    ) -> Object:
        """Server-side apply of the fields in `manifest`; what `manager` applied before and is left out is removed.

        Without `force` a field that somebody else owns with another value is a Fault of reason `conflict` that names
        it. With `metadata.uid` an object that is not there any more is not made anew: reason `conflict` too.
        """
        name, namespace = manifest["metadata"]["name"], manifest["metadata"].get("namespace")
        resource = resource_of(kind, status)
        with self._call("apply", kind, namespace, name):
            made: Object = await self._lightkube.patch(
                resource,
                name,
                dict(manifest),
                namespace=namespace,
                patch_type=PatchType.APPLY,
                field_manager=manager,
                force=force,
            )
        return made

    async def merge(
        self, kind: Kind, namespace: str | None, name: str, patch: Mapping[str, Any], manager: str
    ) -> Object:
        """JSON merge patch (RFC 7396)."""
        return await self._patch(kind, namespace, name, dict(patch), PatchType.MERGE, manager)

    async def change(
        self, kind: Kind, namespace: str | None, name: str, patch: Sequence[Mapping[str, Any]], manager: str
    ) -> Object:
        """JSON patch (RFC 6902); a test in it that does not hold is a Fault of reason `invalid`."""
        return await self._patch(kind, namespace, name, [*patch], PatchType.JSON, manager)

    async def _patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Object | list[Any], form: PatchType, manager: str
    ) -> Object:
        where: Any = {"namespace": namespace} if kind.namespaced else {}
        with self._call("patch", kind, namespace, name):
            made: Object = await self._lightkube.patch(
                resource_of(kind), name, patch, patch_type=form, field_manager=manager, **where
            )
        return made

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """None where it does not exist."""
        resource = resource_of(kind)
        where: Any = {"namespace": namespace} if kind.namespaced else {}
        try:
            with self._call("get", kind, namespace, name):
                made: Object = await self._lightkube.get(resource, name, **where)
        except Fault as fault:
            if fault.reason == "absent":
                return None
            raise
        return made

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: dict[str, Any] | None = None,
        fields: dict[str, Any] | None = None,
        chunk: int = 500,
    ) -> AsyncIterator[Object]:
        """All of a kind, of one namespace or of all."""
        resource = resource_of(kind)
        with _faults(f"list {kind.plural}"):
            found = self._lightkube.list(
                resource, namespace=namespace or "*", labels=labels, fields=fields, chunk_size=chunk
            )
            async for entry in found:
                yield entry

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> Object:
        resource = resource_of(kind)
        name, namespace = manifest["metadata"]["name"], manifest["metadata"].get("namespace")
        with self._call("create", kind, namespace, name):
            made: Object = await self._lightkube.create(resource(manifest), namespace=namespace)
        return made

    async def replace(self, kind: Kind, manifest: Mapping[str, Any]) -> Object:
        """With `metadata.resourceVersion` a change that came between is a Fault of reason `conflict`."""
        resource = resource_of(kind)
        name, namespace = manifest["metadata"]["name"], manifest["metadata"].get("namespace")
        with self._call("replace", kind, namespace, name):
            made: Object = await self._lightkube.replace(resource(manifest), name, namespace=namespace)
        return made

    async def delete(self, kind: Kind, namespace: str, name: str) -> bool:
        """False where it was gone already. What it owns is collected by the cluster."""
        resource = resource_of(kind)
        try:
            with self._call("delete", kind, namespace, name):
                await self._lightkube.delete(resource, name, namespace=namespace, cascade=CascadeType.BACKGROUND)
        except Fault as fault:
            if fault.reason == "absent":
                return False
            raise
        return True

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """Of the pod with this uid. A disruption budget that forbids it now is a Fault of reason `throttled`."""
        manifest = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        with self._call("evict", POD, namespace, name):
            await self._lightkube.create(eviction()(manifest), name, namespace=namespace)

    @contextmanager
    def _call(self, verb: str, kind: Kind, namespace: str | None, name: str) -> Iterator[None]:
        which = f"{namespace}/{name}" if kind.namespaced else name
        with self._spans.call(verb, kind.kind, namespace, name), _faults(f"{verb} {kind.kind} {which}"):
            yield


@contextmanager
def _faults(doing: str) -> Iterator[None]:
    """Converts what lightkube and its HTTP client raise."""
    try:
        yield
    except httpx2.HTTPStatusError as error:
        raise fault_from(error, doing) from error
    except httpx2.TimeoutException as error:
        raise Fault("timeout", f"{doing}: no answer in time") from error
    except httpx2.TransportError as error:
        raise Fault("unreachable", f"{doing}: {type(error).__name__}") from error


def fault_from(error: httpx2.HTTPStatusError, doing: str) -> Fault:
    """The fault that a refused call tells of."""
    response: httpx2.Response | None = error.response
    if response is None:  # an ApiError out of a stream
        status = getattr(error, "status", None)
        return fault_of(getattr(status, "code", None) or 500, {"message": str(error)}, None, doing)
    try:
        answer: object = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, httpx2.ResponseNotRead):
        answer = None
    return fault_of(response.status_code, answer, response.headers.get("retry-after"), doing)


_VERBS = ["delete", "get", "global_list", "global_watch", "list", "patch", "post", "put", "watch"]


@cache
def resource_of(kind: Kind, status: bool = False) -> Any:
    """lightkube's class for a kind, or for its status; its objects are plain mappings.

    Not lightkube's own registry of generic resources: there no kind may be twice, and its typed core kinds are in it.
    """
    definition = resource.ResourceDef(kind.group, kind.version, kind.kind)
    base: Any = resource.NamespacedResourceG if kind.namespaced else resource.GlobalResource
    info = resource.ApiInfo(resource=definition, plural=kind.plural, verbs=_VERBS)
    if status:
        info = resource.ApiInfo(
            resource=definition, parent=definition, plural=kind.plural, verbs=["get", "patch", "put"], action="status"
        )
    return type(kind.kind, (base, Generic), {"_api_info": info})


@cache
def eviction() -> Any:
    """lightkube's class for the eviction of a pod."""
    info = resource.ApiInfo(
        resource=resource.ResourceDef("policy", "v1", "Eviction"),
        parent=resource.ResourceDef("", "v1", "Pod"),
        plural="pods",
        verbs=["post"],
        action="eviction",
    )
    return type("Eviction", (resource.NamespacedSubResource, Generic), {"_api_info": info})
