"""Streams of a gateway."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from fakes.envelope import (
    NDJSON,
    SSE,
    STAMP,
    accumulated,
    asked,
    chat,
    events,
    ndjson,
    reader,
    sse,
    through,
    wrapped,
)
from mimic_proxy.dialects.base import StreamReader
from mimic_proxy.telemetry.observation import Usage

HELLO, STOP = wrapped("Hello"), wrapped(finish="stop")


def said(out: bytes) -> str:
    chunks = [chunk for chunk in events(out) if chunk != "[DONE]" and "choices" in chunk]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def test_every_event_goes_out_as_it_comes() -> None:
    stream = reader()
    first = stream.feed(sse([HELLO], done=False))
    assert said(first) == "Hello"
    assert stream.facts.verdict == "ok"
    assert stream.facts.first_content
    assert said(stream.feed(sse([wrapped(" you")], done=False))) == " you"
    assert stream.feed(sse([STOP], done=False)) == b""
    last = events(stream.feed(b"data: [DONE]\n\n"))
    assert last[0]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert last[1:] == ["[DONE]"]
    facts = stream.facts
    assert (facts.done, facts.finished, facts.finish_reasons, facts.events) == (True, 1, ("stop",), 4)
    assert (facts.id, facts.model, facts.held) == (f"chatcmpl-{STAMP.id}", "m", "nothing")


def test_chunks_are_complete_objects_of_openai() -> None:
    calls = [{"name": "f", "arguments": {"a": 1}}]
    out = through(reader(usage=True), [sse([HELLO, wrapped(calls=calls), {**STOP, "usage": {"prompt_tokens": 1}}])])
    chunks = events(out)[:-1]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert (chunk["id"], chunk["created"], chunk["model"]) == (f"chatcmpl-{STAMP.id}", STAMP.created, "m")
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}


def test_usage_that_was_not_asked_for_is_counted_and_not_told() -> None:
    stream = reader()
    out = through(stream, [sse([HELLO, {**STOP, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}])])
    assert b"usage" not in out
    assert stream.facts.usage == Usage(1, 2, None, None)


def test_usage_may_come_after_the_finish_reason() -> None:
    stream = reader(usage=True)
    out = through(stream, [sse([HELLO, STOP]), sse([{"usage": {"prompt_tokens": 1}}])])
    assert accumulated(out)["usage"] is None  # [DONE] was told before
    out = through(reader(usage=True), [sse([HELLO, STOP, {"usage": {"prompt_tokens": 1}}])])
    assert accumulated(out)["usage"]["prompt_tokens"] == 1


# ---- how a stream ends


@pytest.mark.parametrize(
    ("kind", "body", "whole", "settings", "complete"),
    [
        (SSE, sse([HELLO]), True, {}, True),
        (SSE, sse([HELLO, STOP], done=False), True, {}, True),
        (SSE, sse([HELLO, STOP], done=False), False, {}, True),
        (SSE, sse([HELLO, {"done": True}], done=False), False, {}, True),
        (SSE, sse([HELLO, {"data": {"done": "true"}}], done=False), False, {}, True),
        (SSE, sse([HELLO], done=False) + b"event: done\ndata: {}\n\n", False, {}, True),
        (SSE, sse([HELLO], done=False) + b"event: end\ndata:\n\n", False, {}, True),
        (SSE, sse([HELLO], done=False) + b"data: [DONE]", True, {}, True),
        (SSE, sse([HELLO], done=False) + b"data: [DONE]\n", False, {}, True),
        (SSE, sse([HELLO], done=False), True, {}, False),
        (SSE, sse([HELLO], done=False), False, {}, False),
        (SSE, sse([HELLO], done=False), True, {"stream_end": "body"}, True),
        (SSE, sse([HELLO], done=False), False, {"stream_end": "body"}, False),
        (SSE, sse([HELLO, {"done": False}], done=False), True, {}, False),
        (NDJSON, ndjson([HELLO]), True, {}, True),
        (NDJSON, ndjson([HELLO]), False, {}, False),
        (NDJSON, ndjson([HELLO]), True, {"stream_end": "marker"}, False),
        (NDJSON, ndjson([HELLO, {"done": False}]), True, {}, False),
        (NDJSON, ndjson([HELLO, STOP]), False, {}, True),
        (NDJSON, ndjson([HELLO, STOP])[:-1], False, {}, True),
        (NDJSON, ndjson([HELLO]) + b'{"data":{"cont', True, {}, False),
        (NDJSON, ndjson([HELLO]) + b'{"data":{"cont', True, {"stream_end": "body"}, False),
        (SSE, sse([HELLO], done=False) + b'data: {"data":{"con', True, {"stream_end": "body"}, False),
        (
            SSE,
            sse([HELLO], done=False) + b'data: {"data":{"content":{"content":"!"}}}',
            True,
            {"stream_end": "body"},
            True,
        ),
    ],
)
def test_an_answer_is_complete_where_its_end_is_told(
    kind: bytes, body: bytes, whole: bool, settings: dict[str, Any], complete: bool
) -> None:
    stream = reader(kind, **settings)
    out = through(stream, [body], whole)
    assert (stream.facts.complete, stream.facts.done) == (complete, complete)
    assert not stream.facts.error_frame
    if complete:
        assert accumulated(out)["content"].startswith("Hello")
    else:
        assert b"[DONE]" not in out
        assert "before it was complete" in (stream.facts.lacking or "")


def test_a_stream_that_just_ends_is_told_of_the_setting_for_it() -> None:
    stream = reader()
    through(stream, [sse([HELLO], done=False)])
    assert "ENVELOPE_STREAM_END=body" in (stream.facts.lacking or "")
    assert "data.content.finish_reason" in (stream.facts.lacking or "")


def test_nothing_that_follows_the_end_is_given_out() -> None:
    stream = reader()
    assert accumulated(through(stream, [sse([HELLO]) + sse([HELLO])]))["content"] == "Hello"
    assert stream.feed(sse([HELLO])) == b""
    assert stream.finish(True) == b""


# ---- errors


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (b'data: {"errorCode": 401, "errorMessage": "expired"}\n\n', 401),
        (b'data: {"errorCode": "429"}\n\n', 429),
        (b'data: {"error": {"message": "broken"}}\n\n', 502),
        (b'event: error\ndata: {"message": "broken"}\n\n', 502),
        (b"data: <html>\n\n", 502),
        (b"data: broken\n\n", 502),
        (b"data: [1]\n\ndata: [DONE]\n\n", 502),
        (b'data: {"data":{"content":{"content":7}}}\n\n', 502),
        (b'data: {"data":{"content":{"tool_calls":[7]}}}\n\n', 502),
        (b'data: {"data":{"answer":"x"}}\n\ndata: [DONE]\n\n', 502),
        (b"data: [DONE]\n\n", 502),
    ],
)
def test_a_first_event_that_is_an_error_is_a_status(event: bytes, status: int) -> None:
    stream = reader()
    assert stream.feed(event) == b""
    assert (stream.facts.verdict, stream.facts.error_frame) == (status, True)
    assert set(json.loads(stream.facts.error_body or b"")["error"]) == {"message", "type", "param", "code"}


def test_comments_heartbeats_and_events_without_matter_do_not_classify() -> None:
    stream = reader()
    for event in (b": hi\n\n", b"data: ping\n\n", b"event: ping\ndata: x\n\n", b"data: {}\n\n", b"data:\n\n", b"\n\n"):
        assert stream.feed(event) == b""
    assert stream.feed(b'data: {"traceId": "x", "data": {"content": {"finish_reason": null}}}\n\n') == b""
    assert stream.facts.verdict is None
    assert not stream.facts.complete


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"errorCode": 500, "errorMessage": "broken"}\n\n',
        b'data: {"errorCode": 401}\n\n',
        b'data: {"error": {"message": "broken"}}\n\n',
        b"data: <html>\n\n",
        b'data: {"data":{"content":{"content":{}}}}\n\n',
        b'data: {"data":{"content":{"tool_calls":[{"arguments":"{}"}]}}}\n\n',
        b"data: " + b"x" * (4 * 1024 * 1024 + 1) + b"\n\n",
    ],
)
def test_a_later_error_is_a_frame_and_the_last_event(event: bytes) -> None:
    stream = reader()
    out = through(stream, [sse([HELLO], done=False), event, sse([STOP])])
    assert set(events(out)[-1]["error"]) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in out
    assert (stream.facts.error_frame, stream.facts.done, stream.facts.verdict) == (True, False, "ok")
    assert stream.finish(True) == b""


@pytest.mark.parametrize("only", [{"done": True}, STOP, {"usage": {"prompt_tokens": 1}}])
def test_a_stream_that_ends_and_has_said_nothing_is_an_answer_with_a_status(only: Any) -> None:
    stream = reader()
    assert through(stream, [sse([only])]) == b""
    assert stream.facts.verdict == 502


def test_the_message_of_a_stream_without_text_names_what_was_there() -> None:
    stream = reader()
    through(stream, [sse([{"data": {"answer": "secret"}}])])
    message = json.loads(stream.facts.error_body or b"")["error"]["message"]
    assert "data.content.content (ENVELOPE_TEXT_PATH)" in message
    assert "data.answer" in message
    assert "secret" not in message


# ---- cumulative text


@pytest.mark.parametrize(
    ("texts", "given"),
    [
        (["A", "AB", "ABC"], "ABC"),
        (["A", "A", "A"], "A"),
        (["", "A"], "A"),
        (["e", "e\u0301", "e\u0301!"], "e\u0301!"),
        (["\ud83d", "\ud83d\ude00", "\ud83d\ude00!"], "\U0001f600!"),
        (["\ufffd", "\u00e9", "\u00e9t"], "\u00e9t"),
        (["x\ufffd\ufffd", "x\U0001f600"], "x\U0001f600"),
        (["x\ufffd"], "x\ufffd"),
        (["x", "xy\ud83d"], "xy\ud83d"),
    ],
)
def test_a_text_that_grows_amounts_to_its_last_form(texts: list[str], given: str) -> None:
    documents = [json.loads(json.dumps(wrapped(text))) for text in texts]
    out = through(reader(stream_text="cumulative"), [sse([*documents, STOP])])
    assert accumulated(out)["content"] == given


@pytest.mark.parametrize(
    ("texts", "fault"), [(["AB", "A"], "shorter"), (["AB", "AC"], "changed"), (["AB", ""], "shorter")]
)
def test_a_text_that_does_not_grow_is_an_error_that_names_the_setting(texts: list[str], fault: str) -> None:
    out = through(reader(stream_text="cumulative"), [sse([wrapped(text) for text in texts])])
    message = events(out)[-1]["error"]["message"]
    assert fault in message
    assert "ENVELOPE_STREAM_TEXT" in message
    assert said(out) == "AB"


@pytest.mark.parametrize("event", [{"errorCode": 0}, {"data": {"content": {"content": None}}}, {"model": "m"}])
def test_an_event_without_a_text_says_nothing_of_a_text_that_grows(event: Any) -> None:
    out = through(reader(stream_text="cumulative"), [sse([wrapped("A"), event, wrapped("AB"), STOP])])
    assert accumulated(out)["content"] == "AB"


def test_calls_may_come_without_the_text_before_them() -> None:
    out = through(reader(stream_text="cumulative"), [sse([HELLO, wrapped(calls=[{"name": "f"}])])])
    told = accumulated(out)
    assert (told["content"], told["tool_calls"][0]["name"], told["finish"]) == ("Hello", "f", "tool_calls")


def test_a_last_event_may_have_no_text_any_more() -> None:
    out = through(reader(stream_text="cumulative"), [sse([wrapped("AB"), wrapped("", finish="stop")])])
    assert accumulated(out)["content"] == "AB"


# ---- tool calls


def calls_of(steps: list[Any], **settings: Any) -> Any:
    out = through(reader(**settings), [sse([wrapped(calls=calls) for calls in steps])])
    return [(call["name"], call["arguments"]) for call in accumulated(out)["tool_calls"]]


@pytest.mark.parametrize(
    ("steps", "calls"),
    [
        ([[{"name": "f", "arguments": {"a": 1}}]], [("f", '{"a":1}')]),
        ([[{"name": "f", "arguments": "{}"}], [{"name": "f", "arguments": "{}"}]], [("f", "{}"), ("f", "{}")]),
        ([[{"name": "f", "arguments": '{"a"'}], [{"arguments": ":1}"}]], [("f", '{"a":1}')]),
        (
            [
                [{"index": 0, "name": "f", "arguments": ""}, {"index": 1, "name": "g"}],
                [{"index": 0, "arguments": "[]"}],
            ],
            [("f", "[]"), ("g", "{}")],
        ),
        ([[{"index": 3, "id": "x", "name": "f"}], [{"index": 3, "name": "f", "arguments": "1"}]], [("f", "1")]),
        ([[{"id": "x", "name": "f", "arguments": "[1]"}]] * 2, [("f", "[1]")]),
        ([[{"id": "x", "name": "f", "arguments": "[1"}], [{"id": "x", "arguments": "]"}]], [("f", "[1]")]),
        ([{"name": "f"}, None, []], [("f", "{}")]),
        ([[{"name": "f", "arguments": {}}], [{"arguments": '{"a":'}], [{"arguments": "1}"}]], [("f", '{"a":1}')]),
        (
            [
                [{"index": 0, "id": "x", "name": "f", "arguments": "[1]"}],
                [{"index": 0, "id": "y", "name": "g", "arguments": "[2"}],
                [{"index": 0, "arguments": "]"}],
            ],
            [("f", "[1]"), ("g", "[2]")],
        ),
    ],
)
def test_new_calls_and_more_of_their_arguments(steps: list[Any], calls: list[tuple[str, str]]) -> None:
    assert calls_of(steps) == calls


@pytest.mark.parametrize(
    "steps",
    [
        [{"index": 0, "name": "f", "arguments": "[]"}, {"index": 0, "name": "g", "arguments": "[]"}],
        [{"id": "x", "name": "f", "arguments": "[]"}, {"id": "x", "name": "g", "arguments": "[]"}],
        [{"index": 0, "name": "f", "arguments": {"a": 1}}, {"index": 0, "arguments": {"b": 1}}],
        [{"index": 0, "name": "f", "arguments": {"a": 1}}, {"index": 0, "arguments": "}"}],
        [{"index": 0, "name": "f", "arguments": "[1"}, {"index": 0, "arguments": [2]}],
    ],
)
def test_an_item_that_does_not_go_on_with_its_call_is_an_error(steps: list[Any]) -> None:
    stream = reader()
    out = through(stream, [sse([wrapped(calls=[step]) for step in steps])])
    assert stream.facts.error_frame
    assert "of a tool call" in events(out)[-1]["error"]["message"]


@pytest.mark.parametrize(
    ("steps", "calls"),
    [
        ([[{"name": "f", "arguments": '{"a"'}], [{"name": "f", "arguments": '{"a":1}'}]], [("f", '{"a":1}')]),
        ([[{"name": "f"}], [{"name": "f", "arguments": {"a": 1}}, {"name": "g"}]], [("f", '{"a":1}'), ("g", "{}")]),
        ([[{"name": "f", "arguments": {"a": 1}}]] * 3, [("f", '{"a":1}')]),
        ([[{"name": "f", "arguments": {}}], [{"name": "f", "arguments": {"a": 1}}]], [("f", '{"a":1}')]),
        ([[{"name": "f", "arguments": {}}, {"name": "g", "arguments": "[]"}]] * 2, [("f", "{}"), ("g", "[]")]),
        ([[{"name": ""}], [{"name": "f", "arguments": "[]"}], []], [("f", "[]")]),
    ],
)
def test_a_list_of_calls_that_grows(steps: list[Any], calls: list[tuple[str, str]]) -> None:
    assert calls_of(steps, stream_text="cumulative") == calls


@pytest.mark.parametrize(
    "steps",
    [
        [[{"name": "f"}, {"name": "g"}], [{"name": "f"}]],
        [[{"name": "f", "arguments": "[1"}], [{"name": "f", "arguments": "[2]"}]],
        [[{"name": "f", "arguments": "[1"}], [{"name": "g", "arguments": "[1]"}]],
        [[{"name": "f", "arguments": {}}, {"name": "g"}], [{"name": "f", "arguments": {"a": 1}}, {"name": "g"}]],
        [[{"name": ""}]],
    ],
)
def test_a_list_of_calls_that_does_not_grow_is_an_error(steps: list[Any]) -> None:
    stream = reader(stream_text="cumulative")
    out = through(stream, [sse([HELLO], done=False), sse([wrapped(calls=calls) for calls in steps])])
    assert stream.facts.error_frame
    assert events(out)[-1]["error"]["code"] == "upstream_bad_response"


def test_arguments_of_a_call_go_out_as_they_come() -> None:
    stream = reader()
    stream.feed(sse([wrapped(calls=[{"name": "f", "arguments": '{"a"'}])], done=False))
    (more,) = events(stream.feed(sse([wrapped(calls=[{"arguments": ":1}"}])], done=False)))
    assert more["choices"][0]["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}


def test_who_offers_functions_gets_a_function_call_in_pieces() -> None:
    stream = chat(asked(stream=True, functions=[{"name": "f"}])).stream(SSE)
    assert stream is not None
    steps = [wrapped(calls=[{"name": "f", "arguments": '{"a"'}]), wrapped(calls=[{"arguments": ":1}"}])]
    chunks = [chunk["choices"][0] for chunk in events(through(stream, [sse(steps)]))[:-1]]
    assert [chunk["delta"].get("function_call") for chunk in chunks[1:3]] == [
        {"name": "f", "arguments": '{"a"'},
        {"arguments": ":1}"},
    ]
    assert chunks[-1]["finish_reason"] == "function_call"


# ---- which answers are streams


@pytest.mark.parametrize(
    ("kind", "settings", "streams"),
    [
        (b"text/event-stream", {}, True),
        (b"Text/Event-Stream; charset=utf-8", {}, True),
        (b"application/x-ndjson", {}, True),
        (b"application/jsonl", {}, True),
        (b"application/stream+json", {}, True),
        (b"text/plain", {}, True),
        (b"", {}, True),
        (b"application/json", {}, False),
        (b"application/json", {"stream": "sse"}, False),
        (b"application/json", {"stream": "ndjson"}, True),
        (b"text/html", {}, False),
    ],
)
def test_a_content_type_tells_whether_an_answer_can_be_a_stream(kind: bytes, settings: Any, streams: bool) -> None:
    assert (chat(asked(stream=True), **settings).stream(kind) is not None) == streams


def test_no_answer_is_a_stream_that_nobody_asked_for() -> None:
    assert chat(asked()).stream(SSE) is None


LINES = json.dumps(wrapped("Hello", finish="stop"), indent=2).encode()


@pytest.mark.parametrize(
    ("kind", "body", "settings"),
    [
        (SSE, ndjson([HELLO, STOP]), {}),
        (NDJSON, sse([HELLO]), {}),
        (b"text/plain", b"\xef\xbb\xbf" + ndjson([HELLO, STOP]), {}),
        (b"text/plain", b"\xef\xbb\xbf" + sse([HELLO]), {}),
        (b"application/json-seq", b"".join(b"\x1e" + line + b"\n" for line in ndjson([HELLO, STOP]).splitlines()), {}),
        (b"text/plain", LINES, {}),
        (b"application/json", LINES, {"stream": "ndjson"}),
        (b"text/plain", ndjson([HELLO, STOP]).replace(b"\n", b"\r\n\r\n"), {}),
        (SSE, sse([HELLO]).replace(b"\n", b"\r\n"), {}),
        (SSE, b"\n\n: hi\n\nid: 7\nevent: message\n" + sse([HELLO]), {"stream": "sse"}),
    ],
)
def test_the_first_bytes_tell_lines_from_events(kind: bytes, body: bytes, settings: dict[str, Any]) -> None:
    for size in (1, 3, 10_000):
        found = chat(asked(stream=True), **settings).stream(kind)
        assert found is not None
        reads = [body[start : start + size] for start in range(0, len(body), size)]
        assert accumulated(through(found, reads))["content"] == "Hello"


def test_what_is_held_back_of_a_stream_is_bounded() -> None:
    for start in (b"data: ", b'{"a": "'):
        stream: StreamReader = reader(b"")
        fed = 0
        stream.feed(start)
        while not stream.facts.error_frame:
            stream.feed(b"x" * 65536)
            fed += 65536
            assert fed < 5_000_000
        assert stream.facts.verdict == 502


def test_a_long_line_in_many_reads_is_not_read_anew_with_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(data: bytes) -> Any:
        read.append(len(data))
        return json.loads(data)

    monkeypatch.setattr("mimic_proxy.dialects.envelope.events._validate", counted)
    monkeypatch.setattr("mimic_proxy.dialects.envelope.events.UNREADABLE", ValueError)
    text = "{}" * 200_000
    body = ndjson([wrapped(text, finish="stop")])
    stream = reader(NDJSON)
    out = through(stream, [body[start : start + 1000] for start in range(0, len(body), 1000)])
    assert said(out) == text
    assert sum(read) < 20 * len(body)
