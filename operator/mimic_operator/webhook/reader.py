"""Plain reads of the API server, one connection pool, short limits: what an admission waits for."""

from collections.abc import Mapping
from typing import Any, Self

import httpx2
import msgspec
from lightkube import KubeConfig
from lightkube.config.client_adapter import AsyncClient, ConnectionParams

from mimic_operator.resource.kinds import BACKEND
from mimic_operator.runtime.faults import Fault, fault_of
from mimic_operator.runtime.kinds import CONTROLLER_REVISION, Kind
from mimic_operator.runtime.spans import OFF, Spans

READ_SECONDS = 5.0
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)


class Reader:
    """One API server. Every failed call raises Fault. spans: calls within one of them have spans of their own."""

    def __init__(self, config: KubeConfig, spans: Spans = OFF) -> None:
        self._spans = spans
        single = config.get()
        assert single is not None
        self._http = AsyncClient(single, ConnectionParams(timeout=httpx2.Timeout(READ_SECONDS), trust_env=False))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def version(self) -> tuple[int, int]:
        """Major and minor version of the server; a provider's `32+` is 32."""
        found = await self._read("/version")
        assert found is not None
        minor = "".join(digit for digit in str(found["minor"]) if digit.isdigit())
        return int(found["major"]), int(minor)

    async def backend(self, name: tuple[str, str]) -> Mapping[str, Any] | None:
        return await self._get(BACKEND, *name)

    async def backends(self, namespace: str) -> list[Mapping[str, Any]]:
        found = await self._get(BACKEND, namespace) or {}
        head = {"apiVersion": BACKEND.api_version, "kind": BACKEND.kind}
        return [head | each for each in found.get("items") or ()]

    async def revision(self, name: tuple[str, str]) -> Mapping[str, Any] | None:
        return await self._get(CONTROLLER_REVISION, *name)

    async def namespace(self, name: str) -> Mapping[str, Any] | None:
        return await self._get(NAMESPACE, None, name)

    async def _get(self, kind: Kind, namespace: str | None, name: str | None = None) -> dict[str, Any] | None:
        """None where there is nothing. Without a name all of a namespace."""
        with self._spans.call("get" if name else "list", kind.kind, namespace, name):
            return await self._read(kind.path(namespace, name))

    async def _read(self, path: str) -> dict[str, Any] | None:
        try:
            answer = await self._http.get(path)
        except httpx2.HTTPError as error:
            raise Fault("unreachable", f"get {path}: {type(error).__name__}") from error
        try:
            content = msgspec.json.decode(answer.content)
        except msgspec.DecodeError:  # something before the API server, which answers in its own words
            content = {}
        if answer.status_code == 404:
            return None
        if answer.status_code >= 400:
            raise fault_of(answer.status_code, content, answer.headers.get("retry-after"), f"get {path}")
        found: dict[str, Any] = content
        return found
