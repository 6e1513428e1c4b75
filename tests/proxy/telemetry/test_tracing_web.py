"""SERVER spans of the FastAPI apps: one for each request, without what a caller sent."""

import os
import sys
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse
from opentelemetry.trace import get_current_span

from fakes.spans import Traced, said
from mimic_proxy.telemetry.observation import Trace
from mimic_proxy.telemetry.port import NoSpans
from mimic_proxy.telemetry.sampling import Sampler
from mimic_proxy.telemetry.tracing.settings import DEFAULTS
from mimic_proxy.telemetry.tracing.spans import SERVER

CALLERS = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
SECRET = "hidden-4711"


@pytest.fixture(scope="module", autouse=True)
def stable_names() -> Iterator[None]:
    """The instrumentation reads the environment of the process, once."""
    before = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN")
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"
    yield
    if before is None:
        del os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"]
    else:
        os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = before


class Site:
    """An instrumented app, and who asks it."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.traced = Traced(sampler)
        self.web = self.traced.tracing.web_spans()
        self.seen: list[Trace | None] = []
        app = FastAPI()

        @app.get("/things/{name}")
        async def thing(name: str) -> dict[str, str]:
            self.seen.append(self.web.current())
            if name == "fault":
                self.web.finish("internal_error", "req-1", "internal_error")
                raise RuntimeError(SECRET)
            self.web.finish("completed", "req-1", None)
            return {"name": name}

        @app.get("/slow")
        async def slow() -> Response:
            async def pieces() -> AsyncIterator[bytes]:
                for _ in range(50):
                    yield b"x"

            self.web.finish("upstream_error", "req-2", "upstream_timeout")
            return StreamingResponse(pieces())

        @app.get("/livez")
        @app.get("/readyz")
        @app.get("/metrics")
        @app.get("/status/now")
        async def probe() -> dict[str, bool]:
            self.seen.append(self.web.current())
            return {"ok": get_current_span().is_recording()}

        self.traced.tracing.instrument(app)
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://site.test")

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture
async def site() -> Site:
    return Site()


async def test_a_request_is_one_span_named_by_its_route(site: Site) -> None:
    await site.get("/things/a", traceparent=CALLERS, tracestate="vendor=1")
    (span,) = site.traced.spans
    assert (span.name, span.kind, span.failed) == ("GET /things/{name}", SERVER, None)
    assert (span.trace_id, span.parent_id, span.remote_parent) == ("1" * 32, "2" * 16, True)
    assert (span.tracestate, span.events) == ("vendor=1", ())
    assert said(span) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/things/{name}",
        "network.protocol.version": "1.1",
        "url.path": "/things/a",
        "url.scheme": "http",
        "mimic.outcome": "completed",
        "mimic.request_id": "req-1",
    }


async def test_the_request_knows_where_it_stands(site: Site) -> None:
    await site.get("/things/a", traceparent=CALLERS)
    (span,), (trace,) = site.traced.spans, site.seen
    assert trace is not None
    assert (trace.trace_id, trace.span_id, trace.parent_id) == (span.trace_id, span.span_id, "2" * 16)
    assert trace.sampled
    assert len(trace.client_span_id) == 16


async def test_what_a_caller_sent_is_in_no_span(site: Site) -> None:
    await site.get(
        f"/things/a?key={SECRET}", authorization=SECRET, user_agent=SECRET, cookie=SECRET, baggage=f"user={SECRET}"
    )
    assert SECRET not in repr(site.traced.spans)


async def test_a_fault_is_an_error_without_its_words(site: Site) -> None:
    assert (await site.get("/things/fault")).status_code == 500
    (span,) = site.traced.spans
    assert (span.failed, said(span)["mimic.outcome"]) == ("internal_error", "internal_error")
    assert SECRET not in repr(span)


async def test_a_stream_is_one_span_that_can_fail_although_http_said_200(site: Site) -> None:
    assert (await site.get("/slow")).status_code == 200
    (span,) = site.traced.spans
    assert (span.failed, said(span)["error.type"]) == ("upstream_timeout", "upstream_error")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/status/now"])
async def test_probes_and_scrapes_make_no_span(site: Site, path: str) -> None:
    assert (await site.get(path, traceparent=CALLERS)).json() == {"ok": False}
    assert (site.traced.spans, site.seen) == ([], [None])


async def test_what_is_not_sampled_makes_no_span_and_still_has_a_place() -> None:
    site = Site(Sampler(0))
    await site.get("/things/a")
    assert site.traced.spans == []
    (trace,) = site.seen
    assert trace is not None
    assert not trace.sampled
    await site.get("/things/a", traceparent=CALLERS)
    assert len(site.traced.spans) == 1, "the caller's decision counts"


def test_without_instrumentation_everything_is_still_served(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mimic_proxy.telemetry.tracing.web", None)
    traced = Traced()
    traced.tracing.instrument(FastAPI())
    assert isinstance(traced.tracing.web_spans(), NoSpans)
    assert "cannot be instrumented" in caplog.text


def test_the_instrumentation_finds_defaults_and_the_environment_wins() -> None:
    assert Traced().environ == DEFAULTS
    mine = dict.fromkeys(DEFAULTS, "mine")
    assert Traced(environ=mine).environ == mine
