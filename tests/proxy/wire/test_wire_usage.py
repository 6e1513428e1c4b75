"""Asking for usage on our own account: one thing is added, exactly that is taken away again."""

import json
from collections.abc import AsyncIterator

import pytest

from fakes.backend import Backend
from fakes.caller import STREAM_BODY, ask, chat
from fakes.mimic import Mimic, Start
from fakes.replies import DONE, delta, event, stream

USAGE = event({"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
FILTERS = event({"id": "", "choices": [], "prompt_filter_results": []})
BESIDE = event({"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}}], "usage": {"prompt_tokens": 3}})
NULL = event({"id": "c", "choices": [{"index": 0, "delta": {"content": "y"}}], "usage": None})
START, STOP = delta(role="assistant"), delta(finish="stop")


@pytest.fixture
async def counting(start: Start) -> AsyncIterator[Mimic]:
    """A Mimic that asks for usage when the caller did not."""
    async with start(INCLUDE_USAGE="true") as process:
        yield process


async def test_usage_is_asked_for_and_its_event_removed(counting: Mimic, backend: Backend) -> None:
    for pieces in (
        [FILTERS, START, BESIDE, NULL, STOP, USAGE, DONE],
        [b"".join([FILTERS, START, BESIDE, NULL, STOP, USAGE, DONE])],
    ):
        backend.script = stream(*pieces)
        got = await ask(counting.port, chat(STREAM_BODY))
        assert got.body == FILTERS + START + BESIDE + NULL + STOP + DONE
        assert got.complete
    for seen in backend.requests:
        assert seen.body == b'{"stream_options":{"include_usage":true},' + STREAM_BODY[1:]
        assert seen.value(b"content-length") == b"%d" % len(seen.body)
        assert json.loads(seen.body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "body",
    [
        STREAM_BODY[:-1] + b',"stream_options":{"include_usage":true}}',
        STREAM_BODY[:-1] + b',"stream_options":{"include_usage":false}}',
        STREAM_BODY[:-1] + b',"stream_options":null}',
        b'{"model":"m"}',
        b'{"model":"m","stream":false}',
    ],
)
async def test_what_the_caller_decided_stays(counting: Mimic, backend: Backend, body: bytes) -> None:
    story = START + STOP + USAGE + DONE
    backend.script = stream(story)
    got = await ask(counting.port, chat(body))
    assert got.body == story
    assert (await backend.request()).body == body


async def test_a_nested_stream_options_is_not_the_callers_decision(counting: Mimic, backend: Backend) -> None:
    body = b' {"metadata":{"stream_options":{}},"model":"m","stream":true}'
    backend.script = stream(START, STOP, USAGE, DONE)
    got = await ask(counting.port, chat(body))
    assert got.body == START + STOP + DONE
    assert (await backend.request()).body == b' {"stream_options":{"include_usage":true},' + body[2:]


async def test_without_the_setting_nothing_is_added_or_removed(mimic: Mimic, backend: Backend) -> None:
    story = START + STOP + USAGE + DONE
    backend.script = stream(story)
    assert (await ask(mimic.port, chat(STREAM_BODY))).body == story
    assert (await backend.request()).body == STREAM_BODY
