"""Manifests on a real API server: applied as a GitOps controller does, or tried by a dry run, every field checked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A client of the API server that knows where each kind is."""

    client: httpx2.Client
    _places: dict[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)

    def apply(self, manifest: Manifest, dry_run: bool = False, manager: str = "test") -> httpx2.Response:
        """Server-side apply of one. Unknown and repeated fields are errors."""
        options = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            options["dryRun"] = "All"
        headers = {"content-type": "application/apply-patch+yaml"}
        return self.client.patch(self.path(manifest), params=options, json=manifest, headers=headers)

    def apply_all(self, manifests: Iterable[Manifest]) -> None:
        """Each of them; raises AssertionError with what the API server said."""
        for manifest in manifests:
            answer = self.apply(manifest)
            assert answer.is_success, f"{manifest['kind']} {manifest['metadata']['name']}: {answer.text}"

    def path(self, manifest: Manifest) -> str:
        """Where it is, or shall be."""
        metadata = manifest["metadata"]
        return f"{self.collection(manifest)}/{metadata['name']}"

    def collection(self, manifest: Manifest) -> str:
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._places:
            for entry in self.client.get(root).json()["resources"]:
                if "/" not in entry["name"]:
                    self._places[version, entry["kind"]] = entry["name"], entry["namespaced"]
        plural, namespaced = self._places[version, kind]
        place = f"/namespaces/{manifest['metadata'].get('namespace', 'default')}" if namespaced else ""
        return f"{root}{place}/{plural}"
