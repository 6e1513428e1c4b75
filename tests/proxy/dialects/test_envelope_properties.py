"""However a gateway puts an answer, and however the network cuts it: the caller gets the same message."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fakes.envelope import (
    NDJSON,
    SSE,
    accumulated,
    asked,
    chat,
    events,
    ndjson,
    pieces,
    reader,
    sse,
    through,
    told,
    wrapped,
)

ODD = [
    "\ud83d",
    "\ude00",
    "\u0301",
    "\u200d",
    "\ufffd",
    "\ufeff",
    "\u2028",
    "\x00",
    "\x7f",
    '"',
    "\\",
    "\r\n",
    "e\u0301",
]
TEXT = st.lists(st.one_of(st.characters(), st.sampled_from(ODD)), max_size=24).map(
    # A pair of escapes is one character to whoever reads the JSON.
    lambda parts: json.loads(json.dumps("".join(parts)))
)
CUTS = st.lists(st.integers(0, 100_000), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.one_of(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=3),
    st.dictionaries(st.text(max_size=5), VALUES, max_size=3).map(json.dumps),
    TEXT,
    st.none(),
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(min_size=1, max_size=8), "arguments": ARGUMENTS},
        optional={"id": st.uuids().map(str)},
    ),
    max_size=3,
    unique_by=lambda call: call.get("id", id(call)),
)
USAGE = st.none() | st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9), "completion_tokens": st.integers(0, 9)})


def cut_text(text: str, cuts: list[int]) -> list[str]:
    """In UTF-16 units, as a gateway written in Java or JavaScript cuts it: through the middle of an emoji."""
    units = text.encode("utf-16-le", "surrogatepass")
    places = sorted({0, *(2 * (cut % (len(units) // 2 + 1)) for cut in cuts), len(units)})
    parts = (units[start:end] for start, end in pairwise(places))
    return [part.decode("utf-16-le", "surrogatepass") for part in parts] or [""]


def whole_document(text: str, calls: list[dict[str, Any]], usage: dict[str, int] | None) -> dict[str, Any]:
    return wrapped(text, calls or None, usage=usage)


def expected(text: str, calls: list[dict[str, Any]], usage: dict[str, int] | None) -> dict[str, Any]:
    """What the gateway means, put by hand."""
    texts = [call["arguments"] if isinstance(call["arguments"], str) else None for call in calls]
    found = told(chat().answer(200, json.dumps(whole_document(text, calls, usage)).encode()).body)
    assert found["content"] == (text or (None if calls else ""))
    assert [call["name"] for call in found["tool_calls"]] == [call["name"] for call in calls]
    for call, written, made in zip(calls, texts, found["tool_calls"], strict=True):
        if written is not None:
            assert made["arguments"] == (written or "{}")
        else:
            assert json.loads(made["arguments"]) == (call["arguments"] or {})
        assert made["id"] == call.get("id", made["id"])
    assert found["finish"] == ("tool_calls" if calls else "stop")
    return found


def deltas(text: str, cuts: list[int], calls: list[dict[str, Any]], usage: Any) -> list[dict[str, Any]]:
    parts = [wrapped(part) for part in cut_text(text, cuts)]
    called = [wrapped(calls=[call]) for call in calls]
    return [*parts, *called, wrapped(finish="stop", usage=usage)]


def cumulative(text: str, cuts: list[int], calls: list[dict[str, Any]], usage: Any) -> list[dict[str, Any]]:
    parts, sofar = [], ""
    for part in cut_text(text, cuts):
        sofar += part
        parts.append(wrapped(sofar))
    called = [wrapped(text, calls[: place + 1]) for place in range(len(calls))]
    return [*parts, *called, wrapped(text, calls or None, finish="stop", usage=usage)]


@given(TEXT, CUTS, CALLS, USAGE, CUTS)
def test_streams_of_every_kind_amount_to_the_answer_that_is_no_stream(
    text: str, cuts: list[int], calls: list[dict[str, Any]], usage: Any, reads: list[int]
):
    wanted = expected(text, calls, usage)
    steps, whole = deltas(text, cuts, calls, usage), cumulative(text, cuts, calls, usage)
    for kind, body, settings in (
        (SSE, sse(steps), {}),
        (SSE, sse(whole), {"stream_text": "cumulative"}),
        (NDJSON, ndjson(steps), {}),
        (NDJSON, ndjson(whole), {"stream_text": "cumulative"}),
        (b"text/plain", ndjson(steps), {}),
    ):
        stream = reader(kind, usage=True, **settings)
        assert accumulated(through(stream, pieces(body, reads))) == wanted
        assert stream.facts.done
        assert stream.facts.finish_reasons == (wanted["finish"],)


@given(TEXT, CALLS, USAGE)
def test_a_whole_answer_becomes_a_stream_of_the_same_message(text: str, calls: list[dict[str, Any]], usage: Any):
    body = json.dumps(whole_document(text, calls, usage)).encode()
    translation = chat(asked(stream=True, usage=True))
    answer = translation.answer(200, body)
    assert accumulated(translation.events(answer)) == told(answer.body)


@given(TEXT, CUTS, CALLS, USAGE)
def test_a_stream_where_none_was_asked_for_becomes_a_whole_answer(
    text: str, cuts: list[int], calls: list[dict[str, Any]], usage: Any
):
    wanted = expected(text, calls, usage)
    for body in (sse(deltas(text, cuts, calls, usage)), ndjson(deltas(text, cuts, calls, usage))):
        assert told(chat().answer(200, body).body) == wanted


@given(TEXT, CUTS, CUTS)
def test_the_reads_make_no_difference(text: str, cuts: list[int], reads: list[int]):
    body = sse(deltas(text, cuts, [], None))
    assert through(reader(), pieces(body, reads)) == through(reader(), [body])


@given(st.text(min_size=1, max_size=12), st.text(max_size=12))
def test_a_whole_text_that_does_not_grow_ends_in_an_error(before: str, after: str):
    stream = reader(stream_text="cumulative")
    out = through(stream, [sse([wrapped(before), wrapped(after), wrapped(after, finish="stop")])])
    given_out = "".join(
        chunk["choices"][0]["delta"].get("content") or "" for chunk in events(out) if "choices" in chunk
    )
    if after.startswith(given_out) and (after or not given_out):
        assert stream.facts.done
        assert accumulated(out)["content"] == after
    else:
        assert stream.facts.error_frame
        assert before.startswith(given_out)
        assert events(out)[-1]["error"]["code"] == "upstream_bad_response"


@given(st.binary(max_size=200), CUTS, st.booleans(), st.sampled_from([SSE, NDJSON, b"text/plain", b""]))
def test_no_bytes_break_a_reader(body: bytes, cuts: list[int], whole: bool, kind: bytes):
    stream = reader(kind)
    through(stream, pieces(body, cuts), whole)
    facts = stream.facts
    assert facts.verdict is None or facts.verdict == "ok" or 400 <= facts.verdict <= 599
    if isinstance(facts.verdict, int):
        assert set(json.loads(facts.error_body or b"")["error"]) == {"message", "type", "param", "code"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "content", "tool_calls", "name", "errorCode", "usage"]), inner)
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([200, 204, 400, 401, 418, 500, 503]))
def test_any_document_is_an_answer_or_an_error_in_the_shape_of_openai(document: Any, status: int):
    body = json.dumps(document).encode()
    found = chat().answer(status, body)
    whole = json.loads(found.body)
    if found.status == 200:
        assert status < 400
        told(found.body)
    else:
        assert set(whole["error"]) == {"message", "type", "param", "code"}
        assert 400 <= found.status <= 599
    stream = reader()
    through(stream, [sse([document, document])])
