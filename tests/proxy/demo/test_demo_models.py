"""The models of the demo backend."""

import httpx2
import pytest
from openai import NotFoundError, OpenAI


def test_the_list_holds_an_id_with_a_slash(sdk: OpenAI) -> None:
    names = [model.id for model in sdk.models.list()]
    assert "demo/chat-large" in names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", ["demo/chat-large", "demo%2Fchat-large", "demo%2fchat-large"])
def test_a_model_is_found_by_its_plain_and_its_encoded_id(http: httpx2.Client, path: str) -> None:
    assert http.get(f"/v1/models/{path}").json()["id"] == "demo/chat-large"


@pytest.mark.parametrize("path", ["missing-one", "demo%252Fchat-large", "demo/chat-large/"])
def test_an_unknown_id_is_refused_as_openai_does(http: httpx2.Client, path: str) -> None:
    answer = http.get(f"/v1/models/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_the_sdk_retrieves_and_misses(sdk: OpenAI) -> None:
    assert sdk.models.retrieve("demo/chat-large").owned_by == "demo"
    with pytest.raises(NotFoundError):
        sdk.models.retrieve("missing")
