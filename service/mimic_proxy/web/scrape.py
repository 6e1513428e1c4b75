"""Renders the metrics in slices, so that neither a scrape nor many of them hold up the calls that are relayed.

One rendering takes 7 to 11 ms. Between its slices of a millisecond the event loop does other work; only one rendering
goes on at a time, whoever comes meanwhile shares the next one, and after each there is a pause of several times what it
took. A scrape every few seconds notices none of that.
"""

import asyncio
import gzip
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

SLICE_SECONDS = 0.001
PAUSE_FACTOR = 9.0
LONGEST_PAUSE_SECONDS = 0.25
OPENMETRICS_END = b"# EOF\n"

Page = tuple[bytes, str]
"""The body and its content type."""


class Scrapes:
    """Belongs to the event loop's thread."""

    def __init__(self, registry: CollectorRegistry, settle: Callable[[], None]) -> None:
        """settle: counts what has happened but is not counted yet; called before each rendering."""
        self._registry = registry
        self._settle = settle
        self._alone = asyncio.Lock()
        self._free_at = 0.0
        self._next: dict[tuple[str, bool], asyncio.Task[Page]] = {}
        """Renderings that have not begun, by their form: whoever comes now is in time for them."""

    async def page(self, accept: str, *, compressed: bool) -> Page:
        """All metrics as they are now, in the form that the Accept field asks for."""
        form = choose_encoder(accept)[1], compressed
        if form not in self._next:
            self._next[form] = asyncio.create_task(self._rendered(accept, form))
        # A scraper that leaves does not end the rendering that others wait for.
        return await asyncio.shield(self._next[form])

    async def _rendered(self, accept: str, form: tuple[str, bool]) -> Page:
        async with self._alone:
            await asyncio.sleep(max(0.0, self._free_at - time.monotonic()))
            del self._next[form]
            spent, parts = 0.0, []
            began = time.monotonic()
            for part in self._parts(accept):
                parts.append(part)
                if time.monotonic() - began >= SLICE_SECONDS:
                    spent += time.monotonic() - began
                    await asyncio.sleep(0)
                    began = time.monotonic()
            body = b"".join(parts)
            if form[1]:
                body = gzip.compress(body, compresslevel=1)
            now = time.monotonic()
            self._free_at = now + min(PAUSE_FACTOR * (spent + now - began), LONGEST_PAUSE_SECONDS)
        return body, form[0]

    def _parts(self, accept: str) -> Iterator[bytes]:
        """One metric after the other, as it stands when its turn comes."""
        self._settle()
        encode, content_type = choose_encoder(accept)
        for metric in self._registry.collect():
            yield encode(_One(metric)).removesuffix(OPENMETRICS_END)
        if content_type.startswith("application/openmetrics-text"):
            yield OPENMETRICS_END


class _One(Collector):
    """A registry of a single metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric
