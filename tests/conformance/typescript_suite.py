"""The official TypeScript SDK against Mimic: sdk.test.mjs under Node's own test runner, the SDK pinned by a lock."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.conformance.forms import Form

SOURCE = Path(__file__).with_name("typescript")
LOWEST_NODE = 20


def unavailable() -> str | None:
    """Why it cannot run on this machine, None if it can."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return f"node and npm are not installed (Node {LOWEST_NODE} or newer)"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    major = re.match(r"v(\d+)", version)
    if major is None or int(major[1]) < LOWEST_NODE:
        return f"node is {version}, older than {LOWEST_NODE}"
    return None


def prepare(cache: Path) -> None:
    """The SDK in node_modules under `cache`, as package-lock.json says."""
    folder = _folder(cache)
    lock = (SOURCE / "package-lock.json").read_bytes()
    installed = folder / "installed.lock"
    if not (installed.exists() and installed.read_bytes() == lock):
        print("Setting up the TypeScript SDK, once ...", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, folder)
        # The SDK names Node 22 as its lowest; that it works on 20, too, is what the tests show.
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True
        )
        installed.write_bytes(lock)
    shutil.copy(SOURCE / "sdk.test.mjs", folder)


def run(cache: Path, base_url: str, form: Form) -> bool:
    """Runs the tests against `base_url`, printing the runner's own words; whether all of them passed."""
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "any",
        "PIECEMEAL": str(int(form.piecemeal)),
    }
    argv = ["node", "--test", "--test-reporter=spec", "sdk.test.mjs"]
    return subprocess.run(argv, cwd=_folder(cache), env=environ, check=False).returncode == 0


def _folder(cache: Path) -> Path:
    return cache / "typescript"
