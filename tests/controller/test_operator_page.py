"""docs/operator.md against the tree: where something new belongs, the folders, the settings."""

import ast
import re
from pathlib import Path

import pytest

from mimic_operator import settings

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "mimic_operator"
PAGE = (ROOT / "docs" / "operator.md").read_text("utf-8")
WANTED = {"an outcome word of injection", "a child kind", "a field of MimicBackend", "a condition"}


def rows(heading: str) -> dict[str, str]:
    """The rows of the first table below a heading: the second cell by the first."""
    chapter = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in chapter.splitlines() if line.startswith("| ")][2:]
    return dict(re.match(r"\| (.*?) \| (.*?) \|", line).groups() for line in lines)  # type: ignore[union-attr, misc]


def defined(file: Path) -> set[str]:
    """Names at the top of a module."""
    found = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize(("what", "where"), rows("Where something new belongs").items())
def test_what_is_new_belongs_into_a_file_that_is_there_and_has_the_name(what: str, where: str):
    places = re.findall(r"`([a-z_/]+(?:\.py|/))`(?: `([A-Za-z_]+)`)?", where)
    assert places, what
    for path, name in places:
        assert (PACKAGE / path).exists(), path
        assert not name or name in defined(PACKAGE / path), f"{path} has no {name}"


def test_the_table_has_what_people_ask_for():
    assert rows("Where something new belongs").keys() >= WANTED


def test_every_folder_is_on_the_page():
    named = {name.strip("`/") for name in rows("Folders")}
    folders = {each.parent.name for each in PACKAGE.glob("*/__init__.py")}
    assert named == folders


def test_every_period_is_on_the_page_with_its_default():
    shown = {name.strip("`"): float(default.split(" | ")[0]) for name, default in rows("Periods and deadlines").items()}
    found = settings.Settings()
    periods = {name.upper(): getattr(found, name) for name in settings.Settings.__slots__ if name.endswith("_seconds")}
    assert shown == periods
