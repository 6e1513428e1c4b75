"""What the relay asks of a dialect: how answers and streams of a backend are to be read. No I/O, no clock."""

from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from mimic_proxy.relay.body import BodyFields


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The model's own count of its tokens; None for what it did not tell."""

    input: int | None
    output: int | None
    cached: int | None
    """The part of the input that came from a cache."""
    reasoning: int | None
    """The part of the output that is reasoning."""


class Shown(msgspec.Struct, frozen=True, gc=False):
    """What an answer says of itself; never its content."""

    usage: Usage
    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    system_fingerprint: str | None = None


NO_USAGE = Usage(None, None, None, None)
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

    held: Literal["nothing", "part", "done"] = "nothing"
    """What the reader holds back: a part of an event, or `[DONE]` without its blank line."""

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

    def finish(self) -> bytes:
        """The stream has ended: return the bytes that were held back, an event without its blank line.

        They go to the caller only where the facts are complete; half an event is none.
        """
        ...


class Dialect(Protocol):
    """How a backend speaks."""

    def stream(self, fields: BodyFields, route_end: Literal["done", "responses"], remove_usage: bool) -> StreamReader:
        """A reader for one event stream.

        remove_usage: the usage event was asked for on Mimic's own account and is not for the caller.
        """
        ...

    def shown(self, body: bytes) -> Shown | None:
        """What a whole answer says of itself; None if it is not understood."""
        ...
