"""Embeddings of a gateway, and its models."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from fakes.envelope import dialect
from mimic_proxy.dialects.base import Embedding
from mimic_proxy.errors import InvalidRequest, UnsupportedInput
from mimic_proxy.http.body import read_fields
from mimic_proxy.telemetry.observation import NO_USAGE, Usage

FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5)


def embedding(given: Any, settings: dict[str, Any] | None = None, **more: Any) -> Embedding:
    body = json.dumps({"model": "m", "input": given, **more}).encode()
    return dialect(**(settings or {})).embed(body, read_fields(body))


def taken(asked: Embedding, *documents: Any) -> dict[str, Any]:
    for index in reversed(range(len(documents))):
        refusal = asked.take(index, 200, json.dumps(documents[index]).encode())
        assert refusal is None, refusal
    answer = asked.answer()
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.body)
    return found


def refusal(asked: Embedding, document: Any, status: int = 200) -> tuple[int, dict[str, Any]]:
    found = asked.take(0, status, document if isinstance(document, bytes) else json.dumps(document).encode())
    assert found is not None
    return found.status, json.loads(found.body)["error"]


def vector(*numbers: float, **beside: Any) -> dict[str, Any]:
    return {"data": {"content": list(numbers)}, **beside}


def test_every_input_is_a_call_of_its_own_with_all_that_was_asked() -> None:
    asked = embedding(["a", "b", "\ud83d"], dimensions=2, user="u", encoding_format="base64")
    assert [json.loads(body) for body in asked.bodies] == [
        {"model": "m", "text": text, "dimensions": 2, "user": "u"} for text in ("a", "b", "\ud83d")
    ]


def test_a_single_text_is_one_call() -> None:
    assert [json.loads(body) for body in embedding("a").bodies] == [{"model": "m", "text": "a"}]


def test_the_order_is_that_of_the_inputs_whatever_that_of_the_answers() -> None:
    found = taken(embedding(["a", "b"]), vector(1, 0.5), vector(2.25, -1e-3))
    CreateEmbeddingResponse.model_validate(found, strict=True)
    assert found == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1.0, 0.5]},
            {"object": "embedding", "index": 1, "embedding": [2.25, -0.001]},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }


@given(FLOATS)
def test_base64_is_little_endian_float32(numbers: list[float]) -> None:
    found = taken(embedding(["a"], encoding_format="base64"), vector(*numbers))
    packed = base64.b64decode(found["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(numbers)}f", packed)) == numbers


@given(FLOATS, st.booleans())
def test_a_gateway_that_answers_in_base64_is_understood(numbers: list[float], as_text: bool) -> None:
    packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    form = {"encoding_format": "base64"} if as_text else {}
    found = taken(embedding(["a"], **form), {"data": {"content": packed}})["data"][0]["embedding"]
    assert found == (packed if as_text else numbers)


def test_base64_can_be_switched_off() -> None:
    asked = embedding(["a"], {"embedding_encoding": "float"}, encoding_format="base64")
    assert taken(asked, vector(0.5))["data"][0]["embedding"] == [0.5]


def test_usage_is_the_sum_of_the_calls() -> None:
    asked = embedding(["a", "b"])
    found = taken(
        asked, vector(1, usage={"prompt_tokens": 2}), vector(1, usage={"prompt_tokens": 3, "total_tokens": 4})
    )
    assert found["usage"] == {"prompt_tokens": 5, "total_tokens": 6}
    shown = asked.answer().shown
    assert shown is not None
    assert (shown.usage, shown.model) == (Usage(5, None, None, None), "m")


def test_usage_that_only_some_calls_tell_is_not_counted() -> None:
    asked = embedding(["a", "b"])
    taken(asked, vector(1, usage={"prompt_tokens": 2}), vector(1))
    shown = asked.answer().shown
    assert shown is not None
    assert shown.usage == NO_USAGE


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]], [[]], ["a", [1]]])
def test_token_ids_are_refused_with_the_setting_that_helps(tokens: Any) -> None:
    with pytest.raises(UnsupportedInput, match="check_embedding_ctx_length=False") as caught:
        embedding(tokens)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "unsupported_input", "input")


@pytest.mark.parametrize("odd", [[], None, 7, {}, ["a", None], [True], ["a"] * 2049, [{"text": "a"}]])
def test_what_is_no_input_is_refused(odd: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        embedding(odd)
    assert (caught.value.status, caught.value.param) == (400, "input")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"data": {}}, "is missing; its keys are: data."),
        (vector(), "is not an array of numbers"),
        ({"data": {"content": "no vector"}}, "no vector in base64"),
        ({"data": {"content": ""}}, "is empty"),
        ({"data": {"content": {"x": 1}}}, "is not an array of numbers"),
        ({"data": {"content": [1, "2"]}}, "not a number"),
        ({"data": {"content": [1, None]}}, "not a number"),
        ({"data": {"content": [True]}}, "not a number"),
        (vector(1e39), "too large"),
        (vector(10**400), "too large"),
        ({"data": {"content": [[[[1]]]]}}, None),
    ],
)
def test_what_is_no_vector_is_an_error_that_names_the_setting(document: Any, says: str | None) -> None:
    asked = embedding(["a"], encoding_format="base64")
    if says is None:
        assert taken(asked, document)["data"][0]["embedding"] == base64.b64encode(struct.pack("<f", 1)).decode()
        return
    status, shape = refusal(asked, document)
    assert (status, shape["code"]) == (502, "upstream_bad_response")
    assert says in shape["message"]
    assert "ENVELOPE_EMBEDDING_PATH" in shape["message"]


def test_vectors_of_two_lengths_are_an_error() -> None:
    asked = embedding(["a", "b"])
    assert asked.take(1, 200, json.dumps(vector(1, 2)).encode()) is None
    assert "same length" in refusal(asked, vector(1))[1]["message"]


@pytest.mark.parametrize(
    ("body", "http", "status"),
    [
        ({"errorCode": 401}, 200, 401),
        (b"", 401, 401),
        ({"errorCode": 429, "errorMessage": "slow"}, 200, 429),
        (b"<html>", 503, 503),
        (b"<html>", 200, 502),
    ],
)
def test_errors_of_one_call_are_those_of_the_answer(body: Any, http: int, status: int) -> None:
    assert refusal(embedding(["a", "b"]), body, http)[0] == status


# ---- batches


def test_a_batch_sends_arrays_and_reads_an_array_of_vectors() -> None:
    asked = embedding(["a", "b", "c"], {"embedding_batch": 2, "embedding_input": "texts"})
    assert [json.loads(body)["texts"] for body in asked.bodies] == [["a", "b"], ["c"]]
    found = taken(asked, {"data": {"content": [[1], [2]]}}, {"data": {"content": [[3]]}})
    assert [entry["embedding"] for entry in found["data"]] == [[1], [2], [3]]


def test_the_elements_of_a_batch_may_be_objects_in_any_order() -> None:
    settings = {"embedding_batch": 8, "embedding_path": ("data",), "embedding_item_path": ("vec",)}
    asked = embedding(["a", "b"], settings)
    found = taken(asked, {"data": [{"index": 1, "vec": [2]}, {"index": 0, "vec": [1]}]})
    assert [entry["embedding"] for entry in found["data"]] == [[1], [2]]


@pytest.mark.parametrize("content", [[[1]], [[1], [2], [3]], {"x": 1}, [1, 2], [[1], None]])
def test_a_batch_with_another_number_of_vectors_is_an_error(content: Any) -> None:
    status, shape = refusal(embedding(["a", "b"], {"embedding_batch": 2}), {"data": {"content": content}})
    assert (status, shape["code"]) == (502, "upstream_bad_response")


def test_a_thousand_inputs_do_not_make_a_thousand_copies_of_the_rest() -> None:
    asked = embedding(["a"] * 2048, user="u" * 100_000)
    assert len(asked.bodies) == 2048
    assert len(asked.bodies[2047]) > 100_000
    with pytest.raises(IndexError):
        asked.bodies[2048]


# ---- models


@pytest.mark.parametrize(
    ("document", "ids"),
    [
        ({"data": [{"id": "a"}, {"id": "org/b"}]}, ["a", "org/b"]),
        ({"models": ["a", "b", "a"]}, ["a", "b"]),
        ({"errorCode": 0, "data": {"models": [{"name": "a"}]}}, ["a"]),
        (["a"], ["a"]),
        ({"data": []}, []),
    ],
)
def test_models_of_a_gateway_become_the_list_of_openai(document: Any, ids: list[str]) -> None:
    found = dialect().models(200, json.dumps(document).encode())
    assert found.status == 200
    whole = json.loads(found.body)
    assert whole["object"] == "list"
    assert [(entry["id"], entry["object"]) for entry in whole["data"]] == [(name, "model") for name in ids]


@pytest.mark.parametrize(
    ("body", "http", "status"),
    [
        (b'{"errorCode": 401}', 200, 401),
        (b'{"data": [{"title": "a"}]}', 200, 502),
        (b'{"data": 7}', 200, 502),
        (b"<html>", 200, 502),
        (b"", 404, 404),
    ],
)
def test_what_is_no_list_of_models_is_an_error(body: bytes, http: int, status: int) -> None:
    found = dialect().models(http, body)
    assert found.status == status
    assert set(json.loads(found.body)["error"]) == {"message", "type", "param", "code"}
