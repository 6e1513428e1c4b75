"""The YAML file changes while Mimic runs: what begins afterwards goes the new way, nothing that runs is disturbed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from fakes.backend import Backend, Request
from fakes.caller import STREAM_BODY, Caller, ask, chat, request
from fakes.mimic import Mimic, eventually, running, secrets_of
from fakes.replies import COMPLETION, DONE, LAST_CHUNK, answer, chunk, delta, hang, ok, stream_head
from fakes.scrape import Scrape, key
from fakes.token_service import TokenService

HOLD = "hold from now on"


class File:
    """The configuration of one Mimic, as an operator would write it."""

    def __init__(self, file: Path, backend: Backend, tokens: TokenService) -> None:
        self.file = file
        self.values: dict[str, object] = {
            "token_url": tokens.url,
            "chat_api_url": f"{backend.url}/one",
            "embedding_api_url": f"{backend.url}/one",
        }
        self.write()

    def write(self, **changed: object) -> None:
        """As Kubernetes does it: a new file in the old one's place."""
        self.values |= changed
        new = self.file.with_suffix(".new")
        new.write_text(yaml.safe_dump(self.values))
        new.replace(self.file)


@pytest.fixture
async def tokens() -> AsyncIterator[TokenService]:
    async with TokenService() as service:
        yield service


@asynccontextmanager
async def configured(tmp_path: Path, backend: Backend, tokens: TokenService) -> AsyncIterator[tuple[Mimic, File]]:
    file = File(tmp_path / "mimic.yaml", backend, tokens)
    environ = {"MIMIC_CONFIG": str(file.file), "AUTH_CODE": tokens.auth_code}
    async with running(environ, tmp_path, secrets_of(tokens)) as mimic:
        yield mimic, file


async def test_other_urls_models_and_limits_hold_at_once_on_open_connections(
    tmp_path: Path, backend: Backend, tokens: TokenService
) -> None:
    backend.script = ok()
    async with configured(tmp_path, backend, tokens) as (mimic, file), await Caller.connect(mimic.port) as caller:
        for _ in range(2):
            await caller.send(chat())
            assert (await caller.response()).status == 200
        file.write(chat_api_url=f"{backend.url}/two", models=["m"], max_body_bytes=200, log_level="INFO")
        await eventually(lambda: HOLD in mimic.log)
        await caller.send(chat())
        assert (await caller.response()).status == 200
        assert [sent.target for sent in backend.requests] == [b"/one/chat/completions"] * 2 + [b"/two/chat/completions"]
        models = await ask(mimic.port, request(b"GET", b"/v1/models"), b"GET")
        assert b'"id":"m"' in models.body
        large = await ask(mimic.port, chat(b'{"model":"m","x":"' + b"x" * 300 + b'"}'))
        assert large.status == 413
        scrape = await Scrape.of(mimic)
        assert scrape.counts[key("mimic_config_reloads_total", {"result": "success"})] == 1
        assert tokens.calls == 1, "the way to tokens has not changed"


async def test_a_stream_that_runs_is_not_disturbed(tmp_path: Path, backend: Backend, tokens: TokenService) -> None:
    gate = asyncio.Event()

    async def play(request: Request) -> None:
        await request.whole.wait()
        await request.send(stream_head(), chunk(delta("one")))
        await gate.wait()
        await request.send(chunk(delta("two", finish="stop") + DONE), LAST_CHUNK)

    backend.script = play
    async with configured(tmp_path, backend, tokens) as (mimic, file), await Caller.connect(mimic.port) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        await caller.body_until(b"one")
        file.write(chat_api_url="http://127.0.0.1:9/nowhere", connect_timeout=1, scope="other")
        await eventually(lambda: HOLD in mimic.log)
        gate.set()
        assert b"[DONE]" in await caller.body_until(b"[DONE]")
        assert (await ask(mimic.port, chat())).status == 502


async def test_another_token_service_is_asked_at_once(tmp_path: Path, backend: Backend, tokens: TokenService) -> None:
    async with TokenService() as other:
        backend.script = ok()
        async with configured(tmp_path, backend, tokens) as (mimic, file):
            assert (await ask(mimic.port, chat())).status == 200
            file.write(token_url=other.url)
            await eventually(lambda: "access token 2 (config)" in mimic.log)
            assert other.calls == 1
            assert (await ask(mimic.port, chat())).status == 200
            assert backend.requests[-1].value(b"authorization") == f"Bearer {other.issued[-1]}".encode()
            for token in other.issued:
                assert token not in mimic.log


async def test_another_dialect_is_spoken_at_once(tmp_path: Path, backend: Backend, tokens: TokenService) -> None:
    backend.script = ok()
    async with configured(tmp_path, backend, tokens) as (mimic, file), await Caller.connect(mimic.port) as caller:
        await caller.send(chat())
        assert (await caller.response()).body == COMPLETION
        file.write(dialect="envelope", envelope_text_path="said")
        await eventually(lambda: HOLD in mimic.log)
        await mimic.until(mimic.is_ready)
        # Not ok() any more: a completion of OpenAI's has no text there.
        await caller.send(chat())
        assert (await caller.response()).error()["code"] == "upstream_bad_response"

        async def said(request: Request) -> None:
            await request.whole.wait()
            await request.send(answer(200, b'{"said":"Hello"}'))

        backend.script = said
        await caller.send(chat())
        assert b"Hello" in (await caller.response()).body
        assert backend.requests[-1].target == b"/one"


async def test_a_bad_file_changes_nothing_and_is_told(tmp_path: Path, backend: Backend, tokens: TokenService) -> None:
    backend.script = ok()
    async with configured(tmp_path, backend, tokens) as (mimic, file):
        file.write(chat_api_url="no URL", max_queue=-1)
        await eventually(lambda: "the old one stays" in mimic.log)
        assert "CHAT_API_URL" in mimic.log
        assert "MAX_QUEUE" in mimic.log
        assert (await ask(mimic.port, chat())).status == 200
        scrape = await Scrape.of(mimic)
        assert scrape.counts[key("mimic_config_reloads_total", {"result": "failure"})] == 1
        file.write(chat_api_url=f"{backend.url}/two", max_queue=7)
        await eventually(lambda: HOLD in mimic.log)
        assert (await ask(mimic.port, chat())).status == 200


async def test_a_file_that_was_emptied_does_not_switch_client_keys_off(
    tmp_path: Path, backend: Backend, tokens: TokenService
) -> None:
    backend.script = ok()
    places = {"TOKEN_URL": tokens.url, "CHAT_API_URL": backend.url, "EMBEDDING_API_URL": backend.url}
    file = tmp_path / "mimic.yaml"
    file.write_text("client_keys: 'alice: key-of-alice'\n")
    environ = {"MIMIC_CONFIG": str(file), "AUTH_CODE": tokens.auth_code, **places}
    async with running(environ, tmp_path, secrets_of(tokens)) as mimic:
        assert (await ask(mimic.port, chat())).status == 401
        file.write_bytes(b"")
        await eventually(lambda: "mimic.yaml is empty" in mimic.log)
        assert (await ask(mimic.port, chat())).status == 401
        file.write_text("# no keys\n")
        await eventually(lambda: "CLIENT_KEYS is not set any more" in mimic.log)
        assert (await ask(mimic.port, chat())).status == 200


async def test_what_needs_a_restart_is_told_and_stays(tmp_path: Path, backend: Backend, tokens: TokenService) -> None:
    backend.script = ok()
    async with configured(tmp_path, backend, tokens) as (mimic, file):
        file.write(allowed_hosts=["mimic.example"], models=["m"])
        await eventually(lambda: HOLD in mimic.log)
        assert "hold after a restart: ALLOWED_HOSTS" in mimic.log
        shown = (await mimic.admin("/config")).body
        assert b'"ALLOWED_HOSTS":[]' in shown
        assert b'"MODELS":["m"]' in shown


async def test_a_token_service_that_does_not_answer_costs_no_call_and_a_corrected_url_is_the_only_one_asked(
    tmp_path: Path, backend: Backend, tokens: TokenService
) -> None:
    backend.script = tokens.guard(ok())
    async with configured(tmp_path, backend, tokens) as (mimic, file), TokenService() as wrong:
        wrong.script = hang()
        file.write(token_url=wrong.url, token_timeout=30)
        await wrong.server.request()
        for _ in range(50):
            assert (await ask(mimic.port, chat())).status == 200
        file.write(token_url=tokens.url)
        await eventually(lambda: "access token 2 (config)" in mimic.log)
        assert (await ask(mimic.port, chat())).status == 200
        assert (wrong.calls, tokens.calls) == (1, 2)


async def test_other_ways_to_reach_the_token_service_and_other_formats_keep_the_token(
    tmp_path: Path, backend: Backend, tokens: TokenService
) -> None:
    backend.script = ok()
    async with configured(tmp_path, backend, tokens) as (mimic, file):
        assert (await ask(mimic.port, chat())).status == 200
        tokens.script = hang()
        file.write(token_timeout=3, connect_timeout=2, token_default_lifetime=60, token_format="Key {token}")
        await eventually(lambda: HOLD in mimic.log)
        assert (await ask(mimic.port, chat())).status == 200
        assert backend.requests[-1].value(b"authorization") == f"Key {tokens.issued[0]}".encode()
        assert tokens.calls == 1
