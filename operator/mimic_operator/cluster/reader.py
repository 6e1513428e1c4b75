"""Plain reads of the API server, one connection pool, short limits: what an admission waits for."""

from collections.abc import Mapping
from typing import Any, Self

import httpx2
import msgspec
from lightkube import KubeConfig
from lightkube.config.client_adapter import AsyncClient, ConnectionParams

from mimic_operator.cluster.faults import Fault, fault_of
from mimic_operator.cluster.kinds import BACKEND, CONTROLLER_REVISION, Kind

READ_SECONDS = 5.0
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)


class Reader:
    """One API server. Every failed call raises Fault."""

    def __init__(self, config: KubeConfig) -> None:
        single = config.get()
        assert single is not None
        self._http = AsyncClient(single, ConnectionParams(timeout=httpx2.Timeout(READ_SECONDS), trust_env=False))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def version(self) -> tuple[int, int]:
        """Major and minor version of the server; a provider's `32+` is 32."""
        found = await self._get("/version")
        assert found is not None
        minor = "".join(digit for digit in str(found["minor"]) if digit.isdigit())
        return int(found["major"]), int(minor)

    async def backend(self, name: tuple[str, str]) -> Mapping[str, Any] | None:
        return await self._get(BACKEND.path(*name))

    async def backends(self, namespace: str) -> list[Mapping[str, Any]]:
        found = await self._get(BACKEND.path(namespace)) or {}
        head = {"apiVersion": BACKEND.api_version, "kind": BACKEND.kind}
        return [head | each for each in found.get("items") or ()]

    async def revision(self, name: tuple[str, str]) -> Mapping[str, Any] | None:
        return await self._get(CONTROLLER_REVISION.path(*name))

    async def namespace(self, name: str) -> Mapping[str, Any] | None:
        return await self._get(NAMESPACE.path(None, name))

    async def _get(self, path: str) -> dict[str, Any] | None:
        """None where there is nothing."""
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
