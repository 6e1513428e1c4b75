"""LangChain and LlamaIndex against Mimic: the tests in frameworks/, in an environment of their own."""

import os
import subprocess
from pathlib import Path

from tests.conformance import environment
from tests.conformance.forms import Form

SOURCE = Path(__file__).with_name("frameworks")


def prepare(cache: Path) -> None:
    """The frameworks under `cache`, as requirements.txt pins them."""
    if environment.prepare(_folder(cache), SOURCE / "requirements.txt"):
        print("LangChain and LlamaIndex are set up", flush=True)


def run(cache: Path, base_url: str, form: Form) -> bool:
    """Runs the tests against `base_url`, printing pytest's own words; whether all of them passed."""
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "any",
        "DIALECT": form.dialect,
        "PIECEMEAL": str(int(form.piecemeal)),
    }
    python = environment.python_of(_folder(cache))
    # Their own: neither the configuration nor the fixtures of the tests around them.
    argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--confcutdir", str(SOURCE)]
    return subprocess.run([*argv, str(SOURCE)], env=environ, check=False).returncode == 0


def _folder(cache: Path) -> Path:
    return cache / "frameworks"
