import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimic_proxy.errors import InvalidRequest
from mimic_proxy.http.body import BodyFields, ask_for_usage, read_fields


def test_reads_the_fields_of_a_chat_body() -> None:
    body = (
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true,"n":2,"max_tokens":64,'
        b'"stream_options":{"include_usage":true},"top_p":0.5}'
    )

    assert read_fields(body) == BodyFields(
        model="gpt-4o", stream=True, stream_options=True, include_usage=True, n=2, max_tokens=64
    )
    assert read_fields(bytearray(body)) == read_fields(body)


def test_reads_the_fields_of_an_embeddings_body() -> None:
    body = b' { "input" : [1, 2], "encoding_format" : "base64", "model" : "e" }\n'

    assert read_fields(body) == BodyFields(model="e", encoding_format="base64")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, BodyFields()),
        ({"model": None, "stream": None, "n": None, "stream_options": None}, BodyFields(stream_options=True)),
        ({"stream_options": {}}, BodyFields(stream_options=True)),
        ({"stream_options": {"include_usage": False}}, BodyFields(stream_options=True)),
        ({"max_tokens": 1, "max_completion_tokens": 2, "max_output_tokens": 3}, BodyFields(max_tokens=2)),
        ({"max_output_tokens": 3}, BodyFields(max_tokens=3)),
        ({"max_completion_tokens": 0, "max_tokens": 3}, BodyFields(max_tokens=0)),
        ({"messages": [{"stream": True, "stream_options": {}}]}, BodyFields()),
    ],
)
def test_reads_only_what_stands_at_the_top_level(body: dict[str, Any], fields: BodyFields) -> None:
    assert read_fields(json.dumps(body).encode()) == fields


@pytest.mark.parametrize(
    "odd",
    [
        b'"model":5',
        b'"stream":"yes"',
        b'"stream":1',
        b'"n":"two"',
        b'"n":true',
        b'"n":1.5',
        b'"n":[]',
        b'"max_tokens":1e400',
        b'"max_tokens":' + b"9" * 5000,
        b'"encoding_format":{}',
        b'"model":"\xff\xfe"',
        b'"other":"\\ud83d"',
        b'"\\udc00":1',
    ],
)
def test_leaves_wrong_types_and_odd_text_to_the_backend(odd: bytes) -> None:
    fields = read_fields(b'{"stream_options":{"include_usage":true},"user":"u",' + odd + b"}")

    assert fields.include_usage
    assert fields.stream is False
    assert fields.n == 1
    assert fields.max_tokens is None


@pytest.mark.parametrize("options", [b"[]", b'"x"', b'{"include_usage":1}', b'{"include_usage":"true"}', b"true"])
def test_odd_stream_options_are_there_but_ask_for_nothing(options: bytes) -> None:
    fields = read_fields(b'{"model":"m","stream":true,"stream_options":' + options + b"}")

    assert fields == BodyFields(model="m", stream=True, stream_options=True)


def test_the_last_of_a_repeated_key_counts() -> None:
    assert read_fields(b'{"model":"a","stream":true,"model":"b","stream":false}') == BodyFields(model="b")


def test_sees_a_key_that_is_written_with_escapes() -> None:
    assert read_fields(b'{"stream\\u005foptions":null}').stream_options


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"", "no body"),
        (b" \r\n", "no body"),
        (b"[1]", "got `array`"),
        (b'"hunter2"', "got `str`"),
        (b"7", "got `int`"),
        (b"null", "got `null`"),
        (b'{"a":hunter2}', "byte 5"),
        (b'{"a":NaN}', "byte 5"),
        (b'{"a":1,}', "byte 7"),
        (b'{"hunter2":1} x', "byte 15"),
        (b'{"a":"hunter2\n"}', "byte 13"),
        (b'{"a":"hunter2', "truncated"),
        (b"{'hunter2':1}", "byte 1"),
        (b"model=hunter2", "byte 0"),
        (b'\xef\xbb\xbf{"model":"hunter2"}', "byte order mark"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"\\ud83d":hunter2}', "byte 10"),
    ],
)
def test_says_what_is_wrong_and_where_but_shows_nothing_of_the_body(body: bytes, hint: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read_fields(body)

    assert hint in refusal.value.message
    assert "hunter2" not in refusal.value.message
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(["model", "stream", "stream_options", "n", "max_tokens", "encoding_format"]) | st.text()


@settings(max_examples=150)
@given(st.dictionaries(_KEYS, _JSON, max_size=6), st.booleans(), st.sampled_from([None, 2]))
def test_reads_every_json_object_that_python_writes(body: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    fields = read_fields(json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass"))

    assert fields.stream is (body.get("stream") is True)
    assert fields.stream_options is ("stream_options" in body)


@settings(max_examples=150)
@given(st.dictionaries(st.text(max_size=4).filter(lambda key: key != "stream_options"), _JSON, max_size=3))
def test_asking_for_usage_adds_one_key_and_keeps_every_other_byte(body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()

    asked = ask_for_usage(text)

    assert json.loads(asked) == {"stream_options": {"include_usage": True}, **body}
    assert read_fields(asked).include_usage
    inserted = len(asked) - len(text)
    assert asked[:1] + asked[1 + inserted :] == text


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b'{"a":1.0}', b'{"stream_options":{"include_usage":true},"a":1.0}'),
        (b' \n{ "a" : 1, "a" : 2 }\n', b' \n{"stream_options":{"include_usage":true}, "a" : 1, "a" : 2 }\n'),
        (b"{}", b'{"stream_options":{"include_usage":true}}'),
        (b"\t{ \r\n} ", b'\t{"stream_options":{"include_usage":true} \r\n} '),
    ],
)
def test_asks_for_usage_in_front_of_all_other_keys(body: bytes, asked: bytes) -> None:
    assert ask_for_usage(body) == asked
    assert ask_for_usage(bytearray(body)) == asked
