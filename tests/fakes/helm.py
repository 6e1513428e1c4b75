"""The chart as helm renders it. Both major versions are looked for: `helm`, and `helm3` where that is another one."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.tools import REQUIRED

CHART = Path(__file__).parent.parent.parent / "helm" / "mimic"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
NAMES = ("helm", "helm3")
OLDEST, NEWEST = "1.29", "1.37"
VERSIONS = tuple(f"1.{minor}" for minor in range(29, 38))
Manifest = dict[str, Any]


class HelmFailed(Exception):
    """What helm said."""


def helms() -> list[str]:
    """Names of those that are here; without any the test is skipped, or fails where tools are required."""
    found = [name for name in NAMES if _path(name)]
    missing = [name for name in NAMES if name not in found]
    reason = f"no {' and no '.join(missing)} on PATH, nor in the folder of KUBEBUILDER_ASSETS"
    if missing and os.environ.get(REQUIRED) == "required":
        pytest.fail(reason)
    if not found:
        pytest.skip(reason)
    return found


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is rendered. capabilities: kinds that the cluster knows besides."""

    values: Sequence[Path] = ()
    sets: Mapping[str, str] = field(default_factory=dict)
    version: str = NEWEST
    release: str = "mimic"
    namespace: str = "mimic-system"
    capabilities: Sequence[str] = ()
    hooks: bool = True


def render(rendering: Rendering = Rendering(), name: str | None = None) -> list[Manifest]:
    """Its manifests in helm's order. Raises HelmFailed."""
    documents = yaml.load_all(text(rendering, name), Loader=_Loader)
    return [document for document in documents if document]


def text(rendering: Rendering = Rendering(), name: str | None = None) -> str:
    """The same as helm prints it. Rendered once for each process."""
    return _rendered(tuple(command(rendering)), name or helms()[0])


def command(rendering: Rendering) -> list[str]:
    """What renders it."""
    words = ["template", rendering.release, str(CHART), "--namespace", rendering.namespace]
    words += ["--kube-version", rendering.version]
    words += [f"--values={file}" for file in rendering.values]
    words += [f"--set-json={key}={value}" for key, value in rendering.sets.items()]
    words += [f"--api-versions={api}" for api in rendering.capabilities]
    return [*words, *([] if rendering.hooks else ["--no-hooks"])]


@cache
def _rendered(arguments: tuple[str, ...], name: str) -> str:
    return run(*arguments, name=name)


def run(*arguments: str, name: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Standard output of a helm command. Raises HelmFailed."""
    path = _path(name or helms()[0])
    assert path is not None
    ended = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=50, check=False, env=environ)
    if ended.returncode:
        raise HelmFailed(ended.stderr + ended.stdout)
    return ended.stdout


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> Iterator[Manifest]:
    """Those of these kinds."""
    return (manifest for manifest in manifests if manifest["kind"] in kinds)


def one(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The one of this kind and name."""
    (found,) = (entry for entry in of_kind(manifests, kind) if entry["metadata"]["name"] == name)
    return found


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod's spec by the name of what it belongs to."""
    for manifest in of_kind(manifests, "Pod", "Deployment", "Job"):
        spec = manifest["spec"] if manifest["kind"] == "Pod" else manifest["spec"]["template"]["spec"]
        yield f"{manifest['kind']} {manifest['metadata']['name']}", spec


def is_hook(manifest: Manifest) -> bool:
    return "helm.sh/hook" in (manifest["metadata"].get("annotations") or {})


@cache
def _path(name: str) -> str | None:
    folders = [os.environ.get("PATH", os.defpath), os.environ.get("KUBEBUILDER_ASSETS", "")]
    return shutil.which(name, path=os.pathsep.join(folders))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses a key that stands twice, which YAML forbids (1.2, section 3.2.1.3) and PyYAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice in {node.start_mark}: {sorted(map(str, keys))}"
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made
