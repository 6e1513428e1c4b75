"""What a person does with a fresh checkout: the first `make`, and what it must not leave behind."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def script(file: Path, text: str) -> Path:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def first_run(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    """`make run` with a Python of the user's own choice."""
    command = ["make", "-C", str(ROOT), "run", f"PYTHON={python}", f"VENV={folder / 'venv'}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_python_that_cannot_be_run_is_told_as_such(tmp_path: Path):
    ended = first_run(tmp_path, "/nonexistent")
    assert ended.returncode != 0
    assert "This Python cannot be run: /nonexistent." in ended.stdout
    assert "python3-venv" not in ended.stdout
    assert "First run" not in ended.stdout


def test_a_python_that_is_too_old_is_told_as_such(tmp_path: Path):
    old = '[ "$1" = --version ] && echo "Python 3.9.2"; case "$2" in *version_info*) exit 1;; esac'
    ended = first_run(tmp_path, str(script(tmp_path / "python3.9", old)))
    assert ended.returncode != 0
    assert "needs Python 3.11 or newer" in ended.stdout
    assert "is Python 3.9.2." in ended.stdout


def test_what_npm_writes_beside_the_examples_is_ignored():
    """The examples take the newest SDK, so there is no lock of theirs to keep."""
    assert "/examples/**/package-lock.json" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
