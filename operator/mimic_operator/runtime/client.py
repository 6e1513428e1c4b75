"""Calls the API server. Objects are plain mappings; every failed call raises Fault.

    get, list, apply, merge, change, create, replace, delete, evict    one object, or all of a kind
    pages, events                                                      raw lists and watches, for informers

Names reach a path only as RFC 1123 subdomains, quoted, and a response that shows another kind or name than was
requested is refused: whoever can choose a name cannot choose what is read.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote

import httpx2
import msgspec
from lightkube import ConfigError, KubeConfig
from lightkube.config.client_adapter import ConnectionParams

from mimic_operator.runtime.faults import Fault, fault_of
from mimic_operator.runtime.kinds import POD, Kind
from mimic_operator.runtime.spans import OFF, Spans

CALL_SECONDS = 15.0
PAGE = 500
"""Objects in one page of a list."""
Object = dict[str, Any]
Selector = str | Mapping[str, str] | None
"""Of labels or fields: in Kubernetes' notation, or values that are to be equal."""
_LABEL = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(f"{_LABEL.pattern}(\\.{_LABEL.pattern})*")


def is_namespace(text: str) -> bool:
    """Whether it can be the name of a namespace: an RFC 1123 label."""
    return _LABEL.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether it can be the name of an object: an RFC 1123 subdomain."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def path_of(kind: Kind, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
    """The path of a collection or of one object (Kubernetes API concepts, resource URIs). Raises Fault."""
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if namespace is not None and kind.namespaced:
        if not is_namespace(namespace):
            raise Fault("invalid", f"{namespace[:80]!r} is not the name of a namespace")
        parts += ["namespaces", namespace]
    parts.append(kind.plural)
    if name is not None:
        if not is_name(name):
            raise Fault("invalid", f"{name[:80]!r} is not the name of a {kind.kind}")
        parts += [name, subresource] if subresource else [name]
    return "/" + "/".join(quote(part, safe="") for part in parts)


class Cluster:
    """One API server, with a pool of connections. seconds: for one call. spans: calls within one have spans of their
    own. count: called with the verb and the status of each request.
    """

    def __init__(
        self,
        config: KubeConfig,
        spans: Spans = OFF,
        *,
        count: Callable[[str, str], None] = lambda verb, code: None,
        seconds: float = CALL_SECONDS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._spans, self._count = spans, count
        single = config.get()
        assert single is not None
        parameters = ConnectionParams(timeout=httpx2.Timeout(seconds), trust_env=False).httpx_params(single)
        # Every watch holds a connection, and each watched namespace has a dozen of them.
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        self._http = httpx2.AsyncClient(**{**parameters, "transport": transport}, limits=limits)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    # One object

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """None where there is no such object; that the kind itself is not served is a Fault of reason `absent`."""
        try:
            return await self._object("get", "GET", kind, namespace, name)
        except Fault as fault:
            if fault.of_object:
                return None
            raise

    async def apply(
        self, kind: Kind, manifest: Mapping[str, Any], *, manager: str, force: bool, status: bool = False
    ) -> Object:
        """Server-side apply of the fields in `manifest`; what `manager` applied before and is left out is removed.

        Without `force` a field that another manager owns with another value is a Fault of reason `conflict` that names
        it. With `metadata.uid` an object that is gone is not created anew: reason `conflict` too.
        """
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._write(
            "apply", "PATCH", kind, manifest, "apply-patch+yaml", query, "status" if status else ""
        )

    async def merge(
        self, kind: Kind, namespace: str | None, name: str, patch: Mapping[str, Any], manager: str
    ) -> Object:
        """JSON merge patch (RFC 7396)."""
        return await self._patch(kind, namespace, name, patch, "merge-patch+json", manager)

    async def change(
        self, kind: Kind, namespace: str | None, name: str, patch: Sequence[Mapping[str, Any]], manager: str
    ) -> Object:
        """JSON patch (RFC 6902); a test in it that does not hold is a Fault of reason `invalid`."""
        return await self._patch(kind, namespace, name, patch, "json-patch+json", manager)

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> Object:
        namespace, name = _where(manifest)
        with self._call("create", kind, namespace, name) as doing:
            made = await self._send("POST", path_of(kind, namespace), doing, content=manifest)
        return _checked(made, kind, name, doing)

    async def replace(self, kind: Kind, manifest: Mapping[str, Any]) -> Object:
        """With `metadata.resourceVersion` a change that came between is a Fault of reason `conflict`."""
        return await self._write("replace", "PUT", kind, manifest, "json", {})

    async def delete(self, kind: Kind, namespace: str, name: str) -> bool:
        """False where it was gone already. The cluster collects what it owns."""
        try:
            with self._call("delete", kind, namespace, name) as doing:
                path, options = path_of(kind, namespace, name), {"propagationPolicy": "Background"}
                await self._send("DELETE", path, doing, content=options)
        except Fault as fault:
            if fault.reason == "absent":
                return False
            raise
        return True

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """Evicts the pod with this uid. A disruption budget that forbids it now is a Fault of reason `throttled`."""
        manifest = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        with self._call("evict", POD, namespace, name) as doing:
            await self._send("POST", path_of(POD, namespace, name, "eviction"), doing, content=manifest)

    async def version(self) -> tuple[int, int]:
        """Major and minor version of the server; a provider's `32+` is 32."""
        found = msgspec.json.decode(await self._send("GET", "/version", "get /version"))
        minor = "".join(digit for digit in str(found["minor"]) if digit.isdigit())
        return int(found["major"]), int(minor)

    async def _object(self, verb: str, method: str, kind: Kind, namespace: str | None, name: str) -> Object:
        with self._call(verb, kind, namespace, name) as doing:
            found = await self._send(method, path_of(kind, namespace, name), doing)
        return _checked(found, kind, name, doing)

    async def _write(
        self,
        verb: str,
        method: str,
        kind: Kind,
        manifest: Mapping[str, Any],
        form: str,
        query: Mapping[str, str],
        subresource: str = "",
    ) -> Object:
        namespace, name = _where(manifest)
        with self._call(verb, kind, namespace, name) as doing:
            path = path_of(kind, namespace, name, subresource)
            made = await self._send(method, path, doing, content=manifest, form=form, query=query)
        return _checked(made, kind, name, doing)

    async def _patch(
        self, kind: Kind, namespace: str | None, name: str, patch: object, form: str, manager: str
    ) -> Object:
        with self._call("patch", kind, namespace, name) as doing:
            path, query = path_of(kind, namespace, name), {"fieldManager": manager}
            made = await self._send("PATCH", path, doing, content=patch, form=form, query=query)
        return _checked(made, kind, name, doing)

    # All of a kind

    async def list(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: Selector = None,
        fields: Selector = None,
        chunk: int = PAGE,
    ) -> AsyncIterator[Object]:
        """All objects of a kind, of one namespace or of all."""
        head = {"apiVersion": kind.api_version, "kind": kind.kind}
        async for page in self.pages(kind, namespace, labels=labels, fields=fields, chunk=chunk):
            for entry in msgspec.json.decode(page).get("items") or ():
                yield head | entry

    async def pages(
        self,
        kind: Kind,
        namespace: str | None,
        *,
        labels: Selector = None,
        fields: Selector = None,
        chunk: int = PAGE,
        accept: str = "application/json",
    ) -> AsyncIterator[bytes]:
        """A list page by page, as JSON. A cursor that has expired is a Fault of reason `gone`."""
        query = {"limit": str(chunk)} | _selection(labels, fields)
        path, doing = path_of(kind, namespace), f"list {kind.plural}{_of(namespace)}"
        while True:
            page = await self._send("GET", path, doing, query=query, accept=accept)
            head = _decoded(page, _PAGE, doing)
            if head.kind not in (f"{kind.kind}List", "PartialObjectMetadataList"):
                raise Fault("internal", f"{doing}: the response is of kind {head.kind[:80]!r}")
            yield page
            if not head.metadata.more:
                return
            query["continue"] = head.metadata.more

    async def events(
        self,
        kind: Kind,
        namespace: str | None,
        since: str,
        *,
        seconds: float,
        silence: float,
        labels: Selector = None,
        fields: Selector = None,
        accept: str = "application/json",
    ) -> AsyncIterator[tuple[str, bytes]]:
        """The events of one watch request after the resourceVersion `since`: type and object.

        seconds: after which the server ends it. silence: without a byte for so long, the connection counts as broken.
        A Fault of reason `gone` requires a new list.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(max(1, round(seconds))),
        } | _selection(labels, fields)
        doing = f"watch {kind.plural}{_of(namespace)}"
        timeout = httpx2.Timeout(CALL_SECONDS, read=silence)
        with self._faults(doing):
            path, headers = path_of(kind, namespace), {"accept": accept}
            async with self._http.stream("GET", path, params=query, headers=headers, timeout=timeout) as response:
                self._count("watch", str(response.status_code))
                if response.is_error:
                    raise _refusal(response, await response.aread(), doing)
                async for line in response.aiter_lines():
                    event = _decoded(line, _EVENT, doing)
                    if event.type == "ERROR":
                        status = msgspec.json.decode(event.object)
                        raise fault_of(int(status.get("code") or 500), status, None, doing)
                    yield event.type, bytes(event.object)

    # The wire

    async def _send(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        content: object = None,
        form: str = "json",
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> bytes:
        headers, body = {"accept": accept}, None
        if content is not None:
            headers["content-type"], body = f"application/{form}", msgspec.json.encode(content)
        with self._faults(doing):
            response = await self._http.request(method, path, params=query, headers=headers, content=body)
        self._count(doing.partition(" ")[0], str(response.status_code))
        if not response.is_success:
            raise _refusal(response, response.content, doing)
        return response.content

    @contextmanager
    def _faults(self, doing: str) -> Iterator[None]:
        """Converts what the HTTP client and lightkube's credentials raise."""
        try:
            yield
        except httpx2.TimeoutException as error:
            self._count(doing.partition(" ")[0], "")
            raise Fault("timeout", f"{doing}: no response in time") from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            self._count(doing.partition(" ")[0], "")
            raise Fault("unreachable", f"{doing}: {type(error).__name__}") from error
        except (ConfigError, OSError) as error:  # the token's file, or the program that prints a token
            raise Fault("forbidden", f"{doing}: the credentials cannot be read ({type(error).__name__})") from error

    @contextmanager
    def _call(self, verb: str, kind: Kind, namespace: str | None, name: str) -> Iterator[str]:
        which = f"{namespace}/{name}" if kind.namespaced else name
        with self._spans.call(verb, kind.kind, namespace, name):
            yield f"{verb} {kind.kind} {which}"[:200]


class _Page(msgspec.Struct, frozen=True):
    class Cursor(msgspec.Struct, frozen=True, rename={"resource_version": "resourceVersion", "more": "continue"}):
        resource_version: str = ""
        more: str = ""

    metadata: Cursor
    kind: str = ""


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


_PAGE = msgspec.json.Decoder(_Page)
_EVENT = msgspec.json.Decoder(_Event)
_OBJECT: msgspec.json.Decoder[Object] = msgspec.json.Decoder(Object)


def _decoded(content: bytes | str, decoder: msgspec.json.Decoder[Any], doing: str) -> Any:
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a body or a line that was cut short
        raise Fault("unreachable", f"{doing}: the response is not what Kubernetes sends") from error


def _checked(content: bytes, kind: Kind, name: str, doing: str) -> Object:
    """The object that was requested, and no other."""
    found: Object = _decoded(content, _OBJECT, doing)
    if (found.get("apiVersion"), found.get("kind")) != (kind.api_version, kind.kind):
        raise Fault("internal", f"{doing}: the response is of kind {str(found.get('kind'))[:80]!r}")
    if (found.get("metadata") or {}).get("name") != name:
        raise Fault("internal", f"{doing}: the response is another object")
    return found


def _where(manifest: Mapping[str, Any]) -> tuple[str | None, str]:
    metadata = manifest["metadata"]
    return metadata.get("namespace"), metadata["name"]


def _of(namespace: str | None) -> str:
    return f" of namespace {namespace}" if namespace else ""


def _selection(labels: Selector, fields: Selector) -> dict[str, str]:
    wanted = {"labelSelector": labels, "fieldSelector": fields}
    return {
        name: selector if isinstance(selector, str) else ",".join(f"{key}={value}" for key, value in selector.items())
        for name, selector in wanted.items()
        if selector
    }


def _refusal(response: httpx2.Response, content: bytes, doing: str) -> Fault:
    try:
        said: object = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):  # something in front of the API server, in its own words
        said = None
    return fault_of(response.status_code, said, response.headers.get("retry-after"), doing)
