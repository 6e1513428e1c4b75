"""Renderings of the metrics: shared, in slices, and never older than the question."""

import asyncio
import gzip
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.registry import Collector

from mimic_proxy.web import scrape
from mimic_proxy.web.scrape import Scrapes

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Counted(Collector):
    """Metrics that say which rendering they are of; `begun` may hold one up."""

    def __init__(self) -> None:
        self.renderings = 0
        self.metrics = 3

    def collect(self) -> Iterator[Metric]:
        self.renderings += 1
        for number in range(self.metrics):
            yield GaugeMetricFamily(f"metric_{number}", "A gauge.", value=self.renderings)


def scrapes(counted: Counted) -> Scrapes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(counted)
    return Scrapes(registry, lambda: None)


async def test_scrapers_that_come_together_share_a_rendering():
    counted = Counted()
    pages = scrapes(counted)
    got = await asyncio.gather(*(pages.page("", compressed=False) for _ in range(16)))
    assert counted.renderings == 1
    assert {body for body, _ in got} == {got[0][0]}
    assert b"metric_2 1.0\n" in got[0][0]


async def test_who_comes_while_a_rendering_goes_on_gets_the_next_one(monkeypatch):
    """What happened just before the question stands in the answer."""
    monkeypatch.setattr(scrape, "SLICE_SECONDS", 0.0)
    counted = Counted()
    pages = scrapes(counted)
    first = asyncio.create_task(pages.page("", compressed=False))
    while not counted.renderings:
        await asyncio.sleep(0)
    second = await pages.page("", compressed=False)
    assert b"metric_0 2.0\n" in second[0]
    assert b"metric_2 1.0\n" in (await first)[0]


async def test_the_loop_does_other_work_between_the_slices(monkeypatch):
    monkeypatch.setattr(scrape, "SLICE_SECONDS", 0.0)
    counted = Counted()
    counted.metrics = 50
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turn())
    await scrapes(counted).page("", compressed=False)
    other.cancel()
    assert turns >= 50


async def test_a_scraper_that_leaves_does_not_end_the_rendering_of_others():
    counted = Counted()
    pages = scrapes(counted)
    leaving = asyncio.create_task(pages.page("", compressed=False))
    staying = asyncio.create_task(pages.page("", compressed=False))
    await asyncio.sleep(0)
    leaving.cancel()
    assert b"metric_0 1.0\n" in (await staying)[0]


async def test_each_form_is_rendered_whole():
    pages = scrapes(Counted())
    body, content_type = await pages.page(OPENMETRICS, compressed=True)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    text = gzip.decompress(body).decode()
    assert text.count("# EOF\n") == 1
    assert [family.name for family in parse_openmetrics(text)] == ["metric_0", "metric_1", "metric_2"]
    assert "# EOF" not in (await pages.page("text/plain", compressed=False))[0].decode()
