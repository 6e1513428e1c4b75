"""The web application of the API port, through the protocol: every answer in the OpenAI shape, with an id, observed."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from fakes.caller import Response, request
from fakes.transport import Line, turn
from fakes.world import World
from mimic_proxy.errors import ModelNotFound, UpstreamUnreachable
from mimic_proxy.http.headers import RequestFields
from mimic_proxy.relay.access import OriginPolicy
from mimic_proxy.telemetry.observation import Outcome, Trace
from mimic_proxy.telemetry.port import WebSpans
from mimic_proxy.telemetry.record import Record
from mimic_proxy.web.api import create_api
from mimic_proxy.web.models import ModelsAnswer

MODEL = b'{"id":"small"}'


class FakeModels:
    """Answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.fields: list[RequestFields] = []
        self.answer = ModelsAnswer(200, MODEL)
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[Record] = []
        self.note: Callable[[Record], None] = lambda asked: None

    async def list(self, fields: RequestFields, query: bytes, asked: Record) -> ModelsAnswer:
        return await self.one(b"", fields, query, asked)

    async def one(self, raw_id: bytes, fields: RequestFields, query: bytes, asked: Record) -> ModelsAnswer:
        self.asked.append((raw_id, query))
        self.fields.append(fields)
        self.calls.append(asked)
        self.note(asked)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.answer


class Api:
    """The application behind one caller's connection."""

    def __init__(self, spans: WebSpans | None = None, **how: Any) -> None:
        self.world = World()
        self.models = FakeModels()
        self.models.services = self.world.services
        app = create_api(self.world.services, self.models, "1.2.3", spans)  # type: ignore[arg-type]
        self.line = Line(self.world, app=app, **how)  # type: ignore[arg-type]

    async def ask(
        self, method: bytes, path: bytes, *fields: tuple[bytes, bytes], body: bytes | None = None
    ) -> Response:
        before = len(self.line.transport.sent)
        await self.line.read(request(method, path, body, fields))
        while len(self.line.transport.sent) == before:
            await asyncio.sleep(0)
        await turn()
        return self.line.responses(*[method] * 9)[-1]


@pytest.fixture
async def api() -> Api:
    return Api()


async def test_the_list_of_models(api: Api) -> None:
    api.models.answer = ModelsAnswer(
        200, MODEL, (b"Content-Type: application/json\r\n", b"x-vendor: v\r\n", b"Date: d\r\n")
    )
    got = await api.ask(b"GET", b"/v1/models?limit=%2F")
    assert (got.status, got.body, api.models.asked) == (200, MODEL, [(b"", b"limit=%2F")])
    assert (got.value(b"content-type"), got.value(b"x-vendor"), got.fields(b"date")) == (b"application/json", b"v", [])
    assert got.value(b"content-length") == b"%d" % len(MODEL)


async def test_an_answer_without_lines_is_json(api: Api) -> None:
    assert (await api.ask(b"GET", b"/v1/models")).value(b"content-type") == b"application/json"


@pytest.mark.parametrize(
    "raw_id", [b"small", b"org%2Flarge", b"org/large", b"a%20b", b"%E2%98%83", b"a+b", b"ft:gpt-4o:org::id", b"a.b..c"]
)
async def test_one_model_keeps_its_raw_id(api: Api, raw_id: bytes) -> None:
    assert (await api.ask(b"GET", b"/v1/models/" + raw_id + b"?x=1")).status == 200
    assert api.models.asked == [(raw_id, b"x=1")]


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/models/../files",
        b"/v1/models/..",
        b"/v1/models/%2e%2e/organization/users",
        b"/v1/models/a/%2E./%2e%2E/files",
        b"/v1/models/a%2f..%2f..%2ffiles",
        b"/v1/models/a%5c..%5cfiles",
        b"/v1/models/./small",
        b"/v1/models/..;x/files",
        b"/v1/models//files",
        b"/v1/models/",
        b"/v1/models/a/",
    ],
)
async def test_a_path_that_could_be_read_as_another_is_not_asked_for(api: Api, path: bytes) -> None:
    """The backend might resolve it to what Mimic never relays."""
    got = await api.ask(b"GET", path)
    assert (got.status, got.error()["code"], api.models.asked) == (404, "unknown_route", [])


async def test_the_caller_s_fields_go_to_the_models(api: Api) -> None:
    await api.ask(b"GET", b"/v1/models", (b"X-Mine", b"1"), (b"authorization", b"Bearer key"))
    (fields,) = api.models.fields
    assert b"".join(fields.passing) == b"x-mine: 1\r\n"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        (b"GET", b"/", 404, "unknown_route"),
        (b"GET", b"/v1", 404, "unknown_route"),
        (b"GET", b"/v1/nonsense", 404, "unknown_route"),
        (b"POST", b"/v1/organization/users", 404, "unknown_route"),
        (b"GET", b"/v1/realtime", 404, "unknown_route"),
        (b"POST", b"/chat/completions", 404, "unknown_route"),
        (b"GET", b"/v1/embeddings", 405, "method_not_allowed"),
        (b"PUT", b"/v1/chat/completions", 405, "method_not_allowed"),
        (b"POST", b"/v1/models", 405, "method_not_allowed"),
        (b"PUT", b"/v1/models/small", 405, "method_not_allowed"),
        (b"POST", b"/docs", 405, "method_not_allowed"),
        (b"OPTIONS", b"/v1/chat/completions", 405, "method_not_allowed"),
        (b"PATCH", b"/openapi.json", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_served_is_refused_in_the_openai_shape(
    api: Api, method: bytes, path: bytes, status: int, code: str
) -> None:
    got = await api.ask(method, path)
    error = got.error()
    assert (got.status, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert (got.value(b"allow") is not None) is (status == 405)
    assert (got.value(b"x-request-id") or b"").startswith(b"req_")
    (seen,) = api.world.observations
    assert (seen.outcome, seen.status, seen.method, seen.path) == (
        "client_error",
        status,
        method.decode(),
        path.decode(),
    )


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/nonsense"])
async def test_head_is_refused_without_a_body(api: Api, path: bytes) -> None:
    got = await api.ask(b"HEAD", path)
    assert (got.status in (404, 405), got.body) == (True, b"")


@pytest.mark.parametrize("path", [b"/v1/models", b"/v1/models/small", b"/openapi.json", b"/docs"])
async def test_head_says_what_get_would(path: bytes) -> None:
    got, head = [await Api().ask(method, path) for method in (b"GET", b"HEAD")]
    assert (got.status, head.status, head.body) == (200, 200, b"")
    for name in (b"content-type", b"content-length"):
        assert head.value(name) == got.value(name)


async def test_the_paths_own_mistakes_are_named(api: Api) -> None:
    assert "base URL has to end in /v1" in (await api.ask(b"POST", b"/chat/completions")).error()["message"]
    assert "/v1 twice" in (await api.ask(b"POST", b"/v1/v1/chat/completions")).error()["message"]


async def test_errors_of_ours_pass_with_their_hints(api: Api) -> None:
    api.models.error = UpstreamUnreachable("The backend cannot be reached.", retry_after=2, should_retry=True)
    got = await api.ask(b"GET", b"/v1/models")
    assert (got.status, got.error()["code"]) == (502, "upstream_unreachable")
    assert (got.value(b"retry-after"), got.value(b"x-should-retry")) == (b"2", b"true")
    assert [seen.outcome for seen in api.world.observations] == ["upstream_error"]


async def test_a_fault_of_ours_is_an_answer_as_any_other(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.models.error = RuntimeError("a secret that nobody may see")
    got = await api.ask(b"GET", b"/v1/models")
    assert got.error()["code"] == "internal_error"
    assert (got.status, b"secret" in got.body) == (500, False)
    assert got.value(b"x-request-id") is not None
    (seen,) = api.world.observations
    assert (seen.outcome, seen.status) == ("internal_error", 500)


@pytest.mark.parametrize(
    ("given", "shown"), [([b"mine-1"], b"mine-1"), ([b"not valid!"], None), ([b"bad!", b"good"], b"good"), ([], None)]
)
async def test_the_caller_s_id_is_used(api: Api, given: list[bytes], shown: bytes | None) -> None:
    api.models.answer = ModelsAnswer(200, MODEL)
    got = await api.ask(b"GET", b"/v1/models", *[(b"x-request-id", value) for value in given])
    found = got.value(b"x-request-id")
    assert found is not None
    assert found == shown if shown else found.startswith(b"req_")
    assert api.world.observations[0].request_id == found.decode()


async def test_a_page_that_may_read_is_named_in_every_answer() -> None:
    api = Api(origins=OriginPolicy(allowed_origins=("https://page.example",)))
    for path in (b"/v1/models", b"/v1/nonsense"):
        got = await api.ask(b"GET", path, (b"origin", b"https://page.example"))
        assert got.value(b"access-control-allow-origin") == b"https://page.example"
        assert got.value(b"vary") == b"origin"


async def test_without_an_origin_there_are_no_cors_fields(api: Api) -> None:
    got = await api.ask(b"GET", b"/v1/models")
    assert [name for name, _ in got.headers if name.startswith(b"access-control-")] == []


async def test_an_observation_is_timed_and_sized(api: Api) -> None:
    api.models.gate.clear()
    await api.line.read(request(b"GET", b"/v1/models"))
    api.world.clock.now += 2.5
    api.models.gate.set()
    await turn()
    (seen,) = api.world.observations
    assert (seen.operation, seen.duration_seconds, seen.response_bytes) == ("models", 2.5, len(MODEL))
    assert (seen.status, seen.outcome) == (200, "completed")


@pytest.mark.parametrize(("path", "operation"), [(b"/v1/models/small", "models"), (b"/v1/modelsx", "unmatched")])
async def test_an_observation_names_the_operation(api: Api, path: bytes, operation: str) -> None:
    await api.ask(b"GET", path)
    assert [seen.operation for seen in api.world.observations] == [operation]


async def test_what_is_being_answered_is_counted_until_it_ends_however_it_ends(api: Api) -> None:
    for error in (None, RuntimeError("a fault of ours")):
        api.models.error = error
        api.models.gate.clear()
        await api.line.read(request(b"GET", b"/v1/models"))
        await turn()
        assert api.world.services.in_web == {"models": 1}
        api.models.gate.set()
        await turn()
        assert api.world.services.in_web == {"models": 0}


async def test_a_caller_who_leaves_before_the_answer_is_observed_as_such(api: Api) -> None:
    api.models.gate.clear()
    await api.line.read(request(b"GET", b"/v1/models"))
    api.line.transport.lose()
    api.models.gate.set()
    await turn()
    (seen,) = api.world.observations
    assert (seen.outcome, seen.status) == ("client_disconnect", 499)


async def test_what_is_being_answered_when_mimic_stops_is_told_so(api: Api) -> None:
    api.models.gate.clear()
    await api.line.read(request(b"GET", b"/v1/models"))
    await turn()
    (answering,) = api.world.services.ticker.running()
    answering.drain()
    answering.drain()
    await turn()
    (got,) = api.line.responses(b"GET")
    assert (got.status, got.error()["code"], got.value(b"retry-after")) == (503, "shutting_down", b"1")
    assert [seen.outcome for seen in api.world.observations] == ["shutdown"]
    api.world.assert_all_given_back()


async def test_nobody_works_on_for_a_caller_who_has_left(api: Api) -> None:
    api.models.gate.clear()
    await api.line.read(request(b"GET", b"/v1/models"))
    await turn()
    (answering,) = api.world.services.ticker.running()
    answering.tick()
    assert len(api.world.services.ticker) == 1
    api.line.transport.lose()
    answering.tick()
    await turn()
    assert [(seen.outcome, seen.status) for seen in api.world.observations] == [("client_disconnect", 499)]
    api.world.assert_all_given_back()


async def test_the_description_of_the_api(api: Api) -> None:
    document = json.loads((await api.ask(b"GET", b"/openapi.json")).body)
    assert (document["info"]["version"], sorted(document["paths"])) == ("1.2.3", ["/v1/models", "/v1/models/{model}"])
    assert (await api.ask(b"GET", b"/docs")).value(b"content-type") == b"text/html; charset=utf-8"


async def test_a_model_that_does_not_exist(api: Api) -> None:
    api.models.error = ModelNotFound("The model 'x' does not exist at this backend.")
    got = await api.ask(b"GET", b"/v1/models/x")
    assert (got.status, got.error()["code"]) == (404, "model_not_found")


async def test_a_body_on_a_call_for_models_is_ignored(api: Api) -> None:
    assert (await api.ask(b"GET", b"/v1/models", body=b"{}")).status == 200
    assert (await api.ask(b"GET", b"/v1/models")).status == 200


# ---- traces

CALLERS = b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
OURS = Trace("a" * 32, "b" * 16, "c" * 16, None, True)


class Spans:
    """A span that is open for each request, and what was said to it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str | None]] = []
        self.sent_before: list[int] = []
        self.sent: list[bytes] = []

    def current(self) -> Trace | None:
        return OURS

    def finish(self, outcome: Outcome, request_id: str, error_code: str | None) -> None:
        self.said.append((outcome, request_id, error_code))
        self.sent_before.append(len(self.sent))


async def test_without_spans_the_caller_s_trace_is_in_the_observation(api: Api) -> None:
    await api.ask(b"GET", b"/v1/models", (b"traceparent", CALLERS))
    (seen,) = api.world.observations
    assert seen.trace is not None
    assert (seen.trace.trace_id, seen.trace.parent_id, seen.trace.sampled) == ("1" * 32, "2" * 16, False)


async def test_an_instrumented_request_stands_where_its_span_does() -> None:
    spans = Spans()
    api = Api(spans=spans)
    spans.sent = api.line.transport.sent
    await api.ask(b"GET", b"/v1/models", (b"x-request-id", b"mine"))
    (seen,) = api.world.observations
    assert (seen.trace, seen.route) == (OURS, "/v1/models")
    assert (spans.said, spans.sent_before) == ([("completed", "mine", None)], [0]), "before its last byte"
    assert api.models.calls[0].traced


async def test_a_failed_request_tells_its_span_what_was_wrong() -> None:
    spans = Spans()
    api = Api(spans=spans)
    api.models.error = UpstreamUnreachable("The backend cannot be reached.")
    await api.ask(b"GET", b"/v1/models/small", (b"x-request-id", b"mine"))
    assert spans.said == [("upstream_error", "mine", "upstream_unreachable")]
    assert api.world.observations[0].route == "/v1/models/{model}"


async def test_a_caller_who_left_is_told_to_the_span_once() -> None:
    spans = Spans()
    api = Api(spans=spans)
    api.models.gate.clear()
    task = asyncio.ensure_future(api.ask(b"GET", b"/v1/models", (b"x-request-id", b"mine")))
    while not api.models.asked:
        await asyncio.sleep(0)
    api.line.transport.lose()
    api.models.gate.set()
    while not api.world.observations:
        await asyncio.sleep(0)
    task.cancel()
    assert spans.said == [("client_disconnect", "mine", None)]


async def test_the_call_to_the_backend_is_in_the_observation(api: Api) -> None:
    def noted(record: Record) -> None:
        record.token_waited(99.0, 99.5, None)
        record.attempt_sent(100.0)
        record.head_came(100.2, 401, None)
        record.repeat("unauthorized", "unauthorized")
        record.attempt_sent(100.4)
        record.head_came(100.9, 503, b"up-1")

    api.models.note = noted
    await api.ask(b"GET", b"/v1/models")
    (seen,) = api.world.observations
    assert (seen.attempts, seen.sent, seen.upstream_head_seconds) == (2, 100.4, pytest.approx(0.5))
    assert (seen.upstream_status, seen.error_type, seen.upstream_request_id) == (503, "http_5xx", "up-1")
    assert (seen.retried, len(seen.earlier), seen.token_wait_seconds) == ("unauthorized", 1, 0.5)
