"""What stands between a request and the backend's bytes: a valid token, a connection, and the right to try again.

Exchanges and Mimic's own calls use it alike, so that one policy says when a request is sent once more:

1. A request that a kept connection lost before any byte of a response is sent again on a new one: once, and only within
   a second. A later loss may be a prompt that kills the backend.
2. A request whose token was refused is sent again with the token that the token source gives instead. The source knows
   what a fresh token was refused for, and ends it with an error.
"""

from typing import Protocol

from mimic_proxy.errors import MimicError
from mimic_proxy.http.framing import LARGE_BYTES
from mimic_proxy.relay.ports import Cancellable, ConnectionPort, PoolPort, Services
from mimic_proxy.telemetry.record import Record
from mimic_proxy.tokens.token import AccessToken

REPLAY_WINDOW_SECONDS = 1.0


class Caller(Protocol):
    """Whose attempt it is. It hears of what it had to wait for, never within its own call."""

    def token_ready(self, error: MimicError | None) -> None:
        """The token is there, or will not come."""
        ...

    def token_lapsed(self, error: MimicError | None) -> None:
        """The token has expired while the connection was opened. A new one is on its way, or will not come."""
        ...

    def connected(self, connection: ConnectionPort) -> None: ...

    def not_connected(self, error: MimicError) -> None: ...


class Attempt:
    """The attempts of one call. Every fact of them is written to the record."""

    token: AccessToken | None = None
    connection: ConnectionPort | None = None
    once = False
    """The request cannot be sent again: an upload is not kept."""
    _waits_since = 0.0
    _dial: Cancellable | None = None
    _refused: tuple[int, ...] = ()
    """Generations of the tokens that the backend has refused for this call."""

    def __init__(self, services: Services, pool: PoolPort, record: Record, caller: Caller) -> None:
        self._services = services
        self._pool = pool
        self._record = record
        self._caller: Caller | None = caller

    # ---- the token

    @property
    def waits(self) -> bool:
        """A token is on its way."""
        return self._waits_since > 0.0

    def obtain(self) -> AccessToken | MimicError | None:
        """The token of this moment, or why there is none; None: it comes later."""
        return self._got(self._services.tokens.obtain(self.token_came, self._record.trace, self.once))

    def _got(self, got: AccessToken | MimicError | None) -> AccessToken | MimicError | None:
        self.token = None
        if got is None:
            self._waits_since = self._services.clock()
        elif isinstance(got, AccessToken):
            self.token = got
        return got

    def token_came(self, got: AccessToken | MimicError) -> None:
        """The end of a wait for the token, unless it was given up meanwhile."""
        since, self._waits_since = self._waits_since, 0.0
        if not since:
            return
        refresh = got.refresh if isinstance(got, AccessToken) else None
        self._record.token_waited(since, self._services.clock(), refresh)
        self._got(got)
        assert self._caller is not None, "who has ended its attempts does not wait"
        self._caller.token_ready(got if isinstance(got, MimicError) else None)

    def accepted(self) -> None:
        """The backend has responded to the token: a stream only with its first event, since that may refuse it."""
        record, token = self._record, self.token
        if token is not None and record.upstream_status is not None and record.upstream_status < 300:
            self._services.tokens.accepted(token, record.sent)

    # ---- the connection

    def connect(self, *, fresh: bool = False) -> ConnectionPort | None:
        """A kept connection; None: a new one comes later."""
        kept = None if fresh else self._pool.take()
        if kept is not None:
            self.connection = kept
            return kept
        self._record.dialled = self._services.clock()
        self._dial = self._pool.dial(self)
        return None

    def connected(self, connection: ConnectionPort) -> None:
        """The new connection is there. The token may have expired meanwhile: it is asked for again."""
        self._dial = None
        self._record.backend_seconds += self._services.clock() - self._record.dialled
        assert self._caller is not None, "who has ended its attempts does not dial"
        got = self.obtain()
        if isinstance(got, AccessToken):
            self.connection = connection
            self._caller.connected(connection)
            return
        connection.keep_alive = True
        connection.release(reusable=True)
        self._caller.token_lapsed(got)

    def dial_failed(self, error: MimicError) -> None:
        """There will be no connection."""
        self._dial = None
        self._record.no_connection(self._services.clock())
        assert self._caller is not None, "who has ended its attempts does not dial"
        self._caller.not_connected(error)

    def send(self, head: bytes, body: bytes) -> None:
        """Put the request, or its first part, on the connection."""
        connection = self.connection
        assert connection is not None
        self._record.attempt_sent(self._services.clock())
        if len(body) < LARGE_BYTES:
            connection.send(head + body)
        else:
            connection.send(head)
            connection.send(body)

    def release(self, *, reusable: bool) -> None:
        """The connection is not needed any more."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release(reusable)

    # ---- once more

    def replays_loss(self, *, timed_out: bool = False) -> bool:
        """The connection was lost: the request may be sent again.

        timed_out: the backend says with a 408 that it had given the connection up, which is a loss too.
        """
        lost, record, services = self.connection, self._record, self._services
        if lost is None or not lost.reused or not services.retry_dead_connection or (lost.answered and not timed_out):
            return False
        in_time = services.clock() - record.sent <= REPLAY_WINDOW_SECONDS
        return in_time and all(earlier.retry != "connect" for earlier in record.earlier)

    def replay_loss(self) -> None:
        """Send it again: a new connection comes later."""
        self.connection = None
        self._record.repeat("connect", "reset")
        self.connect(fresh=True)

    def refused(
        self, subject: str, *, reusable: bool, instead: MimicError | None = None
    ) -> AccessToken | MimicError | None:
        """The backend refused the token: the one to send the request again with, as from `obtain`, or the error.

        subject: the model or route that it was refused for. reusable: the connection may carry another request.
        instead: the error where the request cannot be sent again.
        """
        services, record, refused = self._services, self._record, self.token
        assert refused is not None
        self.token = None
        self.release(reusable=reusable)
        got = services.tokens.replace(refused, record.sent, self.token_came, record.trace, subject, self._refused)
        self._refused += (refused.generation,)
        if isinstance(got, MimicError):
            return got
        if instead is not None:
            services.tokens.leave(self.token_came)
            return instead
        record.repeat("unauthorized", "unauthorized")
        return self._got(got)

    def hopeless(self, subject: str) -> bool:
        """No other token would help: see the token source."""
        assert self.token is not None
        return self._services.tokens.hopeless(self.token, subject, self._refused)

    def leave(self) -> None:
        """Give up whatever is waited for or held open."""
        since, self._waits_since = self._waits_since, 0.0
        if since:
            self._services.tokens.leave(self.token_came)
            self._record.token_waited(since, self._services.clock(), None)
        dial, self._dial = self._dial, None
        if dial is not None:
            self._record.backend_seconds += self._services.clock() - self._record.dialled
            dial.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()

    def end(self) -> None:
        """The call is over. Nothing leads back to it from here, so that it is freed without a full collection."""
        self.leave()
        self._caller = None
