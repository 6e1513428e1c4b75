"""What a real collector gets: whole trees, of the lengths that things took, and nothing that was said."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from openai import APIError, AsyncOpenAI, DefaultAsyncHttpxClient
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import format_span_id, format_trace_id

from fakes.backend import Backend, Request
from fakes.caller import CHAT_BODY, ask, request
from fakes.collector import Exported, Otelcol
from fakes.mimic import PROMPT, Mimic, running, secrets_of, settings
from fakes.replies import DONE, answer, chunk, delta, event, ok, stream_head
from fakes.token_service import TokenService

CALLERS_KEY = "callers-key-4711"
CLIENT, SERVER = 3, 2


class Scene:
    """A Mimic that traces, between a backend and a token service, and an instrumented application."""

    def __init__(self, backend: Backend, tokens: TokenService, mimic: Mimic, collector: Otelcol) -> None:
        self.backend = backend
        self.tokens = tokens
        self.mimic = mimic
        self.collector = collector
        self.provider = TracerProvider(resource=Resource({"service.name": "app"}), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{collector.url}/v1/traces")
        self.provider.add_span_processor(SimpleSpanProcessor(exporter))
        http = DefaultAsyncHttpxClient()
        HTTPX2ClientInstrumentor().instrument_client(http, tracer_provider=self.provider)
        self.sdk = AsyncOpenAI(
            base_url=f"http://127.0.0.1:{mimic.port}/v1", api_key=CALLERS_KEY, max_retries=0, http_client=http
        )
        self.tracer = self.provider.get_tracer("app")

    async def close(self) -> None:
        await self.sdk.close()
        self.provider.shutdown()

    async def raw(self, trace_id: str, method: bytes = b"POST", path: bytes = b"/v1/chat/completions") -> bytes:
        """A call below a sampled caller of this trace; the traceparent that the backend got, if it got one."""
        before = len(self.backend.requests)
        parent = f"00-{trace_id}-{secrets.token_hex(8)}-01".encode()
        body = CHAT_BODY if method == b"POST" else None
        await ask(self.mimic.port, request(method, path, body, [(b"traceparent", parent)]), method)
        asked = self.backend.requests[before:]
        return (asked[-1].value(b"traceparent") or b"") if asked else b""


@asynccontextmanager
async def scene(folder: Path, collector: Otelcol, **more: str) -> AsyncIterator[Scene]:
    async with Backend(ok()) as backend, TokenService() as tokens:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "LOG_LEVEL": "INFO",
            **more,
        }
        environ = settings(backend, tokens, **variables)
        async with running(environ, folder, secrets_of(tokens, CALLERS_KEY)) as mimic:
            made = Scene(backend, tokens, mimic, collector)
            yield made
            await made.close()


def new_trace() -> str:
    return secrets.token_hex(16)


async def test_an_sdk_call_is_one_tree_from_app_to_backend(tmp_path: Path, collector: Otelcol) -> None:
    async with scene(tmp_path, collector) as s:
        with s.tracer.start_as_current_span("app work") as work:
            got = await s.sdk.chat.completions.create(model="small", messages=[{"role": "user", "content": PROMPT}])
        assert got.choices[0].message.content
        trace_id = format_trace_id(work.get_span_context().trace_id)
        spans = await collector.trace(trace_id, "app work", "POST", "POST /v1/chat/completions", "chat small")
        app, http = spans["app work"], spans["POST"]
        server, client = spans["POST /v1/chat/completions"], spans["chat small"]
        assert len(spans) == 4
        assert app.span_id == format_span_id(work.get_span_context().span_id)
        assert [http.parent_id, server.parent_id, client.parent_id] == [app.span_id, http.span_id, server.span_id]
        assert [span.service for span in (app, http, server, client)] == ["app", "app", "mimic-proxy", "mimic-proxy"]
        assert (server.kind, client.kind) == (SERVER, CLIENT)
        assert app.start <= server.start <= client.start <= client.end <= server.end + 0.001
        sent = s.backend.requests[0].value(b"traceparent")
        assert sent == f"00-{trace_id}-{client.span_id}-01".encode()
        assert client.attributes["gen_ai.request.model"] == "small"
        assert client.attributes["server.port"] == str(s.backend.port)


async def test_a_refresh_is_a_trace_of_its_own_that_is_linked(tmp_path: Path, collector: Otelcol) -> None:
    async with scene(tmp_path, collector) as s:
        s.backend.script = s.tokens.guard(ok())
        s.tokens.revoke()
        trace_id = new_trace()
        await s.raw(trace_id)
        spans = await collector.until(lambda spans: _wait_of(spans, trace_id) is not None)
        wait = _wait_of(spans, trace_id)
        assert wait is not None
        ((refresh_trace, refresh_span),) = wait.links
        spans = await collector.until(lambda spans: any(span.span_id == refresh_span for span in spans))
        refresh = next(span for span in spans if span.span_id == refresh_span)
        ours = [span for span in spans if span.trace_id == trace_id]
        server = next(span for span in ours if span.kind == SERVER)
        client = next(span for span in ours if span.name.startswith("chat "))
        assert (refresh.name, refresh.trace_id, refresh.parent_id) == ("token refresh", refresh_trace, "")
        assert refresh.trace_id != trace_id
        assert refresh.links == [(trace_id, server.span_id)]
        assert refresh.attributes["mimic.token.trigger"] == "unauthorized"
        tries = [span for span in ours if span.name == "HTTP POST"]
        assert [span.attributes.get("http.response.status_code") for span in tries] == ["401", "200"]
        assert {span.parent_id for span in tries} | {wait.parent_id} == {client.span_id}
        assert client.events == ["retry", "token_refreshed"]
        assert len(ours) == 5


def _wait_of(spans: list[Exported], trace_id: str) -> Exported | None:
    return next((span for span in spans if span.name == "token wait" and span.trace_id == trace_id), None)


async def test_a_stream_s_client_span_lasts_as_long_as_the_stream(tmp_path: Path, collector: Otelcol) -> None:
    async def slowly(asked: Request) -> None:
        await asked.whole.wait()
        await asked.send(stream_head())
        for word in ("one", "two", "three", "four"):
            await asked.send(chunk(delta(word)))
            await asyncio.sleep(0.1)
        await asked.send(chunk(delta(finish="stop") + DONE), b"0\r\n\r\n")

    async with scene(tmp_path, collector) as s:
        s.backend.script = slowly
        with s.tracer.start_as_current_span("app work") as work:
            stream = await s.sdk.chat.completions.create(
                model="small", stream=True, messages=[{"role": "user", "content": PROMPT}]
            )
            words = [part.choices[0].delta.content async for part in stream]
        assert words[:4] == ["one", "two", "three", "four"]
        trace_id = format_trace_id(work.get_span_context().trace_id)
        spans = await collector.trace(trace_id, "POST", "POST /v1/chat/completions", "chat small")
        client = spans["chat small"]
        assert 0.4 <= client.end - client.start < 2.0
        assert client.end - client.start > 3 * client.attributes["gen_ai.response.time_to_first_chunk"]
        assert (client.attributes["mimic.stream.events"], client.events) == ("5", ["first_chunk"])
        assert client.attributes["mimic.stream.max_gap"] >= 0.1


async def test_an_error_frame_is_an_error_although_http_said_200(tmp_path: Path, collector: Otelcol) -> None:
    frame = event({"error": {"message": "the model has crashed", "type": "server_error"}})

    async def failing(asked: Request) -> None:
        await asked.whole.wait()
        await asked.send(stream_head(), chunk(delta("one")), chunk(frame), b"0\r\n\r\n")

    async with scene(tmp_path, collector) as s:
        s.backend.script = failing
        with s.tracer.start_as_current_span("app work") as work:
            stream = await s.sdk.chat.completions.create(
                model="small", stream=True, messages=[{"role": "user", "content": PROMPT}]
            )
            with pytest.raises(APIError, match="the model has crashed"):
                async for _ in stream:
                    pass
        trace_id = format_trace_id(work.get_span_context().trace_id)
        spans = await collector.until(
            lambda spans: len([1 for span in spans if span.trace_id == trace_id and span.service != "app"]) == 2
        )
        ours = [span for span in spans if span.trace_id == trace_id and span.service != "app"]
        assert [span.failed for span in ours] == [True, True]
        server = next(span for span in ours if span.kind == SERVER)
        client = next(span for span in ours if span.kind == CLIENT)
        assert server.attributes["http.response.status_code"] == "200"
        assert (server.attributes["mimic.outcome"], client.events) == ("upstream_error", ["first_chunk", "error_frame"])
        assert "crashed" not in collector.text()


async def test_the_models_call_stands_below_the_span_of_its_web_application(tmp_path: Path, collector: Otelcol) -> None:
    async with scene(tmp_path, collector) as s:

        async def models(asked: Request) -> None:
            await asked.whole.wait()
            await asked.send(answer(200, json.dumps({"data": [{"id": "small"}]}).encode()))

        s.backend.script = models
        trace_id = new_trace()
        sent = await s.raw(trace_id, b"GET", b"/v1/models")
        spans = await collector.trace(trace_id, "GET /v1/models", "models list")
        server, client = spans["GET /v1/models"], spans["models list"]
        assert (client.parent_id, len(spans)) == (server.span_id, 2)
        assert server.attributes["mimic.outcome"] == "completed"
        assert sent == f"00-{trace_id}-{client.span_id}-01".encode()


async def test_what_is_not_sampled_sends_a_traceparent_that_says_so(tmp_path: Path, collector: Otelcol) -> None:
    async with scene(tmp_path, collector, OTEL_TRACES_SAMPLER="always_off") as s:
        trace_id = new_trace()
        sent = await s.raw(trace_id)
        assert sent.startswith(b"00-" + trace_id.encode() + b"-")
        assert sent.endswith(b"-00")
        marker = new_trace()
        await s.raw(marker)
        await asyncio.sleep(0.3)
        assert not [span for span in collector.spans() if span.trace_id in (trace_id, marker)]


@pytest.mark.parametrize("variables", [{"MIMIC_TRACE_UPSTREAM": "False"}, {"OTEL_PROPAGATORS": "none"}])
async def test_the_backend_is_told_of_no_trace_where_it_is_not_to(
    tmp_path: Path, collector: Otelcol, variables: dict[str, str]
) -> None:
    async with scene(tmp_path, collector, **variables) as s:
        assert await s.raw(new_trace()) == b""


async def test_baggage_goes_upstream_only_if_it_is_named(tmp_path: Path, collector: Otelcol) -> None:
    fields = [(b"baggage", b"user=1")]
    for name, passes in (("tracecontext", None), ("tracecontext,baggage", b"user=1")):
        folder = tmp_path / name
        folder.mkdir()
        async with scene(folder, collector, OTEL_PROPAGATORS=name) as s:
            await ask(s.mimic.port, request(b"POST", b"/v1/chat/completions", CHAT_BODY, fields), b"POST")
            assert s.backend.requests[0].value(b"baggage") == passes


async def test_no_secret_and_no_word_of_a_prompt_reaches_the_collector(tmp_path: Path, collector: Otelcol) -> None:
    async with scene(tmp_path, collector, LOG_LEVEL="DEBUG") as s:
        body = json.dumps(
            {"model": "small", "messages": [{"role": "user", "content": PROMPT}], "stop": [PROMPT], "user": PROMPT}
        ).encode()
        fields = [
            (b"authorization", b"Bearer " + CALLERS_KEY.encode()),
            (b"x-custom", PROMPT.encode()),
            (b"baggage", b"user=" + CALLERS_KEY.encode()),
        ]
        s.backend.script = s.tokens.guard(ok())
        s.tokens.revoke()
        trace_id = new_trace()
        for path in (b"/v1/chat/completions?key=" + CALLERS_KEY.encode(), b"/v1/models?key=" + CALLERS_KEY.encode()):
            method = b"GET" if b"models" in path else b"POST"
            parent = (b"traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-01".encode())
            sent = request(method, path, body if method == b"POST" else None, [*fields, parent])
            await ask(s.mimic.port, sent, method)
        await collector.until(
            lambda spans: (
                {"GET /v1/models", "POST /v1/chat/completions", "token wait"}
                <= {span.name for span in spans if span.trace_id == trace_id}
            )
        )
        text = collector.text()
        for secret in (PROMPT, CALLERS_KEY, s.tokens.auth_code, *s.tokens.issued):
            assert secret not in text
