"""The connections of one origin: dialled, kept, expired, retired.

A connection expires before the backend's own limit, and every one retires after about five minutes, since names move.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mimic_proxy.errors import MimicError, UpstreamBadResponse, UpstreamUnreachable
from mimic_proxy.http.headers import Names
from mimic_proxy.http.target import Base
from mimic_proxy.relay.connection import Connection
from mimic_proxy.relay.loop import CoalescedWrites

IDLE_SECONDS = 30.0
IDLE_MARGIN_SECONDS = 4.0
RETIRE_SECONDS = 300.0
RETIRE_SPREAD = 0.1
SWEEP_SECONDS = 2.0
MOST_GIVEN_UP = 16
"""So many connections may be on their way with nobody waiting: if packets were lost, a new one is quicker."""

Dialler = Callable[[Base, Callable[[], asyncio.Protocol]], "asyncio.Future[asyncio.Protocol]"]


@dataclass(slots=True, eq=False)
class Dial:
    """A connection on its way; `cancel` gives up on it: the next who wants one gets it, or it is pooled unused."""

    listener: "Dialling | None"
    given_up: "list[Dial]"

    def cancel(self) -> None:
        if self.listener is not None:
            self.listener = None
            self.given_up.append(self)


class Dialling(Protocol):
    """Who waits for a connection."""

    def connected(self, connection: Connection) -> None: ...

    def dial_failed(self, error: MimicError) -> None: ...


class Pool:
    """Connections of one origin. The newest idle one is used first, so that the others can expire."""

    def __init__(
        self,
        base: Base,
        dialler: Dialler,
        clock: Callable[[], float],
        names: Names,
        writes: CoalescedWrites,
        *,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.base = base
        self.dialler = dialler
        self.clock = clock
        self.names = names
        self.writes = writes
        self.random = rand
        self.idle: deque[Connection] = deque()
        self.connections: set[Connection] = set()
        self.dials: set[asyncio.Future[asyncio.Protocol]] = set()
        self.given_up: list[Dial] = []
        """Connections on their way that nobody waits for any more, the newest last."""
        self.closed = False

    def take(self) -> Connection | None:
        """An idle connection, or None where one has to be dialled."""
        now = self.clock()
        while self.idle:
            connection = self.idle.pop()
            transport = connection.transport
            if transport is None or transport.is_closing():
                continue
            if now >= connection.expires:
                transport.abort()
                continue
            connection.reused = True
            return connection
        return None

    def dial(self, listener: Dialling) -> Dial:
        """Open a new connection; `listener` hears later how it ended, never within this call.

        Callers who leave while a backend accepts nothing give up a connection each, thousands within the connect timer:
        beyond MOST_GIVEN_UP, who wants one waits for the newest of those and opens no other.
        """
        if len(self.given_up) > MOST_GIVEN_UP:
            dial = self.given_up.pop()
            dial.listener = listener
            return dial
        dial = Dial(listener, self.given_up)
        future = self.dialler(self.base, self._new_connection)
        self.dials.add(future)
        future.add_done_callback(lambda done: self._dialled(done, dial))
        return dial

    def _new_connection(self) -> Connection:
        spread = 1 + RETIRE_SPREAD * (2 * self.random() - 1)
        return Connection(self, self.clock() + RETIRE_SECONDS * spread)

    def _dialled(self, done: "asyncio.Future[asyncio.Protocol]", dial: Dial) -> None:
        self.dials.discard(done)
        listener = dial.listener
        if listener is None and dial in self.given_up:
            self.given_up.remove(dial)
        if done.cancelled():
            if listener is not None:
                listener.dial_failed(UpstreamUnreachable("The connection was given up: Mimic is stopping."))
            return
        error = done.exception()
        if error is not None:
            if listener is not None:
                listener.dial_failed(_as_mimic_error(error))
            return
        connection = done.result()
        assert isinstance(connection, Connection)
        if listener is None:
            connection.keep_alive = True
            self.keep(connection, None)
        elif connection.transport is None:
            listener.dial_failed(UpstreamBadResponse("The backend closed the new connection.", error_type="reset"))
        else:
            listener.connected(connection)

    def keep(self, connection: Connection, keep_alive_seconds: float | None) -> None:
        """Take a clean connection back, for as long as the backend is known to keep it."""
        now = self.clock()
        limit = IDLE_SECONDS if keep_alive_seconds is None else keep_alive_seconds - IDLE_MARGIN_SECONDS
        connection.expires = min(now + limit, connection.retires)
        if self.closed or connection.transport is None or connection.expires <= now:
            connection.abort()
            return
        self.idle.append(connection)

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)

    def sweep(self) -> None:
        """Close what has expired; called every SWEEP_SECONDS."""
        now = self.clock()
        for connection in [kept for kept in self.idle if now >= kept.expires]:
            connection.abort()

    def retire(self) -> None:
        """Use none of the present connections again (changed certificates); running exchanges finish."""
        for connection in list(self.idle):
            connection.abort()
        for connection in self.connections:
            connection.retires = 0.0

    def close(self) -> None:
        self.closed = True
        for future in list(self.dials):
            future.cancel()
        for connection in list(self.connections):
            connection.abort()


def _as_mimic_error(error: BaseException) -> MimicError:
    if isinstance(error, MimicError):
        return error
    return UpstreamUnreachable(f"The backend cannot be reached ({type(error).__name__}).", error_type="connect")
