"""The tests that the openai package ships in its source distribution, unmodified, through Mimic."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

OPENAI_VERSION = "3.54.0"
PASSED = 95
"""How many cases the selection below has at this version; fewer would mean that some were not run."""
FILES = ("chat/test_completions.py", "test_embeddings.py", "test_models.py")
SELECTION = "create or (TestModels or TestAsyncModels) and (list or retrieve)"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def prepare(cache: Path) -> None:
    """The source distribution and an environment for it under `cache`, made once."""
    stamp = cache / "python-suite"
    wanted = f"{OPENAI_VERSION}\n{REQUIREMENTS.read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Setting up the tests of openai {OPENAI_VERSION}, once ...", flush=True)
    environment, source = cache / "env", _source(cache)
    for folder in (environment, source):
        shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", f"openai=={OPENAI_VERSION}", "-r", str(REQUIREMENTS)], check=True)
    download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(cache)]
    subprocess.run([*pip, *download, f"openai=={OPENAI_VERSION}"], check=True)
    with tarfile.open(cache / f"openai-{OPENAI_VERSION}.tar.gz") as archive:
        archive.extractall(cache, filter="data")
    stamp.write_text(wanted)


def run(cache: Path, base_url: str) -> bool:
    """Runs the selection against `base_url`, printing pytest's own words; whether all of it passed."""
    tests = [f"tests/api_resources/{name}" for name in FILES]
    argv = [str(cache / "env" / "bin" / "python"), "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider"]
    environ = {"PATH": os.environ.get("PATH", os.defpath), "TEST_API_BASE_URL": base_url}
    pytest = subprocess.Popen(
        [*argv, *tests, "-k", SELECTION],
        cwd=_source(cache),
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert pytest.stdout is not None
    last = ""
    for line in pytest.stdout:
        print(line, end="", flush=True)
        last = line
    return pytest.wait() == 0 and f"{PASSED} passed" in last


def _source(cache: Path) -> Path:
    return cache / f"openai-{OPENAI_VERSION}"
