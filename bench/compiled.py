"""Mimic with its hot modules compiled, as its compiled wheel has it, where this machine can build that."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.processes import BenchError

SOURCES = ("pyproject.toml", "hatch_build.py", "service/**/*.py")


def compiled(root: Path, folder: Path) -> Path | None:
    """A folder to import the compiled Mimic of this checkout from, made anew when a source has changed.

    None without a C compiler or Python's headers: then Mimic runs as pure Python. BenchError if the build fails.
    """
    if not _can_compile():
        return None
    stamp, state = folder / "sources.sha256", _digest(root)
    if stamp.exists() and stamp.read_text() == state:
        return folder
    print("Compiling Mimic, once for these sources; takes a minute ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv = [*install, "--no-build-isolation", "--target", str(folder), str(root)]
    built = subprocess.run(argv, check=False, env=os.environ | {"MIMIC_COMPILE": "1"}, capture_output=True, text=True)
    if built.returncode != 0 or not list(folder.glob("mimic_proxy__mypyc.*")):
        raise BenchError(f"Mimic could not be compiled:\n{built.stdout}{built.stderr}")
    stamp.write_text(state)
    return folder


def _can_compile() -> bool:
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return shutil.which(compiler.split()[0]) is not None and headers.exists()


def _digest(root: Path) -> str:
    found = hashlib.sha256(sys.version.encode())
    for file in sorted(file for pattern in SOURCES for file in root.glob(pattern)):
        found.update(file.read_bytes())
    return found.hexdigest()
