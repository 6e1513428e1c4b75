"""langchain-openai, configured by OPENAI_BASE_URL and OPENAI_API_KEY alone."""

import asyncio

import openai
import pytest
from behind import Behind
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

MODEL, EMBEDDING_MODEL = "demo/chat-small", "demo/embed-small"
QUESTION = "What is the weather in Paris?"
TEXTS = ["one text", "another text"]


@tool
def get_weather(city: str) -> str:
    """The weather of a city"""
    return f"21 degrees in {city}"


class City(BaseModel):
    """A city and its country."""

    city: str
    country: str


@pytest.fixture
def chat() -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, max_retries=0)


def test_a_chat_is_answered_with_its_usage(chat: ChatOpenAI) -> None:
    answer = chat.invoke(QUESTION)
    assert "Paris" in answer.content
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == MODEL
    usage = answer.usage_metadata
    assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"] > 0


def test_a_stream_has_the_words_of_the_plain_answer_and_its_usage(chat: ChatOpenAI, behind: Behind) -> None:
    chunks = list(chat.stream(QUESTION, stream_usage=True))
    pieces = [chunk.content for chunk in chunks if chunk.content]
    assert "".join(pieces) == chat.invoke(QUESTION).content
    assert (len(pieces) > 1) is behind.piecemeal
    whole = _whole(chunks)
    assert whole.usage_metadata["output_tokens"] > 0
    assert whole.response_metadata["finish_reason"] == "stop"


async def _stream(chat: ChatOpenAI) -> str:
    return "".join([chunk.content async for chunk in chat.astream(QUESTION)])


def test_the_asynchronous_stream_has_the_same_words(chat: ChatOpenAI) -> None:
    assert asyncio.run(_stream(chat)) == chat.invoke(QUESTION).content


@pytest.mark.parametrize("streaming", [False, True])
def test_a_tool_is_called_and_its_result_answered_with_words(chat: ChatOpenAI, streaming: bool) -> None:
    asking = chat.bind_tools([get_weather], tool_choice="required")
    called = _whole(list(asking.stream(QUESTION))) if streaming else asking.invoke(QUESTION)
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    assert call["id"]
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    answer = chat.bind_tools([get_weather]).invoke([HumanMessage(QUESTION), called, result])
    assert answer.content
    assert not answer.tool_calls


def test_structured_output_has_the_fields_of_its_schema(chat: ChatOpenAI) -> None:
    for method in ("function_calling", "json_schema"):
        assert isinstance(chat.with_structured_output(City, method=method).invoke("Where is Paris?"), City)


def test_embeddings_of_text_are_one_vector_each_in_their_order() -> None:
    embeddings = OpenAIEmbeddings(model=EMBEDDING_MODEL, max_retries=0, check_embedding_ctx_length=False)
    vectors = embeddings.embed_documents(TEXTS)
    assert vectors[0] != vectors[1]
    assert [embeddings.embed_query(text) for text in TEXTS] == vectors


def test_embeddings_of_token_ids_work_or_are_refused_with_the_setting_that_helps(behind: Behind) -> None:
    """Unless it is told otherwise, OpenAIEmbeddings sends what tiktoken makes of a text."""
    embeddings = OpenAIEmbeddings(model=EMBEDDING_MODEL, max_retries=0)
    if behind.dialect == "openai":
        assert len(embeddings.embed_documents(TEXTS)) == len(TEXTS)
        return
    with pytest.raises(openai.BadRequestError) as caught:
        embeddings.embed_documents(TEXTS)
    assert caught.value.code == "unsupported_input"
    # The setting that the test before this one shows to work.
    assert "check_embedding_ctx_length=False" in caught.value.body["message"]


def _whole(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole
