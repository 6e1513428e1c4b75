"""The demo backend started alone, from the command line."""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
import uvicorn

from mimic_proxy.demo.__main__ import main


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the server would be started with; app options are under `options`."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr("mimic_proxy.demo.__main__.create_app", lambda options: seen.update(options=options))
    monkeypatch.setattr(uvicorn, "run", lambda app, **settings: seen.update(settings))
    for name in [name for name in os.environ if name.startswith("DEMO_")]:
        monkeypatch.delenv(name)
    return seen


def test_options_reach_the_app(started: dict[str, Any]) -> None:
    assert main(["--port", "81", "--lifetime", "2", "--code", "c", "--float-embeddings", "--any-token"]) == 0
    options = started["options"]
    assert (started["host"], started["port"]) == ("127.0.0.1", 81)
    assert (options.lifetime, options.code, options.always_float, options.any_token) == (2.0, "c", True, True)


def test_options_win_over_the_environment(started: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_CODE", "from the environment")
    monkeypatch.setenv("DEMO_TOKEN_LIFETIME", "9")
    main(["--lifetime", "2"])
    assert (started["options"].code, started["options"].lifetime) == ("from the environment", 2.0)


def test_a_lifetime_that_is_none_ends_the_start(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--lifetime", "0"])
    assert ended.value.code == 2
    monkeypatch.setenv("DEMO_TOKEN_LIFETIME", "never")
    assert main([]) == 2
    assert "DEMO_TOKEN_LIFETIME" in capsys.readouterr().err
    assert not started


@contextlib.contextmanager
def running(*options: str) -> Iterator[int]:
    """The port of a demo backend in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "mimic_proxy.demo", "--port", str(port), *options]
    with subprocess.Popen(command, env=environ) as process:
        try:
            yield port
        finally:
            process.terminate()


def answer(client: httpx2.Client, path: str) -> httpx2.Response:
    """The first answer of a server that is starting; the test's own limit ends the wait."""
    while True:
        with contextlib.suppress(httpx2.ConnectError):
            return client.get(path)


def test_it_serves_https_with_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        running("--any-token", "--tls-cert", str(chain), "--tls-key", str(key)) as port,
        httpx2.Client(base_url=f"https://localhost:{port}", verify=context, trust_env=False) as client,
    ):
        assert answer(client, "/demo/stats").json()["requests"] == 0
