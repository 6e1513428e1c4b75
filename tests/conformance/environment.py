"""Python environments of their own, for what must not come near Mimic's."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def python_of(folder: Path) -> str:
    """The interpreter of the environment at `folder`."""
    return str(folder / "bin" / "python")


def prepare(folder: Path, requirements: Path, more: Sequence[str] = ()) -> bool:
    """Makes the environment at `folder` from a requirements file and `more` requirements, unless it is there.

    True if it was made anew. Raises CalledProcessError if pip fails.
    """
    stamp = folder / "requirements.txt"
    wanted = "\n".join([*more, requirements.read_text()])
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [python_of(folder), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *more, "-r", str(requirements)], check=True)
    stamp.write_text(wanted)
    return True
