"""The resources of bad_backends.yaml: what is otherwise right, with one thing wrong."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mimic_operator.resource.naming import API_VERSION, KIND

AUTH = {"tokenURL": "https://login.corp.example/token", "secretRef": {"name": "corp-llm"}}
SIDECAR = {"chat": {"url": "https://llm.corp.example/v1"}, "auth": AUTH}
BASES = {
    "sidecar": SIDECAR,
    "deployment": {**SIDECAR, "mode": "Deployment", "deployment": {"access": "Open"}},
}


@dataclass(frozen=True, slots=True)
class Bad:
    what: str
    manifest: dict[str, Any]
    field: str


def good(base: str, name: str = "corp") -> dict[str, Any]:
    """A resource with which nothing is wrong."""
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": deepcopy(BASES[base])}


def _made(entry: dict[str, Any]) -> Bad:
    manifest = good(entry["base"])
    for path, value in entry.get("set", {}).items():
        *way, last = path.split(".")
        place = manifest
        for key in way:
            place = place.setdefault(key, {})
        place[last] = value
    for path in entry.get("drop", ()):
        *way, last = path.split(".")
        place = manifest
        for key in way:
            place = place[key]
        del place[last]
    return Bad(entry["what"], manifest, entry["field"])


TABLE = [_made(entry) for entry in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))]
