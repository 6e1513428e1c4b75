"""Secrets stand in nothing that a process says which never serves, or ends against its will."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import mimic_proxy
from fakes.backend import Backend, Request
from fakes.mimic import settings
from fakes.planted import AUTH_CODE, BASE_QUERY, OTLP_KEY, PROXY_PASSWORD, PROXY_USER, WORDS, in_text
from fakes.replies import answer
from fakes.token_service import TokenService

SERVICE = str(Path(mimic_proxy.__file__).parent.parent)
PROXY = f"http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:9"


async def output(folder: Path, environ: Mapping[str, str], *command: str) -> tuple[int, str]:
    """Exit code and all output of a command that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mimic_proxy",
        *command,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": SERVICE, "LOG_LEVEL": "DEBUG", **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(20):
        told, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, told.decode("utf-8", "replace")


@pytest.fixture
def planted(backend: Backend, tokens: TokenService) -> dict[str, str]:
    """Settings with a secret wherever one can stand."""
    tokens.auth_code = AUTH_CODE
    return settings(
        backend,
        tokens,
        PORT="0",
        ADMIN_PORT="0",
        HOST="127.0.0.1",
        ADMIN_HOST="127.0.0.1",
        CHAT_API_URL=f"{backend.url}/v1?api-key={BASE_QUERY}",
        HTTPS_PROXY=PROXY,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization={OTLP_KEY}",
    )


WRONG: tuple[dict[str, str], ...] = (
    {
        "PORT": AUTH_CODE,
        "GRANT": AUTH_CODE,
        "TOKEN_URL": AUTH_CODE,
        "CHAT_API_URL": f"https://user:{AUTH_CODE}@backend.test/v1",
        "HTTPS_PROXY": f"socks5://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:9",
        "HTTP_PROXY": f"{PROXY}/{AUTH_CODE}",
        "TOKEN_FORMAT": AUTH_CODE,
        "TOKEN_HEADER": f"x {AUTH_CODE}",
        "CA_BUNDLE": f"-----BEGIN CERTIFICATE----- {AUTH_CODE}",
        "ALLOWED_HOSTS": f"https://{AUTH_CODE}/",
        "ALLOWED_ORIGINS": f"{AUTH_CODE}/",
        "VERIFY_SSL": AUTH_CODE,
        "TOKEN_TIMEOUT": AUTH_CODE,
    },
    {
        "GRANT": "static",
        "ACCESS_TOKEN": f"{AUTH_CODE}\N{SNOWMAN}",
        "CHAT_API_URL": f"https://backend.test/v1#{AUTH_CODE}",
        "HTTP_PROXY": f"http://{PROXY_USER}:{PROXY_PASSWORD}\N{SNOWMAN}@127.0.0.1:9",
    },
)
"""Every value cannot be used, and holds a secret, if only by mistake."""
FILES: dict[str, tuple[str, str]] = {
    "a .env that is none": (".env", f"AUTH_CODE {AUTH_CODE}\n'{AUTH_CODE}\n"),
    "no YAML": ("mimic.yaml", f'auth_code: "{AUTH_CODE}\nport: [1\n'),
    "a mapping for a secret": ("mimic.yaml", f"auth_code: {{value: {AUTH_CODE}}}\n"),
    "a tag": ("mimic.yaml", f"auth_code: !!python/name:{AUTH_CODE} 1\n"),
}


@pytest.mark.parametrize(("wrong", "command"), [(WRONG[0], "serve"), (WRONG[0], "check"), (WRONG[1], "serve")])
async def test_settings_that_are_wrong(
    planted: dict[str, str], tmp_path: Path, wrong: dict[str, str], command: str
) -> None:
    code, told = await output(tmp_path, {**planted, **wrong}, command)
    assert [name for name in wrong if name not in told and name != "GRANT"] == []
    assert (code != 0, in_text(WORDS, told)) == (True, [])


@pytest.mark.parametrize(("name", "text"), FILES.values(), ids=FILES)
async def test_a_file_of_settings_that_is_wrong(planted: dict[str, str], tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    unset = {key: value for key, value in planted.items() if key != "AUTH_CODE"}
    code, told = await output(tmp_path, {**unset, "MIMIC_CONFIG": "" if name == ".env" else name}, "serve")
    assert (code != 0, in_text(WORDS, told)) == (True, [])


FAULT = """
import mimic_proxy.app.mimic as app


def start(self):
    raise RuntimeError(f"no {self.settings!r} {self.settings.auth_code} {self.tokens} {self.services.backends}")


app.Mimic.start = start
"""


async def test_a_fault_at_the_start(planted: dict[str, str], tmp_path: Path) -> None:
    """Even what writes settings and tokens down as they are shows no secret."""
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    code, told = await output(tmp_path, {**planted, "PYTHONPATH": os.pathsep.join([str(tmp_path), SERVICE])}, "serve")
    assert "RuntimeError: no Settings(" in told
    assert (code, in_text(WORDS, told)) == (1, [])


async def test_a_check_that_is_told_its_secrets(backend: Backend, planted: dict[str, str], tmp_path: Path) -> None:
    async def echo(request: Request) -> None:
        await request.send(answer(400, b"%s %s" % (request.value(b"authorization"), request.target)))

    backend.script = echo
    code, told = await output(tmp_path, planted, "check")
    assert (code != 0, in_text(WORDS, told), "fake-access-token" in told) == (True, [], False)
