"""The command line: its commands, its exit codes, what it tells a person."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import mimic_proxy
from fakes.free_ports import free_port
from mimic_proxy.__main__ import CANNOT_LISTEN, FAILED, OK, WRONG_SETTINGS, main

PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.01
COMMAND = [sys.executable, "-m", "mimic_proxy"]
ENVIRON = {
    "PATH": os.environ.get("PATH", ""),
    "PYTHONPATH": str(Path(mimic_proxy.__file__).parent.parent),
    "PYTHONUNBUFFERED": "1",
}
WITHOUT_UVLOOP = [
    sys.executable,
    "-c",
    "import sys; sys.modules['uvloop'] = None; from mimic_proxy.__main__ import main; sys.exit(main(sys.argv[1:]))",
]
CHAT = {"model": "demo/chat-small", "messages": [{"role": "user", "content": "Hello!"}]}


def ran(command: str, folder: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, command],
        cwd=folder,
        env={**ENVIRON, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@contextmanager
def demo(folder: Path, command: Sequence[str] = COMMAND) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A running demo that has greeted: the process, what it said so far, its API port."""
    port, admin_port = free_port(), free_port()
    with (folder / "stderr.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "demo"],
            cwd=folder,
            env={**ENVIRON, "PORT": str(port), "ADMIN_PORT": str(admin_port)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    said = ""
    try:
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, (folder / "stderr.log").read_text()
            said += line
        yield process, said, port
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def post(url: str, body: object) -> dict[str, object]:
    call = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(call, timeout=PATIENCE_SECONDS) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def gone(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("arguments", [[], ["fly"], ["serve", "--port"], ["serve", "now"]])
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == WRONG_SETTINGS
    assert "usage: mimic-proxy" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_documents_the_exit_codes(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == OK
    assert "exit codes: 0 ended well" in " ".join(capsys.readouterr().out.split())


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == OK
    assert capsys.readouterr().out.startswith("mimic-proxy 0")


@pytest.mark.parametrize("command", ["serve", "check"])
def test_all_problems_of_the_settings_are_told_at_once_without_a_traceback(command: str, tmp_path: Path):
    (tmp_path / ".env").write_text("AUTH_CODE=s3cr3t\nVERIFY_SSL=maybe\n")
    ended = ran(command, tmp_path, {"PORT": "http"})
    assert ended.returncode == WRONG_SETTINGS
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert lines[0] == "mimic-proxy: 5 invalid settings:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "CHAT_API_URL",
        "EMBEDDING_API_URL",
        "PORT",
        "TOKEN_URL",
        "VERIFY_SSL",
    ]
    assert "s3cr3t" not in ended.stderr


def test_a_taken_port_ends_with_three_and_says_which(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = ran("demo", tmp_path, {"HOST": "127.0.0.1", "PORT": port, "ADMIN_PORT": str(free_port())})
    assert ended.returncode == CANNOT_LISTEN
    assert ended.stderr.splitlines()[-1].startswith(f"mimic-proxy: Cannot listen on 127.0.0.1 port {port}: ")
    assert "Traceback" not in ended.stderr


def test_quit_alone_ends_with_one(tmp_path: Path):
    ended = ran("quit", tmp_path, {"ADMIN_PORT": str(free_port())})
    assert ended.returncode == FAILED
    assert "No Mimic answers" in ended.stdout


def test_a_check_that_fails_ends_with_one(tmp_path: Path):
    url = f"http://127.0.0.1:{free_port()}"
    environ = {"TOKEN_URL": url, "CHAT_API_URL": url, "EMBEDDING_API_URL": url, "AUTH_CODE": "s3cr3t"}
    ended = ran("check", tmp_path, environ)
    assert ended.returncode == FAILED
    assert "FAIL  Access token" in ended.stdout
    assert "s3cr3t" not in ended.stdout + ended.stderr


def test_the_demo_serves_what_it_prints_and_quit_ends_it(tmp_path: Path):
    """A user's own backend in `.env` does not count in a demo."""
    (tmp_path / ".env").write_text(
        "TOKEN_URL=https://auth.example.com\nCHAT_API_URL=nonsense\nGRANT=static\nMODELS=mine\nHTTP_PROXY=http://proxy:1\n"
    )
    with demo(tmp_path) as (process, said, port):
        assert f"curl -N http://localhost:{port}/v1/chat/completions" in said
        assert f'OpenAI(base_url="http://localhost:{port}/v1"' in said
        answer = post(f"http://127.0.0.1:{port}/v1/chat/completions", CHAT)
        assert answer["object"] == "chat.completion"
        admin_port = said.rpartition("/ in a browser")[0].rpartition(":")[2]
        ended = ran("quit", tmp_path, {"ADMIN_PORT": admin_port})
        assert (ended.returncode, ended.stdout.splitlines()[-1]) == (OK, "Mimic has ended.")
        assert process.wait(PATIENCE_SECONDS) == OK
        assert gone(port)
    assert "Traceback" not in (tmp_path / "stderr.log").read_text()


def test_the_demo_ends_well_with_a_signal_and_its_curl_command_works(tmp_path: Path):
    with demo(tmp_path) as (process, said, _):
        command = said[said.index("curl") : said.index("# pip install")]
        streamed = subprocess.run(["bash", "-c", f"{command.strip()} -sS"], capture_output=True, text=True, check=True)
        assert streamed.stdout.rstrip().endswith("data: [DONE]")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == OK


def test_plain_asyncio_serves_too(tmp_path: Path):
    """There is no uvloop on Windows."""
    with demo(tmp_path, WITHOUT_UVLOOP) as (process, _, port):
        assert post(f"http://127.0.0.1:{port}/v1/chat/completions", CHAT)["object"] == "chat.completion"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == OK


def test_the_python_that_the_demo_prints_works(tmp_path: Path):
    with demo(tmp_path) as (_, said, _):
        code = said[said.index("  from openai") : said.index("How it is")]
        plain = "\n".join(line.removeprefix("  ") for line in code.splitlines())
        ended = subprocess.run([sys.executable, "-c", plain], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (OK, "")
        assert len(ended.stdout) > 10


def test_serve_reads_dotenv_of_the_working_directory_and_is_live_before_a_token_comes(tmp_path: Path):
    nowhere = f"http://127.0.0.1:{free_port()}"
    port, admin_port = free_port(), free_port()
    (tmp_path / ".env").write_text(
        f"TOKEN_URL={nowhere}\nCHAT_API_URL={nowhere}\nEMBEDDING_API_URL={nowhere}\nAUTH_CODE=s3cr3t\n"
        f"PORT={port}\nADMIN_PORT={admin_port}\n"
    )
    with (tmp_path / "stderr.log").open("w") as log:
        process = subprocess.Popen([*COMMAND, "serve"], cwd=tmp_path, env=ENVIRON, stdout=log, stderr=log)
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while gone(admin_port):
            assert time.monotonic() < until
            time.sleep(POLL_SECONDS)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/readyz")
        with refused.value as answer:
            assert answer.code == 503
            assert json.load(answer)["ready"] is False
        assert ran("quit", tmp_path, {}).returncode == OK
        assert process.wait(PATIENCE_SECONDS) == OK
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in (tmp_path / "stderr.log").read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert "s3cr3t" not in (tmp_path / "stderr.log").read_text()
