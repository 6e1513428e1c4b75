"""What an application gets from the official Python SDK, unmodified, with Mimic and the demo backend behind it."""

import base64
import json
import struct
from typing import Any

import openai
import pytest

from conformance.forms import STREAMING
from sdk.callers import Sdk

MODEL = "demo/chat-small"
EMBEDDING_MODEL = "demo/embed-small"
MESSAGES = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["city", "unit"],
                "additionalProperties": False,
            },
        },
    }
]


def chat(**more: Any) -> Any:
    """A chat call to be made on a client."""
    arguments = {"model": MODEL, "messages": MESSAGES, **more}
    return lambda client: client.chat.completions.create(**arguments)


def embed(**more: Any) -> Any:
    """An embeddings call to be made on a client."""
    arguments = {"model": EMBEDDING_MODEL, "input": ["one text", "another text"], **more}
    return lambda client: client.embeddings.create(**arguments)


def assert_weather_arguments(text: str) -> None:
    given = json.loads(text)
    assert given["city"] == "Paris"
    assert given["unit"] in ("celsius", "fahrenheit")


async def test_a_chat_completion_is_answered(sdk: Sdk) -> None:
    answer = await sdk.ask(chat())
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


async def test_a_streamed_chat_has_the_same_words_as_the_plain_one(sdk: Sdk) -> None:
    plain = await sdk.ask(chat())
    chunks = await sdk.collect(chat(stream=True))
    words = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(words) == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("backend", STREAMING, ids=str)
async def test_a_streamed_chat_comes_in_pieces(sdk: Sdk) -> None:
    chunks = await sdk.collect(chat(stream=True))
    assert sum(1 for chunk in chunks if chunk.choices[0].delta.content) > 1


async def test_a_stream_reports_its_usage_when_asked_to(sdk: Sdk) -> None:
    last = (await sdk.collect(chat(stream=True, stream_options={"include_usage": True})))[-1]
    assert last.choices == []
    assert last.usage.completion_tokens > 0


async def test_a_tool_call_comes_with_its_arguments(sdk: Sdk) -> None:
    choice = (await sdk.ask(chat(tools=TOOLS, tool_choice="required"))).choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert_weather_arguments(call.function.arguments)


@pytest.mark.parametrize("backend", STREAMING, ids=str)
async def test_a_streamed_tool_call_comes_in_pieces_that_make_up_its_arguments(sdk: Sdk) -> None:
    chunks = await sdk.collect(chat(tools=TOOLS, tool_choice="required", stream=True))
    pieces = [piece for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or []]
    assert len(pieces) > 1
    assert {piece.index for piece in pieces} == {0}
    assert pieces[0].id
    assert pieces[0].function.name == "get_weather"
    assert_weather_arguments("".join(piece.function.arguments or "" for piece in pieces))
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_the_result_of_a_tool_goes_back_and_is_answered_with_words(sdk: Sdk) -> None:
    message = (await sdk.ask(chat(tools=TOOLS, tool_choice="required"))).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"degrees": 21}'}
    messages = [*MESSAGES, message.model_dump(exclude_none=True), result]
    choice = (await sdk.ask(chat(tools=TOOLS, messages=messages))).choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.content


async def test_json_mode_answers_with_a_json_object(sdk: Sdk) -> None:
    messages = [{"role": "user", "content": "Describe Paris as JSON."}]
    answer = await sdk.ask(chat(messages=messages, response_format={"type": "json_object"}))
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


async def test_embeddings_are_the_same_by_default_as_base64_and_as_floats(sdk: Sdk) -> None:
    usual = await sdk.ask(embed())
    floats = await sdk.ask(embed(encoding_format="float"))
    encoded = await sdk.ask(embed(encoding_format="base64"))
    assert [item.index for item in usual.data] == [0, 1]
    assert usual.data[0].embedding != usual.data[1].embedding
    for plain, as_floats, as_text in zip(usual.data, floats.data, encoded.data, strict=True):
        assert plain.embedding == pytest.approx(as_floats.embedding, abs=1e-6)
        raw = base64.b64decode(as_text.embedding)
        assert plain.embedding == pytest.approx(list(struct.unpack(f"<{len(raw) // 4}f", raw)), abs=1e-6)


async def test_embeddings_have_as_many_dimensions_as_were_asked_for(sdk: Sdk) -> None:
    answer = await sdk.ask(embed(input="one text", dimensions=7))
    assert len(answer.data[0].embedding) == 7


async def test_models_are_listed_and_one_is_retrieved_by_an_id_that_contains_a_slash(sdk: Sdk) -> None:
    ids = [model.id for model in await sdk.collect(lambda client: client.models.list())]
    assert MODEL in ids
    with_slash = next(name for name in ids if "/" in name)
    model = await sdk.ask(lambda client: client.models.retrieve(with_slash))
    assert model.id == with_slash


async def test_an_unknown_model_is_not_found_error(sdk: Sdk) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.ask(lambda client: client.models.retrieve("org/no-such-model"))
    assert caught.value.code == "model_not_found"


async def test_the_backends_refusal_arrives_as_bad_request_error(sdk: Sdk) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature"):
        await sdk.ask(chat(temperature="hot"))


@pytest.mark.parametrize("backend", STREAMING, ids=str)
@pytest.mark.parametrize("fault", ["no-done", "cut-mid", "half-event"])
async def test_a_stream_without_its_end_raises_the_sdks_own_api_error(sdk: Sdk, fault: str) -> None:
    seen: list[Any] = []
    with pytest.raises(openai.APIError) as caught:
        await sdk.collect_into(seen, chat(stream=True, extra_headers={"x-demo-fault": fault}))
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert caught.value.code == "upstream_bad_response"
    assert any(chunk.choices[0].delta.content for chunk in seen)
