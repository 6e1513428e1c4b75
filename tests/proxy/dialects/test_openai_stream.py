import json
from itertools import pairwise
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimic_proxy.dialects.base import Dialect, StreamFacts, StreamReader
from mimic_proxy.dialects.openai import OpenAI
from mimic_proxy.http.body import BodyFields
from mimic_proxy.telemetry.observation import NO_USAGE, Usage

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
LONG = "x" * 70_000
DIALECT: Dialect = OpenAI()


def event(payload: Any, kind: str = "") -> bytes:
    text = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    return (f"event: {kind}\n".encode() if kind else b"") + b"data: " + text + b"\n\n"


def chunk(delta: Any = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return event({"id": "c-1", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [choice], **more})


ROLE = chunk({"role": "assistant", "content": ""})
HELLO = chunk({"content": "Hello"})
STOP = chunk(finish="stop")
USAGE_EVENT = event({"id": "c-1", "model": "gpt-4o", "choices": [], "usage": USAGE})
FILTERS = event({"id": "", "model": "", "choices": [], "usage": None, "prompt_filter_results": [{"prompt_index": 0}]})


def reader(n: int = 1, end: Literal["done", "responses"] = "done", remove_usage: bool = False) -> StreamReader:
    return DIALECT.stream(BodyFields(n=n), end, remove_usage)


def facts(*reads: bytes, n: int = 1, end: Literal["done", "responses"] = "done") -> StreamFacts:
    stream = reader(n, end)
    for read in reads:
        stream.feed(read)
    return stream.facts


# ---- the usual stream


def test_a_chat_stream_is_forwarded_and_understood() -> None:
    stream = reader()
    parts = [ROLE, HELLO, STOP, USAGE_EVENT, DONE]

    assert [stream.feed(part) for part in parts] == parts
    assert stream.finish(whole=True) == b""
    assert stream.facts == StreamFacts(
        verdict="ok",
        events=4,
        first_content=True,
        done=True,
        finished=1,
        usage=Usage(9, 12, None, None),
        id="c-1",
        model="gpt-4o",
        finish_reasons=("stop",),
    )


def test_only_whole_events_are_given_out() -> None:
    stream = reader()

    assert stream.feed(HELLO[:20]) == b""
    assert stream.facts == StreamFacts(held="part")
    assert stream.feed(HELLO[20:] + STOP[:5]) == HELLO
    assert stream.facts.held == "part"
    assert stream.finish(whole=True) == STOP[:5]


def test_a_role_is_an_event_but_no_content() -> None:
    seen = facts(ROLE)

    assert (seen.verdict, seen.events, seen.first_content) == ("ok", 1, False)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "id": "t-1", "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f"}},
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"audio": {"data": "AA=="}},
        {"content": [{"type": "text", "text": "x"}]},
    ],
)
def test_text_refusals_tool_calls_and_reasoning_are_content(delta: dict[str, Any]) -> None:
    assert facts(ROLE, chunk(delta)).first_content


@pytest.mark.parametrize("delta", [{}, {"content": None}, {"content": ""}, {"tool_calls": []}, {"tool_calls": None}])
def test_empty_deltas_are_no_content(delta: dict[str, Any]) -> None:
    seen = facts(chunk(delta), STOP)

    assert (seen.first_content, seen.events) == (False, 2)


def test_the_older_completions_are_understood_too() -> None:
    part = event({"object": "text_completion", "choices": [{"text": "Hi", "index": 0, "finish_reason": "length"}]})
    seen = facts(part)

    assert (seen.first_content, seen.finished, seen.complete) == (True, 1, True)


@pytest.mark.parametrize("silent", [b": ping\n\n", b"\n\n", b"event: e\n\n", b"id: 1\nretry: 3\n\n", b"data:\n\n"])
def test_comments_and_events_without_data_do_not_classify(silent: bytes) -> None:
    stream = reader()

    assert stream.feed(silent) == silent
    assert stream.facts == StreamFacts()


# ---- is it whole?


def test_a_stream_with_a_finish_reason_for_every_choice_is_complete_without_done() -> None:
    first, second = chunk(finish="stop", index=0), chunk(finish="tool_calls", index=1)

    assert not facts(HELLO, first, first, n=2).complete
    assert facts(HELLO, first, second, n=2).complete
    assert facts(HELLO, second, first, n=2).finished == 2


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_at_least_one_choice_has_to_finish(n: int) -> None:
    assert not facts(HELLO, n=n).complete
    assert facts(HELLO, STOP, n=n).complete


def test_half_an_event_after_the_last_finish_reason_is_not_complete() -> None:
    assert not facts(HELLO, STOP, USAGE_EVENT[:30]).complete


@pytest.mark.parametrize("finish", [None, "", False])
def test_an_empty_finish_reason_finishes_nothing(finish: Any) -> None:
    assert not facts(chunk({"content": "x"}, finish)).complete


@pytest.mark.parametrize("last", [b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE]\r\n"])
def test_done_without_its_blank_line_is_complete_and_given_out_at_the_end(last: bytes) -> None:
    stream = reader()
    stream.feed(HELLO)

    assert stream.feed(last) == b""
    assert (stream.facts.complete, stream.facts.done) == (True, False)
    assert stream.finish(whole=True) == last
    assert stream.facts.done


def test_done_alone_is_an_answer() -> None:
    seen = facts(DONE)

    assert (seen.verdict, seen.done, seen.events) == ("ok", True, 0)


def test_countless_choices_cost_no_memory() -> None:
    seen = facts(*(chunk(finish="stop", index=index) for index in range(1200)), n=2000)

    assert seen.finished == 1024


# ---- errors


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"error": {"message": "m", "code": 429}}, 429),
        ({"error": {"message": "m", "code": 401}}, 401),
        ({"error": {"message": "m", "code": 400}}, 400),
        ({"error": {"message": "m", "code": 599}}, 599),
        ({"error": {"message": "m", "code": 600}}, 502),
        ({"error": {"message": "m", "code": 200}}, 502),
        ({"error": {"message": "m", "code": "401"}}, 401),
        ({"error": {"message": "m", "code": "429"}}, 429),
        ({"error": {"message": "m", "code": "rate_limit"}}, 502),
        ({"error": {"message": "m", "code": None}}, 502),
        ({"error": {"message": "m", "code": True}}, 502),
        ({"error": {"message": "m", "code": 429.5}}, 502),
        ({"error": {"message": "m"}}, 502),
        ({"error": "out of memory"}, 502),
        ({"error": "out of memory", "code": 503}, 503),
        ({"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 400}, 400),
        ({"error": {"message": "m", "code": 500}, "choices": "odd"}, 500),
        (b'{"error":{"message":"\\ud83d","code":503}}', 503),
        (b'{"error":{"message":"\xff","code":503}}', 503),
    ],
)
def test_a_first_error_gives_status_and_body(payload: Any, status: int) -> None:
    part = event(payload)
    seen = facts(b": ping\n\n" + part)

    assert (seen.verdict, seen.error_body) == (status, part[6:-2])
    assert (seen.error_frame, seen.complete) == (True, True)


def test_an_event_of_the_type_error_is_an_error_whatever_it_holds() -> None:
    seen = facts(event({"message": "m", "code": 503}, kind="error"))
    garbage = facts(event(b"boom", kind="error"))

    assert (seen.verdict, seen.error_body) == (503, b'{"message": "m", "code": 503}')
    assert (garbage.verdict, garbage.error_body) == (502, b"boom")


def test_later_events_do_not_change_the_first_error() -> None:
    seen = facts(event({"error": {"code": 429}}) + HELLO + event({"error": {"code": 500}}) + DONE)

    assert (seen.verdict, seen.error_body) == (429, b'{"error": {"code": 429}}')


def test_a_later_error_passes_and_is_terminal() -> None:
    error = event({"error": {"message": "m", "code": 401}})
    stream = reader()

    assert stream.feed(ROLE + error) == ROLE + error
    assert (stream.facts.verdict, stream.facts.error_body) == ("ok", None)
    assert (stream.facts.error_frame, stream.facts.complete, stream.facts.done) == (True, True, False)


@pytest.mark.parametrize("nothing", [None, {}, "", False, 0, []])
def test_an_empty_error_is_none_as_to_the_sdks(nothing: Any) -> None:
    seen = facts(chunk({"content": "x"}, error=nothing))

    assert (seen.verdict, seen.error_frame, seen.first_content) == ("ok", False, True)


# ---- what cannot be understood


@pytest.mark.parametrize(
    "payload",
    [
        b"hello",
        b"{",
        b'{"choices":',
        b"[1,2]",
        b'"text"',
        b"null",
        b"7",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"choices":' + b"[" * 50_000,
        b'{"choices":{"a":1}}',
        b'{"choices":[null,5]}',
        b'{"choices":[{"delta":"x"}]}',
        b'{"choices":[],"usage":7}',
        b'{"error":',
    ],
)
def test_events_that_are_not_understood_pass_and_the_stream_goes_on(payload: bytes) -> None:
    stream = reader(remove_usage=True)
    odd = event(payload)

    assert stream.feed(odd) == odd
    assert stream.facts == StreamFacts(verdict="ok", events=1)
    stream.feed(HELLO + STOP + DONE)
    assert (stream.facts.events, stream.facts.first_content, stream.facts.done) == (3, True, True)


@pytest.mark.parametrize("text", [b"\\ud83d", b"\\ude00", b"\xf0\x9f", b"\\\\ud83d"])
def test_half_an_emoji_is_content(text: bytes) -> None:
    odd = HELLO.replace(b"Hello", text).replace(b'"finish_reason": null', b'"finish_reason": "stop"')
    seen = facts(odd)

    assert (seen.first_content, seen.finished, seen.model) == (True, 1, "gpt-4o")


@pytest.mark.parametrize("model", [None, 7, {}])
def test_a_model_that_is_no_text_is_none(model: Any) -> None:
    assert facts(event({"model": model, "choices": []}), HELLO).model == "gpt-4o"


# ---- long events


def test_a_long_event_passes_in_pieces_and_ends_the_observing_but_not_the_stream() -> None:
    long = chunk({"content": LONG})
    stream = reader()

    assert stream.feed(long[:66_000]) == long[:66_000]
    assert stream.facts == StreamFacts(verdict="ok", events=1, first_content=True, observing=False, in_partial=True)
    assert stream.feed(long[66_000:] + STOP + DONE) == long[66_000:] + STOP + DONE
    assert (stream.facts.in_partial, stream.facts.done, stream.facts.events) == (False, True, 2)


def test_a_cut_inside_a_long_event_is_not_complete() -> None:
    assert not facts(STOP, chunk({"content": LONG})[:68_000]).complete


@pytest.mark.parametrize("step", [1_000_000, 10_000])
@pytest.mark.parametrize("named", [True, False])
def test_a_terminal_event_ends_the_stream_however_long_it_is(step: int, named: bool) -> None:
    payload = {"type": "response.completed", "response": {"output": LONG}}
    whole = event(payload, kind="response.completed" if named else "")
    stream = reader(end="responses")

    out = b"".join(stream.feed(whole[at : at + step]) for at in range(0, len(whole) - 1, step))
    assert out + stream.feed(whole[len(out) :] if step == 10_000 else b"") == whole

    assert (stream.facts.done, stream.facts.observing, stream.facts.events) == (True, False, 1)


def test_a_long_terminal_event_is_not_the_end_before_its_own() -> None:
    whole = event({"type": "response.completed", "response": {"output": LONG}})

    assert not facts(whole[:-1], end="responses").complete
    assert facts(whole[:-1], whole[-1:], end="responses").complete


def test_two_long_events_in_one_read_are_two() -> None:
    created = event({"type": "response.created", "response": {"instructions": LONG}})
    completed = event({"type": "response.completed", "response": {"instructions": LONG}})

    seen = facts(created + completed[:67_000], end="responses")
    assert (seen.events, seen.done, seen.in_partial, seen.first_content) == (2, False, True, False)


# ---- streams that end with an event of their own


def test_a_response_stream_is_understood() -> None:
    response = {"id": "r-1", "model": "gpt-5", "usage": None}
    usage = {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 10},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5},
    }
    stream = reader(end="responses")

    stream.feed(event({"type": "response.created", "response": response}, kind="response.created"))
    assert (stream.facts.verdict, stream.facts.first_content) == ("ok", False)
    stream.feed(event({"type": "response.output_text.delta", "delta": "Hi"}, kind="response.output_text.delta"))
    assert (stream.facts.first_content, stream.facts.complete) == (True, False)
    stream.feed(event({"type": "response.completed", "response": {**response, "usage": usage}}))

    assert stream.facts == StreamFacts(
        verdict="ok",
        events=3,
        first_content=True,
        done=True,
        usage=Usage(30, 20, 10, 5),
        id="r-1",
        model="gpt-5",
    )


@pytest.mark.parametrize(
    ("kind", "failed"), [("response.completed", False), ("response.incomplete", False), ("response.failed", True)]
)
def test_terminal_events_end_a_response(kind: str, failed: bool) -> None:
    seen = facts(event({"type": "response.created"}), event({"type": kind}), end="responses")

    assert (seen.done, seen.complete, seen.error_frame, seen.verdict) == (True, True, failed, "ok")


@pytest.mark.parametrize("kind", ["response.output_item.done", "response.mcp_call.completed", "response.in_progress"])
def test_other_events_do_not_end_a_response(kind: str) -> None:
    assert not facts(event({"type": kind}, kind=kind), end="responses").complete


def test_an_error_event_of_a_response_is_terminal() -> None:
    error = event({"type": "error", "code": "server_error", "message": "m", "param": None})

    first = facts(error, end="responses")
    later = facts(event({"type": "response.created"}), error, end="responses")

    assert (first.verdict, first.error_frame) == (502, True)
    assert (later.verdict, later.complete, later.done) == ("ok", True, False)


@pytest.mark.parametrize(
    "kind", ["image_generation.completed", "image_edit.completed", "speech.audio.done", "transcript.text.done"]
)
def test_audio_and_images_may_end_after_a_whole_part_but_more_may_follow(kind: str) -> None:
    seen = facts(event({"type": kind, "usage": {"input_tokens": 1, "output_tokens": 2}}), end="responses")

    assert (seen.complete, seen.done, seen.usage) == (True, False, Usage(1, 2, None, None))


def test_a_chat_stream_has_no_terminal_types() -> None:
    assert not facts(event({"type": "response.completed", "choices": []})).complete


def test_done_ends_a_response_too() -> None:
    assert facts(event({"type": "response.created"}), DONE, end="responses").done


# ---- usage on our own account


def test_the_usage_event_is_taken_out_and_counted() -> None:
    stream = reader(remove_usage=True)

    assert stream.feed(ROLE + HELLO + STOP + USAGE_EVENT + DONE) == ROLE + HELLO + STOP + DONE
    assert (stream.facts.events, stream.facts.usage) == (3, Usage(9, 12, None, None))


def test_the_usage_event_stays_where_the_caller_asked_for_it() -> None:
    assert reader().feed(STOP + USAGE_EVENT) == STOP + USAGE_EVENT


@pytest.mark.parametrize(
    "kept",
    [
        FILTERS,
        event({"choices": [], "usage": USAGE}),
        chunk({"content": "x"}, usage=USAGE),
        chunk({"content": "x"}, usage=None),
    ],
)
def test_only_the_last_usage_event_is_taken_out(kept: bytes) -> None:
    stream = kept + HELLO + STOP + USAGE_EVENT + DONE

    assert reader(remove_usage=True).feed(stream) == kept + HELLO + STOP + DONE


@pytest.mark.parametrize(
    "kept",
    [
        chunk(finish="stop", usage=USAGE),
        event({"choices": [], "usage": None}),
        event({"choices": []}),
        event({"usage": USAGE}),
        event({"choices": None, "usage": USAGE}),
        event({"choices": [], "usage": 7}),
    ],
)
def test_usage_in_any_other_place_stays(kept: bytes) -> None:
    stream = HELLO + STOP + kept + DONE

    assert reader(remove_usage=True).feed(stream) == stream


def test_no_more_than_one_event_is_taken_out() -> None:
    stream = reader(remove_usage=True)

    assert stream.feed(STOP + USAGE_EVENT + USAGE_EVENT + DONE) == STOP + USAGE_EVENT + DONE


def test_usage_with_an_empty_object_is_taken_out_and_counts_nothing() -> None:
    stream = reader(remove_usage=True)

    assert stream.feed(STOP + event({"choices": [], "usage": {}}) + DONE) == STOP + DONE
    assert stream.facts.usage is None


# ---- any split


def cuts(whole: bytes, marks: list[int]) -> list[bytes]:
    return [whole[a:b] for a, b in pairwise([0, *sorted(mark % (len(whole) + 1) for mark in marks), len(whole)])]


_EVENTS = [ROLE, HELLO, STOP, FILTERS, USAGE_EVENT, DONE, b": ping\n\n", b"\n", b"data: {\n\n", b"event: e\n"]
_EVENTS += [chunk({"content": "é"}).replace(b"\n", b"\r\n"), HELLO.replace(b"\n", b"\r"), b"data: [DONE]\n"]
_EVENTS += [event({"error": {"code": 429}}), chunk({"content": LONG})]
_marks = st.lists(st.integers(0, 100_000), max_size=10)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(_EVENTS), max_size=8).map(b"".join), _marks)
def test_any_split_gives_the_same_bytes_and_facts(whole: bytes, marks: list[int]) -> None:
    at_once, split = reader(), reader()
    at_once.feed(whole)

    out = b"".join(split.feed(read) for read in cuts(whole, marks))

    assert out + split.finish(whole=True) == whole
    at_once.finish(whole=True)
    assert split.facts == at_once.facts


@settings(max_examples=200)
@given(st.lists(st.sampled_from([ROLE, HELLO, FILTERS, b": ping\n\n", b"\r\n"]), max_size=6).map(b"".join), _marks)
def test_any_split_takes_out_exactly_the_usage_event(before: bytes, marks: list[int]) -> None:
    stream = reader(remove_usage=True)

    out = b"".join(stream.feed(read) for read in cuts(before + STOP + USAGE_EVENT + DONE, marks))

    assert out + stream.finish(whole=True) == before + STOP + DONE
    assert (stream.facts.usage, stream.facts.done) == (Usage(9, 12, None, None), True)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"data: ", b"\n\n", b"\r\n", b'{"choices":[', b"{}"])))
def test_any_bytes_pass(reads: list[bytes]) -> None:
    stream = reader(remove_usage=True)

    assert b"".join(stream.feed(read) for read in reads) + stream.finish(whole=True) == b"".join(reads)


# ---- answers that are no streams


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"choices": [{"message": {"content": "x"}}], "usage": USAGE}, Usage(9, 12, None, None)),
        (
            {"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
            Usage(8, None, None, None),
        ),
        (
            {
                "usage": {
                    "prompt_tokens": 9,
                    "completion_tokens": 12,
                    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 6},
                }
            },
            Usage(9, 12, 4, 6),
        ),
        ({"usage": {"input_tokens": 1, "output_tokens": 0}}, Usage(1, 0, None, None)),
        ({"usage": {"prompt_tokens": -1, "completion_tokens": True, "input_tokens": "7"}}, None),
        ({"usage": {"prompt_tokens": 1, "prompt_tokens_details": "odd"}}, Usage(1, None, None, None)),
        ({"usage": {}}, None),
        ({"usage": None}, None),
        ({"usage": "odd"}, None),
        ({}, None),
        ([], None),
    ],
)
def test_reads_the_usage_of_a_whole_answer(answer: Any, usage: Usage | None) -> None:
    shown = DIALECT.shown(json.dumps(answer).encode())
    assert (shown.usage if shown is not None else NO_USAGE) == (usage or NO_USAGE)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"usage":', b"[" * 100_000])
def test_finds_no_usage_in_what_is_not_json(body: bytes) -> None:
    shown = DIALECT.shown(body)
    assert shown is None or shown.usage == NO_USAGE


def test_finds_usage_beside_half_an_emoji() -> None:
    shown = DIALECT.shown(b'{"choices":["\\ud83d"],"usage":{"prompt_tokens":3}}')
    assert shown is not None
    assert shown.usage == Usage(3, None, None, None)
