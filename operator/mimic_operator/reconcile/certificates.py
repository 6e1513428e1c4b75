"""The webhook's certificate in mode `self`: made and renewed by the leader, and trusted by the API server.

The Secret is the only one that the operator reads, its own. Of the webhook configurations it changes the caBundle of
its own entries and nothing else, at once whenever another writer has changed it.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mimic_operator.resource.naming import GROUP, LABEL_COMPONENT, MANAGER
from mimic_operator.runtime.certificates import Certificates, Pair, ends, renewed, service_names
from mimic_operator.runtime.client import Cluster
from mimic_operator.runtime.faults import Fault
from mimic_operator.runtime.informer import Change, Informer, metadata_only
from mimic_operator.runtime.kinds import MUTATING, SECRET, VALIDATING, Kind
from mimic_operator.runtime.queue import Backoff

logger = logging.getLogger("mimic.certificate")

LOOK_SECONDS = 30.0
"""How long a deleted Secret is missing at most: the account may read it by its name, and not watch it."""
CONFIGURATIONS = (MUTATING, VALIDATING)
END = b"-----END CERTIFICATE-----\n"


@dataclass(slots=True)
class Trust:
    """names: of the webhook besides those of its Service. configuration: name of both webhook configurations. renewed:
    called with the end of the current leaf, Unix time.
    """

    cluster: Cluster
    watching: Cluster
    namespace: str
    secret: str
    service: str
    names: Sequence[str]
    configuration: str
    clock: Callable[[], float]
    wall: Callable[[], float]
    backoff: Backoff
    watch_seconds: float
    renewed: Callable[[float], None]
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind in CONFIGURATIONS:
                group.create_task(self._informer(kind).run())
            group.create_task(self._keep())

    def _informer(self, kind: Kind) -> Informer[str]:
        def changed(_: Change[str]) -> None:
            self._changed.set()

        return Informer(
            cluster=self.watching,
            kind=kind,
            view=metadata_only(lambda metadata: metadata.resource_version),
            changed=changed,
            clock=self.clock,
            backoff=self.backoff,
            watch_seconds=self.watch_seconds,
            fields=f"metadata.name={self.configuration}",
        )

    async def _keep(self) -> None:
        failures = 0
        while True:
            self._changed.clear()
            try:
                await self.ensure()
                failures, pause = 0, LOOK_SECONDS
            except Fault as fault:
                failures += 1
                pause = fault.retry_after or self.backoff(failures)
                extra = {"reason": fault.reason}
                logger.warning("The webhook's certificate could not be kept: %s", fault, extra=extra)
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def ensure(self) -> None:
        """One look: certificate and trust as they should be. Raises Fault.

        The API server trusts a new authority before any webhook serves a leaf of it.
        """
        now = datetime.fromtimestamp(self.wall(), UTC)
        current = stored(await self.cluster.get(SECRET, self.namespace, self.secret))
        found = {kind: await self.cluster.get(kind, None, self.configuration) for kind in CONFIGURATIONS}
        names = (*service_names(self.service, self.namespace), *self.names)
        wanted = renewed(current, names, now, self._trusted(found.values()) if current is None else ())
        for kind, manifest in found.items():
            await self._trust(kind, manifest, wanted.bundle)
        if wanted is not current:
            await self.cluster.apply(SECRET, self._manifest(wanted), manager=MANAGER, force=True)
            end = ends(wanted.leaf.certificate)
            logger.info("The webhook has a new certificate", extra={"ends": end.isoformat()})
        self.renewed(ends(wanted.leaf.certificate).timestamp())

    def _trusted(self, configurations: Iterable[Mapping[str, Any] | None]) -> list[bytes]:
        """The authorities in them, each once."""
        entries = [entry for found in configurations for entry in (found or {}).get("webhooks") or ()]
        bundles = [_bundle(entry) for entry in entries if _is_ours(entry, self.service, self.namespace)]
        return list(dict.fromkeys(part for bundle in bundles for part in _parts(bundle)))

    async def _trust(self, kind: Kind, manifest: Mapping[str, Any] | None, bundle: bytes) -> None:
        if manifest is None:
            logger.warning("There is no %s %s", kind.kind, self.configuration)
            return
        patch = trusting(manifest.get("webhooks") or (), self.service, self.namespace, bundle)
        if patch:
            await self.cluster.change(kind, None, self.configuration, patch, MANAGER)
            logger.info("%s %s trusts the webhook", kind.kind, self.configuration)

    def _manifest(self, certificates: Certificates) -> dict[str, Any]:
        metadata = {"name": self.secret, "namespace": self.namespace, "labels": {LABEL_COMPONENT: "webhook"}}
        data = {
            "tls.crt": certificates.leaf.certificate,
            "tls.key": certificates.leaf.key,
            "ca.crt": certificates.authority.certificate,
            "ca.key": certificates.authority.key,
            "retired.crt": b"".join(certificates.retired),
        }
        encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": metadata,
            "data": encoded,
        }


def stored(secret: Mapping[str, Any] | None) -> Certificates | None:
    """What the Secret holds; None where there is none or it is not the operator's."""
    try:
        data = {name: base64.b64decode(text) for name, text in ((secret or {}).get("data") or {}).items()}
        retired = data.get("retired.crt", b"")
        return Certificates(
            authority=Pair(data["ca.crt"], data["ca.key"]),
            leaf=Pair(data["tls.crt"], data["tls.key"]),
            retired=_parts(retired),
        )
    except (KeyError, ValueError):
        return None


def trusting(
    webhooks: Sequence[Mapping[str, Any]], service: str, namespace: str, bundle: bytes
) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) after which the operator's own entries trust the bundle; each is tested by its name."""
    wanted, patch = base64.b64encode(bundle).decode(), []
    for index, webhook in enumerate(webhooks):
        if not _is_ours(webhook, service, namespace) or _bundle(webhook) == bundle:
            continue
        patch.append({"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]})
        patch.append({"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": wanted})
    return patch


def _is_ours(webhook: Mapping[str, Any], service: str, namespace: str) -> bool:
    called = (webhook.get("clientConfig") or {}).get("service")
    calls_us = called is None or (called.get("name"), called.get("namespace")) == (service, namespace)
    return calls_us and str(webhook.get("name")).endswith(f".{GROUP}")


def _bundle(webhook: Mapping[str, Any]) -> bytes:
    """Its caBundle, which the API server has checked when it was written."""
    return base64.b64decode((webhook.get("clientConfig") or {}).get("caBundle") or "")


def _parts(bundle: bytes) -> tuple[bytes, ...]:
    return tuple(part + END for part in bundle.split(END) if part.strip())
