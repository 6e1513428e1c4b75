"""Chat completions of the demo backend, mostly through the official SDK."""

import json
from typing import Any

import httpx2
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

MODEL = "demo/chat-large"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello there, how are you?"}]


def tool(name: str, **properties: Any) -> ChatCompletionToolParam:
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = tool("get_weather", city={"type": "string"}, unit={"enum": ["celsius", "fahrenheit"]})
CLOCK = tool("get_time", zone={"type": "string"})
ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How is the weather in Paris?"}]


def events(http: httpx2.Client, **fields: Any) -> list[Any]:
    body = {"model": MODEL, "messages": HELLO, "stream": True, **fields}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = answer.text.split("\n\n")
    assert parts.pop() == ""
    assert parts.pop() == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def test_an_answer_is_about_the_last_message_and_the_same_each_time(sdk: OpenAI) -> None:
    first, second = (sdk.chat.completions.create(model=MODEL, messages=HELLO) for _ in range(2))
    assert "Hello there, how are you?" in (first.choices[0].message.content or "")
    assert (first.choices, first.id) == (second.choices, second.id)
    assert first.choices[0].finish_reason == "stop"
    assert first.usage is not None
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    assert first.model == MODEL


def test_a_stream_is_a_role_then_content_then_a_finish_reason(http: httpx2.Client) -> None:
    chunks = events(http)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert (choices[-1]["delta"], choices[-1]["finish_reason"]) == ({}, "stop")
    assert all(choice["finish_reason"] is None for choice in choices[:-1])
    assert len(choices) > 10
    whole = http.post("/v1/chat/completions", json={"model": MODEL, "messages": HELLO}).json()
    said = "".join(choice["delta"]["content"] for choice in choices[:-1])
    assert said == whole["choices"][0]["message"]["content"]
    assert not any("usage" in chunk for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_usage_comes_last_and_is_null_before_where_it_was_asked_for(http: httpx2.Client) -> None:
    chunks = events(http, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == len(chunks) - 3
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


@pytest.mark.parametrize("stream", [False, True])
def test_n_choices_differ_and_each_finishes(http: httpx2.Client, stream: bool) -> None:
    texts = ["", "", ""]
    if stream:
        chunks = events(http, n=3)
        for choice in (chunk["choices"][0] for chunk in chunks):
            texts[choice["index"]] += choice["delta"].get("content") or ""
        assert sum(chunk["choices"][0]["finish_reason"] is not None for chunk in chunks) == 3
        assert [chunk["choices"][0]["index"] for chunk in chunks[:6]] == [0, 1, 2, 0, 1, 2]
    else:
        body = {"model": MODEL, "messages": HELLO, "n": 3}
        for choice in http.post("/v1/chat/completions", json=body).json()["choices"]:
            texts[choice["index"]] = choice["message"]["content"]
    assert len(set(texts)) == 3
    assert all("Hello there" in text for text in texts)


@pytest.mark.parametrize(
    ("fields", "text", "finish"),
    [
        ({"max_tokens": 2}, "You asked", "length"),
        ({"max_completion_tokens": 1, "max_tokens": 9}, "You", "length"),
        ({"max_tokens": 0}, "", "length"),
        ({"stop": " asked"}, "You", "stop"),
        ({"stop": ["nowhere", ":"]}, "You asked", "stop"),
    ],
)
def test_limits_end_the_answer(http: httpx2.Client, fields: dict[str, Any], text: str, finish: str) -> None:
    body = {"model": MODEL, "messages": HELLO, **fields}
    choice = http.post("/v1/chat/completions", json=body).json()["choices"][0]
    assert choice["finish_reason"] == finish
    assert text.startswith(choice["message"]["content"])


def test_a_tool_is_called_and_its_result_is_told(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.create(model=MODEL, messages=ASK, tools=[CLOCK, WEATHER])
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.tool_calls is not None
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris", "unit": "celsius"}
    result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
    asked = choice.message.to_dict()
    told = sdk.chat.completions.create(model=MODEL, messages=[*ASK, asked, result], tools=[CLOCK, WEATHER])  # type: ignore[list-item]
    assert "get_weather answered 21 degrees" in (told.choices[0].message.content or "")
    assert told.choices[0].finish_reason == "stop"


def test_a_streamed_call_comes_in_pieces_of_its_arguments(sdk: OpenAI, http: httpx2.Client) -> None:
    whole = sdk.chat.completions.create(model=MODEL, messages=ASK, tools=[WEATHER]).choices[0].message.tool_calls
    with sdk.chat.completions.stream(model=MODEL, messages=ASK, tools=[WEATHER]) as stream:
        final = stream.get_final_completion().choices[0].message.tool_calls
    assert whole is not None
    assert final is not None
    assert final[0].type == "function"
    assert json.loads(final[0].function.arguments) == {"city": "Paris", "unit": "celsius"}
    chunks = events(http, messages=ASK, tools=[WEATHER])
    deltas = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks[1:-1]]
    assert deltas[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert deltas[0].keys() == {"index", "id", "type", "function"}
    assert len(deltas) > 2
    assert all(delta.keys() == {"index", "function"} for delta in deltas[1:])
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["get_weather", "get_time"]),
        ({"parallel_tool_calls": False}, ["get_weather"]),
        ({"tool_choice": "required"}, ["get_weather", "get_time"]),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, ["get_time"]),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "get_time"}}],
                    },
                }
            },
            ["get_time"],
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_choice_of_tools_is_respected(
    http: httpx2.Client, fields: dict[str, Any], names: list[str], stream: bool
) -> None:
    messages = [{"role": "user", "content": "Tell me weather and time in Rome"}]
    body = {"model": MODEL, "messages": messages, "tools": [WEATHER, CLOCK], **fields}
    if stream:
        deltas = [chunk["choices"][0]["delta"] for chunk in events(http, **body)]
        calls = [call for delta in deltas for call in delta.get("tool_calls", ()) if "id" in call]
        assert [call["index"] for call in calls] == list(range(len(calls)))
    else:
        message = http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
        calls = message.get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == names
    assert len({call["id"] for call in calls}) == len(calls)


def test_a_new_question_after_a_result_calls_again(http: httpx2.Client) -> None:
    called = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        *ASK,
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "warm"},
        {"role": "assistant", "content": "It is warm."},
        {"role": "user", "content": "And the weather in Oslo?"},
    ]
    body = {"model": MODEL, "messages": messages, "tools": [WEATHER]}
    message = http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
    assert json.loads(message["tool_calls"][0]["function"]["arguments"])["city"] == "Oslo"


class Recipe(BaseModel):
    name: str
    minutes: int
    steps: list[str]


def test_structured_answers_satisfy_their_schema(sdk: OpenAI) -> None:
    parsed = sdk.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Recipe)
    assert parsed.choices[0].message.parsed is not None
    assert parsed.choices[0].message.parsed.minutes >= 0


def test_json_mode_answers_an_object(sdk: OpenAI) -> None:
    answer = sdk.chat.completions.create(model=MODEL, messages=HELLO, response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content or "")["question"] == "Hello there, how are you?"


def test_images_and_sounds_are_accepted_and_counted(sdk: OpenAI) -> None:
    image = "data:image/png;base64," + "A" * 100_000
    answer = sdk.chat.completions.create(
        model=MODEL,
        modalities=["text", "audio"],
        audio={"format": "wav", "voice": "alloy"},
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": image}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                ],
            }
        ],
    )
    assert "1 image and 1 attachment" in (answer.choices[0].message.content or "")


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, None, None),
        ({"model": ""}, None, None),
        ({"model": 5}, "model", "invalid_type"),
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": "hello"}, "messages", "invalid_type"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"tool_choice": "auto"}, "tool_choice", None),
        ({"tools": [WEATHER], "tool_choice": "maybe"}, "tool_choice", "invalid_value"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            "tool_choice",
            "invalid_value",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
    ],
)
def test_a_wrong_request_is_refused_by_parameter(
    http: httpx2.Client, change: dict[str, Any], param: str | None, code: str | None
) -> None:
    body = {name: value for name, value in {"model": MODEL, "messages": HELLO, **change}.items() if value is not None}
    answer = http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert "`" not in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b'"text"', b"null"])
def test_a_body_that_is_no_json_object_is_refused(http: httpx2.Client, body: bytes) -> None:
    answer = http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]


def test_an_unknown_model_is_not_found(http: httpx2.Client) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "missing-one", "messages": HELLO})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1/nowhere", 404, "unknown_url"), ("PUT", "/v1/chat/completions", 405, "method_not_allowed")],
)
def test_an_unknown_place_is_refused_in_the_same_shape(
    http: httpx2.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_each_answer_has_a_request_id_of_its_own(http: httpx2.Client) -> None:
    paths = ["/v1/models", "/v1/models/missing", "/v1/nowhere"]
    names = [http.get(path).headers["x-request-id"] for path in paths]
    assert len(set(names)) == 3
