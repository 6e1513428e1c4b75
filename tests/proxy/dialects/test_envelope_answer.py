"""Whole answers of a gateway, and its errors."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from fakes.envelope import STAMP, accumulated, asked, chat, told, wrapped
from mimic_proxy.telemetry.observation import NO_USAGE, Usage

SECRET = "what-the-user-said"


def answered(document: Any, status: int = 200, body: bytes | None = None, **settings: Any) -> Any:
    return chat(body, **settings).answer(
        status, document if isinstance(document, bytes) else json.dumps(document).encode()
    )


def error(document: Any, status: int = 200, **settings: Any) -> tuple[int, dict[str, Any]]:
    found = answered(document, status, **settings)
    assert found.shown is None
    return found.status, json.loads(found.body)["error"]


def test_an_answer_is_a_complete_object_of_openai() -> None:
    found = answered(wrapped("Hello", usage={"prompt_tokens": 3, "completion_tokens": 4}))
    whole = ChatCompletion.model_validate_json(found.body, strict=True)
    assert json.loads(found.body) == {
        "id": f"chatcmpl-{STAMP.id}",
        "object": "chat.completion",
        "created": STAMP.created,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "system_fingerprint": None,
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    assert whole.usage is not None
    assert found.shown.usage == Usage(3, 4, None, None)
    assert (found.shown.id, found.shown.model, found.shown.finish_reasons) == (f"chatcmpl-{STAMP.id}", "m", ("stop",))


def test_a_gateway_that_tells_no_usage_gets_none_made_up() -> None:
    found = answered(wrapped("Hello"))
    assert "usage" not in json.loads(found.body)
    assert found.shown.usage == NO_USAGE


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, (1, 2, 3)),
        ({"promptTokens": 1, "completionTokens": 2, "totalTokens": 9}, (1, 2, 9)),
        ({"total_tokens": 9, "prompt_tokens": 4}, (4, 5, 9)),
        ({"prompt_tokens": True, "completion_tokens": 2}, (0, 2, 2)),
    ],
)
def test_usage_is_read_by_the_names_that_gateways_use(given: dict[str, Any], seen: tuple[int, int, int]) -> None:
    usage = told(answered(wrapped("x", usage=given)).body)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == seen


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": "3"}, {"prompt_tokens": -1}, [], "x"])
def test_usage_without_a_count_is_none(usage: Any) -> None:
    assert told(answered(wrapped("x", usage=usage)).body)["usage"] is None


@pytest.mark.parametrize(
    ("reason", "calls", "seen"),
    [
        (None, False, "stop"),
        ("stop", False, "stop"),
        ("max_tokens", False, "length"),
        ("MAX_TOKENS", False, "length"),
        ("end_turn", False, "stop"),
        ("SAFETY", False, "content_filter"),
        ("content-filtered", False, "content_filter"),
        ("never heard of", False, "stop"),
        (3, False, "stop"),
        ("tool_calls", False, "stop"),
        ("stop", True, "tool_calls"),
        ("tool_use", True, "tool_calls"),
        ("length", True, "length"),
    ],
)
def test_finish_reasons_are_those_of_openai(reason: Any, calls: bool, seen: str) -> None:
    called = [{"name": "f", "arguments": {}}] if calls else None
    assert told(answered(wrapped("x", called, finish=reason)).body)["finish"] == seen


@pytest.mark.parametrize(
    ("call", "seen"),
    [
        ({"name": "f", "arguments": {"a": 1.0}}, {"name": "f", "arguments": '{"a":1.0}'}),
        ({"name": "f", "arguments": '{ "a": 1 }'}, {"name": "f", "arguments": '{ "a": 1 }'}),
        ({"name": "f", "arguments": None}, {"name": "f", "arguments": "{}"}),
        ({"name": "f", "arguments": ""}, {"name": "f", "arguments": "{}"}),
        ({"name": "f"}, {"name": "f", "arguments": "{}"}),
        ({"name": "f", "args": [1]}, {"name": "f", "arguments": "[1]"}),
        ({"type": "function", "function": {"name": "f", "arguments": "{}"}}, {"name": "f", "arguments": "{}"}),
    ],
)
def test_tool_calls_in_every_form_are_calls_of_openai(call: dict[str, Any], seen: dict[str, Any]) -> None:
    found = told(answered(wrapped(None, [call, {**call, "id": "own"}])).body)
    assert found["tool_calls"] == [{"id": f"call_{STAMP.id[:24]}0", **seen}, {"id": "own", **seen}]
    assert found["content"] is None


def test_a_single_call_need_not_stand_in_an_array() -> None:
    assert len(told(answered(wrapped(None, {"name": "f"})).body)["tool_calls"]) == 1


def test_ids_of_calls_are_the_same_however_often_an_answer_is_read() -> None:
    document = wrapped(None, [{"name": "f"}, {"name": "f"}])
    first, second = (told(answered(document).body)["tool_calls"] for _ in range(2))
    assert first == second
    assert len({call["id"] for call in first}) == 2


def test_who_offers_functions_gets_a_function_call() -> None:
    body = asked(stream=True, functions=[{"name": "f"}])
    translation = chat(body)
    found = translation.answer(200, json.dumps(wrapped(None, [{"name": "f", "arguments": {"a": 1}}])).encode())
    choice = json.loads(found.body)["choices"][0]
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "function_call": {"name": "f", "arguments": '{"a":1}'},
    }
    assert choice["finish_reason"] == "function_call"
    assert b'"delta":{"function_call":{"name":"f"' in translation.events(found)


def test_text_in_parts_is_joined() -> None:
    assert told(answered(wrapped([{"type": "text", "text": "a"}, "b"])).body)["content"] == "ab"


def test_the_gateways_own_model_is_told() -> None:
    assert json.loads(answered(wrapped("x", model="theirs")).body)["model"] == "theirs"


def test_a_name_without_end_is_nothing_for_telemetry() -> None:
    found = answered(wrapped("x", model="m" * 1000))
    assert found.shown.model is None
    assert json.loads(found.body)["model"] == "m" * 1000


def test_other_paths_are_settings() -> None:
    document = {"result": {"choices": [{"text": "Hi", "why": "length"}]}, "tokens": {"input_tokens": 1}}
    paths = {
        "text_path": ("nowhere", "/result/choices/0/text"),
        "finish_reason_path": ("result.choices.0.why",),
        "usage_path": ("tokens",),
    }
    found = told(answered(document, **paths).body)
    assert (found["content"], found["finish"], found["usage"]["prompt_tokens"]) == ("Hi", "length", 1)


# ---- errors


@pytest.mark.parametrize(
    ("document", "http", "status", "code"),
    [
        ({"errorCode": 401}, 200, 401, "upstream_auth_failed"),
        ({"errorCode": "401", "errorMessage": "expired"}, 500, 401, "upstream_auth_failed"),
        ({"message": "no"}, 401, 401, "upstream_auth_failed"),
        ({"errorCode": 429, "errorMessage": "slow down"}, 200, 429, "rate_limit_exceeded"),
        ({"errorCode": "RATE_LIMIT", "message": "slow down"}, 200, 429, "rate_limit_exceeded"),
        ({"errorCode": "ContextLengthExceeded"}, 200, 400, "context_length_exceeded"),
        ({"errorCode": 400, "errorMessage": "bad"}, 200, 400, None),
        ({"errorCode": 503.0}, 200, 503, None),
        ({"errorCode": "E17", "errorMessage": "odd"}, 200, 502, "upstream_bad_response"),
        ({"errorCode": "E17", "errorMessage": "odd"}, 422, 422, "E17"),
        ({"errorCode": 1001}, 200, 502, "upstream_bad_response"),
        ({"errorCode": True}, 200, 502, "upstream_bad_response"),
        ({"errorCode": 0}, 503, 503, None),
        ({"error": {"message": "odd", "code": 404}}, 200, 404, None),
        ({"error": "something broke"}, 200, 502, "upstream_bad_response"),
        ({"error": {"message": "odd"}}, 418, 418, "error"),
        ([], 500, 500, None),
    ],
)
def test_errors_get_the_status_that_they_mean(document: Any, http: int, status: int, code: str | None) -> None:
    found, shape = error(document, http)
    assert (found, shape["code"]) == (status, code)
    assert set(shape) == {"message", "type", "param", "code"}
    assert isinstance(shape["message"], str)
    assert shape["message"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"errorCode": 400, "errorMessage": "Too long."}, "Too long."),
        ({"errorCode": 400, "msg": "Too long."}, "Too long."),
        ({"error": {"message": "Too long.", "code": 400}}, "Too long."),
        ({"error": "Too long."}, "Too long."),
        ({"errorCode": 400}, "The backend answered with the error code 400 and no message."),
        ({"errorCode": "E17", "errorMessage": "Odd."}, "Odd. (error code E17)"),
    ],
)
def test_the_gateways_message_is_told(document: Any, message: str) -> None:
    assert error(document)[1]["message"] == message


@pytest.mark.parametrize("code", [0, 200, "0", "OK", "success", None, "", False])
def test_codes_of_success_are_no_errors(code: Any) -> None:
    assert answered({**wrapped("x"), "errorCode": code}).status == 200


def test_codes_of_success_and_of_refused_tokens_are_settings() -> None:
    codes = {"success_codes": ("1",), "refused_codes": ("TOKEN_EXPIRED", "4010"), "error_code_path": ("status.code",)}
    assert answered({**wrapped("x"), "status": {"code": 1}}, **codes).status == 200
    assert answered({"status": {"code": "token_expired"}}, **codes).status == 401
    assert answered({"status": {"code": 4010}}, **codes).status == 401
    assert answered({"status": {"code": 0}}, **codes).status == 502


@pytest.mark.parametrize(
    ("body", "http", "status", "says"),
    [
        (b"", 200, 502, "status 200 and an empty body"),
        (b"", 503, 503, "status 503 and an empty body"),
        (b"  <!doctype html><h1>Login</h1>", 200, 502, "status 200 and an HTML page"),
        (b"<html>", 404, 404, "status 404 and an HTML page"),
        (b"OK", 200, 502, "a body that is not JSON"),
        (b'{"data":', 200, 502, "a body that is not JSON"),
        (b"[" * 100_000, 200, 502, "a body that is not JSON"),
        # It would be written as null: a number for a tool that nobody has said.
        (b'[{"name":"f","arguments":{"a":1e400}}]', 200, 502, "a body that is not JSON"),
    ],
)
def test_what_is_no_json_is_said_to_be_none(body: bytes, http: int, status: int, says: str) -> None:
    found, shape = error(body, http)
    assert found == status
    assert says in shape["message"]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (
            {"data": {"answer": SECRET}},
            "nothing at data.content.content (ENVELOPE_TEXT_PATH) in the backend's answer; its keys are: data.answer.",
        ),
        ({"data": {"content": {"text": SECRET}, "a.b": [SECRET]}}, "its keys are: data.content.text, /data/a.b."),
        ({"data": None}, "its keys are: data."),
        ({}, "it has no keys"),
        ([SECRET], "it is an array"),
        (SECRET, "it is text"),
        (wrapped({"answer": SECRET}), "is an object, not text"),
        (wrapped(7), "is a number, not text"),
        (wrapped("x", [SECRET]), "ENVELOPE_TOOL_CALLS_PATH"),
        (wrapped("x", [{"arguments": SECRET}]), "ENVELOPE_TOOL_CALLS_PATH"),
    ],
)
def test_an_answer_of_another_shape_is_told_by_its_keys_and_no_value(document: Any, says: str) -> None:
    status, shape = error(document)
    assert (status, shape["code"], shape["type"]) == (502, "upstream_bad_response", "upstream_error")
    assert says in shape["message"]
    assert SECRET not in shape["message"]


def test_a_document_with_thousands_of_keys_makes_no_endless_message() -> None:
    message = error({f"{'k' * 500}{number}": 1 for number in range(5000)})[1]["message"]
    assert len(message) < 3000


def test_arguments_nested_beyond_reason_are_an_error_of_the_backend() -> None:
    deep = b'[{"name":"f","arguments":' + b"[" * 100_000 + b"]" * 100_000 + b"}]"
    assert answered(b'{"data":{"content":{"content":"x","tool_calls":' + deep + b"}}}").status == 502


def test_a_null_text_is_an_empty_answer() -> None:
    assert told(answered({"data": {"content": {"content": None}}}).body)["content"] == ""


def test_an_error_in_a_stream_that_nobody_asked_for_is_an_error() -> None:
    body = b'data: {"errorCode": 401}\n\n'
    assert answered(body).status == 401
    late = b'data: {"data":{"content":{"content":"x"}}}\n\ndata: {"errorCode": 500, "errorMessage": "late"}\n\n'
    status, shape = error(late)
    assert (status, shape["message"]) == (502, "late")
    cut = b'data: {"data":{"content":{"content":"x"}}}\n\n'
    assert error(cut)[0] == 502


def test_a_whole_answer_in_events_ends_with_the_usage_that_was_asked_for() -> None:
    body = json.dumps(wrapped("Hi", usage={"prompt_tokens": 1, "completion_tokens": 1})).encode()
    for usage in (True, False):
        translation = chat(asked(stream=True, usage=usage))
        found = accumulated(translation.events(translation.answer(200, body)))
        assert (found["content"], found["usage"] is not None) == ("Hi", usage)
