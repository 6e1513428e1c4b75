"""The bodies of the demo's gateway: an envelope around text, flat tool calls and vectors. Pure.

{"errorCode": 0, "errorMessage": null, "data": {"content": {"content": ..., "tool_calls": [...]}, ...}}
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from mimic_proxy.demo.chat_answer import Outcome, usage
from mimic_proxy.demo.faults import Faults, swollen
from mimic_proxy.demo.options import DemoOptions
from mimic_proxy.demo.refusals import Refusal
from mimic_proxy.demo.steps import Frame, Stream
from mimic_proxy.demo.tools import fragments

_FAILED: Final = 500
_TYPES: Final = {"sse": "text/event-stream; charset=utf-8", "ndjson": "application/x-ndjson"}


def chat_document(outcome: Outcome, model: str, prompt: int, faults: Faults) -> dict[str, Any]:
    """The answer to a chat that is no stream."""
    text = None if outcome.calls else "".join(swollen(outcome.wording.tokens, faults))
    calls = [{"name": call.name, "arguments": msgspec.json.decode(call.arguments)} for call in outcome.calls]
    content = {"content": text, "tool_calls": calls or None, "finish_reason": outcome.finish}
    return _envelope({"content": content, "model": model, "usage": usage(prompt, [outcome])})


def data_document(content: Any, tokens: int) -> dict[str, Any]:
    """The answer to one call for embeddings."""
    return _envelope({"content": content, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


def model_document(names: Iterable[str]) -> dict[str, Any]:
    return _envelope([{"name": name} for name in names])


def error_document(code: int, message: str) -> dict[str, Any]:
    return {"errorCode": code, "errorMessage": message, "data": None}


def chat_stream(options: DemoOptions, outcome: Outcome, prompt: int, faults: Faults) -> Stream:
    """The answer in events of the form that the options ask for."""
    put = _put(options)
    grow = _cumulative if options.stream_text == "cumulative" else _deltas
    return Stream(_frames(grow(outcome, faults), outcome, prompt, put), _error(put), _TYPES[options.stream])


def refusal_stream(options: DemoOptions, refusal: Refusal) -> Stream:
    """An error as the first and only event."""
    put = _put(options)
    frame = Frame("open", put(error_document(refusal.status, refusal.message)))
    return Stream([frame], _error(put), _TYPES[options.stream])


def _deltas(outcome: Outcome, faults: Faults) -> Iterator[dict[str, Any]]:
    if not outcome.calls:
        yield from ({"content": piece} for piece in swollen(outcome.wording.tokens, faults))
    for index, call in enumerate(outcome.calls):
        yield {"tool_calls": [{"index": index, "name": call.name, "arguments": ""}]}
        for fragment in fragments(call.arguments):
            yield {"tool_calls": [{"index": index, "arguments": fragment}]}


def _cumulative(outcome: Outcome, faults: Faults) -> Iterator[dict[str, Any]]:
    text = ""
    if not outcome.calls:
        for piece in swollen(outcome.wording.tokens, faults):
            text += piece
            yield {"content": text}
    calls: list[dict[str, Any]] = []
    for call in outcome.calls:
        calls.append({"name": call.name, "arguments": ""})
        for fragment in fragments(call.arguments):
            calls[-1] = {**calls[-1], "arguments": calls[-1]["arguments"] + fragment}
            yield {"tool_calls": list(calls)}


def _frames(
    contents: Iterable[dict[str, Any]], outcome: Outcome, prompt: int, put: Callable[[Any], bytes]
) -> Iterator[Frame]:
    yield Frame("open", put(_envelope({"content": {"content": "", "finish_reason": None}})))
    for content in contents:
        yield Frame("content", put(_envelope({"content": {**content, "finish_reason": None}})))
    last = {"content": {"content": None, "finish_reason": outcome.finish}, "usage": usage(prompt, [outcome])}
    yield Frame("finish", put(_envelope(last)))


def _put(options: DemoOptions) -> Callable[[Any], bytes]:
    if options.stream == "ndjson":
        return lambda document: msgspec.json.encode(document) + b"\n"
    return lambda document: b"data: " + msgspec.json.encode(document) + b"\n\n"


def _error(put: Callable[[Any], bytes]) -> Callable[[int | None, str], bytes]:
    return lambda code, message: put(error_document(code or _FAILED, message))


def _envelope(data: Any) -> dict[str, Any]:
    return {"errorCode": 0, "errorMessage": None, "data": data}
