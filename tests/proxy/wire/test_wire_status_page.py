"""The status page in a browser, in front of a Mimic to which things happen."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, expect

from fakes.backend import Backend, Request
from fakes.browser import Visit, chromium
from fakes.caller import STREAM_BODY, Caller, ask, chat, request
from fakes.mimic import PROMPT, Mimic, Start, running, secrets_of, settings
from fakes.replies import DONE, LAST_CHUNK, answer, chunk, delta, hang, held, ok, reply, stream_head
from fakes.token_service import TokenService

HOSTILE_MODEL = b"<img src=x onerror=alert(1)>\\u202e\\\"'`${x}</script>"
HOSTILE_SHOWN = "<img src=x onerror=alert(1)>\u202e\"'`${x}</script>"
HOSTILE_PATH = b"/v1/<script>alert(2)</script>"


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    async with chromium() as running_browser:
        yield running_browser


def named(model: bytes) -> bytes:
    return chat(b'{"model":"%b","messages":[{"role":"user","content":"a prompt that nobody may log"}]}' % model)


@asynccontextmanager
async def opened(
    browser: Browser, tokens: TokenService, start: Start, **more: str
) -> AsyncIterator[tuple[Mimic, Visit]]:
    """A Mimic of the test's own and its page, which in the end holds no secret and had no fault."""
    async with start(**more) as mimic, Visit.to(browser, mimic.admin_port) as visit:
        await visit.verdict("good", "Ready, and no calls in the last 5 minutes")
        yield mimic, visit
        document = await visit.page.content() + (await mimic.admin("/status")).body.decode()
        for secret in (*secrets_of(tokens)(), PROMPT):
            assert secret not in document
        visit.judge()


async def test_it_tells_of_calls_and_shows_hostile_names_as_text(
    browser: Browser, backend: Backend, tokens: TokenService, start: Start
) -> None:
    async with opened(browser, tokens, start) as (mimic, visit):
        await visit.shows("#party-token_service", re.compile(r"Works\s*127\.0\.0\.1:\d+\. Last asked at .*: granted"))
        await visit.shows("#token-left", re.compile(r"(1 h|59 min \d+ s) left"))
        await visit.shows("#snippet", f'base_url="http://localhost:{mimic.port}/v1"')
        await visit.shows("#snippet", 'model="your-model"')

        backend.script = ok()
        for model in (b"first", HOSTILE_MODEL):
            assert (await ask(mimic.port, named(model))).status == 200
        # This one waits for the page's own period.
        await visit.verdict("good", "All is well")
        await visit.shows("#calls tbody tr:first-child td:nth-child(2)", HOSTILE_SHOWN)
        await visit.shows("#calls tbody tr:first-child td:nth-child(6)", "1 / 1")
        await visit.shows("#party-backend", "2 calls in 5 minutes; half within")
        await visit.shows("#snippet", 'model="first"')

        assert (await ask(mimic.port, request(b"GET", HOSTILE_PATH), b"GET")).status == 404
        await visit.look()
        await visit.shows("#calls tbody tr:first-child td:nth-child(2)", HOSTILE_PATH.decode())
        assert await visit.page.locator("img").count() == 0
        assert await visit.page.locator("script").count() == 1
        await visit.page.click("#show-failures")
        assert await visit.page.locator("#calls tbody tr").count() == 1


async def test_it_tells_of_a_stream_while_it_runs(
    browser: Browser, backend: Backend, tokens: TokenService, start: Start
) -> None:
    gate = asyncio.Event()

    async def story(asked: Request) -> None:
        await asked.whole.wait()
        await asked.send(stream_head(), chunk(delta("one")))
        await gate.wait()
        await asked.send(chunk(delta(finish="stop") + DONE), LAST_CHUNK)

    backend.script = story
    async with opened(browser, tokens, start) as (mimic, visit), await Caller.connect(mimic.port) as caller:
        await caller.send(chat(STREAM_BODY))
        await caller.head()
        await caller.body_until(b"one")
        await visit.look()
        await visit.shows("#live-count", "1 call, 1 of them streaming")
        await visit.shows("#oldest", re.compile(r"m\s*chat, stream\s*the end of the response"))
        await visit.shows("#slots-text", "1 of 512 in use")
        gate.set()
        while await caller.data():
            pass
        await visit.look()
        await visit.shows("#live-count", "No calls")
        row = visit.page.locator("#calls tbody tr:first-child")
        await expect(row).to_contain_text("200 completed")
        await expect(row.locator("td:nth-child(5)")).to_have_text(re.compile(r"\d+ ms"))


async def test_it_tells_of_a_refused_secret_and_of_the_recovery(
    browser: Browser, backend: Backend, tokens: TokenService, start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "auth_code"
    file.write_text(tokens.auth_code)
    backend.script = tokens.guard(ok())
    async with opened(browser, tokens, start, AUTH_CODE="", AUTH_CODE_FILE=str(file)) as (mimic, visit):
        tokens.auth_code = "another code than before"
        tokens.revoke()
        assert (await ask(mimic.port, chat())).error()["code"] == "token_rejected"
        await visit.look()
        await visit.verdict("bad", re.compile(r"The token service refuses the secret since \d\d:\d\d"))
        await visit.shows("#verdict-advice", "AUTH_CODE_FILE is wrong or has expired: set a valid one.")
        await visit.shows("#party-mimic", "Not ready")
        refused = re.compile(r"refused by the backend\s*secret refused \(401\)")
        await visit.shows("#refreshes tbody tr:first-child", refused)
        await visit.shows("#calls tbody tr:first-child", "502 token error")

        file.write_text(tokens.auth_code)
        await mimic.until(mimic.is_ready)
        assert (await ask(mimic.port, chat())).status == 200
        await visit.look()
        await visit.verdict("good", "All is well")
        await visit.shows("#findings", "There was no access token for 1 of 2 calls")
        await visit.shows("#refreshes tbody tr:first-child", re.compile(r"new secret\s*granted, lives 1 h"))


async def test_it_says_when_mimic_is_gone_and_comes_back_by_itself(
    browser: Browser, backend: Backend, tokens: TokenService, tmp_path: Path
) -> None:
    async with running(settings(backend, tokens), tmp_path, secrets_of(tokens)) as first:
        ports = {"PORT": str(first.port), "ADMIN_PORT": str(first.admin_port)}
        async with Visit.to(browser, first.admin_port) as visit:
            await visit.verdict("good", "Ready")
            backend.script = hang()
            async with await Caller.connect(first.port) as caller:
                await caller.send(chat())
                await backend.request()
                stopping = asyncio.ensure_future(first.stop())
                await visit.verdict("bad", re.compile("Mimic is stopping|does not answer"))
                await stopping
            await visit.verdict("bad", "Mimic does not answer this page since")
            assert any("ERR_CONNECTION_REFUSED" in fault for fault in visit.faults)
            backend.reset()
            async with running(settings(backend, tokens, **ports), tmp_path, secrets_of(tokens)):
                await visit.verdict("good", "Ready")
                visit.faults = [fault for fault in visit.faults if "Failed to load resource" not in fault]
                visit.judge()


async def test_it_answers_while_the_api_is_saturated(browser: Browser, backend: Backend, start: Start) -> None:
    gate = asyncio.Event()
    backend.script = held(gate, ok())
    async with (
        start(MAX_CONCURRENCY="2", MAX_QUEUE="2", LOG_LEVEL="INFO") as mimic,
        Visit.to(browser, mimic.admin_port) as visit,
    ):
        await visit.verdict("good", "Ready")
        waiting = [asyncio.ensure_future(ask(mimic.port, chat())) for _ in range(4)]
        await backend.until(lambda: len(backend.requests) == 2)
        assert (await ask(mimic.port, chat())).error()["code"] == "overloaded"
        await visit.look()
        await visit.shows("#slots-text", "2 of 2 in use")
        await visit.shows("#queue-text", "2 waiting, room for 2")
        await visit.verdict("bad", "Mimic turned away the only call, being at its limits")
        await visit.shows("#findings", "All 2 slots are taken and 2 calls wait")
        gate.set()
        assert [(await call).status for call in waiting] == [200] * 4

        answered: list[int] = []
        flood = [asyncio.ensure_future(_ask_on(mimic, answered)) for _ in range(16)]
        took = []
        while len(answered) < 500:
            before = time.monotonic()
            await visit.look()
            took.append(time.monotonic() - before)
        for caller in flood:
            caller.cancel()
        await asyncio.wait(flood)
        assert sorted(took)[len(took) // 2] < 1.0, took
        assert set(answered) == {200, 503}
        await visit.verdict("bad", re.compile(r"Mimic turned away \d+ % of calls, being at its limits"))
        visit.judge()


async def _ask_on(mimic: Mimic, answered: list[int]) -> None:
    """Call after call; appends the status of each."""
    async with await Caller.connect(mimic.port) as caller:
        while True:
            await caller.send(chat())
            answered.append((await caller.response()).status)


@pytest.fixture(scope="module")
async def busy(anyio_backend: str, _shared_mimic: Mimic, _shared_backend: Backend) -> AsyncIterator[Mimic]:
    """A Mimic that has seen some of everything."""
    _shared_backend.reset(reply(answer(503, b"{}")))
    await ask(_shared_mimic.port, named(b"a-model-with-a-rather-long-name/" + b"x" * 300))
    _shared_backend.reset(ok())
    for _ in range(12):
        await ask(_shared_mimic.port, named(HOSTILE_MODEL))
    yield _shared_mimic
    _shared_backend.reset()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_is_readable_on_every_screen(browser: Browser, busy: Mimic, scheme: Literal["light", "dark"]) -> None:
    async with Visit.to(browser, busy.admin_port, scheme=scheme) as visit:
        await expect(visit.page.locator("#verdict")).not_to_have_attribute("data-level", "unknown")
        await visit.page.click("#more")
        await visit.page.click("#config summary")
        await visit.shows("#settings", "AUTH_CODE")
        for width in (1280, 768, 360):
            await visit.page.set_viewport_size({"width": width, "height": 800})
            assert await visit.overflow() == 0, width
        assert await visit.weak_contrasts() == {}
        ground = await visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 200) is (scheme == "dark")
        visit.judge()


async def test_the_keyboard_reaches_everything(browser: Browser, busy: Mimic) -> None:
    async with Visit.to(browser, busy.admin_port) as visit:
        page = visit.page
        await visit.shows("#languages", "TypeScript")
        await page.keyboard.press("Tab")
        assert await visit.focused() == "Skip to the verdict"
        await page.keyboard.press("Tab")
        assert await visit.focused() == "pause"
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await page.keyboard.press("Enter")
        await visit.shows("#updated", "paused at")
        await page.keyboard.press("Tab")
        plot = page.get_by_role("slider", name="Calls per second")
        await expect(plot).to_be_focused()
        await page.keyboard.press("ArrowLeft")
        await expect(plot).to_have_attribute("aria-valuetext", re.compile(r"\d\d:\d\d:\d\d: calls .*/s, failures "))
        await page.locator("#languages button[aria-selected=true]").focus()
        await page.keyboard.press("ArrowRight")
        assert await visit.focused() == "TypeScript"
        await visit.shows("#snippet", "new OpenAI({ baseURL")
        visit.judge()


async def test_it_asks_for_nothing_while_paused_or_hidden(browser: Browser, busy: Mimic) -> None:
    async with Visit.to(browser, busy.admin_port) as visit:
        page = visit.page
        await page.clock.install()
        await visit.page.reload()
        await visit.shows("#updated", "updated")
        await page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        asked = len(visit.asked)
        await page.clock.run_for(20_000)
        assert len(visit.asked) == asked
        await page.evaluate("Object.defineProperty(document, 'hidden', {value: false})")
        await visit.look()
        await page.click("#pause")
        asked = len(visit.asked)
        await page.clock.run_for(20_000)
        assert len(visit.asked) == asked
        async with page.expect_response("**/status"):
            await page.click("#pause")
        visit.judge()
