"""The shape of the checkout: what must not lie around, and that every module has its place."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = (ROOT / "service" / "mimic_proxy", ROOT / "operator" / "mimic_operator")
LOCKS = ("requirements.lock", "requirements-dev.lock")


def modules(package: Path) -> set[str]:
    """Every module of a package by its full name; packages themselves are left out."""
    files = [file for file in package.rglob("*.py") if file.name != "__init__.py"]
    return {".".join(file.relative_to(package.parent).with_suffix("").parts) for file in files}


@pytest.mark.parametrize("folder", ["operator", "service"])
def test_no_module_lies_beside_the_packages(folder: str):
    """With a module in `operator/` the folder shadows Python's own `operator`, and `python -m pytest` dies."""
    assert sorted(file.name for file in (ROOT / folder).glob("*.py")) == []
    assert not (ROOT / "tests" / "operator").exists()


def test_python_finds_its_own_operator_from_the_root():
    code = "import sys, operator, collections; print(operator.__file__); print(collections.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for file in found.stdout.splitlines():
        assert ROOT not in Path(file).parents
    assert len(found.stdout.splitlines()) == 2


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_folder_of_a_package_is_a_package_and_typed(package: Path):
    folders = {file.parent for file in package.rglob("*.py")}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []
    assert (package / "py.typed").exists()


def test_tests_have_no_packages_and_no_two_names_alike():
    """They are imported by name alone; of two files of one name the second would be the first."""
    assert sorted(str(file) for file in (ROOT / "tests").rglob("__init__.py")) == []
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def layers_named(name: str) -> set[str]:
    """The modules that an import contract of this name puts into layers."""
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["name"] == name)
    return {module.strip(" ()") for layer in layers for module in re.split("[:|]", layer)}


def test_every_module_of_the_operator_stands_in_a_layer():
    placed = {f"mimic_operator.{module}" for module in layers_named("The operator's layers")}
    homeless = {
        module
        for module in modules(PACKAGES[1])
        if not any(module == place or module.startswith(f"{place}.") for place in placed)
    }
    assert homeless == set()


def test_a_folder_of_the_proxy_is_a_layer():
    """Who knows the folder of a file knows what it may import."""
    files = [file for file in PACKAGES[0].iterdir() if file.name not in ("__init__.py", "__pycache__", "py.typed")]
    assert layers_named("The proxy's layers") == {file.stem for file in files}


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_pin_every_package_with_hashes_and_name_no_index(lock: str):
    text = (ROOT / lock).read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*-", text.replace("    --hash=sha256:", ""), re.MULTILINE)
    requirements = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(requirements) > 20
    for requirement in requirements:
        assert re.match(r"[a-z0-9._-]+==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_the_locks_agree_and_hold_what_the_project_asks_for():
    pinned = [
        dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE)) for lock in LOCKS
    ]
    assert pinned[0].items() <= pinned[1].items()
    groups = PYPROJECT["dependency-groups"]
    for wanted, lock in ((PYPROJECT["project"]["dependencies"], pinned[0]), (groups["dev"], pinned[1])):
        names = {re.split(r"[^a-z0-9._-]", entry.lower())[0] for entry in wanted if isinstance(entry, str)}
        assert names <= set(lock)
