"""The composition root: both ports served in this process, the stop, and what hangs on settings."""

import asyncio
import dataclasses
import errno
import gc
import logging
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from fastapi import FastAPI

from fakes.backend import Backend
from fakes.caller import CHAT_BODY, STREAM_BODY, Caller, ask, chat, request
from fakes.listener import closed
from fakes.replies import answer, chunk, delta, hang, ok, reply, stream_head
from fakes.token_service import TokenService
from mimic_proxy.app import running as serving
from mimic_proxy.app.mimic import Mimic
from mimic_proxy.app.parts import proxy_for
from mimic_proxy.app.running import CannotListen, api_server, run
from mimic_proxy.errors import InvalidRequest
from mimic_proxy.http.target import parse_base
from mimic_proxy.relay.connection import Connection
from mimic_proxy.relay.ports import Limits
from mimic_proxy.settings.fields import SettingsError, load
from mimic_proxy.telemetry.observation import RefreshObservation
from mimic_proxy.telemetry.port import Telemetry
from mimic_proxy.telemetry.record import Record

NOWHERE = {
    "CHAT_API_URL": "http://models.test/v1",
    "EMBEDDING_API_URL": "http://models.test/v1",
    "GRANT": "static",
    "ACCESS_TOKEN": "a-static-token",
}


class Seen:
    """What a Mimic has told of itself."""

    def __init__(self) -> None:
        self.exchanges: list[Record] = []
        self.refreshes: list[RefreshObservation] = []

    def mimic(self, environ: dict[str, str]) -> Mimic:
        return Mimic(load(environ), Telemetry(exchange=self.exchanges.append, refresh=self.refreshes.append))


@pytest.fixture
async def seen() -> Seen:
    return Seen()


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend(ok()) as server:
        yield server
        server.reset()


@pytest.fixture
async def tokens() -> AsyncIterator[TokenService]:
    async with TokenService() as service:
        yield service


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process does to its garbage collector at the start is not for this one."""
    monkeypatch.setattr(serving, "_settle_memory", lambda: None)


@asynccontextmanager
async def running(seen: Seen, backend: Backend, tokens: TokenService, **more: str) -> AsyncIterator[tuple[Mimic, int]]:
    """A Mimic that serves in this loop, and its port; asked to stop at the end."""
    environ = {
        "CHAT_API_URL": f"{backend.url}/v1",
        "EMBEDDING_API_URL": f"{backend.url}/v1",
        "TOKEN_URL": tokens.url,
        "AUTH_CODE": tokens.auth_code,
        "HOST": "127.0.0.1",
        "ADMIN_HOST": "127.0.0.1",
        "PORT": "0",
        "ADMIN_PORT": "0",
        **more,
    }
    mimic = seen.mimic(environ)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run(mimic, FastAPI(), "1.2.3", ready.set_result))
    try:
        first: list[asyncio.Future[Any]] = [ready, task]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield mimic, int(ready.result().rpartition(":")[2])
        mimic.request_stop()
        async with asyncio.timeout(10):
            await task
    finally:
        task.cancel()
        await asyncio.wait([task])


# ---- serving


async def test_calls_are_served_with_a_fresh_token(seen: Seen, backend: Backend, tokens: TokenService) -> None:
    async with running(seen, backend, tokens) as (mimic, port):
        got = await ask(port, chat())
        assert got.status == 200
        assert (await backend.request()).value(b"authorization") == f"Bearer {tokens.issued[0]}".encode()
        assert (await ask(port, request(b"GET", b"/v1/unknown"), b"GET")).error()["code"] == "unknown_route"
        assert [holds for _, holds, _ in mimic.ready()] == [True, True, True]
    assert sorted(one.operation for one in seen.exchanges) == ["chat", "unmatched"]
    assert [one.result for one in seen.refreshes] == ["success"]
    assert mimic.services.ticker.running() == []


async def test_tls_is_served_where_a_certificate_is_given(
    seen: Seen, backend: Backend, tokens: TokenService, tmp_path: Path
) -> None:
    authority = trustme.CA()
    file = tmp_path / "both.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
    import ssl

    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with running(seen, backend, tokens, TLS_CERT=str(file)) as (_, port):
        assert (await ask(port, chat(), tls=context)).status == 200


# ---- stopping


async def test_the_stop_lets_running_exchanges_end(seen: Seen, backend: Backend, tokens: TokenService) -> None:
    gate = asyncio.Event()

    async def play(request: Any) -> None:
        await request.send(stream_head(), chunk(delta("one")))
        await gate.wait()
        await request.send(chunk(delta("two", finish="stop") + b"data: [DONE]\n\n"), b"0\r\n\r\n")

    backend.script = play
    async with running(seen, backend, tokens) as (mimic, port), await Caller.connect(port) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        await caller.body_until(b"one")
        mimic.request_stop()
        mimic.request_stop()
        assert [why for _, holds, why in mimic.ready() if not holds] == ["Mimic is stopping"]
        while not mimic.services.draining:
            await asyncio.sleep(0)
        gate.set()
        await caller.body_until(b"[DONE]")
        assert await caller.data() == b""
        assert caller.complete
    assert [one.outcome for one in seen.exchanges] == ["completed"]


async def test_what_is_left_at_the_drain_timeout_is_ended_with_503(
    seen: Seen, backend: Backend, tokens: TokenService
) -> None:
    backend.script = hang()
    async with (
        running(seen, backend, tokens, DRAIN_TIMEOUT="0.05") as (mimic, port),
        await Caller.connect(port) as caller,
    ):
        await caller.send(chat())
        await backend.request()
        mimic.request_stop()
        got = await caller.response()
        assert (got.status, got.error()["code"]) == (503, "shutting_down")
        await caller.ended()
    assert [one.outcome for one in seen.exchanges] == ["shutdown"]
    await backend.until(lambda: not backend.open_connections)


async def test_idle_connections_do_not_hold_the_stop_up(seen: Seen, backend: Backend, tokens: TokenService) -> None:
    async with running(seen, backend, tokens) as (mimic, port), await Caller.connect(port) as caller:
        await caller.send(chat())
        await caller.response()
        mimic.request_stop()
        assert await caller.ended() == b""
    async with asyncio.timeout(5):
        await closed(*mimic.pools._pools.values())


async def test_a_caller_who_takes_nothing_does_not_hold_the_stop_up(
    seen: Seen, backend: Backend, tokens: TokenService
) -> None:
    backend.script = reply(answer(200, b"x" * 20_000_000, [(b"content-type", b"text/plain")]))
    async with running(seen, backend, tokens, DRAIN_TIMEOUT="0.05") as (_, port):
        caller = await Caller.connect(port, receive_buffer=4096)
        await caller.send(chat())
        await caller.head()
        await backend.request()
    caller.reset()
    assert [one.outcome for one in seen.exchanges] == ["shutdown"]


async def test_new_connections_are_refused_while_stopping(seen: Seen, backend: Backend, tokens: TokenService) -> None:
    backend.script = hang()
    async with running(seen, backend, tokens, DRAIN_TIMEOUT="5") as (mimic, port), await Caller.connect(port) as caller:
        await caller.send(chat())
        await backend.request()
        mimic.request_stop()
        while not mimic.services.draining:
            await asyncio.sleep(0)
        refused = False
        while not refused:
            try:
                async with await Caller.connect(port):
                    await asyncio.sleep(0)
            except ConnectionError:
                refused = True
        caller.close()
    assert [one.outcome for one in seen.exchanges] == ["client_disconnect"]


async def test_during_the_drain_delay_all_is_still_served(seen: Seen, backend: Backend, tokens: TokenService) -> None:
    async with running(seen, backend, tokens, DRAIN_DELAY="2") as (mimic, port):
        mimic.request_stop()
        while not mimic.services.draining:
            await asyncio.sleep(0)
        got = await ask(port, chat())
        assert (got.status, got.fields(b"connection")) == (200, [b"close"])


async def test_signals_begin_the_stop_and_are_given_back(seen: Seen, backend: Backend, tokens: TokenService) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with running(seen, backend, tokens) as (mimic, _):
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            await mimic.stopping.wait()
    assert signal.getsignal(signal.SIGTERM) == before


# ---- starting


@pytest.mark.parametrize("setting", ["PORT", "ADMIN_PORT"])
async def test_a_port_that_is_taken_stops_the_start_and_leaves_no_socket(seen: Seen, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environ = {
            **NOWHERE,
            "PORT": "0",
            "ADMIN_PORT": "0",
            "HOST": "127.0.0.1",
            "ADMIN_HOST": "127.0.0.1",
            setting: port,
        }
        mimic = seen.mimic(environ)
        with pytest.raises(CannotListen, match=f"{setting} sets the port"):
            await run(mimic, FastAPI(), "1.2.3")
    await mimic.close()
    gc.collect()


@pytest.mark.parametrize(
    ("names", "named"),
    [(["CA_BUNDLE"], "CA_BUNDLE"), (["CA_BUNDLE", "CLIENT_CERT"], "CLIENT_CERT")],
)
async def test_certificates_that_cannot_be_used_stop_the_start(
    seen: Seen, tmp_path: Path, names: list[str], named: str
) -> None:
    file = tmp_path / "nonsense.pem"
    file.write_text("no certificate")
    with pytest.raises(SettingsError, match=named):
        seen.mimic({**NOWHERE, **dict.fromkeys(names, str(file))})


async def test_a_server_certificate_that_cannot_be_used_stops_the_start(seen: Seen, tmp_path: Path) -> None:
    file = tmp_path / "nonsense.pem"
    file.write_text("no certificate")
    mimic = seen.mimic({**NOWHERE, "TLS_CERT": str(file)})
    with pytest.raises(SettingsError, match="TLS_CERT"):
        api_server(mimic, "1.2.3")
    await mimic.close()


# ---- what hangs on settings


async def test_every_limit_has_its_setting(seen: Seen) -> None:
    given = {
        "FIRST_BYTE_TIMEOUT": "1",
        "IDLE_TIMEOUT": "2",
        "SEND_TIMEOUT": "3",
        "TOTAL_TIMEOUT": "4",
        "QUEUE_TIMEOUT": "5",
        "HEARTBEAT_AFTER": "6",
        "MAX_BODY_BYTES": "7",
        "MAX_UPLOAD_BYTES": "8",
    }
    mimic = seen.mimic({**NOWHERE, **given})
    assert dataclasses.astuple(mimic.services.limits) == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7, 8)
    assert len(dataclasses.fields(Limits)) == len(given)
    await mimic.close()


async def test_operations_of_one_origin_share_their_connections(seen: Seen) -> None:
    same = seen.mimic({**NOWHERE, "EMBEDDING_API_URL": "http://models.test:80/other?key=1"})
    assert same.services.backends["chat"].pool is same.services.backends["embeddings"].pool
    assert same.services.backends["embeddings"].base.path == b"/other"
    other = seen.mimic({**NOWHERE, "EMBEDDING_API_URL": "https://models.test/v1"})
    assert other.services.backends["chat"].pool is not other.services.backends["embeddings"].pool
    for mimic in (same, other):
        await mimic.close()


async def test_the_outbound_proxy_is_chosen_by_scheme_and_no_proxy(seen: Seen) -> None:
    environ = {**NOWHERE, "HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://q:2", "NO_PROXY": "inner.test"}
    mimic = seen.mimic(environ)

    def proxy(url: str) -> object:
        found = proxy_for(mimic.settings, parse_base(url))
        return found and (found.host, found.port)

    assert (proxy("http://a.test"), proxy("https://a.test")) == (("p", 1), ("q", 2))
    assert (proxy("http://x.inner.test"), proxy("https://localhost")) == (None, None)
    await mimic.close()


async def test_it_is_ready_with_a_token_and_says_why_it_is_not(
    seen: Seen, backend: Backend, tokens: TokenService
) -> None:
    environ = {**NOWHERE, "GRANT": "auth_code", "TOKEN_URL": tokens.url, "AUTH_CODE": "wrong"}
    mimic = seen.mimic(environ)
    assert mimic.ready()[1] == ("token", False, "the first token is being fetched")
    mimic.tokens.start()
    async with asyncio.timeout(5):
        while not seen.refreshes:
            await asyncio.sleep(0)
    name, holds, why = mimic.ready()[1]
    assert (name, holds) == ("token", False)
    assert why != "the first token is being fetched"
    await mimic.close()


async def test_settings_that_were_replaced_are_freed(seen: Seen) -> None:
    mimic = seen.mimic({**NOWHERE, "IDLE_TIMEOUT": "10"})
    factory = mimic.protocol_factory()
    for seconds in range(11, 21):
        mimic.reread = lambda seconds=seconds: load({**NOWHERE, "IDLE_TIMEOUT": str(seconds)})
        mimic.configuration_changed()
    gc.collect()
    alive = [known for ref in mimic.before if (known := ref()) is not None]
    assert len(alive) == 1, "that which new connections begin with"
    assert alive[0].successor is mimic.services
    assert factory is not None
    await mimic.close()


async def test_changed_certificates_retire_connections_and_unusable_ones_do_not(
    seen: Seen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    mimic = seen.mimic({**NOWHERE, "CA_BUNDLE": str(file)})
    (pool,) = mimic.pools._pools.values()
    kept = Connection(pool, retires=1e9)
    pool.connections.add(kept)
    before = mimic.tls()
    file.write_text("no certificate")
    with caplog.at_level(logging.WARNING, "mimic"):
        mimic.certificates_changed()
    assert (kept.retires, mimic.tls()) == (1e9, before)
    assert "the old ones stay" in caplog.text
    trustme.CA().cert_pem.write_to_path(str(file))
    mimic.certificates_changed()
    assert (kept.retires, mimic.tls() is before) == (0.0, False)
    pool.connections.clear()
    await mimic.close()


async def test_work_in_a_thread_comes_back_with_its_result_or_its_error(seen: Seen) -> None:
    mimic = seen.mimic(NOWHERE)
    got: list[Any] = []
    come = asyncio.Event()

    def done(result: Any) -> None:
        got.append(result)
        come.set()

    def refuse() -> None:
        raise InvalidRequest("The body is no JSON.")

    for work in (lambda: CHAT_BODY, refuse, lambda: None):
        come.clear()
        mimic._offload(work, done)
        await asyncio.wait_for(come.wait(), 5)
    assert (got[0], type(got[1]), got[2]) == (CHAT_BODY, InvalidRequest, None)
    await mimic.close()


async def test_traces_are_random_hexadecimal_digits(seen: Seen) -> None:
    mimic = seen.mimic(NOWHERE)
    made = {mimic.services.new_trace() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"[0-9a-f]{64}", trace) for trace in made)
    await mimic.close()


async def test_the_files_that_are_watched(seen: Seen, tmp_path: Path) -> None:
    bundle, secret = tmp_path / "ca.pem", tmp_path / "code"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    secret.write_text("code")
    environ = {
        **NOWHERE,
        "GRANT": "auth_code",
        "TOKEN_URL": "http://tokens.test",
        "AUTH_CODE_FILE": str(secret),
        "CA_BUNDLE": str(bundle),
    }
    mimic = seen.mimic(environ)
    assert {file for watch in mimic.watcher()._watches for file in watch.files} == {bundle, secret}
    await mimic.close()


async def test_what_changes_before_it_serves_is_not_missed(seen: Seen, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("alice: key-one")
    mimic = seen.mimic({**NOWHERE, "CLIENT_KEYS_FILE": str(keys)})
    keys.write_text("alice: key-number-two")
    mimic.start()
    mimic.watching.look()
    async with asyncio.timeout(10):
        while mimic._admit(b"key-number-two") != "alice":
            await asyncio.sleep(0.01)
    await mimic.close()


async def test_a_server_that_breaks_ends_the_process_with_its_error(
    seen: Seen, backend: Backend, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(server: Any, sockets: Any = None) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(serving._Server, "serve", serve)
    mimic = seen.mimic({**NOWHERE, "PORT": "0", "ADMIN_PORT": "0", "HOST": "127.0.0.1", "ADMIN_HOST": "127.0.0.1"})
    with pytest.raises(RuntimeError, match="server of ours") as raised:
        await run(mimic, FastAPI(), "1.2.3")
    assert isinstance(raised.value.__cause__, OSError)
    gc.collect()
