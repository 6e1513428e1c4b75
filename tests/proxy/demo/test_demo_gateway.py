"""The demo's gateway on a real socket: its bodies, and what the dialect makes of them."""

import json
from typing import Any

import httpx2
import pytest

from fakes.envelope import accumulated, asked, chat, dialect, pieces, through, told
from mimic_proxy.demo.options import DemoOptions, StreamForm, StreamText
from mimic_proxy.http.body import read_fields

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
SAY = [{"role": "user", "content": "Say: naïve café 😀👩‍👩‍👧 e\u0301"}]


@pytest.fixture
def gateway(demo: str) -> Any:
    """A client of the gateway of the demo that accepts any token, with one as it stands in the header there."""
    with httpx2.Client(base_url=f"{demo}/gateway", headers={"authorization": "any"}, trust_env=False) as client:
        yield client


def ask(client: httpx2.Client, path: str, *, fault: str = "", **body: Any) -> httpx2.Response:
    return client.post(path, json={"model": "demo/chat-small", **body}, headers={"x-demo-fault": fault})


def test_text_and_flat_calls_stand_below_data_content(gateway: httpx2.Client) -> None:
    said = ask(gateway, "/chat", messages=SAY).json()
    assert said["data"]["content"]["content"].startswith("naïve")
    called = ask(gateway, "/chat", messages=[{"role": "user", "content": "Weather in Paris?"}], tools=TOOLS).json()
    assert called["data"]["content"]["tool_calls"] == [{"name": "get_weather", "arguments": {"city": "Paris"}}]


@pytest.mark.parametrize(
    ("headers", "message"),
    [({}, "Authorization: TOKEN"), ({"authorization": "Bearer any"}, "Authorization: TOKEN")],
)
def test_a_token_that_is_missing_or_has_a_scheme_is_refused_in_the_body(
    demo: str, headers: dict[str, str], message: str
) -> None:
    for form in ({}, {"stream": True}):
        got = httpx2.post(f"{demo}/gateway/chat", json={"messages": SAY, **form}, headers=headers, trust_env=False)
        assert got.status_code == 200
        event = json.loads(got.content.removeprefix(b"data: "))
        assert event["errorCode"] == 401
        assert message in event["errorMessage"]


@pytest.mark.parametrize("fault", ["status=429", "refuse-token=always", "no-such-fault"])
def test_faults_with_a_status_are_codes_under_status_200(gateway: httpx2.Client, fault: str) -> None:
    got = ask(gateway, "/chat", messages=SAY, fault=fault)
    assert got.status_code == 200
    assert got.json()["errorCode"] in (429, 401, 400)


@pytest.mark.parametrize("text", ["delta", "cumulative"])
@pytest.mark.parametrize("form", ["sse", "ndjson", "plain"])
@pytest.mark.parametrize("tools", [[], TOOLS], ids=["text", "tools"])
def test_every_form_of_its_streams_amounts_to_its_plain_answer(
    start: Any, form: StreamForm, text: StreamText, tools: Any
) -> None:
    url = start(DemoOptions(any_token=True, stream=form, stream_text=text))
    more = {"model": "demo/chat-small", "messages": SAY, **({"tools": tools} if tools else {})}
    answers = []
    for streams in (False, True):
        translation = chat(asked(stream=streams, usage=streams, **more), stream_text=text)
        got = httpx2.post(
            f"{url}/gateway/chat", content=translation.body, headers={"authorization": "any"}, trust_env=False
        )
        stream = translation.stream(got.headers["content-type"].encode())
        assert (stream is not None) == (streams and form != "plain")
        if stream is not None:
            answers.append(accumulated(through(stream, pieces(got.content, list(range(0, len(got.content), 7))))))
        else:
            answers.append(told(translation.answer(got.status_code, got.content).body))
    assert answers[0] == answers[1]
    assert answers[0]["finish"] == ("tool_calls" if tools else "stop")


def test_vectors_come_one_by_one_or_in_batches(gateway: httpx2.Client) -> None:
    found = []
    for batch in (1, 2):
        body = json.dumps({"model": "demo/embed-small", "input": ["a", "b", "c"], "dimensions": 8}).encode()
        embedding = dialect(embedding_batch=batch).embed(body, read_fields(body))
        for index, call in enumerate(embedding.bodies):
            got = gateway.post("/embeddings", content=call)
            assert embedding.take(index, got.status_code, got.content) is None
        found.append(json.loads(embedding.answer().body))
    assert found[0] == found[1]
    assert [len(entry["embedding"]) for entry in found[0]["data"]] == [8, 8, 8]


def test_models_are_listed_by_name(gateway: httpx2.Client) -> None:
    got = gateway.get("/models")
    listed = json.loads(dialect().models(got.status_code, got.content).body)
    assert "demo/chat-small" in [entry["id"] for entry in listed["data"]]


@pytest.mark.parametrize(("fault", "complete"), [("no-done", False), ("half-event", False), ("many-events=50", True)])
def test_what_is_cut_short_is_not_complete(gateway: httpx2.Client, fault: str, complete: bool) -> None:
    translation = chat(asked(stream=True, messages=SAY))
    got = gateway.post("/chat", content=translation.body, headers={"x-demo-fault": fault})
    stream = translation.stream(got.headers["content-type"].encode())
    assert stream is not None
    through(stream, [got.content])
    assert stream.facts.complete == complete
