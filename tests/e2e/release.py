"""The release that the README installs, and what else is done with helm."""

import os
import re
import shlex
from collections.abc import Sequence

from e2e.cluster import ROOT, Failed, run

SYSTEM = "mimic-system"
IMAGE = os.environ.get("MIMIC_E2E_IMAGE") or "mimic:0.1.0"
NEXT_IMAGE = os.environ.get("MIMIC_E2E_NEXT_IMAGE") or f"{IMAGE}-next"
"""The same under another name: what an upgrade brings."""
CHART = "helm/mimic"
HELM_SECONDS = 180.0


def readme_commands() -> list[list[str]]:
    """The four of the README, word by word."""
    chapter = (ROOT / "README.md").read_text("utf-8").split("\n## On Kubernetes\n", 1)[1].split("\n## ", 1)[0]
    found = [shlex.split(line) for line in re.findall(r"^    ((?:helm|kubectl) .+)$", chapter, re.MULTILINE)]
    assert len(found) == 4, found
    return found


def image_values(image: str = IMAGE) -> list[str]:
    """Where the image is: the only thing in which the README's command is another one for everybody."""
    repository, tag = image.rsplit(":", 1)
    return ["--set", f"image.repository={repository}", "--set-string", f"image.tag={tag}"]


def install() -> None:
    """The README's first command. Raises Failed."""
    helm(*readme_commands()[0][1:], *image_values())


def helm(*arguments: str) -> str:
    """Standard output. Raises Failed."""
    return run("helm", *arguments, seconds=HELM_SECONDS)


def exists() -> bool:
    """Whether the README's release is there."""
    try:
        helm("status", "mimic", "--namespace", SYSTEM)
    except Failed:
        return False
    return True


def uninstall(release: str, namespace: str, more: Sequence[str] = ()) -> None:
    helm("uninstall", release, "--namespace", namespace, "--wait", *more)
