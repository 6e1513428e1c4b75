"""Embeddings of the demo backend."""

import base64
import math
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI

from mimic_proxy.demo.embeddings import floats, packed
from mimic_proxy.demo.options import DemoOptions

Start = Callable[[DemoOptions], str]


def embedding(http: httpx2.Client, **fields: Any) -> dict[str, Any]:
    answer = http.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "hello", **fields})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


@settings(max_examples=50)
@given(st.one_of(st.text(), st.lists(st.integers(0, 10**6))), st.integers(1, 300))
def test_vectors_have_length_one_and_are_always_the_same(given_: str | list[int], size: int) -> None:
    vector = floats(packed(given_, size))
    assert len(vector) == size
    assert math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-5)
    assert floats(packed(given_, size)) == vector


def test_texts_that_share_words_are_closer() -> None:
    cat, kitten, tax = (floats(packed(text, 256)) for text in ("the cat sleeps", "the cat plays", "pay income tax"))
    assert (
        sum(a * b for a, b in zip(cat, kitten, strict=True)) > sum(a * b for a, b in zip(cat, tax, strict=True)) + 0.3
    )


def test_without_a_format_the_vector_is_a_list_of_floats(http: httpx2.Client) -> None:
    document = embedding(http)
    assert document["object"] == "list"
    assert len(document["data"][0]["embedding"]) == 1536
    assert document["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


def test_base64_is_little_endian_float32_of_the_same_numbers(http: httpx2.Client) -> None:
    as_floats = embedding(http, encoding_format="float", dimensions=7)["data"][0]["embedding"]
    as_text = embedding(http, encoding_format="base64", dimensions=7)["data"][0]["embedding"]
    assert list(struct.unpack("<7f", base64.b64decode(as_text))) == as_floats


@pytest.mark.parametrize(
    ("given_", "count"),
    [("a text", 1), (["one", "two", "three"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
)
def test_each_input_has_its_vector_in_order(http: httpx2.Client, given_: object, count: int) -> None:
    data = embedding(http, input=given_, dimensions=8)["data"]
    assert [item["index"] for item in data] == list(range(count))
    assert all(one["embedding"] != other["embedding"] for one, other in pairwise(data))


@pytest.mark.parametrize(
    ("model", "size"), [("text-embedding-3-large", 3072), ("demo/embed-small", 256), ("somebody/else", 1536)]
)
def test_each_model_has_its_dimensions(http: httpx2.Client, model: str, size: int) -> None:
    assert len(embedding(http, model=model)["data"][0]["embedding"]) == size


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": 5}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 1537}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_a_wrong_request_is_refused_by_parameter(http: httpx2.Client, fields: dict[str, Any], param: str) -> None:
    body = {"model": "text-embedding-3-small", "input": "hello", **fields}
    answer = http.post("/v1/embeddings", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_the_sdk_decodes_its_default_base64(sdk: OpenAI) -> None:
    assert len(sdk.embeddings.create(model="demo/embed-small", input="hello").data[0].embedding) == 256


def test_float_lists_come_even_for_base64_where_that_is_set(start: Start) -> None:
    url = start(DemoOptions(any_token=True, always_float=True))
    with httpx2.Client(base_url=url, headers={"authorization": "Bearer any"}, trust_env=False) as http:
        assert isinstance(embedding(http, encoding_format="base64")["data"][0]["embedding"], list)
