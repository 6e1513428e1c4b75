"""Scripted faults of the demo backend on a real socket."""

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from mimic_proxy.demo.options import DemoOptions

Start = Callable[[DemoOptions], str]

BODY: dict[str, Any] = {"model": "demo/chat-large", "messages": [{"role": "user", "content": "Hello there"}]}


def post(http: httpx2.Client, fault: str, path: str = "/v1/chat/completions", **fields: Any) -> httpx2.Response:
    return http.post(path, json={**BODY, **fields}, headers={"x-demo-fault": fault})


def streamed(http: httpx2.Client, fault: str) -> Any:
    return http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}, headers={"x-demo-fault": fault})


def stats(http: httpx2.Client, done: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """The counts of the backend as soon as they are as expected; the test's own limit ends the wait."""
    while True:
        found: dict[str, int] = http.get("/demo/stats").json()
        if done(found):
            return found


@pytest.fixture
def own(start: Start) -> Iterator[httpx2.Client]:
    """A client of a backend that nobody else uses."""
    url = start(DemoOptions(any_token=True))
    with httpx2.Client(base_url=url, headers={"authorization": "Bearer any"}, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_status_comes_with_an_error_object_and_the_hint_to_wait(http: httpx2.Client, path: str, stream: bool) -> None:
    answer = post(http, "status-429,retry-after=2", path, input="x", prompt="x", stream=stream)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_model_name_asks_for_a_fault_too(sdk: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.embeddings.create(model="fault-status-503", input="x")
    assert caught.value.status_code == 503


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o"])
def test_what_is_read_can_fail_too(http: httpx2.Client, path: str) -> None:
    assert http.get(path, headers={"x-demo-fault": "status-500"}).status_code == 500


def test_an_unknown_fault_is_refused_by_name(http: httpx2.Client) -> None:
    answer = post(http, "explode")
    assert answer.status_code == 400
    assert "'explode'" in answer.json()["error"]["message"]
    assert "cut-mid" in answer.json()["error"]["message"]


@pytest.mark.parametrize("fault", ["half-event", "no-done", "error-frame", "error-first"])
def test_a_fault_of_streams_is_refused_where_there_is_none(http: httpx2.Client, fault: str) -> None:
    answer = post(http, fault)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_fault")


def test_silence_before_the_head_ends_when_the_caller_leaves(own: httpx2.Client) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        own.post("/v1/chat/completions", json=BODY, headers={"x-demo-fault": "hang-head"}, timeout=0.2)
    counts = stats(own, lambda found: found["abandoned"] == 1)
    assert (counts["open"], counts["completed"]) == (0, 0)


def test_silence_before_the_head_ends_by_itself(http: httpx2.Client) -> None:
    before = time.monotonic()
    assert post(http, "hang-head=0.2,status-500").status_code == 500
    assert time.monotonic() - before >= 0.2


def test_events_come_before_a_silence_in_the_middle_and_leaving_ends_it(own: httpx2.Client) -> None:
    with streamed(own, "hang-mid") as answer:
        lines = answer.iter_lines()
        seen = [next(lines) for _ in range(6)]
        assert [line for line in seen if line][-1].startswith("data: ")
        assert stats(own, lambda found: found["open"] == 1)["abandoned"] == 0
    stats(own, lambda found: found["abandoned"] == 1 and found["open"] == 0)


def test_leaving_a_long_stream_ends_it(own: httpx2.Client) -> None:
    with streamed(own, "many-events=100000000") as answer:
        next(answer.iter_lines())
    stats(own, lambda found: found["abandoned"] == 1 and found["open"] == 0)


def test_slow_chunks_take_their_time(http: httpx2.Client) -> None:
    before = time.monotonic()
    assert post(http, "slow-chunks=30").status_code == 200
    assert time.monotonic() - before >= 7 * 0.03


@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_closes_the_connection_without_the_end_of_the_body(own: httpx2.Client, stream: bool) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        post(own, "cut-mid", stream=stream)
    counts = stats(own, lambda found: found["open"] == 0)
    assert (counts["completed"], counts["abandoned"]) == (0, 0)


def test_half_an_event_ends_well(http: httpx2.Client) -> None:
    text = post(http, "half-event", stream=True).text
    assert not text.endswith("\n\n")
    assert text.count("\n\n") == 3


def test_without_done_there_is_no_finish_reason_either(http: httpx2.Client) -> None:
    text = post(http, "no-done", stream=True).text
    assert "[DONE]" not in text
    assert '"finish_reason":"' not in text
    assert text.endswith("\n\n")


def test_the_sdk_raises_on_an_error_frame(sdk: OpenAI) -> None:
    stream = sdk.chat.completions.create(model="fault-error-frame", messages=BODY["messages"], stream=True)
    assert len([next(stream) for _ in range(3)]) == 3
    with pytest.raises(openai.APIError, match="in the middle"):
        next(stream)
    stream.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions"])
def test_an_error_first_has_an_integer_code(http: httpx2.Client, path: str) -> None:
    answer = post(http, "error-first=429", path, input="x", prompt="x", stream=True)
    assert answer.status_code == 200
    data = answer.text.rpartition("data: ")[2]
    assert json.loads(data)["error"]["code"] == 429


@pytest.mark.parametrize("stream", [False, True])
def test_html_is_a_page_with_status_200(http: httpx2.Client, stream: bool) -> None:
    answer = post(http, "html", stream=stream)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!doctype html>")


@pytest.mark.parametrize("stream", [False, True])
def test_gzip_comes_though_identity_was_asked_for(http: httpx2.Client, stream: bool) -> None:
    http.headers["accept-encoding"] = "identity"
    plain, squeezed = post(http, "", stream=stream), post(http, "gzip", stream=stream)
    assert squeezed.headers["content-encoding"] == "gzip"
    # The time of each, in seconds, may differ.
    made = re.compile(r'"created":\d+')
    assert made.sub("", squeezed.text) == made.sub("", plain.text)


def test_who_follows_the_redirect_is_counted(own: httpx2.Client) -> None:
    answer = post(own, "redirect")
    assert (answer.status_code, answer.headers["location"]) == (307, "/demo/redirected")
    assert stats(own, lambda found: True)["redirected"] == 0
    own.post("/v1/chat/completions", json=BODY, headers={"x-demo-fault": "redirect"}, follow_redirects=True)
    assert stats(own, lambda found: True)["redirected"] == 1


def test_a_token_is_refused_once_for_each_word_and_revoked(start: Start) -> None:
    with httpx2.Client(base_url=start(DemoOptions(code="c")), trust_env=False) as http:

        def fresh() -> dict[str, str]:
            return {"authorization": f"Bearer {http.post('/token', json={'code': 'c'}).json()['data']['access_token']}"}

        def status(token: dict[str, str], fault: str) -> int:
            headers = {**token, "x-demo-fault": fault}
            return http.post("/v1/chat/completions", json=BODY, headers=headers).status_code

        first, second = fresh(), fresh()
        assert [status(first, "refuse-token"), status(first, ""), status(second, "refuse-token")] == [401, 401, 200]
        assert [status(second, "refuse-token=other"), status(second, "")] == [401, 401]
        assert [status(fresh(), "refuse-token=always") for _ in range(2)] == [401, 401]
        http.post("/demo/revoke")
        assert status(fresh(), "refuse-token") == 401


def test_many_and_big_events_have_their_count_and_size(http: httpx2.Client) -> None:
    fault, path = "many-events=300,big-events=1000", "/v1/chat/completions"
    assert post(http, fault, path, stream=True).text.count('"delta":{"content"') == 300
    whole = post(http, fault, path, stream=False).text
    assert 300_000 <= len(whole) < 302_000
