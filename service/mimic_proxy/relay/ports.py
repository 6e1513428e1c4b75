"""What an exchange may ask of the world: the caller's side, the upstream, tokens, the clock.

The exchange knows these and nothing behind them, so a test plays each of them by hand.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from mimic_proxy.dialects.base import Dialect, Embedding, Translated
from mimic_proxy.errors import MimicError
from mimic_proxy.http.headers import Names, RequestFields, ResponseFields
from mimic_proxy.http.target import Base
from mimic_proxy.relay.admission import Breaker, Budget, Slots
from mimic_proxy.relay.loop import CoalescedWrites, Ticker
from mimic_proxy.relay.routes import Routes
from mimic_proxy.telemetry.observation import Operation, Trace
from mimic_proxy.telemetry.record import Record
from mimic_proxy.tokens.token import AccessToken

MOST_WORKED = 256

TokenWaiter = Callable[[AccessToken | MimicError], None]


def ignored(seconds: float) -> None:
    """Where nobody counts."""


class CallerPort(Protocol):
    """The connection to the caller. Every method is harmless after the caller has left."""

    writable: bool
    """False while the socket takes no more; the exchange hears of changes by `caller_writable`."""

    def write(self, data: bytes) -> None: ...

    def unsent(self) -> int:
        """Bytes written that the socket has not taken yet."""
        ...

    def pause(self, paused: bool) -> None:
        """Stop or resume reading the request's body."""
        ...

    def finish(self, keep_alive: bool) -> None:
        """The answer is complete; without `keep_alive` close once all is sent."""
        ...

    def cut(self) -> None:
        """Close once all is sent, the answer is recognisably incomplete."""
        ...

    def drop(self) -> None:
        """Close at once; what is unsent is lost."""
        ...


class ConnectionPort(Protocol):
    """A connection to the backend, see `relay.connection.Connection`."""

    reused: bool
    answered: bool
    writable: bool
    keep_alive: bool

    def attach(self, listener: Any) -> None: ...

    def send(self, data: bytes) -> None: ...

    def pause(self, paused: bool) -> None: ...

    def release(self, reusable: bool) -> None: ...

    def abort(self) -> None: ...


class Cancellable(Protocol):
    def cancel(self) -> object: ...


class PoolPort(Protocol):
    """The connections of one origin."""

    def take(self) -> ConnectionPort | None: ...

    def dial(self, listener: Any) -> Cancellable: ...


class TokenPort(Protocol):
    """The only holder of access tokens, see `tokens.source.TokenSource`."""

    def obtain(
        self, waiter: TokenWaiter, trace: Trace | None = None, once: bool = False
    ) -> AccessToken | MimicError | None: ...

    def replace(
        self,
        refused: AccessToken,
        sent_at: float,
        waiter: TokenWaiter,
        trace: Trace | None = None,
        subject: str = "",
        refused_before: tuple[int, ...] = (),
    ) -> AccessToken | MimicError | None: ...

    def hopeless(self, refused: AccessToken, subject: str, refused_before: tuple[int, ...]) -> bool: ...

    def accepted(self, token: AccessToken, sent_at: float) -> None: ...

    def leave(self, waiter: TokenWaiter) -> None: ...


@dataclass(frozen=True, slots=True)
class Composed:
    """How an answer that was made of several calls ended."""

    answer: Translated | MimicError
    calls: Sequence[Record]
    upstream: ResponseFields | None
    """The head of the call that is shown."""


class ComposerPort(Protocol):
    """Makes one answer of several calls, see `relay.compose`."""

    def compose(
        self,
        embedding: Embedding,
        request: "Request",
        record: Record,
        progress: Callable[[], None],
        done: Callable[[Composed], None],
    ) -> Cancellable: ...


class HeadsPort(Protocol):
    """Heads that were seen before, see `relay.heads.Heads`."""

    def find(self, data: bytes) -> Any: ...

    def remember(self, data: bytes, request: "Request", route: Any) -> None: ...

    def forget(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one exchange: seconds and bytes, 0 switches a limit off."""

    first_byte: float = 600.0
    idle: float = 300.0
    send: float = 60.0
    total: float = 900.0
    queue: float = 10.0
    heartbeat_after: float = 0.0
    max_body_bytes: int = 33554432
    max_upload_bytes: int = 536870912


@dataclass(frozen=True, slots=True)
class Backend:
    """Where one kind of operation goes."""

    base: Base
    pool: PoolPort


@dataclass(slots=True, weakref_slot=True)
class Services:
    """What all exchanges of the process share."""

    backends: dict[str, Backend]
    """By the name a route uses: chat, embeddings."""
    tokens: TokenPort
    dialect: Dialect
    translates: bool
    """The dialect is not the caller's: chat and embeddings are translated, nothing else is passed through."""
    limits: Limits
    slots: Slots
    budget: Budget
    breaker: Breaker
    clock: Callable[[], float]
    wall: Callable[[], float]
    """Unix seconds."""
    ticker: Ticker
    writes: CoalescedWrites
    offload: Callable[[Callable[[], Any], Callable[[Any], None]], None]
    """Run the first in a worker thread, give its result, or the exception it raised, to the second."""
    new_trace: Callable[[], str]
    """64 random hexadecimal digits, of which ids are made."""
    observe: Callable[[Record], None]
    heads: "HeadsPort"
    request_names: Names
    """How callers' header fields are treated."""
    routes: Routes
    admit: Callable[[bytes | None], str | MimicError] | None = None
    """The name of the caller with this credential, or why it is not let in; None: everybody is."""
    composer: ComposerPort | None = None
    """For a dialect that translates."""
    begin_trace: Callable[[bytes | None, tuple[bytes, ...], str], Trace] | None = None
    """Gives an exchange its place by the caller's valid traceparent, tracestate and new digits; None: no spans."""
    trace_upstream: bool = True
    """Tell the backend of the trace."""
    gaps: Callable[[Operation, str | None], Callable[[float], None]] = lambda operation, model: ignored
    """For a stream of an operation and a model: what is told of the seconds between its events."""
    defer: Callable[[Callable[[], None], bool], None] = lambda work, urgent: work()
    """Do work that nobody waits for, some time; at once if it is urgent."""
    debug: Callable[..., None] | None = None
    """`logger.debug` where that is on. Sizes, times, names of fields and decisions; never a value that was sent."""
    include_usage: bool = False
    retry_dead_connection: bool = True
    draining: bool = False
    successor: "Services | None" = None
    """What took its place when the settings changed: the next request finds it."""
    in_web: Counter[Operation] = field(default_factory=Counter)
    """Requests that the web application is answering now; exchanges are counted by the ticker."""
    worked: dict[str, None] = field(default_factory=dict)
    """The first MOST_WORKED models with which a call has succeeded, for a backend that lists none."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One parsed request head. A struct, since a frozen dataclass takes ten times as long to make."""

    method: bytes
    path: bytes
    """Raw, as the caller sent it."""
    query: bytes
    fields: RequestFields
    http11: bool
    keep_alive: bool
    started: float
    content_length: int | None = None
    cors_origin: bytes | None = None
    """The Origin of a page that ALLOWED_ORIGINS names; the answer lets it read."""
