"""The spans of one observation: which there are, what they say, how they end."""

from typing import Any, get_args

import pytest

from fakes.observations import exchange, refresh
from fakes.spans import CHAT, EMBEDDINGS, EPOCH_NS, JOINED, REFRESH, TRACE, Traced, said, seconds
from mimic_proxy.http.body import RequestParameters
from mimic_proxy.telemetry.observation import (
    Attempt,
    Outcome,
    RefreshResult,
    SpanLink,
    TokenWait,
    Trace,
)
from mimic_proxy.telemetry.record import Record
from mimic_proxy.telemetry.sampling import Sampler
from mimic_proxy.telemetry.tracing.spans import CLIENT, FAILED, INTERNAL, LONGEST_TEXT, SERVER

ROUTE = "/v1/chat/completions"
LOST = Attempt(100.1, 0.2, None, None, "reset", "connect")
REFUSED = Attempt(100.1, 0.3, 401, 0.25, "unauthorized", "unauthorized")


def relayed(**seen: Any) -> Record:
    """A sampled chat exchange from 100.0 to 101.0 that was sent at 100.1 and whose head came at 100.5."""
    usual = {
        "trace": TRACE,
        "route": ROUTE,
        "started": 100.0,
        "duration_seconds": 1.0,
        "sent": 100.1,
        "upstream_head_seconds": 0.4,
    }
    return exchange(**{**usual, **seen})


def test_a_plain_relay_is_two_spans_in_one_tree():
    server, client = Traced().of(relayed(trace=JOINED))
    assert (server.name, server.kind) == ("POST /v1/chat/completions", SERVER)
    assert (client.name, client.kind) == ("chat small", CLIENT)
    assert (server.trace_id, server.span_id, server.parent_id) == ("a" * 32, "b" * 16, "d" * 16)
    assert (client.trace_id, client.span_id, client.parent_id) == ("a" * 32, "c" * 16, "b" * 16)
    assert (server.remote_parent, client.remote_parent) == (True, False)
    assert (server.tracestate, client.tracestate) == ("vendor=1", "vendor=1")
    assert (seconds(server), seconds(client)) == ((100.0, 101.0), (100.1, 101.0))
    assert (server.failed, client.failed) == (None, None)


def test_a_root_has_no_parent():
    server, _ = Traced().of(relayed())
    assert (server.parent_id, server.remote_parent) == (None, False)


@pytest.mark.parametrize("trace", [None, Trace("a" * 32, "b" * 16, "c" * 16, None, False)])
def test_what_is_not_sampled_makes_no_span(trace: Trace | None):
    assert Traced().of(relayed(trace=trace)) == []


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_the_status_is_an_error_for_what_is_not_the_caller_s_doing(outcome: Outcome):
    server, client = Traced().of(relayed(outcome=outcome, status=200))
    expected = None if outcome in ("completed", "client_error", "client_disconnect") else outcome
    assert (server.failed, client.failed) == (expected, expected)
    assert (said(server)["mimic.outcome"], said(server).get("error.type")) == (outcome, expected)
    assert (expected is not None) is (outcome in FAILED)


def test_an_error_of_ours_is_named_in_the_status():
    server, client = Traced().of(
        relayed(outcome="timeout", status=504, error_code="upstream_timeout", error_type="read_timeout", timer="idle")
    )
    assert (server.failed, client.failed) == ("upstream_timeout", "upstream_timeout")
    assert (said(server)["error.type"], said(client)["error.type"]) == ("timeout", "read_timeout")
    assert (said(server)["mimic.error_code"], said(server)["mimic.timer"]) == ("upstream_timeout", "idle")


def test_a_backend_s_429_is_no_error_of_ours_and_is_named():
    server, client = Traced().of(
        relayed(outcome="client_error", status=429, upstream_status=429, error_type="http_429")
    )
    assert (server.failed, client.failed) == (None, None)
    assert (said(server).get("error.type"), said(client)["error.type"]) == (None, "http_429")


def test_an_error_frame_is_an_error_although_http_said_200():
    server, client = Traced().of(
        relayed(outcome="upstream_error", status=200, stream=True, events=3, error_frame=True, first_chunk_seconds=0.6)
    )
    assert (server.failed, client.failed) == ("upstream_error", "upstream_error")
    assert said(server)["http.response.status_code"] == 200
    assert [event.name for event in client.events] == ["first_chunk", "error_frame"]


@pytest.mark.parametrize(
    "seen",
    [
        relayed(outcome="overloaded", status=503, attempts=0, sent=None, upstream_head_seconds=None),
        relayed(outcome="token_error", status=502, attempts=0, sent=None, upstream_head_seconds=None),
        relayed(outcome="client_error", status=400, attempts=0, sent=None, upstream_head_seconds=None),
    ],
)
def test_where_the_backend_was_not_asked_there_is_no_client_span(seen: Record):
    (server,) = Traced().of(seen)
    assert server.kind == SERVER


def test_a_connection_that_never_was_is_still_a_try():
    _, client = Traced().of(
        relayed(outcome="upstream_error", sent=None, upstream_head_seconds=None, queue_seconds=0.2, error_type="dns")
    )
    assert (seconds(client), said(client)["error.type"]) == ((100.2, 101.0), "dns")


def test_the_server_span_says_what_was_asked_and_how_it_ended():
    server, _ = Traced(scheme="https").of(relayed(stream=True, client_retry=True))
    assert said(server) == {
        "http.request.method": "POST",
        "url.scheme": "https",
        "url.path": "/v1/chat/completions",
        "http.route": ROUTE,
        "http.response.status_code": 200,
        "mimic.request_id": "req-1",
        "mimic.outcome": "completed",
        "mimic.stream": True,
        "mimic.client_retry": True,
    }


def test_a_caller_who_left_before_an_answer_got_no_status():
    server, _ = Traced().of(relayed(outcome="client_disconnect", status=499))
    assert "http.response.status_code" not in said(server)


def test_the_route_names_the_span_and_not_the_path():
    server, client = Traced().of(
        relayed(operation="passthrough", method="GET", path="/v1/files/abc", route="/v1/files/{rest}", model=None)
    )
    assert (server.name, client.name) == ("GET /v1/files/{rest}", "GET")
    assert said(server)["url.path"] == "/v1/files/abc"


def test_the_client_span_speaks_of_the_model():
    _, client = Traced(dialect="openai").of(
        relayed(
            response_id="chatcmpl-1",
            response_model="small-2026",
            finish_reasons=("stop", "length"),
            input_tokens=12,
            output_tokens=34,
            cached_tokens=5,
            reasoning_tokens=6,
            system_fingerprint="fp_1",
            upstream_request_id="up-1",
            parameters=RequestParameters(
                max_tokens=100,
                temperature=0.5,
                top_p=0.9,
                frequency_penalty=0.1,
                presence_penalty=0.2,
                stop_count=2,
                seed=7,
                choice_count=2,
                output_type="json",
                service_tier="default",
            ),
        )
    )
    assert said(client) == {
        "server.address": "models.example.com",
        "server.port": 443,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "mimic.dialect": "openai",
        "mimic.attempts": 1,
        "mimic.upstream.request_id": "up-1",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "openai.api.type": "chat_completions",
        "gen_ai.request.model": "small",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "small-2026",
        "gen_ai.response.finish_reasons": ("stop", "length"),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 34,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 6,
        "openai.response.system_fingerprint": "fp_1",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.frequency_penalty": 0.1,
        "gen_ai.request.presence_penalty": 0.2,
        "mimic.request.stop_count": 2,
        "gen_ai.request.seed": 7,
        "gen_ai.request.choice.count": 2,
        "gen_ai.output.type": "json",
        "openai.request.service_tier": "default",
    }


def test_what_is_usual_is_left_out():
    _, client = Traced().of(relayed(parameters=RequestParameters(choice_count=1)))
    assert not {"gen_ai.request.choice.count", "gen_ai.request.stream"} & set(said(client))
    assert not any(name.startswith("mimic.stream") for name in said(client))


def test_a_stream_lasts_to_its_last_byte_and_tells_of_its_events():
    _, client = Traced().of(
        relayed(stream=True, events=50, response_bytes=900, max_gap_seconds=0.3, first_chunk_seconds=0.6)
    )
    assert seconds(client) == (100.1, 101.0)
    shown = said(client)
    assert (shown["gen_ai.request.stream"], shown["gen_ai.response.time_to_first_chunk"]) == (True, pytest.approx(0.6))
    stream = [shown[f"mimic.stream.{name}"] for name in ("events", "bytes", "max_gap")]
    assert stream == [50, 900, 0.3]
    (event,) = client.events
    assert (event.name, event.at) == ("first_chunk", EPOCH_NS + 100_600_000_000)


def test_embeddings_go_to_their_own_backend():
    server, client = Traced().of(
        relayed(
            operation="embeddings",
            path="/v1/embeddings",
            route="/v1/embeddings",
            parameters=RequestParameters(encoding_formats=("base64",), dimensions=256),
        )
    )
    shown = said(client)
    assert (server.name, client.name) == ("POST /v1/embeddings", "embeddings small")
    assert (shown["server.address"], shown["server.port"]) == (EMBEDDINGS.host, 8080)
    assert shown["gen_ai.request.encoding_formats"] == ("base64",)
    assert shown["gen_ai.embeddings.dimension.count"] == 256


@pytest.mark.parametrize(
    ("route", "model", "name", "api_type"),
    [
        ("/v1/responses", "small", "chat small", "responses"),
        ("/v1/responses", None, "chat", "responses"),
        ("/v1/completions", "large", "text_completion large", None),
        ("/v1/moderations", "small", "POST", None),
    ],
)
def test_relayed_routes_that_ask_a_model_speak_of_it(route: str, model: str | None, name: str, api_type: str | None):
    _, client = Traced().of(relayed(operation="passthrough", route=route, path=route, model=model))
    assert (client.name, said(client).get("openai.api.type")) == (name, api_type)
    assert said(client)["server.address"] == CHAT.host


def test_an_unknown_model_is_in_no_name_but_in_the_attribute():
    _, client = Traced().of(relayed(model="made-up-4711"))
    assert (client.name, said(client)["gen_ai.request.model"]) == ("chat other", "made-up-4711")


def test_texts_that_others_chose_are_cut():
    server, client = Traced().of(
        relayed(path="/" + "p" * 5000, model="m" * 5000, upstream_request_id="u" * 5000, response_id="r" * 5000)
    )
    texts = [value for span in (server, client) for value in said(span).values() if isinstance(value, str)]
    assert max(map(len, texts)) <= LONGEST_TEXT + 3


def test_an_odd_method_is_no_name():
    server, _ = Traced().of(relayed(method="BREW", route=""))
    assert (server.name, said(server)["http.request.method"]) == ("HTTP", "_OTHER")


def test_without_genai_spans_the_client_span_is_plain_http():
    server, client = Traced(genai=False).of(relayed(input_tokens=12, response_id="r", parameters=RequestParameters()))
    assert (server.name, client.name) == ("POST /v1/chat/completions", "POST")
    assert not [name for name in said(client) if name.startswith(("gen_ai.", "openai."))]
    assert said(client)["mimic.attempts"] == 1


# ---- tries and waits


@pytest.mark.parametrize("lost", [LOST, REFUSED])
def test_each_try_is_a_span_if_there_was_more_than_one(lost: Attempt):
    _, client, first, second = Traced().of(relayed(attempts=2, earlier=(lost,), sent=100.5))
    assert seconds(client) == (100.1, 101.0), "from the first try on"
    assert [span.name for span in (first, second)] == ["HTTP POST", "HTTP POST"]
    assert {span.parent_id for span in (first, second)} == {client.span_id}
    assert (first.kind, first.failed, said(first)["error.type"]) == (CLIENT, lost.error_type, lost.error_type)
    assert said(first).get("http.response.status_code") == lost.status
    assert "http.request.resend_count" not in said(first)
    assert (said(second)["http.request.resend_count"], said(second)["http.response.status_code"]) == (1, 200)
    assert second.failed is None
    assert seconds(first) == (100.1, pytest.approx(100.3 if lost is LOST else 100.35))
    assert seconds(second) == (100.5, pytest.approx(100.9)), "to its head"
    (event,) = client.events
    assert (event.name, event.attributes["mimic.retry.reason"]) == ("retry", lost.retry)


def test_a_last_try_without_a_head_ends_with_the_exchange():
    *_, last = Traced().of(
        relayed(attempts=2, earlier=(LOST,), sent=100.5, upstream_head_seconds=None, error_type="reset")
    )
    assert (seconds(last), last.failed) == ((100.5, 101.0), "reset")


def test_on_request_even_the_only_try_is_a_span():
    assert [span.name for span in Traced(every_try=True).of(relayed())][2:] == ["HTTP POST"]


def test_a_wait_before_the_first_try_belongs_to_the_server_span():
    server, client, wait = Traced().of(
        relayed(sent=100.4, token_wait_seconds=0.3, token_waits=(TokenWait(100.05, 0.3, REFRESH),))
    )
    assert (wait.name, wait.kind, wait.parent_id) == ("token wait", INTERNAL, server.span_id)
    assert (seconds(wait), seconds(client)) == ((100.05, pytest.approx(100.35)), (100.4, 101.0))
    assert wait.links == (REFRESH,)
    assert client.events == ()


def test_a_wait_between_two_tries_belongs_to_the_client_span():
    spans = Traced().of(
        relayed(attempts=2, earlier=(REFUSED,), sent=100.6, token_waits=(TokenWait(100.4, 0.1, REFRESH),))
    )
    client, wait = spans[1], spans[-1]
    assert (len(spans), wait.name, wait.parent_id) == (5, "token wait", client.span_id)
    assert [event.name for event in client.events] == ["retry", "token_refreshed"]


def test_a_wait_for_an_untraced_refresh_links_to_nothing():
    *_, wait = Traced().of(relayed(token_waits=(TokenWait(100.05, 0.01, None),)))
    assert wait.links == ()


def test_an_exchange_that_only_waited_has_no_client_span():
    server, wait = Traced().of(
        relayed(outcome="token_error", attempts=0, sent=None, token_waits=(TokenWait(100.0, 1.0, REFRESH),))
    )
    assert (server.failed, wait.parent_id) == ("token_error", server.span_id)


def test_all_ids_of_an_exchange_differ():
    spans = Traced().of(
        relayed(
            attempts=2, earlier=(REFUSED,), token_waits=(TokenWait(100.0, 0.1, REFRESH), TokenWait(100.4, 0.1, None))
        )
    )
    assert len({span.span_id for span in spans}) == len(spans) == 6
    assert {span.trace_id for span in spans} == {TRACE.trace_id}


# ---- what FastAPI answers


def test_for_what_fastapi_answers_only_the_backend_s_call_is_a_span():
    seen = relayed(operation="models", method="GET", path="/v1/models", route="/v1/models", model=None)
    (client,) = Traced().of(seen)
    assert (client.name, client.kind, client.parent_id) == ("models list", CLIENT, TRACE.span_id)
    assert Traced().of(relayed(operation="models", attempts=0, sent=None)) == []
    assert Traced().of(relayed(operation="unmatched", attempts=0, sent=None)) == []


# ---- refreshes and other roots


@pytest.mark.parametrize("result", get_args(RefreshResult))
def test_a_refresh_is_a_root_that_links_to_who_waited(result: RefreshResult):
    traced = Traced()
    links = (SpanLink("1" * 32, "2" * 16, True), SpanLink("3" * 32, "4" * 16, True))
    traced.tracing.refresh(
        refresh(
            result=result,
            trigger="unauthorized",
            status=200,
            span=REFRESH,
            links=links,
            started=50.0,
            lifetime_seconds=300.0 if result == "success" else None,
        )
    )
    (span,) = traced.spans
    assert (span.name, span.kind, span.parent_id, span.links) == ("token refresh", CLIENT, None, links)
    assert (span.trace_id, span.span_id, seconds(span)) == (REFRESH.trace_id, REFRESH.span_id, (50.0, 50.1))
    failed = None if result == "success" else result
    assert span.failed == failed
    assert said(span) == {
        "mimic.token.trigger": "unauthorized",
        "mimic.token.result": result,
        "server.address": "auth.example.com",
        "server.port": 443,
        "http.response.status_code": 200,
        **({"mimic.token.lifetime": 300.0} if failed is None else {"error.type": failed}),
    }


def test_a_refresh_that_is_not_sampled_makes_no_span():
    traced = Traced()
    traced.tracing.refresh(refresh(span=SpanLink("1" * 32, "2" * 16, False)))
    traced.tracing.refresh(refresh(span=None))
    assert traced.spans == []


@pytest.mark.parametrize("sampled", [True, False])
def test_a_refresh_is_sampled_as_its_trigger_is(sampled: bool):
    trigger = SpanLink("1" * 32, "2" * 16, sampled)
    begun = Traced().tracing.begin_refresh(trigger)
    assert begun.sampled is sampled
    assert begun.trace_id != trigger.trace_id
    assert (len(begun.trace_id), len(begun.span_id)) == (32, 16)


@pytest.mark.parametrize(("bound", "sampled"), [(0, False), (1 << 64, True)])
def test_a_refresh_that_nobody_triggered_is_sampled_as_a_root(bound: int, sampled: bool):
    assert Traced(Sampler(bound)).tracing.begin_refresh(None).sampled is sampled


def test_the_process_tells_of_itself_in_roots():
    traced = Traced()
    traced.tracing.root("config reload", 990.0, attributes={"result": "failure"}, failed="unreadable")
    (span,) = traced.spans
    assert (span.name, span.kind, span.parent_id, span.failed) == ("config reload", INTERNAL, None, "unreadable")
    assert (seconds(span), said(span)) == ((990.0, 1000.0), {"result": "failure"})
    quiet = Traced(Sampler(0))
    quiet.tracing.root("drain", 990.0)
    assert quiet.spans == []
