"""The release that the README installs, and what else is done with helm."""

import os
import re
import shlex
import tarfile
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster import ROOT, Failed, run

SYSTEM = "mimic-system"
IMAGE = os.environ.get("MIMIC_E2E_IMAGE") or "mimic:0.1.0"
NEXT_IMAGE = os.environ.get("MIMIC_E2E_NEXT_IMAGE") or f"{IMAGE}-next"
"""The same under another name: what an upgrade brings."""
CHART = "helm/mimic"
BACKENDS = "helm/mimic-backends"
CRD = "mimicbackends.mimic.dev"
CLUSTER_CRD = "clustermimicbackends.mimic.dev"
HELM_SECONDS = 180.0


def readme_commands() -> list[list[str]]:
    """The four of the README, word by word."""
    chapter = (ROOT / "README.md").read_text("utf-8").split("\n## On Kubernetes\n", 1)[1].split("\n## ", 1)[0]
    found = [shlex.split(line) for line in re.findall(r"^    ((?:helm|kubectl) .+)$", chapter, re.MULTILINE)]
    assert len(found) == 4, found
    return found


def uninstall_commands() -> list[list[str]]:
    """The two of docs/kubernetes.md, word by word."""
    chapter = (ROOT / "docs" / "kubernetes.md").read_text("utf-8").split("\n## Uninstall\n", 1)[1].split("\n## ", 1)[0]
    found = [shlex.split(line) for line in re.findall(r"^    ((?:helm|kubectl) .+)$", chapter, re.MULTILINE)]
    assert found[0][-2:] == ["release", "--all"], found
    assert found[1][:2] == ["helm", "uninstall"], found
    return found[:2]


def image_values(image: str = IMAGE) -> list[str]:
    """Where the image is: the only thing in which the README's command is another one for everybody."""
    repository, tag = image.rsplit(":", 1)
    return ["--set", f"image.repository={repository}", "--set-string", f"image.tag={tag}"]


def install() -> None:
    """The README's first command. Raises Failed."""
    helm(*readme_commands()[0][1:], *image_values())


def previous_chart(folder: Path) -> Path:
    """The chart before this one, from the history, unpacked there: the last release's, before the first the oldest.

    A shallow checkout has none: then it is this one, so that the rest of an installation's life is tried all the same.
    """
    released = run(
        "git", "tag", "--list", "v*", "--sort=-v:refname", "--merged", "HEAD", "--no-contains", "HEAD"
    ).split()
    made = run("git", "log", "--format=%H", "--reverse", "--diff-filter=A", "--", f"{CHART}/Chart.yaml").split()
    if not made or made[0] == run("git", "rev-parse", "HEAD").strip():
        print("The checkout has no history with an older chart (git fetch --unshallow): the upgrade is from this one.")
        return Path(CHART)
    archive = folder / "previous.tar"
    run("git", "archive", f"--output={archive}", (released or made)[0], CHART)
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "previous", filter="data")
    return folder / "previous" / CHART


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
