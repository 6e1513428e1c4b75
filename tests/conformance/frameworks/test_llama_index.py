"""LlamaIndex's clients for servers that are like OpenAI's."""

import pytest
from behind import Behind
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

MODEL, EMBEDDING_MODEL = "demo/chat-small", "demo/embed-small"
QUESTION = "What is the weather in Paris?"
MESSAGES = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content=QUESTION)]
TEXTS = ["one text", "another text", "a third"]


def get_weather(city: str) -> str:
    """The weather of a city"""
    return f"21 degrees in {city}"


@pytest.fixture
def chat(behind: Behind) -> OpenAILike:
    return OpenAILike(
        model=MODEL,
        api_base=behind.base_url,
        api_key="any",
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
    )


@pytest.fixture
def embedding(behind: Behind) -> OpenAILikeEmbedding:
    return OpenAILikeEmbedding(model_name=EMBEDDING_MODEL, api_base=behind.base_url, api_key="any", max_retries=0)


def test_a_chat_is_answered(chat: OpenAILike) -> None:
    answer = chat.chat(MESSAGES)
    assert "Paris" in answer.message.content
    assert answer.raw.usage.total_tokens > 0


def test_a_stream_has_the_words_of_the_plain_answer(chat: OpenAILike, behind: Behind) -> None:
    answers = list(chat.stream_chat(MESSAGES))
    pieces = [answer.delta for answer in answers if answer.delta]
    assert "".join(pieces) == chat.chat(MESSAGES).message.content
    assert (len(pieces) > 1) is behind.piecemeal
    assert answers[-1].message.content == "".join(pieces)


def test_a_prompt_is_completed(chat: OpenAILike) -> None:
    assert "Paris" in chat.complete(QUESTION).text
    assert "".join(answer.delta or "" for answer in chat.stream_complete(QUESTION)) == chat.complete(QUESTION).text


@pytest.mark.parametrize("streaming", [False, True])
def test_a_tool_is_called_with_its_arguments(chat: OpenAILike, streaming: bool) -> None:
    tools = [FunctionTool.from_defaults(get_weather)]
    if streaming:
        answer = list(chat.stream_chat_with_tools(tools, user_msg=QUESTION, tool_required=True))[-1]
    else:
        answer = chat.chat_with_tools(tools, user_msg=QUESTION, tool_required=True)
    (call,) = chat.get_tool_calls_from_response(answer)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"city": "Paris"})


def test_a_tool_is_run_and_its_result_answered_with_words(chat: OpenAILike) -> None:
    answer = chat.predict_and_call([FunctionTool.from_defaults(get_weather)], user_msg=QUESTION)
    assert "Paris" in str(answer)


def test_embeddings_are_one_vector_each_in_their_order(embedding: OpenAILikeEmbedding) -> None:
    vectors = embedding.get_text_embedding_batch(TEXTS)
    assert len({tuple(vector) for vector in vectors}) == len(TEXTS)
    assert [embedding.get_text_embedding(text) for text in TEXTS] == vectors
