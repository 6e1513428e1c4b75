"""Asking for usage on our own account: one thing is added, exactly that is taken away again."""

import json
from collections.abc import AsyncIterator

import pytest

from fakes.backend import Backend
from fakes.caller import STREAM_BODY, ask, chat
from fakes.mimic import Mimic, behind
from fakes.replies import DONE, delta, event, stream

USAGE = event({"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
FILTERS = event({"id": "", "choices": [], "prompt_filter_results": []})
BESIDE = event({"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}}], "usage": {"prompt_tokens": 3}})
NULL = event({"id": "c", "choices": [{"index": 0, "delta": {"content": "y"}}], "usage": None})
START, STOP = delta(role="assistant"), delta(finish="stop")


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Mimic, Backend]]:
    """A Mimic that asks for usage when the caller did not, and its backend."""
    async with behind(tmp_path_factory.mktemp("counting"), INCLUDE_USAGE="true") as found:
        yield found


@pytest.fixture
async def asked(pair: tuple[Mimic, Backend]) -> AsyncIterator[Backend]:
    """The backend behind `counting`."""
    _, backend = pair
    backend.reset()
    yield backend
    backend.reset()


@pytest.fixture
async def counting(pair: tuple[Mimic, Backend], asked: Backend) -> AsyncIterator[Mimic]:
    """A Mimic that asks for usage when the caller did not."""
    mimic, _ = pair
    yield mimic
    mimic.judge()


async def test_usage_is_asked_for_and_its_event_removed(counting: Mimic, asked: Backend) -> None:
    for pieces in (
        [FILTERS, START, BESIDE, NULL, STOP, USAGE, DONE],
        [b"".join([FILTERS, START, BESIDE, NULL, STOP, USAGE, DONE])],
    ):
        asked.script = stream(*pieces)
        got = await ask(counting.port, chat(STREAM_BODY))
        assert got.body == FILTERS + START + BESIDE + NULL + STOP + DONE
        assert got.complete
    for seen in asked.requests:
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
async def test_what_the_caller_decided_stays(counting: Mimic, asked: Backend, body: bytes) -> None:
    story = START + STOP + USAGE + DONE
    asked.script = stream(story)
    got = await ask(counting.port, chat(body))
    assert got.body == story
    assert (await asked.request()).body == body


async def test_a_nested_stream_options_is_not_the_callers_decision(counting: Mimic, asked: Backend) -> None:
    body = b' {"metadata":{"stream_options":{}},"model":"m","stream":true}'
    asked.script = stream(START, STOP, USAGE, DONE)
    got = await ask(counting.port, chat(body))
    assert got.body == START + STOP + DONE
    assert (await asked.request()).body == b' {"stream_options":{"include_usage":true},' + body[2:]


async def test_without_the_setting_nothing_is_added_or_removed(mimic: Mimic, backend: Backend) -> None:
    story = START + STOP + USAGE + DONE
    backend.script = stream(story)
    assert (await ask(mimic.port, chat(STREAM_BODY))).body == story
    assert (await backend.request()).body == STREAM_BODY
