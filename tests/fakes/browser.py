"""Debian's chromium at a page, and what went wrong in it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from playwright.async_api import Browser, Page, async_playwright, expect

from fakes.tools import tool

PATIENCE_MS = 10_000
CONTRAST = """
() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = (color) => {
    const [red, green, blue] = rgb(color).map((part) => linear(part / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((rgb(color)[3] ?? 1) > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = {};
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest(".hidden, script, style")) continue;
    const [one, other] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) found[`${node.tagName} ${node.className} ${node.textContent.slice(0, 30)}`] = ratio;
  }
  return found;
}
"""
"""Visible texts whose contrast is below what WCAG 2.2, 1.4.3 asks for, with it."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser; skips the test where there is none."""
    path = tool("chromium")
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path)
        try:
            yield browser
        finally:
            await browser.close()


class Visit:
    """One tab at one page. `faults` is what its console and its scripts complained of."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.faults: list[str] = []
        self.asked: list[str] = []
        """URLs of all requests."""
        page.on("console", lambda message: self.faults.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog {dialog.message}"))

    @classmethod
    @asynccontextmanager
    async def to(
        cls,
        browser: Browser,
        port: int,
        *,
        width: int = 1280,
        height: int = 900,
        scheme: Literal["light", "dark"] = "light",
    ) -> "AsyncIterator[Visit]":
        """The page at `/` of a port of this machine."""
        context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        visit = cls(await context.new_page(), f"http://localhost:{port}")
        try:
            await visit.page.goto(f"{visit.origin}/")
            yield visit
        finally:
            await context.close()

    async def look(self) -> None:
        """The page asks at once, as after coming back to its tab."""
        async with self.page.expect_response("**/status"):
            await self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    async def shows(self, selector: str, text: Any) -> None:
        """Wait until an element holds a text or matches a pattern."""
        await expect(self.page.locator(selector)).to_contain_text(text)

    async def text(self, selector: str) -> str:
        return await self.page.locator(selector).inner_text()

    async def verdict(self, level: str, sentence: Any) -> None:
        """Wait for a verdict."""
        await self.shows("#verdict-sentence", sentence)
        await expect(self.page.locator("#verdict")).to_have_attribute("data-level", level)

    async def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(await self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    async def weak_contrasts(self) -> dict[str, float]:
        found: dict[str, float] = await self.page.evaluate(CONTRAST)
        return found

    async def focused(self) -> str:
        """Id, or else the text, of what the keyboard is at."""
        found: str = await self.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        return found

    def judge(self) -> None:
        """Assert that nothing went wrong and nobody else was asked for anything."""
        assert self.faults == []
        foreign = [url for url in self.asked if not url.startswith((f"{self.origin}/", "data:"))]
        assert foreign == [], json.dumps(foreign)
