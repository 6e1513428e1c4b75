"""The Responses API of the demo backend."""

import json
from typing import Any

import httpx2
import pytest
from openai import OpenAI
from openai.types.responses import FunctionToolParam
from pydantic import BaseModel

MODEL = "demo/chat-large"
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def events(http: httpx2.Client, **fields: Any) -> list[dict[str, Any]]:
    answer = http.post("/v1/responses", json={"model": MODEL, "stream": True, **fields})
    parts = answer.text.split("\n\n")
    assert parts.pop() == ""
    found = [part.split("\n") for part in parts]
    documents = [json.loads(data.removeprefix("data: ")) for _, data in found]
    assert [f"event: {document['type']}" for document in documents] == [name for name, _ in found]
    return documents


def test_a_response_can_be_retrieved_and_deleted(sdk: OpenAI) -> None:
    created = sdk.responses.create(model=MODEL, input="Hello?", instructions="Be brief.", metadata={"a": "b"})
    assert 'You asked: "Hello?"' in created.output_text
    assert "Be brief." in created.output_text
    assert sdk.responses.retrieve(created.id) == created
    assert len(list(sdk.responses.input_items.list(created.id))) == 1
    sdk.responses.delete(created.id)
    with pytest.raises(Exception, match="No such response"):
        sdk.responses.retrieve(created.id)


def test_a_response_that_is_not_stored_cannot_be_retrieved(http: httpx2.Client) -> None:
    created = http.post("/v1/responses", json={"model": MODEL, "input": "Forget this", "store": False}).json()
    assert http.get(f"/v1/responses/{created['id']}").status_code == 404


def test_a_stream_ends_with_the_whole_response_and_without_done(http: httpx2.Client) -> None:
    found = events(http, input="Hello?")
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"] for event in found[:4]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert found[-1]["type"] == "response.completed"
    text = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
    assert text == found[-1]["response"]["output"][0]["content"][0]["text"]
    assert found[-1]["response"]["usage"]["output_tokens"] == len(found) - 8


def test_the_sdk_assembles_a_stream(sdk: OpenAI) -> None:
    with sdk.responses.stream(model=MODEL, input="Hello?") as stream:
        final = stream.get_final_response()
    assert "Hello?" in final.output_text


def test_a_limit_makes_it_incomplete(http: httpx2.Client) -> None:
    found = events(http, input="Hello?", max_output_tokens=2)
    assert found[-1]["type"] == "response.incomplete"
    assert found[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_tool_is_called_and_its_output_is_told(sdk: OpenAI) -> None:
    first = sdk.responses.create(model=MODEL, input="How is the weather in Paris?", tools=[WEATHER])
    call = first.output[0]
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Paris"}
    second = sdk.responses.create(
        model=MODEL,
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}],
        tools=[WEATHER],
    )
    assert "get_weather answered 21 degrees" in second.output_text
    assert "weather in Paris" in second.output_text


def test_a_streamed_call_comes_in_pieces_of_its_arguments(http: httpx2.Client) -> None:
    found = events(http, input="How is the weather in Paris?", tools=[WEATHER])
    deltas = [event["delta"] for event in found if event["type"] == "response.function_call_arguments.delta"]
    assert len(deltas) > 1
    assert json.loads("".join(deltas)) == {"city": "Paris"}


class Recipe(BaseModel):
    name: str
    minutes: int


def test_structured_answers_satisfy_their_schema(sdk: OpenAI) -> None:
    parsed = sdk.responses.parse(model=MODEL, input="A recipe of 20 minutes", text_format=Recipe)
    assert parsed.output_parsed is not None
    assert parsed.output_parsed.minutes == 20


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({}, "input"),
        ({"input": "x", "previous_response_id": "resp_0"}, "previous_response_id"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tool_choice": "required"}, "tool_choice"),
    ],
)
def test_a_wrong_request_is_refused_by_parameter(http: httpx2.Client, fields: dict[str, Any], param: str) -> None:
    answer = http.post("/v1/responses", json={"model": MODEL, **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
