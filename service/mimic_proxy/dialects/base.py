"""What the relay asks of a dialect: how answers and streams of a backend are to be read. No I/O, no clock.

OpenAI's own shapes stand here too: whatever a backend speaks, the caller gets these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from mimic_proxy.http.body import UNREADABLE, BodyFields, mend
from mimic_proxy.telemetry.observation import NO_USAGE, Shown, Usage
from mimic_proxy.tokens.refusals import is_refusal

MOST_REASONS = 16


@dataclass(slots=True)
class StreamFacts:
    """What a stream has shown so far. Its reader writes it, the exchange reads it after each feed."""

    n: int = 1
    """Choices that were asked for, at least 1."""
    verdict: Literal["ok"] | int | None = None
    """None until an event classifies the stream: comments and events without data do not. A number is the status of a
    first event that is an error (its own code if that is 400 to 599, else 502; 401 is a refused token)."""
    error_body: bytes | None = None
    """The JSON of that first error, fit to be the body of an answer with its status."""
    events: int = 0
    """Events with data that were given out, `[DONE]` not counted."""
    first_content: bool = False
    """An event with content has been given out: text, reasoning, refusal, tool call, audio."""
    done: bool = False
    """`[DONE]`, or the terminal event of a route that has one, has been given out: nothing will follow."""
    error_frame: bool = False
    """The backend reported an error in the stream. It is terminal."""
    finished: int = 0
    """Choices that have a finish reason."""
    finish_reasons: tuple[str, ...] = ()
    """The first MOST_REASONS of them."""
    usage: Usage | None = None
    id: str | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    observing: bool = True
    """False once an event was too long to be looked at; later ones still are."""
    in_partial: bool = False
    """The last byte given out stands inside an event: nothing of our own may follow it."""

    framed: bool = True
    """The body tells where it ends. One that ends with its connection may have been cut there; set before the first
    bytes."""
    held: Literal["nothing", "part", "done"] = "nothing"
    """What the reader holds back: a part of an event, or `[DONE]` without its blank line. After `finish` "done" says
    that what it returned ends the answer and has to go out."""
    lacking: str | None = None
    """Set by `finish` where the dialect knows better than the relay what the stream lacks: a message for the error."""

    @property
    def complete(self) -> bool:
        """The stream may end here: its answer is whole, or the backend has told the caller that it is not."""
        if self.done or self.error_frame or self.held == "done":
            return True
        return self.finished >= self.n and self.held == "nothing" and not self.in_partial

    @property
    def shown(self) -> Shown:
        """What the answer has said of itself so far."""
        return Shown(self.usage or NO_USAGE, self.id, self.model, self.finish_reasons, self.system_fingerprint)


class StreamReader(Protocol):
    """Looks at one event stream on its way through."""

    @property
    def facts(self) -> StreamFacts: ...

    def feed(self, data: bytes) -> bytes:
        """Take what one read brought; return what goes to the caller: whole events, and pieces of overlong ones."""
        ...

    def finish(self, whole: bool) -> bytes:
        """The stream has ended: return the bytes that were held back, an event without its blank line.

        They go to the caller only where `held` is `done` and the facts are complete; half an event is none.
        whole: the body ended as its framing says, it was not cut.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the names of an answer are made of, drawn once for each exchange: a dialect has neither clock nor chance."""

    id: str
    """32 hexadecimal digits."""
    created: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Translated:
    """A whole answer of the backend, as the caller is to get it."""

    status: int
    """401: the access token was refused, however the backend put it. 200: the answer; any other: an error."""
    body: bytes
    """A JSON object of OpenAI's: the answer, or `{"error": ...}`."""
    shown: Shown | None = None


class Translation(Protocol):
    """One exchange with a backend that does not speak OpenAI's API, made of what the caller sent. Pure."""

    body: bytes
    """The JSON that the backend is sent. Whoever sends it takes it away: it may be large."""

    def stream(self, content_type: bytes) -> StreamReader | None:
        """A reader for a 2xx answer of this content type that is a stream: what it gives out are OpenAI's events,
        `[DONE]` included. None: the answer is read whole, since it is none or the caller did not ask for one."""
        ...

    def answer(self, status: int, body: bytes) -> Translated:
        """A whole answer with this HTTP status; what cannot be understood is a 502 that says what was not found."""
        ...

    def events(self, answer: Translated) -> bytes:
        """An answer with status 200 as the stream of events that a caller asked for, `[DONE]` included."""
        ...


class Embedding(Protocol):
    """One embeddings request, put to a backend of another dialect as one call or as many. Pure."""

    @property
    def bodies(self) -> Sequence[bytes]:
        """The JSON of each call, in the order of the inputs."""
        ...

    def take(self, index: int, status: int, body: bytes) -> Translated | None:
        """The whole answer to one of the calls. None: it is kept; else an error, 401 for a refused token."""
        ...

    def answer(self) -> Translated:
        """All in one, once every call has been answered: a list of OpenAI's in the order of the inputs."""
        ...


class Dialect(Protocol):
    """How a backend speaks."""

    def embed(self, body: bytes, fields: BodyFields) -> Embedding | None:
        """How an embeddings request is put to the backend; None: as it is.

        Raises InvalidRequest and UnsupportedInput.
        """
        ...

    def translate(self, body: bytes, fields: BodyFields, stamp: Stamp) -> Translation | None:
        """How a chat request is put to the backend; None: as it is.

        Raises InvalidRequest and UnsupportedInput.
        """
        ...

    def models(self, status: int, body: bytes) -> Translated | None:
        """The backend's list of models as OpenAI's; None: as it is."""
        ...

    def stream(self, fields: BodyFields, route_end: Literal["done", "responses"], remove_usage: bool) -> StreamReader:
        """A reader for one event stream.

        remove_usage: the usage event was asked for on Mimic's own account and is not for the caller.
        """
        ...

    def shown(self, body: bytes) -> Shown | None:
        """What a whole answer says of itself; None if it is not understood."""
        ...


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
