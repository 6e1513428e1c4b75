"""The tests that the openai package ships in its source distribution, unmodified, through Mimic."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.conformance import environment

OPENAI_VERSION = "3.54.0"
PASSED = 95
"""How many cases the selection below has at this version; fewer would mean that some were not run."""
FILES = ("chat/test_completions.py", "test_embeddings.py", "test_models.py")
SELECTION = "create or (TestModels or TestAsyncModels) and (list or retrieve)"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def prepare(cache: Path) -> None:
    """The source distribution and an environment for it under `cache`, made once."""
    folder, source = cache / "env", _source(cache)
    openai = f"openai=={OPENAI_VERSION}"
    if not environment.prepare(folder, REQUIREMENTS, [openai]) and source.exists():
        return
    print(f"Setting up the tests of openai {OPENAI_VERSION}, once ...", flush=True)
    shutil.rmtree(source, ignore_errors=True)
    pip = [environment.python_of(folder), "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-binary", ":all:", "--dest", str(cache), openai], check=True)
    with tarfile.open(cache / f"openai-{OPENAI_VERSION}.tar.gz") as archive:
        archive.extractall(cache, filter="data")


def run(cache: Path, base_url: str) -> bool:
    """Runs the selection against `base_url`, printing pytest's own words; whether all of it passed."""
    tests = [f"tests/api_resources/{name}" for name in FILES]
    argv = [environment.python_of(cache / "env"), "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider"]
    argv += ["--durations-min=1"]
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
