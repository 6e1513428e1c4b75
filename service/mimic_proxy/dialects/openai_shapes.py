"""The parts of OpenAI's objects that are looked at. All else is skipped, and every leaf may have any type."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from mimic_proxy.http.body import UNREADABLE, mend
from mimic_proxy.telemetry.observation import Usage
from mimic_proxy.tokens.refusals import is_refusal

T = TypeVar("T")

LONGEST_TEXT = 256
"""Of the names and ids that an answer gives itself."""


class UsageObject(msgspec.Struct, gc=False):
    """`usage`: chat, completions and embeddings say prompt and completion, all others input and output."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    input_tokens_details: Any = None
    output_tokens_details: Any = None


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds to a choice. Reasoning stands under the names that vLLM, DeepSeek and OpenRouter use."""

    content: Any = None
    tool_calls: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    function_call: Any = None
    audio: Any = None


class Choice(msgspec.Struct, gc=False):
    """One of `choices`; `text` is that of the older completions."""

    index: Any = 0
    delta: Delta | None = None
    text: Any = None
    finish_reason: Any = None


class Chunk(msgspec.Struct, gc=False):
    """An event of chat and completions."""

    choices: list[Choice] | None = None
    error: Any = None
    object: Any = None
    id: Any = None
    model: Any = None
    system_fingerprint: Any = None
    usage: UsageObject | None = None


class ResponseObject(msgspec.Struct, gc=False):
    """The `response` of an event of `/v1/responses`."""

    id: Any = None
    model: Any = None
    usage: UsageObject | None = None


class TypedEvent(msgspec.Struct, gc=False):
    """An event that says its type itself, as those of responses, audio and images do."""

    type: Any = None
    error: Any = None
    response: ResponseObject | None = None
    usage: UsageObject | None = None


class Failure(msgspec.Struct, gc=False):
    """An error, in OpenAI's envelope or flat."""

    error: Any = None
    code: Any = None
    type: Any = None


class FinishedChoice(msgspec.Struct, gc=False):
    """One of the `choices` of an answer that is not a stream."""

    finish_reason: Any = None


class Answer(msgspec.Struct, gc=False):
    """An answer that is not a stream."""

    id: Any = None
    model: Any = None
    system_fingerprint: Any = None
    choices: list[FinishedChoice] | None = None
    usage: UsageObject | None = None


class Accounts(msgspec.Struct, gc=False):
    """Of an answer whose choices are of no known shape."""

    usage: UsageObject | None = None


decode_chunk = msgspec.json.Decoder(Chunk).decode
decode_typed = msgspec.json.Decoder(TypedEvent).decode
decode_failure = msgspec.json.Decoder(Failure).decode
decode_answer = msgspec.json.Decoder(Answer).decode
decode_accounts = msgspec.json.Decoder(Accounts).decode


def has_content(choice: Choice) -> bool:
    """The choice brings something of the answer, not only a role or its end."""
    if choice.text:
        return True
    delta = choice.delta
    return delta is not None and bool(
        delta.content
        or delta.tool_calls
        or delta.refusal
        or delta.reasoning_content
        or delta.reasoning
        or delta.function_call
        or delta.audio
    )


def usage_of(usage: UsageObject | None) -> Usage | None:
    """The counts of a usage object, None if there are none in it."""
    if usage is None:
        return None
    into = _count(usage.prompt_tokens, usage.input_tokens)
    out = _count(usage.completion_tokens, usage.output_tokens)
    cached = _detail("cached_tokens", usage.prompt_tokens_details, usage.input_tokens_details)
    reasoning = _detail("reasoning_tokens", usage.completion_tokens_details, usage.output_tokens_details)
    if into is None and out is None and cached is None and reasoning is None:
        return None
    return Usage(into, out, cached, reasoning)


def _count(first: object, second: object) -> int | None:
    # type() and not isinstance(): true and false are no counts.
    if type(first) is int and first >= 0:
        return first
    return second if type(second) is int and second >= 0 else None


def _detail(name: str, first: object, second: object) -> int | None:
    for group in (first, second):
        if type(group) is dict:
            count = group.get(name)
            if type(count) is int and count >= 0:
                return count
    return None


def read(decode: Callable[[bytes], T], data: bytes) -> T | None:
    """Decode; None for what is not JSON or of another shape."""
    try:
        return decode(data)
    except msgspec.ValidationError:
        return None
    except UNREADABLE:
        try:
            return decode(mend(data))
        except UNREADABLE:
            return None


def error_status(data: bytes) -> int:
    """The status that an error event stands for: 401 for a refused token, its own code if that is an HTTP error, else
    502.
    """
    code, kind = error_words(data)
    if is_refusal(0, code=code, kind=kind):
        return 401
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdigit():
        code = int(code)
    return code if isinstance(code, int) and 400 <= code <= 599 else 502


def error_words(data: bytes) -> tuple[object, object]:
    """`code` and `type` of an error object, in OpenAI's envelope or flat; None for what is not there."""
    failure = read(decode_failure, data)
    if failure is None:
        return None, None
    if isinstance(failure.error, dict):
        return failure.error.get("code"), failure.error.get("type")
    return failure.code, failure.type


def text(value: object) -> str | None:
    """The value if it is text of a sane length; Azure's first event holds empty ones."""
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT else None
