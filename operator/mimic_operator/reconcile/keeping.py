"""The revisions that pods still run although they are not wanted any more: read once, their ConfigMaps kept in line."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace

from mimic_operator.cluster.client import Cluster
from mimic_operator.cluster.kinds import CONTROLLER_REVISION
from mimic_operator.reconcile.children import Children
from mimic_operator.reconcile.memory import Memory
from mimic_operator.reconcile.queue import Key
from mimic_operator.reconcile.revisions import defaults_of, older_config_map, stored_form
from mimic_operator.reconcile.store import Store
from mimic_operator.resource.backend import Backend
from mimic_operator.resource.hot import Kept, kept_in

logger = logging.getLogger("mimic.reconcile")


@dataclass(slots=True)
class Keeping:
    """Nothing is asked of the API server about a revision that was read before: its data can never change."""

    cluster: Cluster
    store: Store
    children: Children

    async def read(self, key: Key, name: str, memory: Memory) -> Kept | None:
        """None where there is none, or none that can be read. Raises Fault."""
        child = self.store.children.get(key, {}).get(("ControllerRevision", name))
        if child is None:
            return None
        version, kept = memory.kept.get(name, ("", None))
        if version != child.version:
            manifest = await self.cluster.get(CONTROLLER_REVISION, key.namespace, name)
            defaults = defaults_of(child)
            kept = kept_in((manifest or {}).get("data") or {}, defaults) if defaults is not None else None
            memory.kept[name] = (child.version, kept)
        return kept

    async def bring(self, key: Key, backend: Backend, names: Collection[str], memory: Memory) -> list[str]:
        """Brings the backend's configuration to these revisions; those that cannot have it. Raises Fault."""
        frozen: list[str] = []
        memory.kept = {name: found for name, found in memory.kept.items() if name in names}
        for name in sorted(names):
            kept = await self.read(key, name, memory) or await self._restored(key, backend, name, memory)
            if kept is not None and kept.revision.mode != "Sidecar":
                continue
            there = ("ConfigMap", name) in self.store.children.get(key, {})
            manifest, whole = older_config_map(kept, backend, there=there) if kept is not None else (None, False)
            if manifest is not None:
                await self.children.apply(key, [manifest])
            if not whole and (kept is not None or there):
                frozen.append(name)
        self._tell(key, frozen, memory)
        return frozen

    async def _restored(self, key: Key, backend: Backend, name: str, memory: Memory) -> Kept | None:
        """A ControllerRevision that somebody has deleted, although it is needed, is made again as it was."""
        kept = self.remembered(name, memory)
        if kept is None or kept.spec is None:
            return None
        form = stored_form(replace(backend, spec=kept.spec), kept.revision, kept.defaults)
        await self.children.apply(key, [form])
        return kept

    def remembered(self, name: str, memory: Memory) -> Kept | None:
        """As it was read, whether or not it is there now."""
        return memory.kept.get(name, ("", None))[1]

    def _tell(self, key: Key, frozen: list[str], memory: Memory) -> None:
        for name in sorted(set(frozen) - memory.frozen):
            extra = {"key": str(key), "revision": name}
            logger.info("Pods of revision %s of %s keep their configuration until they restart", name, key, extra=extra)
        memory.frozen = set(frozen)
