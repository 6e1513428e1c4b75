"""The admin port: probes, metrics, and a configuration that tells no secret."""

import asyncio
import json
import time

import pytest

from fakes.backend import Backend
from fakes.caller import Caller, ask, chat, request
from fakes.mimic import Mimic, Start, eventually
from fakes.replies import ok
from fakes.token_service import TokenService


async def test_config_tells_settings_but_no_secret(backend: Backend, tokens: TokenService, start: Start) -> None:
    async with start(CHAT_API_URL=f"{backend.url}/v1?api-key=query-secret-1") as mimic:
        got = await mimic.admin("/config")
        assert (got.status, got.value(b"content-type")) == (200, b"application/json")
        assert f"{backend.port}" in got.body.decode()
        for secret in (tokens.auth_code, *tokens.issued):
            assert secret not in got.body.decode()
        assert "max_concurrency" in json.dumps(got.json()).lower()


async def test_metrics_count_exchanges_and_tell_no_secret(mimic: Mimic, backend: Backend) -> None:
    backend.script = ok()
    await ask(mimic.port, chat())
    got = await mimic.admin("/metrics")
    assert got.status == 200
    assert (got.value(b"content-type") or b"").startswith(b"text/plain")
    assert "fake-access-token" not in got.body.decode()
    assert any(line.startswith("mimic_") for line in got.body.decode().splitlines())


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/models", b"/nonsense"])
async def test_the_admin_port_relays_nothing(mimic: Mimic, backend: Backend, path: bytes) -> None:
    got = await ask(mimic.admin_port, request(b"POST", path, b"{}"))
    assert got.status in (404, 405)
    assert backend.requests == []


@pytest.mark.parametrize("path", [b"/readyz", b"/metrics", b"/config", b"/livez"])
async def test_the_api_port_tells_nothing_of_the_admin_port(mimic: Mimic, path: bytes) -> None:
    got = await ask(mimic.port, request(b"GET", path), b"GET")
    assert (got.status, got.error()["code"]) == (404, "unknown_route")


async def test_idle_connections_to_the_admin_port_keep_nobody_from_the_api(backend: Backend, start: Start) -> None:
    """Half of them send a part of a head. All hold descriptors of the process that callers need, too."""
    backend.script = ok()
    async with start() as mimic:
        held = [await Caller.connect(mimic.admin_port) for _ in range(200)]
        for caller in held[::2]:
            await caller.send(b"GET /st")
        assert (await ask(mimic.port, chat())).status == 200
        before = mimic.open_files
        await eventually(lambda: mimic.open_files < before - 40, 30, "the end of idle connections")
        assert (await mimic.admin("/livez")).status == 200
        for caller in held:
            caller.close()


async def test_the_process_may_hold_as_many_descriptors_as_the_system_lets_it(mimic: Mimic) -> None:
    soft, hard = mimic.descriptor_limits
    assert soft == hard


async def test_hundreds_of_connections_to_the_admin_port_keep_no_probe_from_its_answer(mimic: Mimic) -> None:
    """A kubelet that gets none has the pod killed. The connections come again whenever one of them is closed."""
    over, opened = asyncio.Event(), 0

    async def hold() -> None:
        nonlocal opened
        while not over.is_set():
            caller = await Caller.connect(mimic.admin_port)
            opened += 1
            await caller.send_if_open(b"GET /livez HTTP/1.1\r\nhost: lo")
            try:
                await caller.ended()
            finally:
                caller.close()

    held = [asyncio.create_task(hold()) for _ in range(500)]
    waits = []
    try:
        # That long the test itself is busy.
        await eventually(lambda: opened >= 500, 10, "all connections")
        for _ in range(20):
            began = time.monotonic()
            assert (await mimic.admin("/livez")).status == 200
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.1)
    finally:
        over.set()
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
    assert max(waits) < 0.25


async def test_a_caller_cannot_choose_the_address_that_it_comes_from(start: Start) -> None:
    """Whoever is taken for this machine may stop Mimic; uvicorn's reading of X-Forwarded-For is off."""
    async with start(FORWARDED_ALLOW_IPS="*") as mimic:
        spoofed = [(b"x-forwarded-for", b"203.0.113.9"), (b"connection", b"close")]
        got = await ask(mimic.admin_port, request(b"GET", b"/config", fields=spoofed), b"GET")
        assert got.status == 200
