"""`mimic-proxy run -- COMMAND`, as a process: the command's environment, status, signals, and the end of both."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "mimic_proxy", "run"]
NO_BACKEND = {
    "GRANT": "none",
    "CHAT_API_URL": "http://127.0.0.1:9/v1",
    "EMBEDDING_API_URL": "http://127.0.0.1:9/v1",
    "MODELS": "chat-small",
}
ASK = """
import json, os, urllib.request
with urllib.request.urlopen(os.environ["OPENAI_BASE_URL"] + "/models") as answer:
    names = [entry["id"] for entry in json.load(answer)["data"]]
seen = {key: value for key, value in os.environ.items() if key.startswith(("OPENAI", "ANTHROPIC", "RUN_"))}
print(json.dumps({"models": names, "environ": seen}), flush=True)
"""


def environ(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "HOME", "SYSTEMROOT")}
    return {**kept, **NO_BACKEND, **more}


def run(folder: Path, *words: str, options: tuple[str, ...] = (), **more: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *options, "--", *words]
    return subprocess.run(
        command, cwd=folder, env=environ(**more), capture_output=True, text=True, timeout=50, check=False
    )


def test_the_command_calls_a_mimic_that_ends_with_it(tmp_path: Path):
    ended = run(tmp_path, sys.executable, "-c", ASK)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    base = said["environ"]["ANTHROPIC_BASE_URL"]
    assert said["models"] == ["chat-small"]
    assert said["environ"]["OPENAI_BASE_URL"] == f"{base}/v1"
    assert said["environ"]["OPENAI_API_KEY"] == "any"
    assert not [name for name in said["environ"] if name.startswith("RUN_")]
    assert ended.stderr == ""
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{base}/v1/models", timeout=5)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((sys.executable, "-c", "raise SystemExit(7)"), 7),
        ((sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), 137),
        (("there-is-no-such-program",), 127),
        (("/",), 126),
    ],
)
def test_it_exits_as_the_command_does(words: tuple[str, ...], status: int, tmp_path: Path):
    ended = run(tmp_path, *words)
    assert ended.returncode == status
    assert ("there-is-no-such-program: No such file" in ended.stderr) == (status == 127)


def test_words_reach_the_command_as_they_are(tmp_path: Path):
    words = ["--log", "a b", "$HOME", "'", "", "--", "x"]
    ended = run(tmp_path, sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *words)
    assert json.loads(ended.stdout) == words


def test_signals_are_the_commands(tmp_path: Path):
    program = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("begun", flush=True)
while True: time.sleep(0.01)
"""
    command = [*PROGRAM, "--", sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, env=environ(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        # A terminal sends it to the command as well, which ignores it here; Mimic has to stay.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 5


def test_the_log_goes_to_a_file(tmp_path: Path):
    ended = run(tmp_path, sys.executable, "-c", ASK, options=("--log", "mimic.log"))
    assert ended.returncode == 0
    assert "GET /v1/models 200" in (tmp_path / "mimic.log").read_text("utf-8")


def test_without_a_command_or_with_wrong_settings_nothing_is_started(tmp_path: Path):
    assert "mimic-proxy run -- COMMAND" in run(tmp_path).stderr
    wrong = run(tmp_path, sys.executable, "-c", "print('begun')", GRANT="nonsense")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "GRANT" in wrong.stderr


def test_client_keys_that_are_wanted_have_to_be_given(tmp_path: Path):
    without = run(tmp_path, sys.executable, "-c", ASK, CLIENT_KEYS="app=secret-of-app")
    assert without.returncode == 2
    assert "OPENAI_API_KEY" in without.stderr
